"""The ledger as the engine sees it: a request's row is queued at once, and written soon.

Rows wait in memory, at most `BATCH_S`, and go to the database in batches. While it can't be written they wait longer,
up to `MOST_WAITING` of them, the older half of them in files beside it, and after a minute all; the engine never
notices. What waits at the end goes into such files too, and comes back at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.backend import OpenLedger, Work, backend_at
from arbstr.ledger.changes import WaitingChanges
from arbstr.ledger.database import NotWritable
from arbstr.ledger.learned import LearnedState
from arbstr.ledger.pending_row import PendingRow, row_beside
from arbstr.ledger.progress import Progress, ProgressReport
from arbstr.ledger.retention import Retention
from arbstr.ledger.spill import put_aside
from arbstr.places import Place
from arbstr.types import RequestRecord

logger = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_S = 0.07  # from the first waiting row to its batch: the larger, the less of it each row costs
MOST_WAITING = 100_000
_MOST_IN_BATCH = 2_000
_SUMMED_FIRST = 10_000  # rows without rollups, few enough to be read for every query
_SUMMED_WITHIN_S = 5.0
_FIRST_RETRY_S = 0.1
_LONGEST_RETRY_S = 5.0
_IN_MEMORY_S = 60.0  # no sooner: what rows from files cost is in the sums, but not compared with accounts' balances
_CLOSE_S = 5.0  # how long `close` tries to write what waits
_YIELD_S = 0.005  # between slices of background work
_PRUNE_EVERY_S = 3600.0


class LedgerWriter:
    """The one writer of a database in this process.

    `on_state(ok, message)` is called once when the database can't be written, and once when it can again, or when a new
    one takes the place of a broken one; `on_progress(done, total)` again and again while rows of an earlier arbstr are
    adopted. `keep_days` is how long rows are kept, None for ever; their rollups stay.
    `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        place: Place,
        *,
        on_state: Callable[[bool, str], None] = lambda ok, message: None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        keep_days: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend_at(place)
        self._failures: tuple[type[Exception], ...] = (*self._backend.errors, OSError, LedgerUnavailable)
        self._on_state = on_state
        self._report = ProgressReport(on_progress)
        self._summed = asyncio.Event()
        self._retention = None if keep_days is None else Retention(keep_days, clock=clock)
        self._clock = clock
        self._waiting: dict[str, PendingRow] = {}
        self._lost = 0
        self._ratios: dict[str, tuple[float, int]] = {}
        self._cells: dict[tuple[str, str], str] = {}
        self._flush_waiters: list[asyncio.Future[None]] = []
        self._changes = WaitingChanges()
        self._wake = asyncio.Event()  # there is something to do
        self._flush_now = asyncio.Event()  # and it should be done now
        self._connection: OpenLedger | None = None
        self._task: asyncio.Task[None] | None = None
        self.problem: str | None = None  # why the database can't be written now
        self._writing = False  # rows that wait no longer are not written yet
        self._failed_at = 0.0  # by the monotonic clock, for the present problem
        self._retry_s = 0.0
        self._close_by: float | None = None
        self._prune_at = 0.0  # by the monotonic clock

    @property
    def queued_rows(self) -> int:
        """How many rows wait to be written."""
        return len(self._waiting)

    def begin(self, record: RequestRecord) -> None:
        """Queue the open row of a stream that has begun. Returns at once, never raises."""
        self._put(PendingRow(record, final=False))

    def append(self, record: RequestRecord) -> None:
        """Queue the row of a request that has ended, which closes an open one. Returns at once, never raises."""
        self._put(PendingRow(record, final=True))

    def save_learned(self, ratios: Mapping[str, tuple[float, int]], cells: Mapping[tuple[str, str], str]) -> None:
        """Keep learned values, each in the place of its last. Returns at once, never raises."""
        self._ratios.update(ratios)
        self._cells.update(cells)
        self._wake.set()

    async def load_learned(self) -> LearnedState:
        """Return the saved state; empty if the database can't be read."""
        return await self._read(lambda ledger: ledger.learned(), LearnedState(), "what was learned earlier")

    async def session_key(self) -> bytes:
        """The key under which sessions are hashed, of this ledger's own; empty if the database can't be read."""
        return await self._read(lambda ledger: ledger.session_key(), b"", "the session key")

    async def _read(self, read: Callable[[OpenLedger], Awaitable[T]], otherwise: T, what: str) -> T:
        if self._connection is None:
            return otherwise
        try:
            return await read(self._connection)
        except self._backend.errors as error:
            logger.warning("could not read %s: %s", what, self._backend.explain(error))
            return otherwise

    async def change(self, work: Work[T]) -> T:
        """Do work in a transaction of its own, once all rows so far are written; return its result.

        Raises `LedgerUnavailable` if the database can't be written now.
        """
        if self._task is None or self._task.done() or self._close_by is not None:
            raise LedgerUnavailable("The ledger is closed.")
        result = self._changes.add(work)
        self._wake_now()
        return await result

    async def start(self) -> None:
        """Open the database, migrate it, and begin to write.

        Answers about the rows of an earlier arbstr are slow until their sums are made: if they are many, that is waited
        for, a few seconds at most. Raises `LedgerUnavailable` if no waiting will mend the database; if it only can't be
        written now, that is reported.
        """
        try:
            await self._open()
        except NotWritable as error:
            self._failed(str(error))
        self._task = asyncio.create_task(self._work(), name="ledger writer")
        self._wake_now()
        if self._connection is not None and await self._connection.more_is_unsummed(_SUMMED_FIRST):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SUMMED_WITHIN_S):
                    await self._summed.wait()

    async def close(self) -> None:
        """Write what waits, trying for a few seconds at most, and close the database."""
        if self._task is not None:
            self._close_by = time.monotonic() + _CLOSE_S
            self._wake_now()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S * 2):
                    await self._task
        self._changes.cancel()
        if self._waiting:
            await self._leave_beside()
        await self._let_go()

    async def _leave_beside(self) -> None:
        """Spill the rows that still wait, for the next start, and log it."""
        waiting = len(self._waiting)
        kept = await self._put_aside(list(self._waiting.values()))
        message = f"{waiting} rows could not be written to {self._backend}"
        if kept:
            message += f"; {kept} of them are in files beside it and will be written at the next start"
        if kept < waiting:
            message += f"; {waiting - kept} are lost"
        logger.error("%s.", message)
        self._on_state(False, message + ".")

    async def _put_aside(self, some: Sequence[PendingRow]) -> int:
        """Write rows to spill files; return how many there was room for."""
        rows = [row for pending in some if (row := row_beside(pending)) is not None]
        try:
            kept = await asyncio.to_thread(put_aside, self._backend.spilled_at, rows)
        except OSError as error:
            logger.warning("could not save waiting rows beside the ledger: %s", error)
            return 0
        if kept and self._connection is not None:
            self._connection.expect_rows()
        return kept

    async def _make_room(self) -> None:
        """Put finished rows aside: the oldest when half of the room is taken, all when it is away for long."""
        away_long = time.monotonic() - self._failed_at >= _IN_MEMORY_S  # a kill would lose what waits here
        away_long &= self._close_by is None
        too_many = len(self._waiting) - (0 if away_long else MOST_WAITING // 2)
        if too_many <= 0:
            return
        oldest = {key: pending for key, pending in islice(self._waiting.items(), too_many) if pending.final}
        for key in oldest:
            del self._waiting[key]
        kept = await self._put_aside(list(oldest.values()))
        self._waiting = dict(islice(oldest.items(), kept, None)) | self._waiting
        self._trim()

    async def settle(self, patience_s: float = 0.1) -> None:
        """Return once everything appended so far is in the database, or after a moment if it can't be written."""
        unwritten = self._waiting or self._writing
        if not unwritten or self._task is None or self._task.done() or self.problem is not None:
            return
        asker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flush_waiters.append(asker)
        self._wake_now()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await asker

    def _put(self, pending: PendingRow) -> None:
        self._waiting[pending.record.request_id] = pending
        self._trim()
        self._wake.set()

    def _trim(self) -> None:
        while len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
            self._lost += 1

    async def _work(self) -> None:
        while not self._finished:
            await self._pause()
            await self._tick()

    @property
    def _finished(self) -> bool:
        if self._close_by is None:
            return False
        return not (self._waiting or self._ratios or self._cells) or time.monotonic() > self._close_by

    async def _pause(self) -> None:
        """Wait until there is something to do, and then briefly for more rows."""
        if self._close_by is not None:
            await asyncio.sleep(_FIRST_RETRY_S if self._retry_s else 0)
        elif self._retry_s:
            await _first(self._flush_now, self._retry_s)
        else:
            await _first(self._wake, _PRUNE_EVERY_S)
            await _first(self._flush_now, BATCH_S)
        self._wake.clear()
        self._flush_now.clear()

    async def _tick(self) -> None:
        askers, self._flush_waiters = self._flush_waiters, []
        changes = len(self._changes) if len(self._waiting) <= _MOST_IN_BATCH else 0
        try:
            await self._write()
            await self._maintain()  # before changes: there may be rows beside the ledger
            if self._connection is not None:
                await self._changes.make(changes, self._backend, self._connection)
        except self._failures as error:
            await self._recover(error)
        except Exception:
            # The edge of the writer: whatever goes wrong here, requests go on.
            logger.exception("ledger writer failed")
            self._failed("The ledger writer failed; see arbstr's log.")
        finally:
            for asker in askers:
                if not asker.done():
                    asker.set_result(None)

    async def _write(self) -> None:
        connection = await self._open()
        batch = dict(islice(self._waiting.items(), _MOST_IN_BATCH))
        ratios, cells = self._ratios, self._cells
        self._ratios, self._cells = {}, {}
        for request_id in batch:
            del self._waiting[request_id]
        self._writing = bool(batch)
        try:
            if batch or ratios or cells:
                await self._write_batch(connection, list(batch.values()), ratios, cells)
        except BaseException:
            self._waiting = batch | self._waiting
            self._ratios = ratios | self._ratios
            self._cells = cells | self._cells
            self._trim()
            raise
        finally:
            self._writing = False
        if len(batch) == _MOST_IN_BATCH:
            self._wake_now()
        self._recovered()

    async def _write_batch(
        self,
        connection: OpenLedger,
        batch: list[PendingRow],
        ratios: Mapping[str, tuple[float, int]],
        cells: Mapping[tuple[str, str], str],
    ) -> None:
        try:
            await connection.write(batch, ratios, cells)
        except Exception as error:
            if self._backend.will_pass(error):
                raise
            logger.exception("a batch of %d rows could not be written; trying them one by one", len(batch))
            for pending in batch:
                await self._write_alone(connection, pending)

    async def _write_alone(self, connection: OpenLedger, pending: PendingRow) -> None:
        """Write a row by itself: one that can't be stored must not hold up the others."""
        try:
            await connection.write([pending], {}, {})
        except Exception as error:
            if self._backend.will_pass(error):
                raise
            self._lost += 1
            logger.exception("could not store the row of request %s; it is lost", pending.record.request_id)

    async def _maintain(self) -> None:
        """Do a slice of background work, after the rows: adopt pending rows, prune old ones."""
        if self._connection is None or self._close_by is not None:
            return
        more = await self._connection.absorb()
        progress = await self._connection.adopted() if more else Progress()
        self._report.update(progress)
        if not self._summed.is_set() and not await self._connection.more_is_unsummed(_SUMMED_FIRST):
            self._summed.set()
        if not more and self._retention is not None and time.monotonic() >= self._prune_at:
            more = await self._prune(self._connection, self._retention)
        if more:
            await asyncio.sleep(_YIELD_S)
            self._wake_now()

    async def _prune(self, connection: OpenLedger, retention: Retention) -> bool:
        if not retention.started:
            retention.start(await connection.reached(int(self._clock() * 1000)))
        more = await connection.prune(retention.cutoff_ms(), retention.reached_ms())
        if not more:
            self._prune_at = time.monotonic() + _PRUNE_EVERY_S
        return more

    def _wake_now(self) -> None:
        """Start another round at once."""
        self._wake.set()
        self._flush_now.set()

    async def _open(self) -> OpenLedger:
        """Return the connection, reopened if it is stale."""
        if self._connection is not None and (stale := self._connection.stale):
            self._failed(stale)
            await self._let_go()
        if self._connection is None:
            self._connection, report = await self._backend.open()
            await self._connection.mend_cutoff(int(self._clock() * 1000))
            if report is not None and self.problem is None:  # nothing is lost, and a new one is written at once
                self._on_state(True, report)
        return self._connection

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*self._backend.errors, OSError):
                await connection.close()

    async def _recover(self, error: Exception) -> None:
        """After a failure: report it once, set a broken file aside, make room, wait longer each time."""
        self._failed(str(error) if isinstance(error, LedgerUnavailable) else self._backend.explain(error))
        self._retry_s = min(max(self._retry_s * 2, _FIRST_RETRY_S), _LONGEST_RETRY_S)
        if self._backend.is_broken(error):
            await self._let_go()
            with contextlib.suppress(OSError):
                self._backend.set_aside()
        await self._make_room()

    def _failed(self, message: str) -> None:
        if self.problem is None:
            self.problem = message
            self._failed_at = time.monotonic()
            logger.error("%s Finished requests wait in memory.", message)
            self._on_state(False, message)

    def _recovered(self) -> None:
        self._retry_s = 0.0
        if self.problem is not None:
            self.problem = None
            lost = f"; {self._lost} rows were lost meanwhile" if self._lost else ""
            self._lost = 0
            message = f"The ledger {self._backend} is writable again{lost}."
            logger.warning("%s", message)
            self._on_state(True, message)


async def _first(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, with a timeout in seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
