"""Which database a place is of; PostgreSQL's driver is loaded where it is asked for, and named where it is missing."""

from __future__ import annotations

import subprocess
import sys

LOADING = """
import sys
from pathlib import Path
from arbstr.errors import LedgerUnavailable
from arbstr.ledger.backend import backend_at
from arbstr.places import PostgresPlace

print(type(backend_at(Path("a.db"))).__name__, "psycopg" in sys.modules)
sys.modules["psycopg"] = None  # as where it is not installed
try:
    backend_at(PostgresPlace.at("postgresql://u:hunter2@h/d", Path("a.db")))
except LedgerUnavailable as error:
    print(error)
"""


def test_a_file_needs_no_driver_and_a_missing_one_is_named_with_the_command() -> None:
    done = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, check=True)
    file, missing = done.stdout.splitlines()
    assert file == "SqliteLedger False"
    assert missing.startswith("A ledger in PostgreSQL needs the package psycopg (")
    assert missing.endswith("install it with pip install 'arbstr[postgresql]'.")
    assert "hunter2" not in done.stdout + done.stderr
