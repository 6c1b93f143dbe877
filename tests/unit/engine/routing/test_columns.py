"""What offers are compared by, in columns that are made again only when that has changed."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.routing.candidates import CandidateSet
from arbstr.engine.routing.changes import Changes
from arbstr.engine.routing.columns import columns_of
from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.price_tag import Expected
from arbstr.engine.routing.strategy import Cheapest
from arbstr.types import Rates
from tests.support.engine_builders import config, provider

NAMES = ("alpha", "beta", "gamma")


def offers() -> list[Offer]:
    shared = Changes()
    made = [provider(name, 10 + place, 30, cached_input_rate=1) for place, name in enumerate(NAMES)]
    return [Offer(one, "m", config([]).policies, shared) for one in made]


def several(change: Callable[[Offer], object]) -> Callable[[Offer], object]:
    """One of a kind is chance, and changes nothing."""
    return lambda offer: [change(offer) for _ in range(10)]


CHANGES: dict[str, Callable[[Offer], object]] = {
    "charge": several(lambda offer: offer.record_charge(1500, 1000, 0.0)),
    "fair charge": several(lambda offer: offer.record_charge(1000, 1000, 0.0)),
    "failure": several(partial(Offer.record_attempt, ok=False, now_s=0.0)),
    "reasoning": several(partial(Offer.record_counts, tokens=400, seen=100)),
    "rates": lambda offer: offer.set_rates(Rates(Decimal(3), Decimal(4), Decimal(5), Decimal(1))),
    "age": lambda offer: offer.age(1e6),
    "cache": lambda offer: offer.record_cached(60.0, 5000.0, 0),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(0, 2)), max_size=20))
def test_they_are_as_if_they_were_made_for_each_request(changes: list[tuple[str, int]]) -> None:
    sold = offers()
    candidates = CandidateSet(None, "m", Cheapest(), sold)
    for change, place in changes:
        CHANGES[change](sold[place])
        assert candidates.columns() == columns_of(sold)


def test_they_are_as_they_should_be_however_much_has_changed() -> None:
    sold = offers()
    candidates = CandidateSet(None, "m", Cheapest(), sold)
    for number in range(700):
        sold[number % 3].record_charge(1000 + number, 1000, 0.0)
        if number % 290 == 0:
            assert candidates.columns() == columns_of(sold)
            assert candidates.columns().dearest >= max(offer.tag.ratio for offer in sold)
    assert candidates.columns() == columns_of(sold)


def test_they_stay_while_nothing_changes_that_is_compared() -> None:
    sold = offers()
    candidates = CandidateSet(None, "m", Cheapest(), sold)
    columns = candidates.columns()
    for change in ("fair charge", "cache"):
        CHANGES[change](sold[1])
    assert candidates.columns() is columns
    CHANGES["charge"](sold[1])
    assert candidates.columns() is not columns


@pytest.mark.parametrize(
    ("most_output", "counted"), [(1e9, 400), (250, 250)], ids=["all that is hidden", "not beyond the cap"]
)
def test_tokens_that_a_provider_counts_beside_the_visible_ones_are_priced(most_output: float, counted: float) -> None:
    sold = offers()
    CHANGES["reasoning"](sold[1])
    expected = Expected(1000, 100, most_output)
    weights = columns_of(sold).weights(expected)
    assert weights == pytest.approx([1000 * 10 + 100 * 30, 1000 * 11 + counted * 30, 1000 * 12 + 100 * 30])
    assert weights == pytest.approx([offer.tag.cost(expected) for offer in sold])


def test_some_of_the_offers_keep_what_they_have() -> None:
    sold = offers()
    assert columns_of(sold).only([True, False, True]) == columns_of([sold[0], sold[2]])
