"""Providers on Live, in one line each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from arbstr.types import Balance
from tests.support.dashboard_fakes import NOON, lived_in
from tui.model.price_board import BoardRow, PriceBoard
from tui.model.provider_view import ProviderView
from tui.model.view_model import ViewModel
from tui.render.layout import lay_out
from tui.widgets.provider_health import COLUMNS, provider_rows

BOARD = PriceBoard((BoardRow("gpt-4o", 400, 200, {"alpha": 101_000, "beta": 9_000}, "beta", answered=1),), bought=True)


def providers() -> list[ProviderView]:
    return list(ViewModel(lived_in().snapshot()).view(NOON).providers)


@pytest.mark.parametrize("width", [120, 160, 200])
def test_from_120_cells_on_there_are_first_bytes_and_their_history_speed_and_price(width: int) -> None:
    rows = provider_rows(providers(), NOON, BOARD)
    layout = lay_out(COLUMNS, width * 3 // 5 - 4, [row.cells for row in rows])
    assert {"provider", "state", "price", "health", "first", "lately", "tok/s"} <= {
        column.title for column, _ in layout
    }


def test_prices_and_balances_have_one_precision_and_the_cheapest_a_star() -> None:
    views = providers()
    for place, free_msats in enumerate((1_234, 150_000)):
        status = replace(views[place].status, balance=Balance("known", free_msats=free_msats))
        views[place] = replace(views[place], status=status)
    rows = provider_rows(views, NOON, BOARD)
    assert [row.cells["price"][0].strip() for row in rows] == ["101.0", "9.0 ★", "–", "–"]
    assert [row.cells["balance"][0] for row in rows] == ["1.2 sats", "150.0 sats", "–", "–"]


def test_where_columns_have_no_names_figures_have_units() -> None:
    view = providers()[0]
    busy = replace(view, status=replace(view.status, in_flight=2))
    for named, speed, running in ((True, "", "2"), (False, " tok/s", "2 running")):
        (row,) = provider_rows([busy], NOON, BOARD, named=named)
        assert row.cells["tok/s"][0].endswith(speed)
        assert row.cells["run"][0] == running


def test_a_provider_leads_to_its_requests() -> None:
    assert next(row.finds for row in provider_rows(providers(), NOON)) == 'provider:"alpha"'
