"""The tiles of the Live screen: they equal totals and ledger, and never cut a figure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations_with_replacement

import pytest

from arbstr.clock import DAY_MS, HOUR_MS, MINUTE_MS
from arbstr.events import Alert
from arbstr.ledger.model import Aggregate
from arbstr.monitoring.source import Totals
from arbstr.types import Balance, BudgetStatus
from tests.support.dashboard_fakes import NOON, FakeSource, lived_in
from tui.format import sats_round
from tui.model.burn import Burn
from tui.model.ledger_stats import MINUTES, LedgerStats
from tui.model.view_model import DashboardView, ViewModel
from tui.render.layout import Line, Role
from tui.widgets.budget_pace import tightest
from tui.widgets.stat_tiles import saved_role, tiles
from tui.widgets.tiles_panel import BOXES_FROM, Tile, TilesPanel, squeezed


def texts(lines: Iterable[Line]) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def view_of(*budgets: BudgetStatus, **totals: object) -> DashboardView:
    source = FakeSource()
    source.totals, source.budgets = Totals(**totals), budgets  # type: ignore[arg-type]  # fields by name
    return ViewModel(source.snapshot()).view(NOON)


def shown(view: DashboardView, figures: LedgerStats | None = None, burn: Burn | None = None) -> dict[str, Tile]:
    return {tile.title: tile for tile in tiles(view, figures or LedgerStats(), burn, MINUTES)}


def test_tiles_say_what_is_known_and_no_more() -> None:
    known = shown(view_of())
    assert list(known) == ["Spent", "Burn", "Saved", "Requests", "Latency"]
    assert texts(known["Spent"].lines) == ["– sats", "rates –", "7 days – sats", "start 0 sats"]
    assert texts(known["Burn"].lines) == ["–", "", "", "– sats each"]
    assert texts(known["Saved"].lines)[:2] == ["–", "nothing to compare"]
    assert texts(known["Requests"].lines)[1:3] == ["– ok  0 running", "no failures"]
    assert texts(known["Latency"].lines) == ["p50 –", "p95 –", "first byte –", "p99 –"]


def test_tiles_equal_totals_and_ledger() -> None:
    source = lived_in()
    view = ViewModel(source.snapshot()).view(NOON)
    window = Aggregate(total=3, p50_latency_ms=310, p95_latency_ms=1900)
    today = Aggregate(cost_msats=4_120_000, list_cost_msats=4_000_000)
    known = shown(view, LedgerStats(today=today, window=window), Burn(380_000, 10 * MINUTE_MS))
    totals = source.totals
    assert texts(known["Spent"].lines) == [
        "4,120 sats",
        "rates 4,000 +3.0 %",
        "7 days – sats",
        f"start {sats_round(totals.cost_msats)} sats",
    ]
    share = totals.saved_vs_median_msats / (totals.saved_vs_median_msats + totals.compared_msats)
    assert f"{share * 100:.1f} %" in texts(known["Saved"].lines)[1]
    assert texts(known["Latency"].lines)[:2] == ["p50 310 ms", "p95 1.9 s"]
    assert texts(known["Requests"].lines)[4] == "p50 310ms p95 1.9s"
    failed = sum(not record.success for record in source.own_ledger.records[-totals.requests :])
    assert texts(known["Requests"].lines)[2] == f"failed 502·{failed}"
    assert texts(known["Budget"].lines) == [
        "███████┊█▉░░ 82 %",
        "empty in 3 h 51 m at 17:53",
        "8,800 left of 50,000",
        "123 % at the reset",
        "resets in 9 h 00 m",
    ]


@pytest.mark.parametrize(
    ("day_msats", "said", "role"),
    [
        (24 * 60 * 20_000, "24 h 20.000 /min ▲ 1.9×", "text"),
        (24 * 60 * 2_000, "24 h 2.000 /min ▲ 19.0×", "warn"),
        (24 * 60 * 76_000, "24 h 76.000 /min ▼ 0.5×", "text"),
        (24 * 60 * 38_000, "24 h 38.000 /min", "muted"),
    ],
)
def test_burn_stands_beside_the_mean_of_the_day(day_msats: int, said: str, role: Role) -> None:
    burn = Burn(380_000, 10 * MINUTE_MS, day_msats, DAY_MS)
    lines = shown(view_of(cost_msats=90_000, requests=4, succeeded=3), burn=burn)["Burn"].lines
    assert texts(lines) == ["38.000 sats/min", said, "2,280 an hour", "30.000 sats each"]
    assert lines[1][-1][1] == role


def test_failures_alone_are_nothing_to_compare() -> None:
    assert texts(shown(view_of(requests=6, succeeded=0))["Saved"].lines)[:2] == ["–", "nothing to compare"]


def test_a_day_of_which_little_is_known_is_no_mean() -> None:
    burn = Burn(380_000, 10 * MINUTE_MS, 380_000, 12 * MINUTE_MS)
    assert texts(shown(view_of(), burn=burn)["Burn"].lines)[1] == "24 h –"


def test_the_balance_that_is_empty_first_says_how_long_it_lasts() -> None:
    source = FakeSource()
    for name, free in (("alpha", 30_000), ("beta", 900_000)):
        held = Balance("known", free_msats=free, hourly_msats=10_000)
        source.providers[name] = replace(source.providers[name], balance=held)
    for alerts, role in (((), "text"), ((Alert("balance", "alpha", NOON),), "warn")):
        source.alerts = alerts
        lines = shown(ViewModel(source.snapshot()).view(NOON), burn=Burn(10_000, 10 * MINUTE_MS))["Burn"].lines
        assert texts(lines)[2] == "alpha lasts 3 h 00 m"
        assert lines[2][-1][1] == role


@pytest.mark.parametrize(("free_msats", "said"), [(1_200, "a-provide… lasts 7 m"), (30_000, "a-provider… 3 h 00 m")])
def test_a_name_that_is_long_leaves_room_for_how_long_its_balance_lasts(free_msats: int, said: str) -> None:
    source = FakeSource()
    held = Balance("known", free_msats=free_msats, hourly_msats=10_000)
    source.providers = {"long": replace(source.providers["alpha"], name="a-provider-of-a-long-name", balance=held)}
    tile = shown(ViewModel(source.snapshot()).view(NOON))["Burn"]
    assert texts([squeezed(line, 20) for line in tile.lines])[2] == said


def day_budget(spent: int, scope: str = "global", resets_in_ms: int = 12 * HOUR_MS) -> BudgetStatus:
    return BudgetStatus(scope, "day", spent, 0, 100_000, NOON + resets_in_ms)


@pytest.mark.parametrize(
    ("spent", "per_minute", "said", "role"),
    [
        (60_000, 1_000, "empty in 40 m at 14:42", "warn"),
        (60_000, 80_000, "empty in 30 s at 14:02", "warn"),
        (20_000, 150, "empty in 8 h 53 m at 22:55", "text"),
        (20_000, 50, "lasts till it resets", "muted"),
        (100_000, 50, "refuses requests", "bad"),
    ],
)
def test_a_budget_says_how_long_it_lasts_at_this_rate(spent: int, per_minute: int, said: str, role: Role) -> None:
    burn = Burn(per_minute * 10, 10 * MINUTE_MS)
    lines = shown(view_of(day_budget(spent)), burn=burn)["Budget"].lines
    assert texts(lines)[1] == said
    assert lines[1][min(len(lines[1]) - 1, 1)][1] == role


def test_a_forecast_that_is_far_beyond_the_budget_is_not_given_to_the_percent() -> None:
    lines = [
        texts(shown(view_of(day_budget(20_000)), burn=Burn(10 * each, 10 * MINUTE_MS))["Budget"].lines)[3]
        for each in (1_000, 2_000)
    ]
    assert lines == ["740 % at the reset", ">1000 % at the reset"]


def test_a_budgets_bar_has_a_mark_where_an_even_pace_would_be() -> None:
    half_of_the_day = texts(shown(view_of(day_budget(25_000)))["Budget"].lines)
    assert half_of_the_day[0] == "███░░░┊░░░░░ 25 %"
    assert half_of_the_day[1] == "at an unknown rate"
    over = texts(shown(view_of(day_budget(75_000)))["Budget"].lines)
    assert over[0] == "██████┊██░░░ 75 %"


def test_the_budget_that_is_empty_first_is_shown() -> None:
    slow, fast = day_budget(90_000, "slow"), day_budget(50_000)
    view = replace(view_of(slow, fast), budget_rates=(1.0, None))
    assert tightest(view, Burn(10_000, 10 * MINUTE_MS))[0] == fast
    assert tightest(view, None)[0] == slow, "no rate is known: that of which most is spent"
    spent = day_budget(100_000, "gone")
    assert tightest(view_of(fast, spent), Burn(10_000, 10 * MINUTE_MS))[0] == spent


def test_the_percentiles_of_the_requests_tile_fit_the_narrowest_box_whatever_their_sizes() -> None:
    narrowest = BOXES_FROM // 5 - 4
    sizes = [0, 9, 10, 99, 100, 546, 739, 999, *(10**power for power in range(3, 13)), None]
    for half, most in combinations_with_replacement(sizes, 2):
        window = Aggregate(total=2, p50_latency_ms=half, p95_latency_ms=most)
        line = shown(view_of(), LedgerStats(window=window))["Requests"].lines[4]
        assert squeezed(line, narrowest) == line, texts([line])


@pytest.mark.parametrize(
    ("failures", "said"),
    [
        ({}, "no failures"),
        ({502: 2, 402: 4, 499: 1}, "failed 402·4 502·2 left·1"),
        ({0: 1, 502: 1200}, "failed 502·1,200 other·1"),
        ({500: 1, 502: 3, 503: 2, 504: 1, 429: 1}, "failed 502·3 503·2 429·1 +2"),
    ],
)
def test_failures_are_shown_by_kind_the_commonest_first(failures: dict[int, int], said: str) -> None:
    assert texts(shown(view_of(failures=failures))["Requests"].lines)[2] == said


def test_what_was_saved_is_a_share_of_the_requests_that_can_be_compared() -> None:
    view = view_of(requests=2, cost_msats=1_000_000, saved_vs_median_msats=50_000, compared_msats=50_000)
    assert "50.0 %" in texts(shown(view)["Saved"].lines)[1]


@pytest.mark.parametrize(
    ("saved_msats", "said", "role"),
    [
        (50_000, ["50.000 sats", "50.0 % less than", "the median provider"], "good"),
        (-10_000, ["-10.000 sats", "25.0 % more than", "the median provider"], "bad"),
        (0, ["0 sats", "as much as", "the median provider"], "text"),
    ],
)
def test_a_loss_is_said_and_seen(saved_msats: int, said: list[str], role: Role) -> None:
    view = view_of(requests=2, cost_msats=50_000, saved_vs_median_msats=saved_msats, compared_msats=50_000)
    saved = shown(view)["Saved"]
    assert texts(saved.lines)[:3] == said
    assert saved.lines[0][0][1] == role
    assert saved_role(saved_msats) == role


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        (
            {"cached_tokens": 912, "cache_saved_msats": 1_204_000, "saved_vs_median_msats": 50_000},
            ["50 sats", "50.0 % below median", "91 % cached  1,204 sats", "switching cost 0 sats"],
        ),
        (
            {"switching_msats": 12_300, "saved_vs_median_msats": -10_000},
            ["-10.000 sats", "25.0 % above median", "0 % cached  0.000 sats", "switching cost 12.300 sats"],
        ),
        ({"cached_tokens": 5}, ["0 sats", "as the median", "<1 % cached  0 sats", "switching cost 0 sats"]),
    ],
)
def test_what_caches_saved_and_switching_cost_stands_beside_what_the_choice_saved(
    totals: dict[str, int], said: list[str]
) -> None:
    view = view_of(requests=2, cost_msats=50_000, compared_msats=50_000, input_tokens=1000, **totals)
    assert texts(shown(view)["Saved"].lines)[:4] == said


def test_a_cache_whose_writes_cost_more_than_was_read_from_it_is_a_loss() -> None:
    lines = shown(view_of(requests=1, input_tokens=9, cached_tokens=1, cache_saved_msats=-500))["Saved"].lines
    assert ("  -0.500", "bad") in lines[2]


@pytest.mark.parametrize(("width", "said"), [(20, "switching 12,345,678"), (9, "12,345,678"), (12, "12,345,678")])
def test_what_switching_cost_is_never_cut(width: int, said: str) -> None:
    view = view_of(requests=1, input_tokens=9, cached_tokens=1, switching_msats=12_345_678_000)
    assert [text.strip() for text in texts([squeezed(shown(view)["Saved"].lines[3], width)])] == [said]


@pytest.mark.parametrize(
    ("started_at_ms", "said"),
    [
        pytest.param(NOON - HOUR_MS, ["9.000 sats", "7 days 9.000 sats"], id="today"),
        pytest.param(NOON - DAY_MS, ["8.000 sats", "7 days 8.500 sats"], id="yesterday"),
    ],
)
def test_what_was_spent_since_a_start_today_is_part_of_today_and_of_the_week(
    started_at_ms: int, said: list[str]
) -> None:
    snapshot = replace(FakeSource().snapshot(), started_at_ms=started_at_ms, totals=Totals(cost_msats=9000))
    stats = LedgerStats(today=Aggregate(cost_msats=8000), week=Aggregate(cost_msats=8500))
    spent = texts(shown(ViewModel(snapshot).view(NOON), stats)["Spent"].lines)
    assert [spent[0], spent[2]] == said


@pytest.mark.parametrize(
    ("spent", "listed", "said", "role"),
    [
        (1_096_000, 983_800, "rates 984 +11.4 %", "warn"),
        (1_010_000, 1_000_000, "rates 1,000 +1.0 %", "text"),
        (900_000, 1_000_000, "rates 1,000 -10.0 %", "text"),
        (1_000_001, 1_000_000, "rates 1,000", "text"),
        (0, 0, "rates 0", "text"),
    ],
)
def test_what_was_charged_stands_beside_what_the_rates_say(spent: int, listed: int, said: str, role: Role) -> None:
    stats = LedgerStats(today=Aggregate(cost_msats=spent, list_cost_msats=listed))
    lines = shown(view_of(), stats)["Spent"].lines
    assert texts(lines)[1] == said
    assert lines[1][-1][1] == role


@pytest.mark.parametrize(
    ("width", "said"),
    [(20, "8,800 of 50,000 left"), (15, "8,800 of 50,000"), (14, "8,800 of"), (7, "8,800"), (5, "8,800")],
)
def test_what_does_not_fit_goes_whole_labels_first(width: int, said: str) -> None:
    line: Line = (("8,800", "text"), (" of ", "muted"), ("50,000", "text"), (" left", "muted"))
    assert texts([squeezed(line, width)]) == [said]


def test_a_unit_goes_before_a_figure_behind_it() -> None:
    line: Line = (("24 h ", "muted"), ("3.558", "text"), (" /min", "muted"), (" ▲ 34.1×", "warn"))
    assert texts([squeezed(line, 19)]) == ["24 h 3.558 ▲ 34.1×"]


def test_where_there_are_few_lines_latency_goes_first_then_savings() -> None:
    all_tiles = tiles(view_of(day_budget(1)), LedgerStats(), None, MINUTES)
    titles = ["Spent", "Burn", "Budget", "Saved", "Requests", "Latency"]
    panel = TilesPanel()
    panel._tiles = all_tiles
    assert [line.split()[0] for line in texts(panel.draw(80, 6))] == titles
    assert [line.split()[0] for line in texts(panel.draw(80, 4))] == ["Spent", "Burn", "Budget", "Requests"]
