"""The configured ledger, for commands that read it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arbstr.ledger.queries import Queries
    from arbstr.places import Place


@contextmanager
def open_ledger(config: Path | None) -> Iterator[Queries]:
    """Open the configured ledger for reading. Raises LedgerUnavailable."""
    from arbstr.ledger.backend import backend_at

    with closing(backend_at(ledger_place(config)).connect()) as connection:
        yield connection


def ledger_place(config: Path | None) -> Place:
    """Return the place of the configured ledger. Raises ConfigError."""
    from arbstr.config.paths import database_place

    return database_place(os.environ, config)
