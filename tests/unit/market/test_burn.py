"""How fast a balance is spent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbstr.clock import HOUR_MS, MINUTE_MS
from arbstr.market.burn import LEAST_MS, BurnRate


def rate(*readings: tuple[int, int]) -> int:
    """The rate after readings at minutes, in msats."""
    burn = BurnRate()
    for minute, spent in readings:
        burn.add(minute * MINUTE_MS, spent)
    return burn.msats_per_hour


def test_without_spending_there_is_no_rate() -> None:
    assert rate() == 0
    assert rate((0, 5000)) == 0
    assert rate((0, 5000), (30, 5000)) == 0


def test_it_is_what_was_spent_within_the_time_that_is_known() -> None:
    assert rate((0, 5000), (30, 6000)) == 2000


def test_a_first_request_is_taken_for_all_that_was_spent_in_ten_minutes() -> None:
    assert LEAST_MS == 10 * MINUTE_MS
    assert rate((0, 5000), (1, 5100)) == 600


def test_only_the_last_hour_counts() -> None:
    assert rate((0, 0), (60, 90_000), (120, 91_000)) == 1000
    assert rate((0, 0), (30, 90_000), (89, 90_000), (91, 90_000), (200, 90_000)) == 0


def test_where_the_sum_or_the_clock_goes_back_it_begins_again() -> None:
    assert rate((0, 5000), (30, 100), (60, 300)) == 400
    assert rate((60, 5000), (0, 6000), (30, 7000)) == 2000


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10_000)), max_size=200))
def test_whatever_the_readings_it_is_no_more_than_was_spent_and_little_is_kept(steps: list[tuple[int, int]]) -> None:
    burn, minute, spent = BurnRate(), 0, 0
    for minutes, msats in steps:
        minute, spent = minute + minutes, spent + msats
        burn.add(minute * MINUTE_MS, spent)
    assert 0 <= burn.msats_per_hour <= spent * HOUR_MS // LEAST_MS
