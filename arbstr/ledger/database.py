"""The database file: opened, checked, migrated, and set aside when it is broken."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import aiosqlite

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.files import (
    LATEST_VERSION,
    check_place,
    check_schema,
    explain,
    is_broken,
    logs_of,
    make_private,
    may_be_ledger,
    migrations,
    unlock_logs,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

logger = logging.getLogger(__name__)

BUSY_S = 0.25  # how long a statement waits for another process; then the writer retries
_LOG_PAGES = 4000  # 16 MB: a page that many batches change is copied into the database once
_CHANGED_PAGES = 1200  # 5 MB, of one transaction: more are written before its end, and maybe again
_KEPT_LOG_BYTES = 64 * 1024 * 1024  # of the write-ahead log, once it has been copied into the database
_COMMIT = "COMMIT"
_FETCHED_AT_ONCE = 64  # rows, where a cursor is read piece by piece; none is here
# Without one, sqlite3 looks at length for an adapter of each None that it binds: a row has ten. This one is no frame.
_NOTHING: dict[None, None] = {}
sqlite3.register_adapter(type(None), _NOTHING.get)


T = TypeVar("T")


class NotWritable(LedgerUnavailable):
    """The database can't be written now (locked, full, read-only): worth a retry."""


class Database(aiosqlite.Connection):
    """An open database. Many statements are one call into its thread by `run`: each call wakes two threads."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work in the connection's thread; return its result."""
        result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]  # aiosqlite's own
        return result


async def open_writable(path: Path, *, replace_broken: bool = True) -> tuple[Database, Path | None]:
    """Open the ledger, created or migrated if need be; also return where a broken file was set aside.

    Raises `LedgerUnavailable` when no waiting will help, `NotWritable` when it may. A broken file stays where it is
    unless it may be replaced (`replace_broken`), and so does one that never was a ledger.
    """
    check_place(path)
    unlock_logs(path)
    try:
        return await _open(path), None
    except sqlite3.Error as error:
        if not is_broken(error):
            raise NotWritable(explain(path, error)) from error
        if not replace_broken or not may_be_ledger(path):
            raise LedgerUnavailable(explain(path, error)) from error
    try:
        aside = set_aside(path)
        return await _open(path), aside
    except (sqlite3.Error, OSError) as error:
        raise NotWritable(explain(path, error)) from error


def set_aside(path: Path) -> Path:
    """Rename a broken database and its log; nothing is deleted. Return the new name."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    for part, name in zip((*logs_of(path), path), (*logs_of(aside), aside), strict=True):
        if part.exists():
            part.rename(name)
    logger.error("the ledger %s is corrupt; it was set aside as %s and a new one was created", path, aside)
    return aside


async def _open(path: Path) -> Database:
    make_private(path)
    db = Database(lambda: sqlite3.connect(path, timeout=BUSY_S, isolation_level=None), _FETCHED_AT_ONCE)
    await db
    try:
        db.text_factory = lambda data: data.decode("utf-8", "replace")
        await db.execute_fetchall("PRAGMA journal_mode = WAL")
        await db.execute_fetchall("PRAGMA synchronous = NORMAL")  # a power cut may lose the last moments, no more
        await db.execute_fetchall(f"PRAGMA journal_size_limit = {_KEPT_LOG_BYTES}")
        await db.execute_fetchall(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        await db.execute_fetchall(f"PRAGMA cache_spill = {_CHANGED_PAGES}")
        await _migrate(db, path)
        async with transaction(db):  # finds out at once whether it can be written
            pass
    except BaseException:
        await db.close()
        raise
    return db


@asynccontextmanager
async def transaction(db: Database) -> AsyncIterator[None]:
    """Run a transaction: all or nothing; waits `BUSY_S` for other writers."""
    await db.run(_begin)
    try:
        yield
    except BaseException:
        await db.run(_roll_back)
        raise
    await db.execute_fetchall(_COMMIT)


@contextmanager
def transaction_in(db: sqlite3.Connection) -> Iterator[None]:
    """Run a transaction within one call into the connection's thread."""
    _begin(db)
    try:
        yield
    except BaseException:
        _roll_back(db)
        raise
    db.execute(_COMMIT)


def _begin(db: sqlite3.Connection) -> None:
    _roll_back(db)  # what an earlier failure left: a commit that fails leaves the transaction open
    db.execute("BEGIN IMMEDIATE")


def _roll_back(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        db.execute("ROLLBACK")


async def _migrate(db: Database, path: Path) -> None:
    if await _version(db) == LATEST_VERSION:
        return
    for number, script in migrations():
        async with transaction(db):
            version = await _version(db)  # another process may have done it
            await _check(db, path, version)
            if version < number:
                for statement in statements(script):
                    await db.execute_fetchall(statement)
                await db.execute_fetchall(f"PRAGMA user_version = {number}")


async def _version(db: Database) -> int:
    [row] = await db.execute_fetchall("PRAGMA user_version")
    return int(row[0])


async def _check(db: Database, path: Path, version: int) -> None:
    tables = {row[0] for row in await db.execute_fetchall("SELECT name FROM sqlite_master WHERE type = 'table'")}
    tables = {name for name in tables if not name.startswith("sqlite_")}
    columns = {row[1] for row in await db.execute_fetchall("PRAGMA table_info(requests)")}
    check_schema(path, version, tables, columns)


def statements(script: str) -> Iterator[str]:
    """Yield a script's statements, one by one."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
