"""What a request costs: exact decimals, rounded once, half up, to a whole millisat."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.pricing import cost_msats, expected_msats
from arbstr.types import Rates, Usage

rates = st.decimals(min_value=0, max_value=10**9, allow_nan=False, allow_infinity=False)
tokens = st.integers(min_value=0, max_value=2**53)


def test_tokens_at_their_rates_and_the_fee_make_the_cost() -> None:
    asked = Rates(input=Decimal(10), output=Decimal(30), base_fee=Decimal(1000))
    assert cost_msats(asked, Usage(100, 50)) == 10 * 100 + 30 * 50 + 1000


@pytest.mark.parametrize(("rate", "cost"), [("0.5", 1), ("0.4999", 0), ("1.5", 2), ("2.5", 3), ("0.45", 0)])
def test_half_a_millisat_is_rounded_up(rate: str, cost: int) -> None:
    assert cost_msats(Rates(Decimal(rate), Decimal(0), Decimal(0)), Usage(1, 0)) == cost


def test_parts_are_not_rounded_before_they_are_added() -> None:
    # 0.3 + 0.3 + 0.3 is 0.9: rounded part by part it would be nothing.
    third = Decimal("0.3")
    assert cost_msats(Rates(third, third, third), Usage(1, 1)) == 1


@pytest.mark.parametrize("usage", [Usage(), Usage(input_tokens=5), Usage(output_tokens=5)])
def test_a_count_that_is_unknown_makes_the_cost_unknown(usage: Usage) -> None:
    assert cost_msats(Rates(Decimal(1), Decimal(1), Decimal(1)), usage) is None


def test_no_tokens_at_all_still_cost_the_fee() -> None:
    assert cost_msats(Rates(Decimal(1), Decimal(1), Decimal(7)), Usage(0, 0)) == 7


def test_cached_tokens_cost_their_own_rate_and_are_no_longer_plain_input() -> None:
    asked = Rates(Decimal(10), Decimal(30), Decimal(0), cached_input=Decimal(1))
    assert cost_msats(asked, Usage(100, 0, cached_tokens=60)) == 40 * 10 + 60 * 1


def test_without_a_rate_of_their_own_cached_tokens_are_plain_input() -> None:
    assert cost_msats(Rates(Decimal(10), Decimal(30), Decimal(0)), Usage(100, 0, cached_tokens=60)) == 1000


def test_more_cached_tokens_than_input_are_never_a_discount_below_the_cached_rate() -> None:
    asked = Rates(Decimal(10), Decimal(0), Decimal(0), cached_input=Decimal(1))
    assert cost_msats(asked, Usage(100, 0, cached_tokens=10**9)) == 100


@given(rates, rates, rates, st.none() | rates, tokens, tokens, tokens)
def test_every_cost_is_the_exact_sum_rounded_half_up(
    asked: Decimal, answer: Decimal, fee: Decimal, cached: Decimal | None, given_in: int, given_out: int, hits: int
) -> None:
    usage = Usage(given_in, given_out, cached_tokens=hits)
    hits = min(hits, given_in)
    exact = Fraction(asked) * (given_in - hits) + Fraction(asked if cached is None else cached) * hits
    exact += Fraction(answer) * given_out + Fraction(fee)
    assert cost_msats(Rates(asked, answer, fee, cached), usage) == floor(exact + Fraction(1, 2))


def test_an_expected_cost_is_the_same_sum_of_fractions_of_tokens() -> None:
    assert expected_msats(Rates(Decimal(10), Decimal(30), Decimal(1000)), 2.5, 0.5) == pytest.approx(1040)
