"""Spending by model: names that do not fit become one line, and no sum is lost."""

from __future__ import annotations

from arbstr.ledger.model import Aggregate
from tui.format import NOTHING
from tui.render.layout import lay_out
from tui.widgets.spend_by_model import COLUMNS, bar, share_rows
from tui.widgets.stat_tiles import over_rates


def test_bars_show_their_share() -> None:
    assert bar(0, 10) == ""
    assert bar(0.001, 10) == "▏"
    assert bar(0.5, 10) == "█████"
    assert bar(0.33, 10) == "███▎"
    assert bar(1.5, 4) == "████"


def test_names_that_do_not_fit_become_one_line_with_their_sum() -> None:
    groups = {f"m{number}": Aggregate(total=1, cost_msats=number * 1000) for number in range(1, 8)}
    rows = share_rows(groups, 4)
    assert [row.cells["model"][0] for row in rows] == ["m7", "m6", "m5", "4 others"]
    assert rows[3].cells["sats"][0] == "10.000"
    assert rows[3].finds == "", "no filter says that"


def test_a_model_leads_to_its_requests_and_says_what_one_costs_and_how_that_went() -> None:
    groups = {"gpt-4o": Aggregate(total=3, success=2, cost_msats=9000), "idle": Aggregate()}
    (row,) = share_rows(groups, 4, {"gpt-4o": [1, 2, 4]}, "since:2025-03-14T13:02:11")
    assert row.finds == 'model:"gpt-4o" since:2025-03-14T13:02:11'
    assert (row.cells["each"][0], row.cells["trend"][0]) == ("4.500", "▃▅█")


def test_at_120_cells_a_model_has_its_cost_a_request_and_its_trend() -> None:
    rows = share_rows({"claude-3.5-sonnet": Aggregate(total=1, success=1, cost_msats=1_270_000)}, 4)
    layout = lay_out(COLUMNS, 120 * 2 // 5 - 4, [row.cells for row in rows])
    assert {"model", "sats", "each", "trend"} <= {column.title for column, _ in layout}


def test_only_a_charge_well_above_the_rates_is_marked() -> None:
    assert over_rates(1101, 1000)[1] == "warn"
    assert over_rates(1100, 1000) == ("+10.0 %", "text")
    assert over_rates(900, 1000) == ("-10.0 %", "text")
    assert over_rates(0, 0) == (NOTHING, "muted")
