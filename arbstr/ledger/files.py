"""The ledger's files: path checks, permissions and schema version; quick to import for any command."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.row_mapping import COLUMNS

logger = logging.getLogger(__name__)

_PRIVATE = 0o600
_OTHERS = 0o077
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_MAGIC = b"SQLite format 3\0"
_DATABASE_NAMES = (".db", ".sqlite", ".sqlite3")
_NEEDED = frozenset(COLUMNS[:16])  # every arbstr's `requests` has had these


def check_place(path: Path) -> None:
    """Check a path. Raises LedgerUnavailable if no database can be there."""
    if path.is_dir():
        raise LedgerUnavailable(f"The ledger {path} is a directory; name a file in it, as in {path / 'arbstr.db'}.")
    if not path.parent.is_dir():
        raise LedgerUnavailable(f"The ledger {path} can't be created: the directory {path.parent} does not exist.")


def is_broken(error: BaseException) -> bool:
    """Check whether the file is a broken database."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN


def may_be_ledger(path: Path) -> bool:
    """Check whether a broken file was a database, by its first bytes or its name; arbstr moves no other file."""
    if path.suffix.lower() in _DATABASE_NAMES:
        return True
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def explain(path: Path, error: BaseException) -> str:
    """Return a database error as one sentence."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
        for file in (path, *logs_of(path)):
            if file.exists() and not os.access(file, os.W_OK):
                return f"The ledger {path} can't be used: no permission to write to {file}."
    return f"The ledger {path} can't be used: {error}."


def identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file at a path; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def logs_of(path: Path) -> tuple[Path, Path]:
    """Return the files that SQLite keeps beside an open database."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def make_private(path: Path) -> None:
    """Create the file if it is missing, and restrict its permissions to its owner.

    A ledger is private whatever the umask. SQLite gives its logs the database's permissions. Files of other users, and
    what is not a regular file, are left as they are.
    """
    with suppress(OSError):  # a directory that can't be written to: opening the database says so
        # Only a new one: to close a file is to give up all of a process's locks on it.
        os.close(os.open(path.resolve(), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE))
    for file in (path, *logs_of(path)):
        with suppress(OSError):
            _tighten(file)


def _tighten(file: Path) -> None:
    status = file.stat()
    mode = stat.S_IMODE(status.st_mode)
    if not (mode & _OTHERS and stat.S_ISREG(status.st_mode)):
        return
    if status.st_uid != os.geteuid():
        logger.warning("other users can open %s (mode %04o), and one of them owns it: run chmod 600 on it", file, mode)
        return
    file.chmod(mode & ~_OTHERS)
    logger.info("%s was open to other users (mode %04o); it is now restricted to its owner", file, mode)


def unlock_logs(path: Path) -> None:
    """Give the log's files the database's permissions again.

    They are made with those that it has. From a time when it was read-only they would keep it so for ever.
    """
    if not os.access(path, os.W_OK):
        return
    for log in logs_of(path):
        if log.exists() and not log.is_symlink() and not os.access(log, os.W_OK):
            with suppress(OSError):  # another user's; `explain` names it
                log.chmod(path.stat().st_mode & 0o777)


def check_schema(path: Path, version: int, tables: set[str], columns: set[str]) -> None:
    """Check the schema. Raises LedgerUnavailable if the database is a newer arbstr's or another program's."""
    if version > LATEST_VERSION:
        raise LedgerUnavailable(
            f"The ledger {path} was written by a newer arbstr (schema {version}, this one knows {LATEST_VERSION}); "
            "update arbstr, or name another file."
        )
    if tables and "requests" not in tables:
        raise LedgerUnavailable(f"{path} is another program's database: it has no table 'requests'; name another file.")
    if columns and not columns >= _NEEDED:
        missing = ", ".join(sorted(_NEEDED - columns))
        raise LedgerUnavailable(f"{path} is not an arbstr ledger: its table 'requests' lacks {missing}.")


def migrations() -> list[tuple[int, str]]:
    """Return the numbered scripts, in order."""
    return [(int(script.name[:4]), script.read_text("utf-8")) for script in _SCRIPTS]


_SCRIPTS = sorted((Path(__file__).parent / "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))
LATEST_VERSION = int(_SCRIPTS[-1].name[:4])
