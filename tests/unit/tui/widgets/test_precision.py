"""Amounts of sats that stand in one column have as many decimals each, whatever they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st

from arbstr.clock import HOUR_MS
from arbstr.ledger.model import Aggregate, Entry
from arbstr.types import Balance, BudgetStatus
from tests.support.dashboard_fakes import NOON, FakeSource, lived_in
from tui.model.breakdown import FailureKind
from tui.model.burn import Burn
from tui.model.groups import Groups
from tui.model.ledger_stats import MINUTES
from tui.model.price_board import BoardRow, PriceBoard
from tui.model.provider_view import ProviderView
from tui.model.time_series import Chart
from tui.model.view_model import ViewModel
from tui.render.layout import Cells
from tui.widgets import price_board
from tui.widgets.budget_table import budget_rows
from tui.widgets.group_table import GroupSort, group_rows
from tui.widgets.provider_health import provider_rows
from tui.widgets.provider_table import ProviderTable, rate_lines
from tui.widgets.spend_by_model import share_rows
from tui.widgets.spend_chart import SpendChart
from tui.widgets.spending_details import dearest_rows, failure_rows, heat_rows

AMOUNTS = st.lists(st.integers(0, 10**10), min_size=4, max_size=4)
_DECIMALS = re.compile(r"\d(?:\.(\d+))?(?![\d.,])")
ENTRY = Entry(1, "id", "", NOON, "m", None, None, False, True, 1, 1, 1, None, 1, None, None, None)
VIEWS = tuple(ViewModel(lived_in().snapshot()).view(NOON).providers)


def check(rows: Sequence[Cells], *columns: str) -> None:
    for column in columns:
        texts = [row[column][0] for row in rows]
        places = {len(decimals) for text in texts for decimals in _DECIMALS.findall(text)}
        assert len(places) <= 1, f"{column}: {texts}"


def groups_of(amounts: Sequence[int]) -> Groups:
    return {
        f"m{place}": Aggregate(
            total=place + 1,
            success=place,
            cost_msats=amount,
            list_cost_msats=amount,
            saved_vs_median_msats=-amount // 3,
            input_tokens=97 * place,
        )
        for place, amount in enumerate(amounts)
    }


def views_of(amounts: Sequence[int]) -> list[ProviderView]:
    return [
        replace(view, status=replace(view.status, balance=Balance("known", free_msats=amount)))
        for view, amount in zip(VIEWS, amounts, strict=True)
    ]


def board_of(amounts: Sequence[int]) -> PriceBoard:
    prices = {view.key: amount / 7 for view, amount in zip(VIEWS, amounts, strict=True)}
    rows = [
        BoardRow(f"m{place}", 400, 200, prices, VIEWS[place].key, paid_msats=amount / 3, lost_msats=amount)
        for place, amount in enumerate(amounts)
    ]
    lost = {view.status.name: amount for view, amount in zip(VIEWS, amounts, strict=True)}
    return PriceBoard(tuple(rows), bought=True, lost=lost)


@given(AMOUNTS)
def test_sums_by_model_and_by_whatever_on_money(amounts: list[int]) -> None:
    groups = groups_of(amounts)
    check([row.cells for row in share_rows(groups, 4)], "sats", "each")
    rows = group_rows(groups, "model", GroupSort("sats"), typed="", finds="", trends={})
    check([row.cells for row in rows], "sats", "each", "/1k tok", "saved")


@given(AMOUNTS)
def test_prices_balances_and_losses_by_provider(amounts: list[int]) -> None:
    views, board = views_of(amounts), board_of(amounts)
    check([row.cells for row in provider_rows(views, NOON, board)], "price", "balance")
    table = ProviderTable()
    groups = dict(zip((view.status.name for view in views), groups_of(amounts).values(), strict=True))
    table.show(views, 0, groups, NOON, "1 h", hint="", lost=board.lost)
    check(table._table(views), "sats", "lost", "balance")


@given(AMOUNTS)
def test_the_price_board_has_one_for_all_that_are_compared(amounts: list[int]) -> None:
    titles = {view.key: view.status.name for view in VIEWS}
    rows = price_board._table(board_of(amounts).rows, titles, VIEWS)
    check([{"price": row[title]} for row in rows for title in [*titles.values(), "paid"]], "price")
    check(rows, "lost")


@given(AMOUNTS)
def test_requests_failures_and_hours(amounts: list[int]) -> None:
    kinds = [FailureKind(500 + place, None, 1, amount, "") for place, amount in enumerate(amounts)]
    check([row.cells for row in failure_rows(kinds, "")], "cost")
    entries = [replace(ENTRY, cost_msats=amount) for amount in amounts]
    check([row.cells for row in dearest_rows(entries, UTC, days=False)], "sats")
    hours = {NOON - 24 * HOUR_MS * place: amount for place, amount in enumerate(amounts)}
    check([row.cells for row in heat_rows(hours, NOON, UTC)], "sats")


@given(AMOUNTS)
def test_budgets_and_how_they_end(amounts: list[int]) -> None:
    source = FakeSource()
    ends = NOON + HOUR_MS // 2
    source.budgets = tuple(
        BudgetStatus(f"rule {place}", "hour", amount, 0, 2 * amount + 1, ends) for place, amount in enumerate(amounts)
    )
    view = replace(ViewModel(source.snapshot()).view(NOON), budget_rates=(0.0,) * 4)
    rows = [row.cells for row in budget_rows(view, Burn(1_000, 600_000), UTC)]
    assert all(row["at this rate"][0].endswith(" at reset") for row in rows)
    check(rows, "spent of limit", "at this rate")


@given(AMOUNTS)
def test_the_axis_and_the_title_of_the_chart(amounts: list[int]) -> None:
    chart = SpendChart()
    chart.show(Chart(NOON, 60_000, tuple(amounts)), MINUTES, UTC)
    title, *lines = ["".join(text for text, _ in line) for line in chart.draw(160, 9)]
    axis = [line.partition("┤")[0] for line in lines if "┤" in line]
    check([{"sats": (text, "text")} for text in [*axis, title.partition("last 1 h")[2].partition(" at ")[0]]], "sats")


RATES = st.lists(st.decimals(0, 1000, places=3).map(float), min_size=4, max_size=4)


@given(RATES)
def test_rates_of_a_price_list(rates: list[float]) -> None:
    models = tuple(f"model-{chr(97 + place)}" for place in range(len(rates)))
    per_model = {model: (each, each * 2, 0.0) for model, each in zip(models, rates, strict=True)}
    view = replace(VIEWS[0], status=replace(VIEWS[0].status, models=models, model_rates=per_model))
    head, *lines = ["".join(text for text, _ in line) for line in rate_lines(view, 90)]
    ends = [head.index(title) + len(title) for title in ("in/1k", "out/1k", "1,000 in + 256 out")]
    for end in ends:
        check([{"rate": (line[:end].removesuffix(" sats").rsplit(maxsplit=1)[-1], "text")} for line in lines], "rate")
