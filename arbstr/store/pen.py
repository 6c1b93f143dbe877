"""What is done to the opened database: batches, loose rows, old rows, open rows of dead processes."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import aiosqlite

from arbstr.store.database import NotWritable, open_writable, transaction
from arbstr.store.place import explain, logs_of
from arbstr.store.rollups import Rollups
from arbstr.store.rows import COLUMNS, LOOSE_COLUMNS, Row, facet_key, format_ms, read_loose, row_of, tally_of
from arbstr.store.session import Session, is_alive
from arbstr.store.session_key import read_session_key
from arbstr.store.spill import StoredRow, files_beside, read_file
from arbstr.store.sql import chunks, values
from arbstr.store.window import DAY_MS
from arbstr.types import RequestRecord, value_object

logger = logging.getLogger(__name__)

SLICE = 500  # rows that background work touches in one transaction
INTERRUPTED_STATUS = 500  # arbstr's own fault, not the provider's
INTERRUPTED = "interrupted: arbstr stopped before the answer had ended"

_UPSERT = " ON CONFLICT (id) DO UPDATE SET {} WHERE requests.correlation_id = excluded.correlation_id".format(
    ", ".join(f"{column} = excluded.{column}" for column in COLUMNS if column != "id")
)
# Another process's commits show in data_version; our own do not.
_STATE = "SELECT data_version, (SELECT seq FROM sqlite_sequence WHERE name = 'requests') FROM pragma_data_version"
_DAYS = f"""
    WITH since(start) AS (SELECT COALESCE((SELECT value FROM ledger_state WHERE name = 'pruned_before_ms'), 0))
    SELECT at_ms - at_ms % {DAY_MS} FROM requests, since WHERE at_ms >= start
    UNION SELECT start_ms - start_ms % {DAY_MS} FROM rollups, since WHERE start_ms >= start ORDER BY 1
"""
# The first two hold what a page's filter needs, so that walking them reads no rows.
_LATE_INDEXES = (
    "CREATE INDEX IF NOT EXISTS requests_by_cost ON requests (cost_sats, id, at_ms, facet)",
    "CREATE INDEX IF NOT EXISTS requests_by_latency ON requests (latency_ms, id, at_ms, facet)",
    "CREATE INDEX IF NOT EXISTS requests_by_session ON requests (session, at_ms) WHERE session IS NOT NULL",
)
_LOOSE = "FROM requests WHERE facet IS NULL AND open = 0"


@value_object
class Pending:
    """A record on its way to the database; not `final` is an open row."""

    record: RequestRecord
    final: bool


Ratios = Mapping[str, tuple[float, int]]
Cells = Mapping[tuple[str, str], str]


class Pen:
    """The one thing that writes to a ledger: an open connection, its session, and what it knows of the file."""

    def __init__(self, path: Path, db: aiosqlite.Connection) -> None:
        self._path = path
        self._db = db
        self._file = _file(path)
        self._beside: dict[Path, tuple[int, int] | None] = {}  # the log's files, known once something was written
        self._rollups = Rollups()
        self._version = -1
        self._last_id = 0
        self._open_ids: dict[str, int] = {}
        self._session: Session | None = None
        self._loose = True  # there may be loose rows
        self._indexed = False

    @classmethod
    async def open(cls, path: Path, *, begin_anew: bool = True) -> tuple[Pen, Path | None]:
        """Open the ledger for writing; also says where a broken one was set aside. All else as `open_writable` does."""
        db, aside = await open_writable(path, begin_anew=begin_anew)
        pen = cls(path, db)
        try:
            await pen._begin_session()
        except sqlite3.Error as error:
            await pen.close()
            raise NotWritable(explain(path, error)) from error
        except BaseException:
            await pen.close()
            raise
        return pen, aside

    async def close(self) -> None:
        """End the session and let go of the file."""
        moved = self.moved
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
            if known is not None and _file(path) == known:
                path.unlink()

    @property
    def moved(self) -> bool:
        """Whether the path no longer leads to the file that is open."""
        return _file(self._path) != self._file

    async def write(self, batch: Sequence[Pending], ratios: Ratios, cells: Cells) -> None:
        """Commit rows, their rollups and what was learned, all or nothing."""
        try:
            async with transaction(self._db):
                await self._refresh()
                if batch:
                    opened = await self._write_rows(batch)
                await self._write_learned(ratios, cells)
        except BaseException:
            self._forget()
            raise
        if batch:
            self._remember(batch, opened)

    async def _write_rows(self, batch: Sequence[Pending]) -> dict[str, int]:
        keyed = [(pending, facet_key(pending.record)) for pending in batch]
        final = [(key, pending.record) for pending, key in keyed if pending.final]
        facets = await self._rollups.facets(self._db, [key for key, _ in final])
        rows: list[Row] = []
        opened: dict[str, int] = {}
        for pending, key in keyed:
            row_id = self._id_for(pending.record)
            if pending.final:
                rows.append(row_of(pending.record, key, row_id, facets[key], 0))
            else:
                rows.append(row_of(pending.record, key, row_id, None, self._number))
                opened[pending.record.request_id] = row_id
        for some in chunks(rows):
            sql = f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES {values(len(some), len(COLUMNS))}{_UPSERT}"
            await self._db.execute_fetchall(sql, [value for row in some for value in row])
        await self._rollups.add(self._db, [(key, record.received_at_ms, tally_of(record)) for key, record in final])
        return opened

    def _id_for(self, record: RequestRecord) -> int:
        row_id = self._open_ids.get(record.request_id)
        if row_id is None:
            self._last_id += 1
            row_id = self._last_id
        return row_id

    def _remember(self, batch: Sequence[Pending], opened: dict[str, int]) -> None:
        self._open_ids.update(opened)
        for pending in batch:
            if pending.final:
                self._open_ids.pop(pending.record.request_id, None)

    async def _write_learned(self, ratios: Ratios, cells: Cells) -> None:
        for policy, (ratio, samples) in ratios.items():
            await self._db.execute_fetchall(
                "INSERT INTO token_ratios (policy, avg_ratio, sample_count) VALUES (?, ?, ?) ON CONFLICT (policy) "
                "DO UPDATE SET avg_ratio = excluded.avg_ratio, sample_count = excluded.sample_count",
                (policy, ratio, samples),
            )
        for some in chunks([(kind, key, value) for (kind, key), value in cells.items()]):
            sql = f"INSERT OR REPLACE INTO learned (kind, key, value) VALUES {values(len(some), 3)}"
            await self._db.execute_fetchall(sql, [value for row in some for value in row])

    async def learned(self) -> tuple[dict[str, tuple[float, int]], dict[tuple[str, str], str]]:
        """What `write` was given of learned values, ever."""
        ratios = await self._db.execute_fetchall("SELECT policy, avg_ratio, sample_count FROM token_ratios")
        cells = await self._db.execute_fetchall("SELECT kind, key, value FROM learned")
        return (
            {str(policy): (float(ratio), int(samples)) for policy, ratio, samples in ratios if policy is not None},
            {(kind, key): value for kind, key, value in cells},
        )

    async def session_key(self) -> bytes:
        """The key under which sessions are hashed, of this ledger's own."""
        return await read_session_key(self._db)

    def expect_rows(self) -> None:
        """There are rows beside the ledger that `absorb` is to take in."""
        self._loose = True

    async def absorb(self) -> bool:
        """Take a slice of loose rows into the rollups; False when there are none left."""
        if not (self._loose or await self._touched()):
            return False
        self._loose = True
        await self._take_in_aside()
        try:
            async with transaction(self._db):
                await self._refresh()
                sql = f"SELECT {LOOSE_COLUMNS} {_LOOSE} LIMIT {SLICE}"
                rows = [tuple(row) for row in await self._db.execute_fetchall(sql)]
                if rows:
                    await self._absorb(rows)
        except BaseException:
            self._forget()
            raise
        self._loose = len(rows) == SLICE
        if not (self._loose or self._indexed):
            await self._index()
        return self._loose

    async def _take_in_aside(self) -> None:
        """Take in the rows that could not be written before, as loose ones.

        Before any rows are summed: among them may be the ends of streams whose rows were closed as interrupted.
        """
        for file in files_beside(self._path):
            try:
                rows = read_file(file)
                async with transaction(self._db):
                    added = await self._take_in(rows)
                file.unlink(missing_ok=True)
            except OSError as error:
                logger.warning("rows that could not be written before can't be taken in from %s: %s", file, error)
            else:
                self._loose = True
                logger.warning("%d rows that could not be written before are in the ledger now, from %s", added, file)

    async def _take_in(self, rows: Sequence[StoredRow]) -> int:
        """Enter the rows that are not there; complete those that are there without an end. Returns how many."""
        there: dict[str, tuple[int, bool]] = {}
        for some in chunks([row["correlation_id"] for row in rows]):
            sql = (
                "SELECT correlation_id, MAX(id), MIN(facet IS NULL) FROM requests "
                f"WHERE correlation_id IN {values(1, len(some))} GROUP BY 1"
            )
            there |= {name: (row_id, loose) for name, row_id, loose in await self._db.execute_fetchall(sql, some)}
        added = 0
        for row in rows:
            row_id, loose = there.get(row["correlation_id"], (None, True))
            if loose:
                await self._put_loose(row, row_id)
                there[row["correlation_id"]] = (row_id or 0, False)
                added += 1
        return added

    async def _put_loose(self, row: StoredRow, row_id: int | None) -> None:
        columns = ["id", "facet", "open", *(name for name in row if name in COLUMNS)]
        sets = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
        await self._db.execute_fetchall(
            f"INSERT INTO requests ({', '.join(columns)}) VALUES {values(1, len(columns))} "
            f"ON CONFLICT (id) DO UPDATE SET {sets}",
            (row_id, None, 0, *(row[name] for name in columns[3:])),
        )

    async def reached(self, now_ms: int) -> int | None:
        """Up to where rows were kept at last; where that is not known, the newest row that is not of the future."""
        sql = (
            "SELECT COALESCE((SELECT value FROM ledger_state WHERE name = 'kept_from_ms'), "
            "(SELECT MAX(at_ms) FROM requests WHERE at_ms <= ?))"
        )
        [row] = await self._db.execute_fetchall(sql, (now_ms,))
        return None if row[0] is None else int(row[0])

    async def mend_cutoff(self, now_ms: int) -> None:
        """List all rows again where a wrong clock had those of this day, and of many to come, count as gone."""
        async with transaction(self._db):
            await self._db.execute_fetchall(
                "UPDATE ledger_state SET value = "
                f"(SELECT COALESCE(MIN(at_ms), :now) - COALESCE(MIN(at_ms), :now) % {DAY_MS} FROM requests "
                "WHERE at_ms <= :now) WHERE name = 'pruned_before_ms' AND value > :now",
                {"now": now_ms},
            )

    async def _index(self) -> None:
        """Make the indexes that rows without facets would only make slow to adopt."""
        for sql in _LATE_INDEXES:
            await self._db.execute_fetchall(sql)
        self._indexed = True

    async def _absorb(self, rows: Sequence[Row]) -> None:
        loose = [read_loose(row) for row in rows]
        facets = await self._rollups.facets(self._db, [key for _, _, key, _ in loose])
        await self._rollups.add(self._db, [(key, at_ms, tally) for _, at_ms, key, tally in loose])
        await self._db.execute_fetchall(
            f"UPDATE requests SET at_ms = v.column2, facet = v.column3 FROM (VALUES {values(len(loose), 3)}) v "
            "WHERE requests.id = v.column1 AND facet IS NOT v.column3",
            [number for row_id, at_ms, key, _ in loose for number in (row_id, at_ms, facets[key])],
        )

    async def prune(self, before_ms: int, reached_ms: int) -> bool:
        """Delete a slice of the rows from before that day, keeping their rollups; False when there are none left.

        `reached_ms` is what `reached` is to say from now on.
        """
        before_ms = max(before_ms - before_ms % DAY_MS, 0)
        async with transaction(self._db):
            await self._db.execute_fetchall(
                "INSERT OR REPLACE INTO ledger_state (name, value) VALUES ('kept_from_ms', ?)", (reached_ms,)
            )
            await self._db.execute_fetchall(
                "INSERT INTO ledger_state (name, value) VALUES ('pruned_before_ms', ?) "
                "ON CONFLICT (name) DO UPDATE SET value = MAX(value, excluded.value)",
                (before_ms,),
            )
            await self._db.execute_fetchall(
                f"DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE at_ms < ? LIMIT {SLICE})",
                (before_ms,),
            )
            [row] = await self._db.execute_fetchall("SELECT changes()")
        return int(row[0]) == SLICE

    async def rebuild(self, on_progress: Callable[[int, int], None]) -> None:
        """Make all rollups anew from the rows, day by day; those of pruned days stay. Reports rows done, and in all."""
        [row] = await self._db.execute_fetchall("SELECT COUNT(*) FROM requests WHERE open = 0")
        total, done = int(row[0]), 0
        for (day,) in await self._db.execute_fetchall(_DAYS):
            on_progress(done, total)
            try:
                async with transaction(self._db):
                    await self._refresh()
                    done += await self._rebuild_day(day)
            finally:
                self._forget()
        while await self.absorb():
            pass
        on_progress(total, total)

    async def _rebuild_day(self, day: int) -> int:
        end = day + DAY_MS
        await self._db.execute_fetchall("DELETE FROM rollups WHERE start_ms >= ? AND start_ms < ?", (day, end))
        self._rollups.forget()
        place, count = (day, 0), 0
        sql = (
            f"SELECT {LOOSE_COLUMNS}, at_ms FROM requests "
            f"WHERE (at_ms, id) > (?, ?) AND at_ms < ? ORDER BY at_ms, id LIMIT {SLICE}"
        )
        while rows := [tuple(row) for row in await self._db.execute_fetchall(sql, (*place, end))]:
            await self._absorb([row[:-1] for row in rows])
            place, count = (rows[-1][-1], rows[-1][0]), count + len(rows)
        return count

    async def vacuum(self) -> None:
        """Give unused pages back to the file system."""
        await self._db.execute_fetchall("VACUUM")

    @property
    def _number(self) -> int:
        return self._session.number if self._session is not None else 0

    async def _begin_session(self) -> None:
        """Announce this process, and close the rows that dead ones left open."""
        async with transaction(self._db):
            dead = [number for number in await self._sessions() if not is_alive(self._path, number)]
            for some in chunks(dead):
                await self._db.execute_fetchall(f"DELETE FROM sessions WHERE id IN {values(1, len(some))}", some)
                await self._db.execute_fetchall(
                    "UPDATE requests SET open = 0, success = FALSE, stream_duration_ms = NULL, "  # nobody saw its end
                    "error_status = ?, error_message = ? "
                    f"WHERE facet IS NULL AND open IN {values(1, len(some))}",
                    (INTERRUPTED_STATUS, INTERRUPTED, *some),
                )
            self._session = await self._new_session()
        await self._take_in_aside()
        self._beside = {path: _file(path) for path in logs_of(self._path)}

    async def _new_session(self) -> Session:
        """A session under the first number whose lock is free: a file that vanished may have left some behind."""
        now = format_ms(int(time.time() * 1000))
        while True:
            [row] = await self._db.execute_fetchall("INSERT INTO sessions (started_at) VALUES (?) RETURNING id", (now,))
            if not is_alive(self._path, row[0]):
                return Session(self._path, row[0])

    async def _sessions(self) -> list[int]:
        """All that were announced, and all that left rows open."""
        rows = await self._db.execute_fetchall(
            "SELECT id FROM sessions UNION SELECT open FROM requests WHERE facet IS NULL AND open <> 0"
        )
        return [row[0] for row in rows]

    async def _touched(self) -> bool:
        [row] = await self._db.execute_fetchall("PRAGMA data_version")
        return bool(row[0] != self._version)

    async def _refresh(self) -> None:
        """In a transaction: what is known of the database, checked."""
        [(version, last_id)] = await self._db.execute_fetchall(_STATE)
        self._last_id = last_id or 0
        if version != self._version:
            self._rollups.forget()
            self._version = version
            self._loose = True

    def _forget(self) -> None:
        self._rollups.forget()
        self._version = -1


def _file(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
