"""The events of this process for dashboards in others: numbered, written once for all of them, the latest kept.

Nothing of it runs, and no event is kept, while nobody watches. Every watcher has its own place in the events. One that
falls behind further than they are kept gets a snapshot instead, and so does one that comes back too late.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from arbstr.errors import Overloaded, ShuttingDown
from arbstr.events import Event
from arbstr.logs.setup import Logs
from arbstr.monitoring.source import ProviderStatus, Snapshot, Source
from arbstr.monitoring.updates import (
    AlertsUpdated,
    BudgetsUpdated,
    InstancesUpdated,
    LogWritten,
    PricesUpdated,
    ProviderUpdated,
    RatiosUpdated,
    Sent,
    without_prices,
)
from arbstr.monitoring.wire_format import FORMAT, NAMES, encode

logger = logging.getLogger(__name__)

KEPT_BYTES = 8 * 1024 * 1024  # of events, for all watchers together
CHUNK_BYTES = 128 * 1024  # sent at a time
SLICE = 64  # events written at a time: about half a millisecond
LOG_LINES = 500  # of the log, with a snapshot
MOST_WATCHERS = 50
AGE_STEP_S = 10.0  # how exactly the age of a price list is sent
KEEP_ALIVE = b": keep-alive\n\n"


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often the feed works, in seconds.

    `gather`: events are collected for so long before they are written; `look`: what no event reports is looked at;
    `keep_alive`: a comment is sent after so long without an event; `linger`: events are kept for watchers that come
    back when none has been there for so long.
    """

    gather: float = 0.1
    look: float = 1.0
    keep_alive: float = 15.0
    linger: float = 60.0


class EventFeed:
    """Follows a source while it is watched. To be closed by the owner."""

    def __init__(self, source: Source, logs: Logs, intervals: Intervals = Intervals()) -> None:
        self._source = source
        self._logs = logs
        self._intervals = intervals
        self._run = secrets.token_hex(4)  # tells this process's numbers from another's
        self._watchers: set[Watcher] = set()
        self._closed = False
        self._following: _Following | None = None
        self._leaving: asyncio.TimerHandle | None = None

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return len(self._watchers)

    def watch(self, last_id: str | None = None) -> Watcher:
        """Return a new watcher, which continues after the event `last_id` if those that followed are all kept.

        Raises `ShuttingDown`, and `Overloaded` if there are too many.
        """
        if self._closed:
            raise ShuttingDown("arbstr is shutting down.", retry_after_s=1.0)
        if len(self._watchers) >= MOST_WATCHERS:
            raise Overloaded(f"{MOST_WATCHERS} watch the events already, the maximum.", retry_after_s=10.0)
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if self._following is None:
            self._following = _Following(self._source, self._logs, self._run, self._intervals, self._wake, self._failed)
        watcher = Watcher(self._following, self._intervals.keep_alive, last_id, self._left)
        self._watchers.add(watcher)
        return watcher

    def end_watchers(self) -> None:
        """End all watchers: those that may watch on come back."""
        for watcher in list(self._watchers):
            watcher.end()

    def close(self) -> None:
        """End all watchers; from now on nobody may watch."""
        self._closed = True
        self.end_watchers()
        self._stop()

    def _left(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)
        if not self._watchers and not self._closed:
            self._leaving = asyncio.get_running_loop().call_later(self._intervals.linger, self._stop)

    def _stop(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if self._following is not None:
            self._following.stop()
            self._following = None

    def _wake(self) -> None:
        for watcher in self._watchers:
            watcher.wake()

    def _failed(self) -> None:
        """Begin from the start with the next watcher: what was sent may be wrong."""
        self.end_watchers()
        self._stop()


class Watcher:
    """One dashboard's place in the events."""

    def __init__(
        self, following: _Following, keep_alive_s: float, last_id: str | None, on_end: Callable[[Watcher], None]
    ) -> None:
        self._following = following
        self._keep_alive_s = keep_alive_s
        self._place = following.place_after(last_id)
        self._on_end = on_end
        self._news = asyncio.Event()
        self._ended = False

    async def next(self) -> bytes:
        """Return what to send next, a comment if nothing has happened for long; empty when it has ended."""
        while not self._ended:
            sent = self._following.since(self._place)
            if sent is None:
                data, self._place = await self._following.snapshot()
                return data
            data, self._place = sent
            if data:
                return data
            self._news.clear()
            try:
                async with asyncio.timeout(self._keep_alive_s):
                    await self._news.wait()
            except TimeoutError:
                return KEEP_ALIVE
        return b""

    def wake(self) -> None:
        """Look for events."""
        self._news.set()

    def end(self) -> None:
        """End it."""
        if not self._ended:
            self._ended = True
            self._news.set()
            self._on_end(self)


class _Following:
    """The events since somebody began to watch, as they are sent: numbered from 1, the latest kept."""

    def __init__(
        self,
        source: Source,
        logs: Logs,
        run: str,
        intervals: Intervals,
        on_news: Callable[[], None],
        on_failure: Callable[[], None],
    ) -> None:
        self._source = source
        self._run = f"{run}.{secrets.token_hex(2)}"
        self._intervals = intervals
        self._on_news = on_news
        self._on_failure = on_failure
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._last = 0  # the number of the last one
        self._announced = 0  # the last one that watchers know is there
        self._pending: deque[Event] = deque()
        self._mailbox = source.subscribe()
        self._logs = logs
        self._ring = logs.lend_ring()
        lines = self._ring.since()
        self._line = lines[-1].seq if lines else 0
        self._sent = _Outline(source.snapshot())
        self._task = asyncio.create_task(self._follow(), name="event feed")
        self._task.add_done_callback(self._ended)

    def stop(self) -> None:
        """Stop following."""
        self._task.cancel()
        self._source.unsubscribe(self._mailbox)
        self._logs.take_ring_back()

    # ── what watchers get ───────────────────────────────────────────────────────────────────────────────────────

    def place_after(self, last_id: str | None) -> int | None:
        """Return the place just after an event; None if it is unknown."""
        run, _, number = (last_id or "").rpartition("-")
        if run != self._run or not number.isascii() or not number.isdigit() or len(number) > 15:
            return None
        return int(number) if int(number) <= self._last else None

    def since(self, place: int | None) -> tuple[bytes, int] | None:
        """Return the events after a place, as many as are sent at a time, and the place after them.

        None if some of them are not kept any more.
        """
        oldest = self._last - len(self._frames) + 1
        if place is None or place < oldest - 1:
            return None
        frames, size = list[bytes](), 0
        for frame in islice(self._frames, place - oldest + 1, None):
            frames.append(frame)
            size += len(frame)
            if size >= CHUNK_BYTES:
                break
        return b"".join(frames), place + len(frames)

    async def snapshot(self) -> tuple[bytes, int]:
        """Return the state now as an event, and the place after it."""
        self._collect()
        self._write(len(self._pending))
        snapshot, lines = self._source.snapshot(), self._ring.since()[-LOG_LINES:]
        self._compare(snapshot)  # so that what is sent later continues from this
        place = self._last
        recent = list[bytes]()
        for record in snapshot.recent:
            recent.append(encode(record))
            if len(recent) % 16 == 0:
                await asyncio.sleep(0)
        data = b'{"format":%d,"version":%b,"snapshot":%b,"recent":[%b],"log":%b}' % (
            FORMAT,
            encode(snapshot.version),
            encode(replace(snapshot, recent=())),
            b",".join(recent),
            encode(lines),
        )
        return _frame(self._run, place, "snapshot", data), place

    # ── what they are sent ──────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self) -> None:
        looked_s = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(self._intervals.look):
                    await self._mailbox.wait()
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(self._intervals.gather)
            self._collect()
            while self._pending:
                self._write(SLICE)
                await asyncio.sleep(0)
            self._write_log()
            if time.monotonic() - looked_s >= self._intervals.look:
                looked_s = time.monotonic()
                self._compare(self._source.snapshot())
            if self._last != self._announced:
                self._announced = self._last
                self._on_news()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (fault := task.exception()) is not None:
            logger.error("the events for other dashboards failed; they begin with a new snapshot", exc_info=fault)
            self._on_failure()

    def _collect(self) -> None:
        events, missed = self._mailbox.drain()
        if missed:
            self._break()
        self._pending.extend(events)

    def _write(self, most: int) -> None:
        """Write the next events, `most` at most."""
        for _ in range(min(most, len(self._pending))):
            self._send(self._pending.popleft())

    def _write_log(self) -> None:
        lines = self._ring.since(self._line)
        if lines:
            self._line = lines[-1].seq
            self._send(LogWritten(tuple(lines)))

    def _compare(self, snapshot: Snapshot) -> None:
        """Tell what has changed without an event; where providers came or went, everybody needs a snapshot."""
        before, now = self._sent, _Outline(snapshot)
        self._sent = now
        if list(before.providers) != list(now.providers):
            self._break()
            return
        for name, status in now.providers.items():
            if status != before.providers[name]:
                self._send(ProviderUpdated(status))
            if now.prices[name] != before.prices[name]:
                self._send(now.prices[name])
        if now.budgets != before.budgets:
            self._send(now.budgets)
        if now.ratios != before.ratios:
            self._send(now.ratios)
        if now.alerts != before.alerts:
            self._send(now.alerts)
        if now.instances != before.instances:
            self._send(now.instances)

    def _send(self, sent: Sent) -> None:
        self._last += 1
        frame = _frame(self._run, self._last, NAMES[type(sent)], encode(sent))
        self._frames.append(frame)
        self._bytes += len(frame)
        while self._bytes > KEPT_BYTES:
            self._bytes -= len(self._frames.popleft())

    def _break(self) -> None:
        """Leave a gap, after which every watcher needs a snapshot."""
        self._frames.clear()
        self._bytes = 0
        self._last += 1


class _Outline:
    """What of a snapshot no event reports."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.providers: Mapping[str, ProviderStatus] = {each.name: _stepped(each) for each in snapshot.providers}
        self.prices = {
            each.name: PricesUpdated(each.name, each.models, each.model_rates) for each in snapshot.providers
        }
        self.budgets = BudgetsUpdated(snapshot.budgets)
        self.ratios = RatiosUpdated(snapshot.ratios)
        self.alerts = AlertsUpdated(snapshot.alerts)
        self.instances = InstancesUpdated(snapshot.instances)


def _stepped(status: ProviderStatus) -> ProviderStatus:
    """Return a status without prices, whose list ages by steps: else it would change all the time."""
    age_s = status.list_age_s
    return replace(without_prices(status), list_age_s=None if age_s is None else age_s // AGE_STEP_S * AGE_STEP_S)


def _frame(run: str, number: int, name: str, data: bytes) -> bytes:
    return b"id: %b-%d\nevent: %b\ndata: %b\n\n" % (run.encode(), number, name.encode(), data)
