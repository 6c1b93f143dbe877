"""What a provider claims is believed up to a hundred times what the request and its answer allow."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.claims import FACTOR, Bill, Bounds, bill, bounds_of
from arbstr.types import Rates, Routing, Usage
from tests.support.engine_builders import chat

RATES = Rates(input=Decimal(10), output=Decimal(30), base_fee=Decimal(0))
FREE = Rates(input=Decimal(0), output=Decimal(0), base_fee=Decimal(0))
BOUNDS = Bounds(prompt=100, sent=400, answer=50)
ALLOWED = 100 * 10 + 50 * 30  # msats


def test_the_rates_say_what_it_cost_where_the_provider_does_not() -> None:
    assert bill(RATES, Usage(100, 50), None, BOUNDS) == Bill(2500, 2500)


@pytest.mark.parametrize("charged", [0, 455, 2500, 12_423])
def test_the_provider_says_what_it_cost_and_the_rates_stand_beside(charged: int) -> None:
    assert bill(RATES, Usage(100, 50), charged, BOUNDS) == Bill(charged, 2500)


def test_a_charge_is_known_without_tokens() -> None:
    assert bill(RATES, None, 455, BOUNDS) == Bill(455, None)
    assert bill(RATES, Usage(100, None), 455, BOUNDS) == Bill(455, None)
    assert bill(RATES, None, None, BOUNDS) == Bill(None, None)


@pytest.mark.parametrize("usage", [Usage(100, 50), Usage(100, 1), Usage(100, None), None])
def test_a_charge_of_more_than_a_hundredfold_is_marked_and_capped(usage: Usage | None) -> None:
    most = FACTOR * ALLOWED
    for charged in (most - 1, most):
        assert bill(RATES, usage, charged, BOUNDS).cost_msats == charged
        assert bill(RATES, usage, charged, BOUNDS).implausible is None
    for charged in (most + 1, 10**12):
        assert bill(RATES, usage, charged, BOUNDS).cost_msats == most
        assert bill(RATES, usage, charged, BOUNDS).implausible == "charge"


def test_tokens_of_more_than_a_hundredfold_are_marked_and_priced_as_the_hundredfold() -> None:
    assert bill(RATES, Usage(100, FACTOR * 50), None, BOUNDS).implausible is None
    most = 100 * 10 + FACTOR * 50 * 30
    for tokens in (FACTOR * 50 + 1, 10**9):
        assert bill(RATES, Usage(100, tokens), None, BOUNDS) == Bill(most, most, "tokens")


def test_prompt_tokens_of_more_than_a_hundredfold_are_priced_as_the_hundredfold() -> None:
    found = bill(RATES, Usage(10**9, 50), None, BOUNDS)
    assert found == Bill(FACTOR * 400 * 10 + 50 * 30, FACTOR * 400 * 10 + 50 * 30, "tokens")
    assert bill(RATES, Usage(123_456, 50), None, BOUNDS).implausible is None  # of a file that was only named


def test_charge_and_tokens_may_both_be_absurd() -> None:
    found = bill(RATES, Usage(10**9, 10**9), 10**12, BOUNDS)
    assert (found.cost_msats, found.implausible) == (FACTOR * ALLOWED, "charge,tokens")


def test_absurd_tokens_do_not_make_a_charge_credible() -> None:
    assert bill(RATES, Usage(10**9, 50), FACTOR * ALLOWED + 1, BOUNDS).implausible == "charge,tokens"


def test_a_charge_within_the_bounds_stands_whatever_the_tokens() -> None:
    assert bill(RATES, Usage(100, 10**9), 455, BOUNDS).cost_msats == 455


def test_a_least_charge_is_no_absurdity() -> None:
    """Embeddings cost some nodes' customers a flat 163 msats, of rates that say one."""
    rates = Rates(input=Decimal("0.01"), output=Decimal(0), base_fee=Decimal(0))
    assert bill(rates, Usage(5, 0), 163, BOUNDS) == Bill(163, 1)


def test_where_the_rates_say_nothing_a_dear_models_are_the_measure() -> None:
    assert bill(FREE, Usage(100, 50), 5000, BOUNDS) == Bill(5000, 0)
    assert bill(FREE, Usage(100, 50), 10**12, BOUNDS) == Bill(FACTOR * ALLOWED, 0, "charge")


@pytest.mark.parametrize(
    ("fields", "answer_bytes", "answer"),
    [
        ({"max_tokens": 16}, 5000, 16),
        ({"max_tokens": 16, "choices": 4}, 5000, 64),
        ({"max_tokens": 100_000}, 5000, 5000),
        ({}, 5000, 5000),
        ({}, 0, 1000),  # a short answer may have taken much thinking
        ({"max_tokens": 2**53}, 300, 1000),
    ],
)
def test_an_answer_has_as_many_tokens_as_its_cap_and_its_size_allow(
    fields: dict[str, Any], answer_bytes: int, answer: int
) -> None:
    routing = Routing("cheapest", None, "gpt-4o", 100, 256, ())
    assert bounds_of(chat(body=b"x" * 700, **fields), routing, answer_bytes) == Bounds(100, 700, answer)


counts = st.none() | st.integers(0, 10**9)


@given(counts, counts, st.integers(0, 10**9), st.none() | st.integers(0, 10**12))
def test_no_claim_costs_more_than_the_hundredfold(
    tokens_in: int | None, tokens_out: int | None, cached: int, charged: int | None
) -> None:
    cost, listed, implausible = bill(RATES, Usage(tokens_in, tokens_out, cached), charged, BOUNDS)
    most = FACTOR * ((400 + 2000) * 10 + 50 * 30)
    assert (listed or 0) <= most
    assert (cost or 0) <= (most if charged is None else FACTOR * most)
    assert (cost is None) == (charged is None and listed is None)
    if implausible is None and charged is not None:
        assert cost == charged
