"""What is spent per minute, and how long budgets last."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from arbstr.clock import DAY_MS, HOUR_MS, MINUTE_MS
from arbstr.types import BudgetStatus
from tests.support.dashboard_fakes import NOON
from tui.model.burn import SPAN_MS, BudgetRates, Burn, Pace, pace


def test_a_burn_is_a_rate_beside_that_of_the_day() -> None:
    burn = Burn(600_000, 10 * MINUTE_MS, 43_200_000, DAY_MS)
    assert (burn.per_minute, burn.mean_per_minute, burn.times_mean) == (60_000, 30_000, 2)
    assert Burn(600_000, 10 * MINUTE_MS).times_mean is None
    assert Burn(600_000, 10 * MINUTE_MS, 0, DAY_MS).times_mean is None


def budget(period: str, spent: int, resets_at_ms: int, limit: int = 1000) -> BudgetStatus:
    return BudgetStatus("global", period, spent, 0, limit, resets_at_ms)


@pytest.mark.parametrize(
    ("period", "left_ms", "passed"),
    [("hour", HOUR_MS // 4, 0.75), ("day", 6 * HOUR_MS, 0.75), ("hour", 0, 1.0), ("hour", 2 * HOUR_MS, 0.0)],
)
def test_an_even_pace_is_the_share_of_the_period_that_has_passed(period: str, left_ms: int, passed: float) -> None:
    assert pace(budget(period, 300, NOON + left_ms), NOON, None) == Pace(0.3, passed)


def test_a_month_is_as_long_as_it_is() -> None:
    resets = int(datetime(2025, 3, 1, tzinfo=UTC).timestamp() * 1000)
    assert pace(budget("month", 0, resets), resets - 7 * DAY_MS, None).passed == 0.75


def test_a_budget_is_empty_when_the_rest_is_spent_at_this_rate() -> None:
    half = budget("hour", 500, NOON + 30 * MINUTE_MS)
    assert pace(half, NOON, 25) == Pace(0.5, 0.5, NOON + 20 * MINUTE_MS, 1.25)
    assert pace(half, NOON, 10) == Pace(0.5, 0.5, None, 0.8)
    assert pace(half, NOON, 0) == Pace(0.5, 0.5, None, 0.5)


def test_a_budget_that_is_spent_or_of_nothing_is_not_forecast() -> None:
    assert pace(budget("hour", 1000, NOON + HOUR_MS), NOON, 5).empty_at_ms is None
    assert pace(budget("hour", 0, NOON + HOUR_MS, limit=0), NOON, 5) == Pace(1.0, 0.0)


def test_the_rate_of_a_budget_is_known_after_a_minute_and_forgotten_when_it_resets() -> None:
    rates = BudgetRates()

    def seen(spent: int, at_ms: int) -> float | None:
        now = budget("hour", spent, NOON + HOUR_MS)
        rates.add((now,), at_ms)
        return rates.per_minute(now, at_ms)

    assert seen(100, NOON) is None
    assert seen(150, NOON + 30_000) is None
    assert seen(200, NOON + MINUTE_MS) == 100
    assert seen(200, NOON + SPAN_MS + 30_000) == pytest.approx(50 / 10, abs=1)
    assert seen(10, NOON + SPAN_MS + 40_000) is None
    assert rates.per_minute(budget("day", 1, NOON + DAY_MS), NOON) is None
