"""Which processes write to the ledger right now: each holds a lock that dies with it.

The lock is SQLite's own, on an empty file beside the ledger: it holds wherever SQLite works, also between containers
and within one process, and no reused process id can be mistaken for it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from arbstr.ledger.files import make_private


class ProcessLock:
    """The lock of one numbered session, held until `release`."""

    def __init__(self, ledger: Path, number: int) -> None:
        self.number = number
        self._path = lock_path(ledger, number)
        self._lock = _lock(self._path)

    def release(self) -> None:
        """Release the lock and delete its file."""
        self._lock.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def is_alive(ledger: Path, number: int) -> bool:
    """Check whether a process holds that session's lock. Deletes a dead session's file."""
    path = lock_path(ledger, number)
    if not path.exists():
        return False
    try:
        lock = _lock(path)
    except sqlite3.OperationalError:
        return True
    lock.close()
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return False


def lock_path(ledger: Path, number: int) -> Path:
    """Return the path of a session's lock."""
    return ledger.with_name(f"{ledger.name}-session-{number}")


def _lock(path: Path) -> sqlite3.Connection:
    make_private(path)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = OFF")  # nothing is ever written to it
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
