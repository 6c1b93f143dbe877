"""What a request costs by the rates: exact decimals, rounded once, up, to a whole millisat, as nodes do."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.pricing import cache_saved_msats, cost_msats, expected_msats
from arbstr.types import Rates, Usage

rates = st.decimals(min_value=0, max_value=10**9, allow_nan=False, allow_infinity=False)
tokens = st.integers(min_value=0, max_value=2**53)


def test_tokens_at_their_rates_and_the_fee_make_the_cost() -> None:
    asked = Rates(input=Decimal(10), output=Decimal(30), base_fee=Decimal(1000))
    assert cost_msats(asked, Usage(100, 50)) == 10 * 100 + 30 * 50 + 1000


@pytest.mark.parametrize(
    ("used", "asked", "cost"),  # tokens in and out; rates in and out, and the fee; millisats
    [
        ((1000, 500), ("10", "30", "1000"), 26_000),
        ((0, 0), ("10", "30", "1000"), 1_000),
        ((1, 1), ("0.4", "0.1", "0"), 1),  # 0.5
        ((1, 0), ("0.0001", "0", "0"), 1),
        ((3, 0), ("0.5", "0", "0"), 2),  # 1.5
        ((4, 0), ("0.5", "0", "0"), 2),
        ((1, 1), ("0.3", "0.3", "0.3"), 1),  # 0.9: rounded after the sum, not before
        ((7, 0), ("0.1", "0", "0"), 1),  # 0.7
        ((123_456, 7_890), ("2.5", "10", "1"), 387_541),
    ],
)
def test_the_sum_of_all_parts_is_rounded_up_once(used: tuple[int, int], asked: tuple[str, str, str], cost: int) -> None:
    assert cost_msats(Rates(*map(Decimal, asked)), Usage(*used)) == cost


@pytest.mark.parametrize(("rate", "cost"), [("0.5", 1), ("0.0001", 1), ("1.5", 2), ("2.5", 3), ("2", 2)])
def test_any_part_of_a_millisat_is_rounded_up(rate: str, cost: int) -> None:
    assert cost_msats(Rates(Decimal(rate), Decimal(0), Decimal(0)), Usage(1, 0)) == cost


def test_parts_are_not_rounded_before_they_are_added() -> None:
    # 0.3 + 0.3 + 0.3 is 0.9: rounded part by part it would be 3.
    third = Decimal("0.3")
    assert cost_msats(Rates(third, third, third), Usage(1, 1)) == 1


def test_a_node_charges_as_much() -> None:
    """777 tokens in and 333 out, as a real one counted them: 7,399.53 msats, and 7,400 were charged."""
    asked = Rates(Decimal("3.0301"), Decimal("15.1505"), Decimal(0))
    assert cost_msats(asked, Usage(777, 333)) == 7400


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


def test_written_tokens_cost_their_own_rate_and_are_no_longer_plain_input() -> None:
    asked = Rates(Decimal(10), Decimal(30), Decimal(0), cached_input=Decimal(1), cache_write=Decimal(12))
    usage = Usage(100, 0, cached_tokens=60, cache_write_tokens=30)
    assert cost_msats(asked, usage) == 10 * 10 + 60 * 1 + 30 * 12


def test_a_cache_write_is_priced_as_a_node_does() -> None:
    """Recorded: 200 fresh, 600 read and 200 written tokens in, 500 out; 9,121 msats were charged."""
    asked = Rates(
        Decimal("3.0301"), Decimal("15.1505"), Decimal(0), cached_input=Decimal("0.303"), cache_write=Decimal("3.7876")
    )
    assert cost_msats(asked, Usage(1000, 500, cached_tokens=600, cache_write_tokens=200)) == 9121


@given(st.tuples(rates, rates, rates, st.none() | rates, st.none() | rates), st.tuples(tokens, tokens, tokens, tokens))
def test_every_cost_is_the_exact_sum_rounded_up(
    asked: tuple[Decimal, Decimal, Decimal, Decimal | None, Decimal | None], counted: tuple[int, int, int, int]
) -> None:
    at_input, at_output, fee, at_cached, at_write = asked
    given_in, given_out, hits, writes = counted
    hits_paid = min(hits, given_in)
    writes_paid = min(writes, given_in - hits_paid)
    exact = Fraction(at_input) * (given_in - hits_paid - writes_paid) + Fraction(at_output) * given_out + Fraction(fee)
    exact += Fraction(at_input if at_cached is None else at_cached) * hits_paid
    exact += Fraction(at_input if at_write is None else at_write) * writes_paid
    assert cost_msats(Rates(*asked), Usage(given_in, given_out, hits, writes)) == ceil(exact)


def test_an_expected_cost_is_the_same_sum_of_fractions_of_tokens() -> None:
    assert expected_msats(Rates(Decimal(10), Decimal(30), Decimal(1000)), 2.5, 0.5) == pytest.approx(1040)


@pytest.mark.parametrize(
    ("usage", "saved"),
    [
        (Usage(1000, 5), 0),
        (Usage(None, 5), None),
        (Usage(1000, 5, cached_tokens=600), 600 * 9),
        (Usage(1000, 5, cached_tokens=600, cache_write_tokens=200), 600 * 9 - 500),
        (Usage(1000, 5, cache_write_tokens=1000), -2500),
        (Usage(1000, 5, cached_tokens=5000, cache_write_tokens=5000), 9000),
    ],
)
def test_what_a_cache_saves_is_the_discount_less_what_writing_cost_more(usage: Usage, saved: int | None) -> None:
    rates = Rates(Decimal(10), Decimal(30), Decimal(0), Decimal(1), Decimal("12.5"))
    assert cache_saved_msats(rates, usage) == saved
