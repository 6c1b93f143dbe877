"""Writes to the open database: batches, pending rows, old rows, open rows of dead processes."""

from __future__ import annotations

import logging
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from arbstr.clock import HOUR_MS, format_ms, wall_ms
from arbstr.ledger import accounts, retention
from arbstr.ledger.adoption import Adoption, prepare
from arbstr.ledger.database import Database, NotWritable, open_writable, transaction, transaction_in
from arbstr.ledger.files import explain, identity, logs_of
from arbstr.ledger.indexes import drop_late, make_next
from arbstr.ledger.insertion import insert
from arbstr.ledger.learned import Cells, LearnedState, Ratios, read_learned, write_learned
from arbstr.ledger.pending_row import INTERRUPTED, INTERRUPTED_STATUS, PendingRow
from arbstr.ledger.process_lock import ProcessLock, is_alive
from arbstr.ledger.progress import Progress
from arbstr.ledger.rollups import Rollups
from arbstr.ledger.row_mapping import FacetKey, RowValues, all_storable, facet_key, row_of, tally_of
from arbstr.ledger.session_key import read_session_key
from arbstr.ledger.spill import files_beside, read_file, take_in
from arbstr.ledger.sql import Statements, chunks, values
from arbstr.types import RequestRecord

logger = logging.getLogger(__name__)

T = TypeVar("T")

SLICE = 500  # rows that background work touches in one transaction

# Another process's commits show in data_version; our own do not.
_STATE = "SELECT data_version, (SELECT seq FROM sqlite_sequence WHERE name = 'requests') FROM pragma_data_version"


class WriteConnection:
    """The one writing connection to a ledger, its session, and what it knows of the file."""

    def __init__(self, path: Path, db: Database) -> None:
        self._path = path
        self._db = db
        self._file = identity(path)
        self._beside: dict[Path, tuple[int, int] | None] = {}  # the log's files, known once something was written
        self._rollups = Rollups()
        self._adoption = Adoption(path, db, self._rollups)
        self._version = -1
        self._last_id = 0
        self._open_ids: dict[str, int] = {}
        self._session: ProcessLock | None = None
        self._may_be_pending = True  # there may be pending rows
        self._has_looked = False  # a transaction has just found out whether others have written
        self._expects_rows = False  # from beside the ledger
        self._indexed = False

    @classmethod
    async def open(cls, path: Path, *, replace_broken: bool = True) -> tuple[WriteConnection, Path | None]:
        """Open the ledger for writing, as `open_writable` does; also return where a broken one was set aside."""
        db, aside = await open_writable(path, replace_broken=replace_broken)
        connection = cls(path, db)
        try:
            await prepare(db)
            await connection._begin_session()
        except sqlite3.Error as error:
            await connection.close()
            raise NotWritable(explain(path, error)) from error
        except BaseException:
            await connection.close()
            raise
        return connection, aside

    async def close(self) -> None:
        """End the session and close the connection."""
        self._adoption.forget()
        moved = self.stale is not None
        try:
            if self._session is not None:
                await self._db.execute_fetchall("DELETE FROM sessions WHERE id = ?", (self._session.number,))
            if moved:
                await self._db.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            await self._db.close()
            if self._session is not None:
                self._session.release()
            if moved:
                self._clear_beside()

    def _clear_beside(self) -> None:
        """Take away the log of a file that is gone: SQLite would take it for that of the file now in its place."""
        for path, known in self._beside.items():
            if known is not None and identity(path) == known:
                path.unlink()

    @property
    def stale(self) -> str | None:
        """Why it must be opened again: the path no longer leads to the open file."""
        if identity(self._path) == self._file:
            return None
        return f"The ledger {self._path} was deleted or replaced; reopening it."

    async def write(self, batch: Sequence[PendingRow], ratios: Ratios, cells: Cells) -> None:
        """Commit rows, their rollups and what was learned, all or nothing."""
        try:
            await self._db.run(lambda db: self._write(db, batch, ratios, cells))
        except BaseException:
            self._forget()
            raise

    def _write(self, db: sqlite3.Connection, batch: Sequence[PendingRow], ratios: Ratios, cells: Cells) -> None:
        """Do it, in the connection's thread."""
        with transaction_in(db):
            self._refresh(db)
            opened = self._write_rows(db, batch) if batch else {}
            write_learned(db, ratios, cells)
        self._remember(batch, opened)

    def _write_rows(self, db: sqlite3.Connection, batch: Sequence[PendingRow]) -> dict[str, int]:
        records = all_storable([pending.record for pending in batch])
        keyed = [(pending.final, record, facet_key(record)) for pending, record in zip(batch, records, strict=True)]
        facets = self._rollups.facets(db, [key for final, _, key in keyed if final])
        rows: dict[bool, list[RowValues]] = {True: [], False: []}  # new ones, and others
        opened: dict[str, int] = {}
        together: dict[tuple[FacetKey, int], list[RequestRecord]] = defaultdict(list)
        for final, record, key in keyed:
            new, row_id = record.request_id not in self._open_ids, self._id_for(record)
            if final:
                rows[new].append(row_of(record, key, row_id, facets[key], 0))
                together[key, record.received_at_ms // HOUR_MS * HOUR_MS].append(record)
            else:
                rows[new].append(row_of(record, key, row_id, None, self._number))
                opened[record.request_id] = row_id
        for new, alike in rows.items():
            for some in chunks(alike):
                insert(db, some, new=new)
        self._rollups.add(db, [(key, start_ms, tally_of(records)) for (key, start_ms), records in together.items()])
        accounts.enter(db, [record for final, record, _ in keyed if final])
        return opened

    async def change(self, work: Callable[[Statements, Rollups], T]) -> T:
        """Do work in a transaction in which rows and their rollups may change, all or nothing; return its result."""
        try:
            return await self._db.run(lambda db: self._change(db, work))
        except BaseException:
            self._forget()
            raise

    def _change(self, db: sqlite3.Connection, work: Callable[[Statements, Rollups], T]) -> T:
        with transaction_in(db):
            self._refresh(db)
            return work(db, self._rollups)

    def _id_for(self, record: RequestRecord) -> int:
        row_id = self._open_ids.get(record.request_id)
        if row_id is None:
            self._last_id += 1
            row_id = self._last_id
        return row_id

    def _remember(self, batch: Sequence[PendingRow], opened: dict[str, int]) -> None:
        self._open_ids.update(opened)
        for pending in batch:
            if pending.final:
                self._open_ids.pop(pending.record.request_id, None)

    async def learned(self) -> LearnedState:
        """Return all learned values ever given to `write`."""
        return await self._db.run(read_learned)

    async def session_key(self) -> bytes:
        """The key under which sessions are hashed, of this ledger's own."""
        return await self._db.run(read_session_key)

    def expect_rows(self) -> None:
        """Note that there are spill files that `absorb` has to read."""
        self._may_be_pending = self._expects_rows = True

    async def absorb(self) -> bool:
        """Take one step of adoption; return False when all rows are in the rollups and have facets."""
        has_looked, self._has_looked = self._has_looked, False
        if not self._may_be_pending and (has_looked or not await self._touched()):
            return False
        if not self._may_be_pending or self._expects_rows:
            await self._take_in_aside()
        self._may_be_pending = True
        self._may_be_pending = await self._step()
        return self._may_be_pending

    async def _step(self) -> bool:
        if await self._adoption.lacks_sums():
            async with self._changing():
                await self._adoption.add_lacking_sums()
            return True
        return await (self._absorb() if await self._has_pending() else self._index())

    async def _has_pending(self) -> bool:
        sql = "SELECT EXISTS (SELECT 1 FROM requests WHERE facet IS NULL AND open = 0)"
        [row] = await self._db.execute_fetchall(sql)
        return bool(row[0])

    async def adopted(self) -> Progress:
        """Return the progress of the adoption."""
        return await self._adoption.progress()

    async def more_is_unsummed(self, rows: int) -> bool:
        """Check whether more than that many rows are in no rollups."""
        sql = (
            "SELECT COALESCE((SELECT SUM(total) FROM backlog WHERE summed = 0), 0) + (SELECT COUNT(*) FROM "
            "(SELECT 1 FROM requests WHERE facet IS NULL AND open = 0 "
            "AND id > (SELECT COALESCE(MAX(last_id), 0) FROM backlog) LIMIT ?)) > ?"
        )
        [row] = await self._db.execute_fetchall(sql, (rows + 1, rows))
        return bool(row[0])

    async def _absorb(self) -> bool:
        """Take one step of the adoption; return False when nothing is left to do."""
        adoption = self._adoption
        if not adoption.reads:
            async with self._changing():
                return await adoption.note() or await adoption.sum_up() or await adoption.complete()
        if await adoption.has_read():  # others may write until then
            async with self._changing():
                await adoption.add()
        return True

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        """A transaction in which rollups may change; what is known of the database is checked first."""
        try:
            async with transaction(self._db):
                await self._db.run(self._refresh)
                yield
        except BaseException:
            self._forget()
            raise

    async def _take_in_aside(self) -> None:
        """Insert the rows of spill files as pending ones.

        Before any rows are summed: among them may be the ends of streams whose rows were closed as interrupted.
        """
        self._expects_rows = False
        for file in files_beside(self._path):
            try:
                rows = read_file(file)
                async with transaction(self._db):
                    added = await take_in(self._db, rows)
                    await self._db.execute_fetchall(accounts.COMPARE_AGAIN)
                file.unlink(missing_ok=True)
            except OSError as error:
                logger.warning("could not import rows that failed to be written earlier, from %s: %s", file, error)
            else:
                self._may_be_pending = True
                logger.warning("imported %d rows that could not be written earlier, from %s", added, file)

    async def reached(self, now_ms: int) -> int | None:
        """Up to where rows were kept at last, as `retention` says it."""
        return await self._db.run(lambda db: retention.reached(db, now_ms))

    async def mend_cutoff(self, now_ms: int) -> None:
        """List all rows again where a wrong clock had those of this day, and of many to come, count as gone."""
        async with transaction(self._db):
            await self._db.run(lambda db: retention.mend_cutoff(db, now_ms))

    async def _index(self) -> bool:
        """Make one of the indexes that rows without facets would only make slow to adopt; False if all are there."""
        self._indexed = self._indexed or not await make_next(self._db)
        return not self._indexed

    async def prune(self, before_ms: int, reached_ms: int) -> bool:
        """Delete a slice of the rows from before that day, keeping their rollups; False when there are none left.

        `reached_ms` is what `reached` is to say from now on.
        """
        async with transaction(self._db):
            return await self._db.run(lambda db: retention.prune(db, before_ms, reached_ms, SLICE)) == SLICE

    async def rebuild(self, on_progress: Callable[[int, int], None]) -> None:
        """Rebuild what is derived from the rows; rollups of pruned days stay. Reports rows done, and in all.

        All rows are adopted again, as those of an earlier arbstr are. Queries are right meanwhile, and when this is cut
        short the next start goes on with it.
        """
        [(total, with_facets)] = await self._db.execute_fetchall(
            "SELECT COUNT(*), COUNT(facet) FROM requests WHERE open = 0"
        )
        on_progress(0, total)
        if with_facets:
            await self._adopt_all(on_progress)
            await self._begin_again()
        await self._adopt_all(on_progress)
        on_progress(total, total)

    async def _adopt_all(self, on_progress: Callable[[int, int], None]) -> None:
        while await self.absorb():
            progress = await self.adopted()
            if progress.total:
                on_progress(progress.done, progress.total)

    async def _begin_again(self) -> None:
        await drop_late(self._db)
        self._indexed, self._may_be_pending = False, True
        upto: int | None = 0
        while upto is not None:
            async with self._changing():
                # Rows that end meanwhile may have lower ids: the last look is at all.
                after, upto = upto, await self._adoption.begin_again(upto)
                if upto is None and after:
                    upto = await self._adoption.begin_again(0)
                if upto is None:
                    await self._adoption.start_sums_again()

    async def vacuum(self) -> None:
        """Return unused pages to the file system."""
        await self._db.execute_fetchall("VACUUM")

    @property
    def _number(self) -> int:
        return self._session.number if self._session is not None else 0

    async def _begin_session(self) -> None:
        """Announce this process, and close the rows that dead ones left open."""
        async with transaction(self._db):
            dead = [number for number in await self._sessions() if not is_alive(self._path, number)]
            for some in chunks(dead):
                sessions = values(1, len(some))
                doubted = accounts.DOUBT_INTERRUPTED.format(now_ms=wall_ms(), sessions=sessions)
                await self._db.execute_fetchall(f"DELETE FROM sessions WHERE id IN {sessions}", some)
                await self._db.execute_fetchall(doubted, some)
                await self._db.execute_fetchall(
                    "UPDATE requests SET open = 0, success = FALSE, stream_duration_ms = NULL, "  # its end was not seen
                    "error_status = ?, error_message = ? "
                    f"WHERE facet IS NULL AND open IN {sessions}",
                    (INTERRUPTED_STATUS, INTERRUPTED, *some),
                )
            self._session = await self._new_session()
        await self._take_in_aside()
        self._beside = {path: identity(path) for path in logs_of(self._path)}

    async def is_shared(self) -> bool:
        """Check whether another process writes to the ledger."""
        return any(number != self._number and is_alive(self._path, number) for number in await self._sessions())

    async def _new_session(self) -> ProcessLock:
        """A session under the first number whose lock is free: a file that vanished may have left some behind."""
        now = format_ms(wall_ms())
        while True:
            [row] = await self._db.execute_fetchall("INSERT INTO sessions (started_at) VALUES (?) RETURNING id", (now,))
            if not is_alive(self._path, row[0]):
                return ProcessLock(self._path, row[0])

    async def _sessions(self) -> list[int]:
        """All that were announced, and all that left rows open."""
        rows = await self._db.execute_fetchall(
            "SELECT id FROM sessions UNION SELECT open FROM requests WHERE facet IS NULL AND open <> 0"
        )
        return [row[0] for row in rows]

    async def _touched(self) -> bool:
        [row] = await self._db.execute_fetchall("PRAGMA data_version")
        return bool(row[0] != self._version)

    def _refresh(self, db: sqlite3.Connection) -> None:
        """In a transaction: what is known of the database, checked."""
        [(version, last_id)] = db.execute(_STATE).fetchall()
        self._last_id = last_id or 0
        self._has_looked = True
        if version != self._version:
            self._rollups.forget()
            self._version = version
            self._may_be_pending = True

    def _forget(self) -> None:
        self._rollups.forget()
        self._adoption.forget()
        self._version = -1
