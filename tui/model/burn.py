"""What is being spent per minute, beside the mean of the day before; and how long a budget lasts at that rate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from arbstr.clock import DAY_MS, HOUR_MS, MINUTE_MS
from arbstr.types import BudgetStatus

SPAN_MS = 10 * MINUTE_MS
_COMPARED_MS = 30 * MINUTE_MS  # a mean over less says nothing


@dataclass(frozen=True, slots=True)
class Burn:
    """What was spent in the last `span_ms`, and in `day_ms` until now; in msats.

    The day is as long as there are rows of it, 24 hours at most.
    """

    msats: int
    span_ms: int
    day_msats: int = 0
    day_ms: int = 0

    @property
    def per_minute(self) -> float:
        """The rate in msats per minute."""
        return self.msats * MINUTE_MS / self.span_ms

    @property
    def mean_per_minute(self) -> float | None:
        """The day's rate in msats per minute; None while the day is too short to say."""
        return self.day_msats * MINUTE_MS / self.day_ms if self.day_ms >= _COMPARED_MS else None

    @property
    def times_mean(self) -> float | None:
        """How many times the day's mean is being spent; None where that can't be said."""
        mean = self.mean_per_minute
        return self.per_minute / mean if mean else None


@dataclass(frozen=True, slots=True)
class Pace:
    """How a budget goes: the share that is spent, the share of its period that has passed, and what is to be expected.

    `empty_at_ms` is when it is used up at this rate, None if not before it resets; `at_reset` the share that will be
    spent by then. Both are None where no rate is known.
    """

    share: float
    passed: float
    empty_at_ms: int | None = None
    at_reset: float | None = None


def pace(budget: BudgetStatus, now_ms: int, per_minute: float | None) -> Pace:
    """Return a budget's pace, if so many msats a minute are spent of it."""
    limit, left_ms = budget.limit_msats, max(budget.resets_at_ms - now_ms, 0)
    length_ms = budget.resets_at_ms - began_ms(budget)
    share = budget.spent_msats / limit if limit else 1.0
    passed = min(max(1 - left_ms / length_ms, 0.0), 1.0)
    if per_minute is None or not limit:
        return Pace(share, passed)
    expected = budget.spent_msats + per_minute * left_ms / MINUTE_MS
    left_msats = max(limit - budget.spent_msats, 0)
    empties = share < 1 and per_minute > 0 and expected > limit
    empty_at_ms = now_ms + int(left_msats / per_minute * MINUTE_MS) if empties else None
    return Pace(share, passed, empty_at_ms, expected / limit)


def began_ms(budget: BudgetStatus) -> int:
    """Return when a budget's period began; months are UTC's, as days and hours are."""
    if budget.starts_ms is not None:
        return budget.starts_ms
    if budget.period == "month":
        last = datetime.fromtimestamp(budget.resets_at_ms / 1000, UTC) - timedelta(days=1)
        return int(last.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)
    return budget.resets_at_ms - (HOUR_MS if budget.period == "hour" else DAY_MS)


class BudgetRates:
    """Remembers what was spent of budgets, to say how fast that grows."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], list[tuple[int, int]]] = {}

    def add(self, budgets: tuple[BudgetStatus, ...], now_ms: int) -> None:
        """Note the budgets as they are now; a few notes a minute are kept."""
        for budget in budgets:
            seen = self._seen.setdefault((budget.scope, budget.period), [])
            if seen and budget.spent_msats < seen[-1][1]:
                seen.clear()  # it has been reset
            if not seen or now_ms - seen[-1][0] >= SPAN_MS // 60:
                seen.append((now_ms, budget.spent_msats))
            while seen and seen[0][0] < now_ms - SPAN_MS:
                del seen[0]

    def per_minute(self, budget: BudgetStatus, now_ms: int) -> float | None:
        """Return what was spent of a budget per minute lately, in msats; None until a minute was seen."""
        seen = self._seen.get((budget.scope, budget.period))
        if not seen or now_ms - seen[0][0] < MINUTE_MS:
            return None
        return max(budget.spent_msats - seen[0][1], 0) * MINUTE_MS / (now_ms - seen[0][0])
