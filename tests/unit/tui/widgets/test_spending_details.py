"""Hours, budgets, failures and lengths on the Money screen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from arbstr.clock import HOUR_MS, MINUTE_MS
from arbstr.ledger.model import Aggregate
from arbstr.types import BudgetStatus
from tests.support.dashboard_fakes import NOON, FakeSource
from tui.model.breakdown import Breakdown, FailureKind
from tui.model.burn import Burn, Pace
from tui.model.filter_language import parse
from tui.model.view_model import ViewModel
from tui.widgets.budget_table import budget_rows, forecast
from tui.widgets.spending_details import failure_rows, failures_note, heat_rows

HOUR_14 = NOON - NOON % HOUR_MS


def shades(hours: dict[int, int], zone: timezone | ZoneInfo = UTC) -> list[str]:
    return [next(text for text, _ in row.cells.values() if len(text) == 24) for row in heat_rows(hours, NOON, zone)]


def test_hours_are_shaded_by_how_much_of_the_largest_they_cost() -> None:
    (day,) = shades({HOUR_14: 1000, HOUR_14 - HOUR_MS: 499, HOUR_14 - 2 * HOUR_MS: 124, HOUR_14 - 3 * HOUR_MS: 1})
    assert day == "···········░▒▓█·········"


def test_hours_are_those_of_the_zone() -> None:
    assert shades({HOUR_14: 1}, timezone(timedelta(hours=9)))[0].index("█") == 23
    assert shades({HOUR_14: 1}, timezone(timedelta(hours=-5, minutes=-30)))[0].index("█") == 8


def test_days_before_the_first_that_cost_anything_are_left_out() -> None:
    assert len(shades({})) == 1
    assert len(shades({HOUR_14 - 72 * HOUR_MS: 1, HOUR_14: 1})) == 4
    assert len(shades({HOUR_14 - 5000 * HOUR_MS: 1, HOUR_14: 1})) == 1


def test_a_day_leads_to_its_requests_in_the_zone_also_where_it_has_23_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    rows = heat_rows({}, int(1e3 * 1_743_336_000), berlin)  # 2025-03-30, the clocks were put forward
    where = parse(rows[0].finds).to_filter({})
    assert where.since_ms is not None
    assert where.until_ms is not None
    assert where.until_ms + 1 - where.since_ms == 23 * HOUR_MS


DAY = BudgetStatus("global", "day", 40_000_000, 0, 50_000_000, NOON + 9 * HOUR_MS)


@pytest.mark.parametrize(
    ("going", "said"),
    [
        (Pace(0.8, 0.6, NOON + 2 * HOUR_MS + 29 * MINUTE_MS, 1.5), ("empty 16:31, 6 h early", "text")),
        (Pace(0.8, 0.6, NOON + 29 * MINUTE_MS, 3.0), ("empty 14:31, 8 h early", "warn")),
        (Pace(0.8, 0.6, NOON + 9 * HOUR_MS - 900, 1.0), ("empty as it resets", "text")),
        (Pace(0.8, 0.6, None, 0.9), ("45,000 at reset", "text")),
        (Pace(0.8, 0.6), ("rate unknown", "muted")),
        (Pace(1.0, 0.6, None, 1.2), ("spent", "bad")),
    ],
)
def test_how_a_budget_ends(going: Pace, said: tuple[str, str]) -> None:
    assert forecast(DAY, going, "45,000", NOON, UTC) == said


def test_a_budget_that_refuses_requests_says_so_before_it_is_spent() -> None:
    source = FakeSource()
    source.budgets = (DAY,)
    view = replace(ViewModel(source.snapshot()).view(NOON), refusing=(DAY,))
    (row,) = budget_rows(view, Burn(1_000, 10 * MINUTE_MS), UTC)
    assert row.cells["at this rate"] == ("refuses requests", "bad")


def test_of_a_shared_budget_is_said_what_this_instance_holds() -> None:
    source = FakeSource()
    source.budgets = (replace(DAY, held_msats=1_234_000),)
    (row,) = budget_rows(ViewModel(source.snapshot()).view(NOON), Burn(1_000, 10 * MINUTE_MS), UTC)
    assert row.cells["spent of limit"][0].endswith(", 1,234 held here")


def test_a_budget_leads_to_the_requests_that_count_in_it() -> None:
    source = FakeSource()
    source.budgets = (DAY, BudgetStatus("code", "hour", 1, 0, 10, NOON - NOON % HOUR_MS + HOUR_MS))
    view = ViewModel(source.snapshot()).view(NOON)
    whole, code = budget_rows(view, Burn(1_000, 10 * MINUTE_MS), UTC)
    assert whole.finds == "since:2025-03-13T23:02:11"
    assert code.finds == 'policy:"code" since:2025-03-14T14:00:00'
    assert whole.bar is not None
    assert "┊" in whole.bar(20)[0]


def test_failures_lead_to_their_requests() -> None:
    kinds = [
        FailureKind(502, "alpha", 4, 12_400, "refused\x1b[2J"),
        FailureKind(499, "beta", 1, 0, ""),
        FailureKind(402, None, 2, 0, ""),
        FailureKind(None, None, 1, 0, ""),
    ]
    rows = failure_rows(kinds, "since:2025-03-14")
    assert [row.cells["failed"][0] for row in rows] == ["✗ 502 ×4", "↶ left ×1", "✗ 402 ×2", "✗ – ×1"]
    assert rows[0].cells["cost"] == ("12.400", "warn")
    assert "\x1b" not in rows[0].cells["last error"][0]
    assert [row.finds for row in rows] == [
        'status:502 provider:"alpha" since:2025-03-14',
        'status:left provider:"beta" since:2025-03-14',
        "status:402 provider:- since:2025-03-14",
        "status:error provider:- since:2025-03-14",
    ]
    assert all(parse(row.finds).complete for row in rows)


def test_what_failures_cost_is_summed_up_and_of_how_many_the_kinds_are() -> None:
    failed = Breakdown("model", failed=Aggregate(total=900, cost_msats=12_400), examined=200)
    assert "".join(text for text, _ in failures_note(failed)) == "the newest 200 of 900, cost 12.400 sats"
    few = replace(failed, failed=Aggregate(total=7), examined=7)
    assert "".join(text for text, _ in failures_note(few)) == "7, cost 0 sats"
    assert failures_note(Breakdown("model")) == ()
