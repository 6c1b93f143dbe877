"""Writes to the open database: batches, rows from files, old rows, open rows of dead instances."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from arbstr.clock import DAY_MS, wall_ms
from arbstr.ledger import accounts, retention
from arbstr.ledger.backend import Work
from arbstr.ledger.learned import Cells, LearnedState, Ratios, read_learned, write_learned
from arbstr.ledger.pending_row import INTERRUPTED, INTERRUPTED_STATUS, PendingRow
from arbstr.ledger.postgres import lacking_sums, leases, months, schema, session_costs
from arbstr.ledger.postgres.connection import DatabaseError, OnlyRead, PostgresConnection, run_in
from arbstr.ledger.postgres.new_rows import NewRows
from arbstr.ledger.postgres.rollups import PostgresRollups
from arbstr.ledger.postgres.rows import NewRow, of_record, of_stored
from arbstr.ledger.postgres.sessions import Session
from arbstr.ledger.progress import Progress
from arbstr.ledger.row_mapping import COLUMNS, facet_key, row_of, storable
from arbstr.ledger.session_key import read_session_key
from arbstr.ledger.spill import files_beside, is_of_this_run, read_file
from arbstr.ledger.sql import chunks, values
from arbstr.places import PostgresPlace
from arbstr.types import RequestRecord

logger = logging.getLogger(__name__)

T = TypeVar("T")

SLICE = 500  # rows that background work touches in one transaction
PATIENCE_S = 10.0  # for the server to answer to a batch; then the connection is given up
_CLOSE_PATIENCE_S = 2.0
_SUMS_PATIENCE_S = 60.0  # for a step to sums that were lacking: a day of rows
_LOOK_EVERY_S = 60.0  # for instances that have died

_OPEN = (
    *("correlation_id", "open", "model", "provider", "policy", "streaming", "latency_ms", "at_ms", "attempts"),
    *("routing", "served_model", "dialect", "session", "client", "doubtful_msats"),
)
_DOUBTED = "INSERT INTO doubts (request_id, provider, at_ms, expected_msats) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"


class PostgresWriteConnection:
    """The one writing connection of this process. All statements run in a thread of its own."""

    def __init__(
        self, place: PostgresPlace, session: Session, db: PostgresConnection, threads: ThreadPoolExecutor
    ) -> None:
        self._place = place
        self._session = session
        self._db = db
        self._threads = threads
        self._rollups = PostgresRollups()
        self._rows = NewRows(self._rollups)
        self._expects_rows = True
        self._lacks_sums = True  # it may
        self._look_at = 0.0  # by the monotonic clock

    @classmethod
    async def open(cls, place: PostgresPlace, session: Session) -> PostgresWriteConnection:
        """Connect, migrate, and begin or resume the session. Raises `psycopg.Error`, `LedgerUnavailable`."""
        threads = ThreadPoolExecutor(1, thread_name_prefix="ledger writer")

        def connect() -> PostgresConnection:
            db = PostgresConnection(place)
            try:
                schema.migrate(db, place)
                with db.bounded():
                    session.begin(db)
                schema.migrate(
                    db, place
                )  # once more: what a later version does in between cuts off known sessions only
            except BaseException:
                db.close()
                raise
            return db

        try:
            db = await asyncio.get_running_loop().run_in_executor(threads, connect)
        except BaseException:
            threads.shutdown(wait=False)
            raise
        return cls(place, session, db, threads)

    @property
    def stale(self) -> str | None:
        """Why it must be opened again: the connection is lost."""
        return f"The connection to the ledger {self._place} was lost." if self._db.closed else None

    async def close(self) -> None:
        """End the session and close the connection, if the server answers soon."""
        try:
            with suppress(DatabaseError):
                await self._run(self._session.end, _CLOSE_PATIENCE_S)
        finally:
            self._db.close()
            self._threads.shutdown(wait=False)

    async def write(self, batch: Sequence[PendingRow], ratios: Ratios, cells: Cells) -> None:
        """Commit rows, their rollups and what was learned, all or nothing; rows that are there already count once."""
        await self._run(lambda db: self._write(db, batch, ratios, cells))

    def _write(self, db: PostgresConnection, batch: Sequence[PendingRow], ratios: Ratios, cells: Cells) -> None:
        ended = [storable(pending.record) for pending in batch if pending.final]
        begun = [storable(pending.record) for pending in batch if not pending.final]
        rows = [of_record(record) for record in ended]
        with self._changing(db, rows):
            added = self._rows.enter(db, rows) if rows else frozenset()
            leases.count(db, added, len(rows), wall_ms())
            self._begin(db, begun)
            accounts.enter(db, [record for record in ended if record.request_id in added])
            write_learned(db, ratios, cells)

    def _begin(self, db: PostgresConnection, records: Sequence[RequestRecord]) -> None:
        for some in chunks(records):
            sql = f"INSERT INTO open_requests ({', '.join(_OPEN)}) VALUES {values(len(some), len(_OPEN))}"
            db.execute(f"{sql} ON CONFLICT DO NOTHING", list(chain.from_iterable(map(self._open_row, some))))

    def _open_row(self, record: RequestRecord) -> list[Any]:
        row = dict(zip(COLUMNS, row_of(record, facet_key(record), 0, None, self._session.number or 0), strict=True))
        row |= {"at_ms": record.received_at_ms, "streaming": record.streaming}
        return [row[name] for name in _OPEN]

    async def change(self, work: Work[T]) -> T:
        """Do work in a transaction in which rows and their rollups may change; return its result."""
        return await self._run(lambda db: self._change(db, work))

    def _change(self, db: PostgresConnection, work: Work[T]) -> T:
        with self._changing(db):
            schema.lock(db, schema.SUMS)
            return work(db, self._rollups)

    @contextmanager
    def _changing(self, db: PostgresConnection, rows: Sequence[NewRow] = ()) -> Iterator[None]:
        """A transaction in which these rows can be entered; if it fails, the database is the truth again."""
        try:
            self._rows.prepare(db, rows)
            with db.transaction():
                yield
        except BaseException as error:
            self._rows.forget()
            if isinstance(error, OnlyRead):
                db.close()  # another of several servers may be the primary now
            raise

    async def learned(self) -> LearnedState:
        """Return all learned values ever given to `write`."""
        return await self._run(read_learned)

    async def session_key(self) -> bytes:
        """Return the key under which sessions are hashed, of this ledger's own."""
        return await self._run(read_session_key)

    def expect_rows(self) -> None:
        """Note that there are spill files that `absorb` has to read."""
        self._expects_rows = True

    async def absorb(self) -> bool:
        """Enter rows from files, and now and then those that dead instances left open; False: nothing is left."""
        if self._expects_rows:
            self._expects_rows = False
            for file in files_beside(self._place.spilled_at):
                await self._run(partial(self._take_in, file))
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_EVERY_S
            await self._run(self._close_interrupted)
        if self._lacks_sums:
            self._lacks_sums = await self._run(self._add_lacking_sums, _SUMS_PATIENCE_S)
        return self._lacks_sums

    def _add_lacking_sums(self, db: PostgresConnection) -> bool:
        try:
            return lacking_sums.add_some(db, self._rollups)
        except BaseException:
            self._rows.forget()
            raise

    def _take_in(self, file: Path, db: PostgresConnection) -> None:
        try:
            rows = [of_stored(row) for row in read_file(file)]
            with self._changing(db, rows):
                added = self._rows.enter(db, rows)
                leases.count(db, added, len(rows), wall_ms() if is_of_this_run(file) else None)
                db.execute(accounts.COMPARE_AGAIN)
            file.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("could not import rows that failed to be written earlier, from %s: %s", file, error)
        else:
            logger.warning("imported %d rows that could not be written earlier, from %s", len(added), file)

    def _close_interrupted(self, db: PostgresConnection) -> None:
        """Close the rows that dead instances left open: what they cost is in doubt from now on."""
        with db.transaction():
            dead = self._session.dead(db)
        if not dead:
            return
        found = db.execute(f"SELECT {', '.join(_OPEN)} FROM open_requests WHERE open = ANY(?)", (dead,)).fetchall()
        ends = {"success": False, "error_status": INTERRUPTED_STATUS, "error_message": INTERRUPTED}
        rows = [of_stored({**dict(zip(_OPEN, row, strict=True)), **ends}) for row in found]
        with self._changing(db, rows):
            added = self._rows.enter(db, rows) if rows else frozenset()
            for row in (dict(zip(_OPEN, row, strict=True)) for row in found):
                if row["correlation_id"] in added and row["provider"] is not None and row["doubtful_msats"]:
                    db.execute(_DOUBTED, (row["correlation_id"], row["provider"], wall_ms(), row["doubtful_msats"]))
            db.execute("DELETE FROM sessions WHERE id = ANY(?)", (dead,))
            leases.count(db, added, len(rows))

    async def adopted(self) -> Progress:
        """Return no progress: rows are summed as they are entered."""
        return Progress()

    async def more_is_unsummed(self, rows: int) -> bool:
        """Return False."""
        return False

    async def reached(self, now_ms: int) -> int | None:
        """Return up to where rows were kept at last, as `retention` says it."""
        return await self._run(lambda db: retention.reached(db, now_ms))

    async def mend_cutoff(self, now_ms: int) -> None:
        """List all rows again where a wrong clock had those of this day, and of many to come, count as gone."""
        await self._run(lambda db: retention.mend_cutoff(db, now_ms))

    async def prune(self, before_ms: int, reached_ms: int) -> bool:
        """Delete a slice of the rows from before that day, keeping their rollups; False when there are none left.

        Whole months are dropped; of the month of that day rows are deleted. One instance at a time does it.
        """

        def prune(db: PostgresConnection) -> bool:
            with db.transaction():
                if not schema.try_lock(db, schema.PRUNING):
                    return False
                deleted = retention.prune(db, before_ms, reached_ms, SLICE, months.start_of_month(max(before_ms, 0)))
                if deleted < SLICE:
                    session_costs.prune(db, before_ms - before_ms % DAY_MS)
            if deleted == SLICE:
                return True
            months.drop_before(db, before_ms)
            return False

        return await self._run(prune)

    async def _run(self, work: Callable[[PostgresConnection], T], patience_s: float | None = None) -> T:
        return await run_in(self._threads, self._db, work, PATIENCE_S if patience_s is None else patience_s)
