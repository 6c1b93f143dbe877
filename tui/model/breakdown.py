"""Where the money went: trends of names, spending by hour, the most expensive requests, and what failures cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from arbstr.clock import DAY_MS, HOUR_MS
from arbstr.ledger.model import Aggregate, Entry, Filter, GroupBy, LedgerQueries
from tui.model.groups import named

TREND = 12  # parts of the range that a trend has
SETTLED_MS = 60_000  # after a part is over: what was received in it has ended by then, as a rule
DEAREST = 30
EXAMINED = 200  # failed requests whose kinds are shown
DAYS = 15  # of hours: fourteen days of any time zone
TIMES: tuple[GroupBy, ...] = ("day", "hour")  # groups that are no names
_UNTRENDED: tuple[GroupBy, ...] = ("session", "hour", "day")  # sessions are too many to ask for again and again


@dataclass(frozen=True, slots=True)
class FailureKind:
    """Failed requests of one status at one provider: how many, what they cost in msats, the newest one's error."""

    status: int | None
    provider: str | None
    count: int
    cost_msats: int
    message: str


@dataclass(frozen=True, slots=True)
class Breakdown:
    """What the ledger says about a range in detail.

    `trends` are msats over time by name, oldest first. `hours` has msats by the start of each hour of the last days.
    `failed` sums all failed requests of the range, `kinds` the newest `examined` of them.
    """

    by: GroupBy
    trends: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    hours: Mapping[int, int] = field(default_factory=dict)
    dearest: tuple[Entry, ...] = ()
    failed: Aggregate = field(default_factory=Aggregate)
    kinds: tuple[FailureKind, ...] = ()
    examined: int = 0


class BreakdownQueries:
    """Asks for breakdowns, and keeps the parts of trends that don't change any more."""

    def __init__(self, ledger: LedgerQueries) -> None:
        self._ledger = ledger
        self._parts = _Parts("model", 0)

    def changed_since(self, at_ms: int) -> None:
        """Note that what was received from then on has changed."""
        self._parts.forget_from(at_ms)

    async def ask(self, by: GroupBy, length_ms: int, now_ms: int) -> Breakdown:
        """Query the last `length_ms`. Raises LedgerUnavailable."""
        since_ms = now_ms - length_ms
        dearest = await self._ledger.page(Filter(since_ms=since_ms), "cost_sats", "desc", 1, DEAREST)
        failures = Filter(since_ms=since_ms, success=False)
        failed = (await self._ledger.stats(failures)).overall
        newest = await self._ledger.slice(failures, before=None, limit=EXAMINED) if failed.total else []
        hours = await self._hours(now_ms)
        return Breakdown(
            by,
            _by_day(hours) if by == "day" else await self._trends(by, length_ms, now_ms),
            hours,
            tuple(entry for entry in dearest.entries if entry.cost_msats),
            failed,
            kinds_of(newest),
            len(newest),
        )

    async def _hours(self, now_ms: int) -> dict[int, int]:
        until_ms = now_ms - now_ms % HOUR_MS + HOUR_MS - 1
        where = Filter(since_ms=until_ms + 1 - DAYS * DAY_MS, until_ms=until_ms)
        hours = (await self._ledger.stats(where, "hour")).groups
        return {int(start): hour.cost_msats for start, hour in hours.items() if hour.cost_msats}

    async def _trends(self, by: GroupBy, length_ms: int, now_ms: int) -> dict[str, tuple[int, ...]]:
        if by in _UNTRENDED:
            return {}
        width_ms = length_ms // TREND
        if (self._parts.by, self._parts.width_ms) != (by, width_ms):
            self._parts = _Parts(by, width_ms)
        parts = self._parts
        starts = [now_ms - now_ms % width_ms - ago * width_ms for ago in range(TREND - 1, -1, -1)]
        for start in parts.due(starts):
            where = Filter(since_ms=start, until_ms=start + width_ms - 1)
            groups = (await self._ledger.stats(where, by)).groups
            parts.keep(start, {name: group.cost_msats for name, group in named(groups).items()}, now_ms)
        return parts.trends(starts)


class _Parts:
    """Sums by name of parts of a range, each `width_ms` long."""

    def __init__(self, by: GroupBy, width_ms: int) -> None:
        self.by = by
        self.width_ms = width_ms
        self._sums: dict[int, tuple[int, dict[str, int]]] = {}  # when it was asked for, and what it was

    def due(self, starts: Sequence[int]) -> list[int]:
        """Return those that are not known for good; forget the ones before them."""
        self._sums = {start: known for start, known in self._sums.items() if start >= starts[0]}
        return [start for start in starts if not self._is_settled(start)]

    def keep(self, start_ms: int, sums: dict[str, int], asked_ms: int) -> None:
        """Keep what was answered."""
        self._sums[start_ms] = asked_ms, sums

    def forget_from(self, at_ms: int) -> None:
        """Forget the parts that end after that instant."""
        for start in [start for start in self._sums if start + self.width_ms > at_ms]:
            del self._sums[start]

    def trends(self, starts: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return the sums of those parts by name."""
        known = [self._sums[start][1] if start in self._sums else {} for start in starts]
        names = {name for sums in known for name in sums}
        return {name: tuple(sums.get(name, 0) for sums in known) for name in names}

    def _is_settled(self, start_ms: int) -> bool:
        known = self._sums.get(start_ms)
        return known is not None and known[0] >= start_ms + self.width_ms + SETTLED_MS


def kinds_of(failures: Iterable[Entry]) -> tuple[FailureKind, ...]:
    """Return the kinds of failed requests, given newest first; the most expensive first, then the commonest."""
    kinds: defaultdict[tuple[int | None, str | None], list[Entry]] = defaultdict(list)
    for entry in failures:
        kinds[entry.error_status, entry.provider].append(entry)
    found = [
        FailureKind(
            status,
            provider,
            len(entries),
            sum(entry.cost_msats or 0 for entry in entries),
            entries[0].error_message or "",
        )
        for (status, provider), entries in kinds.items()
    ]
    return tuple(sorted(found, key=lambda kind: (-kind.cost_msats, -kind.count, kind.status or 0)))


def _by_day(hours: Mapping[int, int]) -> dict[str, tuple[int, ...]]:
    """Return each day's spending by the same parts of a day that a trend has of a range."""
    width_ms = DAY_MS // TREND
    days: defaultdict[str, list[int]] = defaultdict(lambda: [0] * TREND)
    for start_ms, msats in hours.items():
        day_ms = start_ms - start_ms % DAY_MS
        days[str(day_ms)][(start_ms - day_ms) // width_ms] += msats
    return {day: tuple(parts) for day, parts in days.items()}
