"""One cap on spending, by calendar periods (UTC), any of which may become the current one: wall clocks jump, both ways.

Every period keeps its own sums. A clock that jumps ahead begins another period; one that jumps back finds the earlier
period as it was, plus what was spent meanwhile: that money was spent now, whatever the clock said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from arbstr.engine.slices import Slices

Period = Literal["hour", "day", "month"]
PERIODS: tuple[Period, ...] = ("hour", "day", "month")
Bounds = Callable[[Period, int], tuple[int, int]]

_REMEMBERED = 8  # periods, so that a jumping clock takes no memory


class Cap:
    """A limit in msats per period, of what a `policy` or a `client` spends, or of all.

    `slices` decide what of it may be spent here. `bounds` returns the start and the end of the period that contains an
    instant. `percents` are the shares to be announced, in order.
    """

    __slots__ = ("_slices", "_spans", "bounds", "client", "limit", "now", "percents", "period", "policy", "scope")

    def __init__(
        self,
        scope: str,
        period: Period,
        limit_msats: int,
        now_ms: int,
        *,
        policy: str | None,
        client: str | None,
        slices: Slices,
        bounds: Bounds,
        percents: Sequence[int],
    ) -> None:
        self.bounds = bounds
        self.percents = percents
        self.scope = scope
        self.policy = policy
        self.client = client
        self.period = period
        self.limit = limit_msats
        self._slices = slices
        self.now = self._begin(*bounds(period, now_ms), follows=False)
        self._spans = {self.now.starts_ms: self.now}

    def _begin(self, starts_ms: int, ends_ms: int, *, follows: bool) -> Span:
        span = Span(starts_ms, ends_ms)
        self._slices.begin(self, span, follows=follows)
        return span

    def roll_over(self, now_ms: int) -> Span:
        """Return the period that `now_ms` falls in, and make it the current one."""
        before = self.now
        if before.starts_ms <= now_ms < before.ends_ms:
            return before
        starts_ms, ends_ms = self.bounds(self.period, now_ms)
        span = self._spans.pop(starts_ms, None)
        if span is None:
            # A period that follows a known one starts at zero; after a clock jump that is unknown.
            span = self._begin(starts_ms, ends_ms, follows=before.known and starts_ms == before.ends_ms)
        self.now = self._spans[starts_ms] = span  # moved to the end
        if span.starts_ms < before.starts_ms:
            for astray in [other for other in self._spans.values() if other.starts_ms > starts_ms]:
                self._bring_back(astray)
        if not (before.known or before.own or before.reserved):
            self._spans.pop(before.starts_ms, None)  # nothing is lost with it
        if len(self._spans) > _REMEMBERED:
            del self._spans[next(iter(self._spans))]
        return span

    def set_limit(self, limit_msats: int, percents: Sequence[int]) -> None:
        """Apply another limit and other shares to be announced. What has passed them already is no news."""
        if (limit_msats, percents) != (self.limit, self.percents):
            for span in self._spans.values():
                span.refused, span.last_threshold = span.refused and limit_msats == self.limit, 0
                span.pass_thresholds(limit_msats, percents)
            self.limit, self.percents = limit_msats, percents
            self._slices.limited(self)

    def pass_thresholds(self) -> list[int]:
        """Return the shares that the current period has newly passed, in percent."""
        return self.now.pass_thresholds(self.limit, self.percents)

    def settle(self, span: Span, reserved: int, actual: int) -> list[int]:
        """Replace `reserved` msats by `actual`; return the thresholds (percent) that the current period has passed.

        A request that began in an earlier period counts there, as in the ledger.
        """
        span.reserved -= reserved
        span.spent += actual
        span.own += actual
        if span.starts_ms > self.now.starts_ms:
            self._bring_back(span)
        return self.pass_thresholds()

    def amend(self, at_ms: int, msats: int) -> None:
        """Count more, or less, for a request of that time. Of periods that are not known the ledger will tell."""
        for span in self._spans.values():
            if span.known and span.starts_ms <= at_ms < span.ends_ms:
                span.spent = max(0, span.spent + msats)
                span.own = max(span.brought_back, span.own + msats)

    def _bring_back(self, astray: Span) -> None:
        """Count what was spent in a future period in the current one too."""
        more, astray.brought_back = astray.own - astray.brought_back, astray.own
        self.now.spent += more
        self.now.own += more

    def remember(self, starts_ms: int, spent_msats: int) -> None:
        """Add what was spent in a period before it was entered. Thresholds passed then are not published again."""
        span = self._spans.get(starts_ms)
        if span is not None and not span.known:
            span.known = True
            span.spent += spent_msats
            span.pass_thresholds(self.limit, self.percents)

    @property
    def spans(self) -> Collection[Span]:
        """The periods that are remembered."""
        return self._spans.values()

    @property
    def unknown(self) -> list[Span]:
        """The periods whose past spending has not been read from the ledger."""
        return [span for span in self._spans.values() if not span.known]


class Span:
    """One period of a cap: what is spent and reserved, in msats.

    `known`: what was spent before it was entered is included. `own` is what was spent since, `brought_back` how much of
    that an earlier period counts too. `ceiling` is up to where it may be spent and reserved here; `may_grow`: it may be
    raised soon. `last_threshold` (percent) is the last one published. `refused`: it did not allow what a request might
    have cost.
    """

    __slots__ = (
        "brought_back",
        "ceiling",
        "ends_ms",
        "known",
        "last_threshold",
        "may_grow",
        "own",
        "refused",
        "reserved",
        "spent",
        "starts_ms",
    )

    def __init__(self, starts_ms: int, ends_ms: int) -> None:
        self.starts_ms = starts_ms
        self.ends_ms = ends_ms
        self.known = self.may_grow = self.refused = False
        self.ceiling = 0
        self.spent = self.reserved = self.last_threshold = self.own = self.brought_back = 0

    def pass_thresholds(self, limit: int, percents: Sequence[int]) -> list[int]:
        """Return the shares newly passed, in percent."""
        percent = self.spent * 100 // limit if limit else 100 * (self.spent > 0)
        passed = [threshold for threshold in percents if self.last_threshold < threshold <= percent]
        self.last_threshold = max(self.last_threshold, *passed, 0)
        return passed


def bounds_ms(period: Period, now_ms: int) -> tuple[int, int]:
    """Return the start and end of the UTC hour, day or month that contains an instant, in epoch ms."""
    now = datetime.fromtimestamp(now_ms // 1000, UTC).replace(minute=0, second=0)
    if period == "hour":
        start, end = now, now + timedelta(hours=1)
    elif period == "day":
        start = now.replace(hour=0)
        end = start + timedelta(days=1)
    else:
        start = now.replace(hour=0, day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    return int(start.timestamp()) * 1000, int(end.timestamp()) * 1000
