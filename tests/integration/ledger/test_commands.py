"""The commands on a ledger in PostgreSQL: what they print, and that no password is in it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import psycopg
import pytest

from tests.support.command import Done, run_command
from tests.support.ledger_builders import first_ledger, insert, record
from tests.support.ledgers import PostgresLedgers, write_rows
from tests.support.postgres import PASSWORD

CONFIG = """
[database]
path = "old.db"
[[providers]]
name = "alpha"
url = "http://127.0.0.1:9/v1"
api_key = "${KEY}"
"""


class Terminal:
    """Commands in a directory with a configuration, `DATABASE_URL` naming a database."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        (directory / "config.toml").write_text(CONFIG)
        (directory / "config.toml").chmod(0o600)

    def arbstr(self, *arguments: str, status: int = 0, url: str | None = None) -> Done:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ARBSTR")}
        environ |= {"DATABASE_URL": self.url if url is None else url, "PYTHONUTF8": "1", "KEY": "sk-0123456789abcdef"}
        done = run_command(*arguments, environ=environ, cwd=self.directory)
        assert done.returncode == status, done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def terminal(tmp_path: Path, postgres_url: str) -> Terminal:
    return Terminal(tmp_path, postgres_url)


def test_a_ledger_that_is_not_there_yet_is_said_to_be_so(terminal: Terminal) -> None:
    for command in (["requests"], ["stats"], ["db", "info"]):
        assert "yet; it is created when arbstr first serves" in terminal.arbstr(*command, status=1).stderr
    assert terminal.arbstr("statusline").stdout == "arbstr: no figures\n"


def test_what_was_written_is_shown(terminal: Terminal, tmp_path: Path) -> None:
    place = PostgresLedgers(terminal.url, tmp_path).place()
    rows = [record(received_at_ms=time.time_ns() // 1_000_000, cost_msats=1500, model=f"model-{n}") for n in range(3)]
    asyncio.run(write_rows(place, rows))
    assert terminal.arbstr("requests", "--csv").stdout.count("model-") == 3
    assert len(json.loads(terminal.arbstr("requests", "--json").stdout)) == 3
    assert "4.500 sats" in terminal.arbstr("stats").stdout
    assert 'did you mean "model-1"' in terminal.arbstr("stats", "--model", "modl-1", status=1).stderr
    info = terminal.arbstr("db", "info").stdout
    assert f"ledger      {place}\n" in info
    assert "rows        3\n" in info
    for command in ("vacuum", "rebuild"):
        assert "PostgreSQL keeps its tables itself" in terminal.arbstr("db", command, status=1).stderr
    assert f"ledger  {place}\n" in terminal.arbstr("check").stdout
    assert f"{place}, rows: 3" in terminal.arbstr("doctor", "--offline").stdout


def test_a_server_that_is_away_is_named_without_the_password(terminal: Terminal) -> None:
    url = f"postgresql://u:{PASSWORD}@/d?host={terminal.directory}"
    for command in (["requests"], ["stats"], ["db", "info"]):
        assert (
            f"The ledger postgresql://{terminal.directory}/d can't be used"
            in terminal.arbstr(*command, status=1, url=url).stderr
        )
    terminal.arbstr("check", url=url)
    assert "WRONG" in terminal.arbstr("doctor", "--offline", status=1, url=url).stdout


@pytest.mark.parametrize("wrong", ["not-a-port", "%zz"])
def test_what_postgresql_can_not_read_is_not_repeated(terminal: Terminal, wrong: str) -> None:
    url = f"postgresql://u:{PASSWORD}@h/d?connect_timeout={wrong}"
    assert "arbstr: " in terminal.arbstr("stats", status=1, url=url).stderr


def test_a_database_of_somebody_elses_is_said_to_be_so(terminal: Terminal) -> None:
    first_ledger(terminal.directory / "old.db")
    with psycopg.connect(terminal.url) as connection:
        connection.execute("CREATE TABLE requests (id integer)")
    said = terminal.arbstr("db", "copy", status=1).stderr
    assert 'relation "requests" already exists; name a database of arbstr\'s own' in said
    with psycopg.connect(terminal.url) as connection:
        connection.execute("CREATE TABLE schema_versions (id integer)")
    said = terminal.arbstr("db", "copy", status=1).stderr
    assert 'column "version" does not exist; name a database of arbstr\'s own' in said


def test_a_ledger_is_moved_by_two_commands(terminal: Terminal) -> None:
    ledger = terminal.directory / "old.db"
    first_ledger(ledger)
    for number in range(5):
        insert(ledger, timestamp=f"2026-01-0{number + 1}T12:00:00Z")
    done = terminal.arbstr("db", "copy", "--to", terminal.url, url="")
    assert done.stdout.startswith("5 rows copied from old.db to postgresql://")
    assert "can read the password" in done.stderr
    assert "2.100 sats" in terminal.arbstr("stats", "--since", "2026-01-01T00:00:00Z").stdout
    again = terminal.arbstr("db", "copy").stdout
    assert again.startswith("nothing new to copy (5 before) from old.db to postgresql://")
    insert(ledger)
    assert "1 of its rows came later and can't be added" in terminal.arbstr("db", "copy", status=1).stderr


def test_a_copy_needs_a_ledger_and_a_database(terminal: Terminal) -> None:
    missing = terminal.arbstr("db", "copy", status=1).stderr
    assert "No ledger at old.db; name its file by DATABASE_URL=./arbstr.db, or -c the configuration" in missing
    for arguments in (["--to", "somewhere"], []):
        assert "--to is not a URL of a database" in terminal.arbstr("db", "copy", *arguments, status=2, url="").stderr
