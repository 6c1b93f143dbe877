"""Tenfold jumps of prices: believed when they are seen twice."""

from __future__ import annotations

from decimal import Decimal

import pytest

from arbstr.engine.routing.listing import ListedModel
from arbstr.market.price_jumps import believed
from arbstr.types import Rates


def rates(price_in: float, price_out: float = 10, cached: float | None = None) -> Rates:
    cached_input = None if cached is None else Decimal(str(cached))
    return Rates(Decimal(str(price_in)), Decimal(str(price_out)), Decimal(0), cached_input=cached_input)


def listed(asked: Rates | None, *, doubted: bool = False) -> tuple[ListedModel, ...]:
    return (ListedModel("m", (), asked, doubted),)


@pytest.mark.parametrize(
    ("old", "new", "used", "doubted"),
    [
        (rates(10), rates(5), rates(5), False),
        (rates(10), rates(99.9), rates(99.9), False),
        (rates(10), rates(1), rates(10), True),
        (rates(10), rates(100), rates(100), True),
        (rates(10, 10), rates(20, 1), rates(20, 10), True),
        (rates(10), rates(0), rates(10), True),
        (rates(0), rates(5), rates(5), True),
        (rates(0, 0), rates(0, 0), rates(0, 0), False),
        (rates(10, cached=5), rates(1, cached=0.5), rates(10, cached=5), True),
        (rates(10), rates(1, cached=0.1), rates(10), True),
    ],
)
def test_after_a_jump_the_higher_price_holds_and_is_doubted(old: Rates, new: Rates, used: Rates, doubted: bool) -> None:
    assert believed({"m": old}, listed(new), {}) == listed(used, doubted=doubted)


def test_a_jump_that_is_seen_twice_is_believed() -> None:
    doubted: dict[str, Rates] = {}
    first = believed({"m": rates(10)}, listed(rates(1)), doubted)
    assert first == listed(rates(10), doubted=True)
    assert doubted == {"m": rates(1)}
    assert believed({"m": rates(10)}, listed(rates(1.1)), doubted) == listed(rates(1.1))
    assert doubted == {}


def test_another_jump_is_doubted_again_and_a_price_that_returns_is_not() -> None:
    doubted: dict[str, Rates] = {}
    believed({"m": rates(10)}, listed(rates(1)), doubted)
    assert believed({"m": rates(10)}, listed(rates(0.01)), doubted) == listed(rates(10), doubted=True)
    assert believed({"m": rates(10)}, listed(rates(10)), doubted) == listed(rates(10))
    assert doubted == {}


def test_what_was_not_known_before_is_believed() -> None:
    doubted: dict[str, Rates] = {}
    assert believed({}, listed(rates(1)), doubted) == listed(rates(1))
    assert believed({"m": rates(1)}, listed(None), doubted) == listed(None)
