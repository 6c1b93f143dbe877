"""The table of the Money screen."""

from __future__ import annotations

from arbstr.ledger.model import Aggregate, GroupBy
from tui.format import NOTHING
from tui.model.filter_language import parse
from tui.model.groups import Groups
from tui.widgets.group_table import GroupSort, SortBy, group_rows
from tui.widgets.rows_panel import Row

SINCE = "since:2025-03-14T13:02:11"


def rows(
    groups: Groups, by: GroupBy = "model", sort: SortBy = "sats", *, down: bool = True, typed: str = ""
) -> list[Row]:
    return group_rows(groups, by, GroupSort(sort, down), typed=typed, finds=SINCE, trends={"a": (1, 2, 4)})


def cell(row: Row, column: str) -> str:
    return row.cells[column][0]


def test_names_without_requests_are_left_out_but_days_are_not() -> None:
    groups = {"a": Aggregate(total=2, cost_msats=5000), "b": Aggregate()}
    assert [row.key for row in rows(groups)] == ["a"]
    days = {"1741824000000": Aggregate(), "1741910400000": Aggregate(total=2, cost_msats=5000)}
    assert [cell(row, "day") for row in rows(days, "day", "")] == ["Fri 14 Mar", "Thu 13 Mar"]


def test_what_no_request_explains_is_shown_although_there_is_no_request() -> None:
    taken = Aggregate(cost_msats=70, unexplained_msats=70)
    assert [row.key for row in rows({"alpha": taken}, "provider")] == ["alpha"]
    assert [cell(row, "model") for row in rows({"(none)": taken})] == ["(unexplained)"]
    assert [cell(row, "policy") for row in rows({"(none)": Aggregate(total=1)}, "policy")] == ["(none)"]


def test_a_row_leads_to_just_the_requests_that_it_sums() -> None:
    groups = {"gpt-4o": Aggregate(total=1), "(none)": Aggregate(total=1)}
    known = {"policy": ["gpt-4o", "gpt-4o-mini"]}
    found = {row.key: parse(row.finds).to_filter(known) for row in rows(groups, "policy")}
    assert found["gpt-4o"].policies == ("gpt-4o",)
    assert found["(none)"].policies == (None,)
    assert found["gpt-4o"].since_ms == 1_741_957_331_000
    (day,) = rows({"1741910400000": Aggregate(total=1)}, "day", "")
    assert day.finds == "since:2025-03-14 until:2025-03-14"
    (hour,) = rows({"1741957200000": Aggregate(total=1)}, "hour", "")
    assert hour.finds == "since:2025-03-14T13 until:2025-03-14T13"


def test_a_session_leads_to_its_requests_and_the_rest_of_many_nowhere() -> None:
    groups = {name: Aggregate(total=1) for name in ("00112233aabbccdd", "(none)", "(other)")}
    found = {row.key: row.finds for row in rows(groups, "session")}
    assert parse(found["00112233aabbccdd"]).to_filter({}).sessions == ("00112233aabbccdd",)
    assert parse(found["(none)"]).to_filter({}).sessions == (None,)
    assert found["(other)"] == ""


def test_bars_are_scaled_to_the_largest_and_trends_to_their_own() -> None:
    found = rows({"a": Aggregate(total=1, cost_msats=8000), "b": Aggregate(total=1, cost_msats=4000)})
    bars = [row.bar(8)[0] for row in found if row.bar is not None]
    assert bars == ["████████", "████"]
    assert cell(found[0], "trend") == "▃▅█"


def test_a_column_has_one_precision() -> None:
    groups = {
        "a": Aggregate(total=3, success=2, cost_msats=150_000, input_tokens=900, output_tokens=100),
        "b": Aggregate(total=1, success=1, cost_msats=42_670, input_tokens=10_000),
        "c": Aggregate(total=1),
    }
    found = rows(groups)
    assert [cell(row, "sats") for row in found] == ["150.0", "42.7", "0.0"]
    assert [cell(row, "each") for row in found] == ["75.000", "42.670", NOTHING]
    assert [cell(row, "/1k tok") for row in found] == ["150.0", "4.3", NOTHING]
    assert [cell(row, "failed") for row in found] == ["1", NOTHING, "1"]


def test_losses_are_bad_and_gains_good() -> None:
    groups = {
        name: Aggregate(total=1, cost_msats=msats, saved_vs_median_msats=saved)
        for name, msats, saved in (("gain", 3, 20), ("loss", 2, -20), ("even", 1, 0))
    }
    assert [row.cells["saved"][1] for row in rows(groups)] == ["good", "bad", "muted"]


def test_sorting() -> None:
    groups = {
        "a": Aggregate(total=9, success=9, cost_msats=9000, input_tokens=900, saved_vs_median_msats=-5),
        "b": Aggregate(total=5, success=1, cost_msats=5000, input_tokens=50, saved_vs_median_msats=7),
        "c": Aggregate(total=1, success=0),
    }
    orders: dict[SortBy, str] = {"sats": "abc", "requests": "abc", "each": "bac", "/1k tok": "bac", "saved": "bca"}
    for sort, order in orders.items():
        assert "".join(row.key for row in rows(groups, sort=sort)) == order
        assert "".join(row.key for row in rows(groups, sort=sort, down=False)) == order[::-1]


def test_what_was_charged_stands_beside_what_the_rates_say() -> None:
    groups = {
        "dear": Aggregate(total=2, cost_msats=5500, list_cost_msats=5000),
        "as listed": Aggregate(total=1, cost_msats=1000, list_cost_msats=1000),
        "unknown": Aggregate(total=1),
    }
    assert [cell(row, "charged") for row in rows(groups)] == ["+10.0 %", "0 %", NOTHING]


def test_each_has_its_cached_share() -> None:
    groups = {
        "warm": Aggregate(total=3, cost_msats=2_000, input_tokens=1000, cache_hit_tokens=912),
        "cold": Aggregate(total=1, cost_msats=1_000, input_tokens=1000),
    }
    assert [cell(row, "cached") for row in rows(groups)] == ["91 %", NOTHING]


def test_names_are_narrowed_by_what_is_typed() -> None:
    groups = {name: Aggregate(total=1) for name in ("gpt-4o", "claude")}
    assert [row.key for row in rows(groups, typed="gpt")] == ["gpt-4o"]
