"""The price board: what the user's own requests would cost at every provider now."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC

import pytest

from arbstr.ledger.model import Aggregate, GroupBy
from arbstr.logs.ring import LogRing
from arbstr.monitoring.source import OfferStatus
from tests.support.dashboard_fakes import NOON, FakeSource
from tests.support.patience import PATIENCE_S
from tui.model.dashboard import DashboardModel
from tui.model.ledger_stats import LedgerStats
from tui.model.price_board import USUAL_SIZE, PriceBoard, models_of_interest, price_board
from tui.model.provider_view import ProviderView
from tui.model.view_model import ViewModel

BOUGHT = {
    "gpt-4o": Aggregate(total=11, success=10, cost_msats=210_000, input_tokens=4000, output_tokens=2000),
    "mini": Aggregate(total=2, success=2, cost_msats=500_000, input_tokens=10, output_tokens=10),
    "refused": Aggregate(total=3),
}
LOST: dict[GroupBy, dict[str, Aggregate]] = {
    "model": {"gpt-4o": Aggregate(total=1, cost_msats=10_000)},
    "provider": {"beta": Aggregate(cost_msats=10_000)},
}


def providers(**states: str) -> tuple[ProviderView, ...]:
    source = FakeSource()
    for name, state in states.items():
        source.providers[name] = replace(source.providers[name], state=state)  # type: ignore[arg-type]  # a breaker's, by name
    return ViewModel(source.snapshot()).view(NOON).providers


def board(*offers: OfferStatus, **states: str) -> PriceBoard:
    return price_board(("gpt-4o",), BOUGHT, LOST, {"gpt-4o": offers}, providers(**states))


def test_a_price_is_for_the_mean_size_of_the_models_requests_and_counts_charges_and_failures() -> None:
    plain, dearer = OfferStatus("alpha", 10, 30, 1), OfferStatus("beta", 10, 30, 1, ratio=1.1, success=0.5)
    hidden = OfferStatus("delta", 0, 0, 0, extra_sats=3)
    (row,) = board(plain, dearer, hidden).rows
    assert (row.input_tokens, row.output_tokens) == (400, 200)
    assert row.prices == {"alpha": 11_000, "beta": pytest.approx(24_200), "delta": 3000}
    assert (row.cheapest, row.least_msats) == ("delta", 3000)


def test_the_cheapest_is_one_that_serves_now() -> None:
    offers = OfferStatus("alpha", 1, 1, 0), OfferStatus("beta", 2, 2, 0), OfferStatus("delta", 2, 2, 0)
    assert board(*offers).rows[0].cheapest == "alpha"
    assert board(*offers, alpha="open").rows[0].cheapest == "beta", "of equal ones the first in the file"
    assert board(offers[0], alpha="open").rows[0].cheapest is None
    assert [board(*offers).stars(name) for name in ("alpha", "beta")] == [1, 0]


def test_what_was_paid_is_of_answered_requests_and_what_failed_ones_cost_stands_apart() -> None:
    made = board(OfferStatus("alpha", 10, 60, 0, doubted=True))
    (row,) = made.rows
    assert (row.paid_msats, row.lost_msats, row.doubted) == (20_000, 10_000, frozenset({"alpha"}))
    assert row.over_cheapest == pytest.approx(0.25)
    assert made.lost == {"beta": 10_000}


def test_a_model_that_nobody_sells_any_more_stays_while_it_was_paid_for() -> None:
    (row,) = board().rows
    assert (row.prices, row.cheapest, row.over_cheapest) == ({}, None, None)
    assert price_board(("unknown",), BOUGHT, {}, {}, providers()).rows == ()


def test_the_models_are_those_bought_and_before_that_some_that_are_listed() -> None:
    assert models_of_interest(BOUGHT, providers()) == ("mini", "gpt-4o")
    listed = models_of_interest(None, providers())
    assert listed == ("gpt-4o", "claude-3.5-sonnet", "gpt-4o-mini", "llama-3.3-70b")
    made = price_board(listed, None, {}, {"gpt-4o": [OfferStatus("alpha", 10, 30, 0)]}, providers())
    assert (made.bought, len(made.rows)) == (False, 1)
    assert (made.rows[0].input_tokens, made.rows[0].output_tokens) == USUAL_SIZE


async def test_the_board_is_for_the_users_own_requests_also_while_their_sums_are_being_asked_for() -> None:
    made = asyncio.Event()
    dashboard = DashboardModel(FakeSource(), LogRing(), now_ms=lambda: NOON, zone=UTC, on_figures=made.set)
    keeper = asyncio.create_task(dashboard.keep_board())
    try:
        for groups in ({"model": BOUGHT}, {}):
            dashboard.watch.figures = LedgerStats(groups=groups)  # type: ignore[arg-type]  # another screen's have none
            made.clear()
            dashboard.board()
            await asyncio.wait_for(made.wait(), PATIENCE_S)
            assert dashboard.board().bought
    finally:
        keeper.cancel()
        dashboard.close()
