"""The statistics of one offer, whatever is recorded."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arbstr.engine.learning.provider_stats import ChargeRatio, Counts, LatencyModel, SuccessRate

counts = st.integers(0, 2**53)


def charges(*pairs: tuple[int, int]) -> ChargeRatio:
    known = ChargeRatio()
    for charged, computed in pairs:
        known.add(charged, computed, 0.0)
    return known


def test_three_alike_charges_are_believed_and_one_is_not() -> None:
    assert charges((300, 100)).ratio == 1
    assert charges(*[(300, 100)] * 3).ratio > 1.5
    assert charges(*[(300, 100)] * 16).ratio == 3


def test_a_provider_that_charges_now_this_now_that_is_as_dear_as_on_average() -> None:
    assert charges(*[(100, 100), (500, 100)] * 8).ratio == pytest.approx(3)


@given(st.lists(st.tuples(counts, counts), max_size=40))
def test_whatever_is_charged_the_ratio_stays_within_its_bounds(pairs: list[tuple[int, int]]) -> None:
    known = charges(*pairs)
    assert 0.5 <= known.ratio <= 100
    assert known.seen <= 16


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e6)), max_size=60))
def test_the_success_rate_stays_within_its_bounds(attempts: list[tuple[bool, float]]) -> None:
    known, now = SuccessRate(), 0.0
    for ok, passed in attempts:
        now += passed
        known.add(ok, now)
    assert 0.2 <= known.rate <= 1
    assert known.rate == 1 or not all(ok for ok, _ in attempts)


def test_speed_is_the_time_to_the_first_byte_and_the_time_per_token() -> None:
    speed = LatencyModel()
    assert speed.expected_ms(100) is None
    for length in (10, 500, 80, 300, 40, 900):
        speed.add(0, 250, 0.0)
        speed.add(length, 250 + 12 * length, 0.0)
    assert speed.expected_ms(0) == pytest.approx(250, rel=0.01)
    assert speed.expected_ms(200) == pytest.approx(250 + 12 * 200, rel=0.01)


def test_speed_follows_a_change() -> None:
    speed = LatencyModel()
    for per_token in [2] * 200 + [40] * 40:
        speed.add(0, 100, 0.0)
        speed.add(100, 100 + 100 * per_token, 0.0)
    assert speed.expected_ms(100) == pytest.approx(4100, rel=0.05)


@example([(57_932_291, 0.0), (57_932_291, 0.0)], 0)  # whose squares are not exact
@given(st.lists(st.tuples(counts, st.floats(0, 1e9)), min_size=1, max_size=30), counts)
def test_whatever_is_measured_the_expected_time_is_a_number_and_not_negative(
    measured: list[tuple[int, float]], length: int
) -> None:
    speed = LatencyModel()
    for tokens, duration in measured:
        speed.add(tokens, duration, 0.0)
    expected = speed.expected_ms(length)
    assert expected is not None
    assert math.isfinite(expected)
    assert expected >= 0


def test_answers_of_known_length_hide_no_tokens() -> None:
    known = Counts()
    for _ in range(10):
        known.add(100, 100)
    assert known.hidden == 1


def test_a_few_answers_prove_nothing_and_some_more_do() -> None:
    known = Counts()
    for _ in range(3):
        known.add(3000, 300)
    assert known.hidden == 1
    known.add(3000, 300)
    assert known.hidden == pytest.approx(10)
    assert known.unseen == 2700


def test_a_provider_that_counts_honestly_again_is_believed_again() -> None:
    known = Counts()
    for _ in range(10):
        known.add(1_000_000, 100)
    for _ in range(400):
        known.add(100, 100)
    assert known.hidden == 1
    assert known.unseen < 500


@given(st.lists(st.tuples(counts, counts), max_size=30), st.lists(st.floats() | st.integers(), max_size=5))
def test_whatever_is_counted_the_price_is_moved_by_a_number(pairs: list[tuple[int, int]], state: list[float]) -> None:
    known = Counts()
    known.restore(state)
    for counted, visible in pairs:
        known.add(counted, min(counted, visible))
    assert 1 <= known.hidden <= 10_000
    assert math.isfinite(known.unseen)
