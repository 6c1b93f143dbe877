"""One cap on spending, by calendar periods (UTC's) of which any may be the present one: wall clocks jump, both ways.

Every period keeps its own sums. A clock that jumps ahead begins another period, and one that jumps back finds the
earlier one as it was, with what was spent meanwhile on top: it was spent in truth now, whatever the clock said.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

Period = Literal["hour", "day", "month"]
PERIODS: tuple[Period, ...] = ("hour", "day", "month")
THRESHOLDS = (50, 80, 100)

_REMEMBERED = 8  # periods, so that a clock that jumps about takes no memory


class Cap:
    """A limit in msats a period. `asks` tells that only a ledger knows what was spent before a period was entered."""

    __slots__ = ("_asks", "_spans", "limit", "now", "period", "policy", "scope")

    def __init__(
        self, scope: str, policy: str | None, period: Period, limit_msats: int, now_ms: int, *, asks: bool
    ) -> None:
        self.scope = scope
        self.policy = policy
        self.period = period
        self.limit = limit_msats
        self._asks = asks
        self.now = Span(*bounds_ms(period, now_ms), known=not asks)
        self._spans = {self.now.starts_ms: self.now}

    def roll_over(self, now_ms: int) -> Span:
        """The period that the clock is in now."""
        before = self.now
        if before.starts_ms <= now_ms < before.ends_ms:
            return before
        starts_ms, ends_ms = bounds_ms(self.period, now_ms)
        span = self._spans.pop(starts_ms, None)
        if span is None:
            # In a period that follows a known one nothing was spent before; where the clock has jumped, who knows.
            follows = before.known and starts_ms == before.ends_ms
            span = Span(starts_ms, ends_ms, known=follows or not self._asks)
        self.now = self._spans[starts_ms] = span  # the last one now
        if span.starts_ms < before.starts_ms:
            for astray in [other for other in self._spans.values() if other.starts_ms > starts_ms]:
                self._bring_back(astray)
        if len(self._spans) > _REMEMBERED:
            del self._spans[next(iter(self._spans))]
        return span

    def settle(self, span: Span, reserved: int, actual: int) -> list[int]:
        """Spend in place of what was reserved; returns the thresholds (percent) that the present period has passed.

        What began in an earlier period counts there, as in the ledger.
        """
        span.reserved -= reserved
        span.spent += actual
        span.own += actual
        if span.starts_ms > self.now.starts_ms:
            self._bring_back(span)
        return self.now.pass_thresholds(self.limit)

    def _bring_back(self, astray: Span) -> None:
        """Count what was spent in a period that has not come yet in the present one too."""
        more, astray.brought_back = astray.own - astray.brought_back, astray.own
        self.now.spent += more
        self.now.own += more

    def remember(self, starts_ms: int, spent_msats: int) -> None:
        """So much was spent in that period before it was entered. Thresholds passed back then are not told again."""
        span = self._spans.get(starts_ms)
        if span is not None and not span.known:
            span.known = True
            span.spent += spent_msats
            span.pass_thresholds(self.limit)

    @property
    def unknown(self) -> list[Span]:
        """The periods of which only the ledger knows what was spent before."""
        return [span for span in self._spans.values() if not span.known]


class Span:
    """One period of a cap: what was spent in it and is reserved, in msats.

    `known`: what was spent before it was entered is part of that. `own` is what was spent since, `brought_back` how
    much of that an earlier period counts too. `told` is the last threshold (percent) that was published.
    """

    __slots__ = ("brought_back", "ends_ms", "known", "last_threshold", "own", "reserved", "spent", "starts_ms")

    def __init__(self, starts_ms: int, ends_ms: int, *, known: bool) -> None:
        self.starts_ms = starts_ms
        self.ends_ms = ends_ms
        self.known = known
        self.spent = self.reserved = self.last_threshold = self.own = self.brought_back = 0

    def pass_thresholds(self, limit: int) -> list[int]:
        """The thresholds that were not passed before, in percent."""
        percent = self.spent * 100 // limit if limit else 100 * (self.spent > 0)
        passed = [threshold for threshold in THRESHOLDS if self.last_threshold < threshold <= percent]
        self.last_threshold = max(self.last_threshold, *passed, 0)
        return passed


def bounds_ms(period: Period, now_ms: int) -> tuple[int, int]:
    """Where the UTC hour, day or month that holds an instant begins and ends."""
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
