"""Statistics from the ledger: sums of today, of a week, by model, over time; polled at a limited rate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from arbstr.clock import DAY_MS, HOUR_MS, MINUTE_MS
from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import Aggregate, Filter, GroupBy, LedgerQueries, Stats
from arbstr.types import RequestRecord
from tui.format import shown
from tui.model.breakdown import TIMES, Breakdown, BreakdownQueries
from tui.model.burn import SPAN_MS
from tui.model.groups import Groups, named
from tui.model.time_series import LAYERS, Chart, Cost, Series, by_spending
from tui.timings import NORMAL, Timings

SETTLE_S = 0.2


@dataclass(frozen=True, slots=True)
class Range:
    """A time range: its name, its length and the width of a bucket in its chart, in ms."""

    name: str
    length_ms: int
    bucket_ms: int
    per: str


RANGES = (
    Range("5 min", 5 * MINUTE_MS, 5000, "5 s"),
    Range("1 h", HOUR_MS, MINUTE_MS, "minute"),
    Range("24 h", DAY_MS, HOUR_MS, "hour"),
    Range("7 d", 7 * DAY_MS, HOUR_MS, "hour"),
)

MINUTES = RANGES[1]  # whose chart has a bucket for each minute


@dataclass(frozen=True, slots=True)
class LedgerStats:
    """The ledger's figures as of the last round; None before the first query.

    `today` begins at midnight UTC, as the ledger's days do. `window` and `groups` span the chosen range, but for days:
    they are today and the six before; and hours: those of the last 24. `lost` are sums by the same groups of failed
    requests, and `breakdown` tells more, where they are asked for. `day` are the last 24 hours, of which there are rows
    since `day_began_ms`. `as_of_ms` is the time of the query.
    """

    today: Aggregate | None = None
    week: Aggregate | None = None
    window: Aggregate | None = None
    groups: dict[GroupBy, Groups] = field(default_factory=dict)
    hours: Chart | None = None
    problem: str | None = None
    as_of_ms: int | None = None
    lost: dict[GroupBy, Groups] = field(default_factory=dict)
    day: Aggregate | None = None
    day_began_ms: int = 0
    breakdown: Breakdown | None = None


class StatsPoller:
    """Keeps `figures` current: polls when something has finished, or when the range or the groups change.

    `groups` are those that the visible screen needs, and of failed requests too if it needs `losses`; `by` is the group
    of which it needs a breakdown. `on_change` is called after each round.
    """

    def __init__(
        self,
        ledger: LedgerQueries,
        now_ms: Callable[[], int],
        on_change: Callable[[], None],
        range_: Range = RANGES[1],
        timings: Timings = NORMAL,
    ) -> None:
        self._ledger = ledger
        self._now_ms = now_ms
        self._on_change = on_change
        self._timings = timings
        self._wake = asyncio.Event()
        self._stale = True
        self.figures = LedgerStats()
        self.range = range_
        self.groups: tuple[GroupBy, ...] = ("model",)
        self.losses = False
        self.by: GroupBy | None = None
        self._breakdowns = BreakdownQueries(ledger)
        live_since = now_ms()
        self.fine = {
            each.name: Series(each.bucket_ms, each.length_ms // each.bucket_ms, live_since) for each in RANGES[:2]
        }

    def finished(self, records: Sequence[RequestRecord]) -> None:
        """Add the cost of requests that have ended to the chart at once; the sums are due."""
        self._stale = True
        now = self._now_ms()
        costs = [
            Cost(each.received_at_ms, ended_ms(each), each.cost_msats, shown(each.model))
            for each in records
            if each.cost_msats
        ]
        for series in self.fine.values():
            series.add(costs, now)
        if costs:
            self._breakdowns.changed_since(min(cost.received_ms for cost in costs))

    def missed(self, since_ms: int) -> None:
        """Note that events were lost since then."""
        self._stale = True
        for series in self.fine.values():
            series.invalidate(since_ms, self._now_ms())
        self._breakdowns.changed_since(since_ms)

    def look_at(
        self, range_: Range, groups: tuple[GroupBy, ...], *, losses: bool = False, by: GroupBy | None = None
    ) -> None:
        """Set the range and the groups on the screen."""
        if (range_, groups, losses, by) != self._asked:
            same = range_ == self.range  # then the sums of all of it still hold
            window, breakdown = (self.figures.window, self.figures.breakdown) if same else (None, None)
            self.range, self.groups, self.losses, self.by = range_, groups, losses, by
            self.figures = replace(
                self.figures, window=window, groups={}, hours=None, lost={}, breakdown=breakdown if by else None
            )
            self._wake.set()

    def look_at_range(self, range_: Range) -> None:
        """Set the range alone."""
        self.look_at(range_, self.groups, losses=self.losses, by=self.by)

    @property
    def _asked(self) -> tuple[Range, tuple[GroupBy, ...], bool, GroupBy | None]:
        return self.range, self.groups, self.losses, self.by

    def chart(self, now_ms: int) -> Chart | None:
        """Return spending over the chosen range."""
        series = self.fine.get(self.range.name)
        return self.figures.hours if series is None else series.chart(now_ms)

    async def run(self) -> None:
        """Poll for ever; the owner cancels it."""
        while True:
            began = perf_counter()
            await self._round()
            took = perf_counter() - began
            self._on_change()
            pause_s = max(self._timings.least_query_wait_s, took / self._timings.query_share)
            await self._pause(min(pause_s, self._timings.most_query_wait_s))

    async def _pause(self, seconds: float) -> None:
        """Wait until the next round is due: after `seconds` if something has finished, at once if the view changed."""
        waited = 0.0
        while waited < self._timings.idle_query_wait_s and not (self._stale and waited >= seconds):
            if self._wake.is_set():
                break
            try:
                await asyncio.wait_for(self._wake.wait(), self._timings.least_query_wait_s)
            except TimeoutError:
                waited += self._timings.least_query_wait_s
        self._wake.clear()

    async def _round(self) -> None:
        self._stale = False
        asked = chosen, groups, losses, by = self._asked
        try:
            figures = await self._ask(chosen, groups, losses=losses, breakdown_by=by)
            if asked == self._asked:  # else the result is for an old range
                self.figures = figures
                await self._settle()
        except LedgerUnavailable as problem:
            self.figures = replace(self.figures, problem=shown(str(problem)))

    async def _ask(
        self, chosen: Range, groups: tuple[GroupBy, ...], *, losses: bool, breakdown_by: GroupBy | None
    ) -> LedgerStats:
        now = self._now_ms()
        today = await self._stats(now - now % DAY_MS)
        week = await self._stats(now - 7 * DAY_MS)
        by: dict[GroupBy, Groups] = {}
        window = None
        for group in groups:
            if group == "day":
                answer = await self._series(_week_of_days(now), now, "day")
            elif group == "hour":
                answer = await self._series(now - DAY_MS, now, "hour")
            else:
                answer = await self._stats(now - chosen.length_ms, group)
            by[group] = named(answer.groups)
            window = window if group in TIMES else answer.overall
        if window is None:
            window = (await self._stats(now - chosen.length_ms)).overall
        names = _dearest(by.get("model") or {})
        hours = None if chosen.name in self.fine else await self._hours(now, chosen, names)
        day = await self._series(now - DAY_MS, now, "hour")
        breakdown = None
        if breakdown_by is not None:
            breakdown = await self._breakdowns.ask(breakdown_by, chosen.length_ms, now)
        lost = {group: await self._lost(now - chosen.length_ms, group) for group in groups if losses}
        return LedgerStats(
            today.overall,
            week.overall,
            window,
            by,
            hours,
            as_of_ms=now,
            lost=lost,
            day=day.overall,
            day_began_ms=max(now - DAY_MS, _first_ms(day.groups, now)),
            breakdown=breakdown,
        )

    async def _lost(self, since_ms: int, group: GroupBy) -> Groups:
        """Query what failed requests have cost, by group."""
        return named((await self._ledger.stats(Filter(since_ms=since_ms, success=False), group)).groups)

    async def _hours(self, now: int, chosen: Range, models: Sequence[str]) -> Chart:
        since = now - chosen.length_ms
        whole = await self._series(since, now, "hour")
        parts = {model: await self._series(since, now, "hour", model) for model in models}
        by_model = {model: _costs(part.groups) for model, part in parts.items()}
        return Chart(since - since % HOUR_MS, HOUR_MS, _costs(whole.groups), by_spending(by_model))

    async def _settle(self) -> None:
        """Query the buckets of the chart and of the last minutes that are due, as long as the round is short."""
        enough = perf_counter() + SETTLE_S
        for series, start in self._unsettled():
            asked = self._now_ms()
            answer = await self._ledger.stats(Filter(since_ms=start, until_ms=start + series.width_ms - 1), "model")
            costs = {model: group.cost_msats for model, group in named(answer.groups).items() if group.cost_msats}
            series.settle(start, costs, asked)
            if perf_counter() > enough:
                self._stale = True
                break

    def _unsettled(self) -> list[tuple[Series, int]]:
        now = self._now_ms()
        chart, minutes = self.fine.get(self.range.name), self.fine[MINUTES.name]
        lately = [(minutes, start) for start in minutes.unsettled(now) if start > now - SPAN_MS - minutes.width_ms]
        if chart is None:
            return lately
        others = [] if chart is minutes else lately
        return [*others, *((chart, start) for start in chart.unsettled(now))]  # a few, of which the burn is made, first

    async def _series(self, since_ms: int, now_ms: int, group: GroupBy, model: str | None = None) -> Stats:
        """Query up to the current hour or day, even if it has no requests yet."""
        step = HOUR_MS if group == "hour" else DAY_MS
        until_ms = now_ms - now_ms % step + step - 1
        return await self._ledger.stats(Filter(since_ms=since_ms, until_ms=until_ms, model=model), group)

    async def _stats(self, since_ms: int, group: GroupBy | None = None) -> Stats:
        return await self._ledger.stats(Filter(since_ms=since_ms), group)


def ended_ms(record: RequestRecord) -> int:
    """Return when a request ended, in epoch milliseconds."""
    return record.received_at_ms + max(record.latency_ms, record.stream_duration_ms or 0)


def _dearest(groups: Groups) -> list[str]:
    """Return the models on which most was spent."""
    costs = sorted(((-group.cost_msats, name) for name, group in groups.items()))
    return [name for cost, name in costs[:LAYERS] if cost]


def _costs(groups: Groups) -> tuple[int, ...]:
    return tuple(group.cost_msats for group in groups.values())


def _first_ms(hours: Groups, now_ms: int) -> int:
    """Return the start of the first hour with requests."""
    return next((int(start) for start, group in hours.items() if group.total), now_ms)


def _week_of_days(now_ms: int) -> int:
    return now_ms - now_ms % DAY_MS - 6 * DAY_MS
