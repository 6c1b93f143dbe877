"""How many tokens a bucket gives, and when there is another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.token_bucket import TokenBucket
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_burst_of_one_second_passes_and_then_the_rate_holds(clock: Clock) -> None:
    bucket = TokenBucket(2, clock)
    assert [bucket.take() for _ in range(3)] == [0, 0, pytest.approx(0.5)]
    clock.now += 0.5
    assert [bucket.take() for _ in range(2)] == [0, pytest.approx(0.5)]


def test_a_rate_below_one_a_second_still_holds_one_token(clock: Clock) -> None:
    bucket = TokenBucket(0.1, clock)
    assert [bucket.take() for _ in range(2)] == [0, pytest.approx(10)]


def test_idle_time_is_not_saved_up(clock: Clock) -> None:
    bucket = TokenBucket(3, clock)
    clock.now += 3600
    assert sum(not bucket.take() for _ in range(10)) == 3


@given(st.floats(0.01, 1000), st.lists(st.floats(0, 5), max_size=60))
def test_never_more_than_a_burst_and_the_rate(per_second: float, pauses: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(per_second, clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        taken += bucket.take() == 0
    assert taken <= max(1.0, per_second) + sum(pauses) * per_second + 1e-6


def test_its_repr_says_how_full_it_is(clock: Clock) -> None:
    bucket = TokenBucket(2, clock)
    bucket.take()
    assert repr(bucket) == "<TokenBucket 2/s, 1.0 of 2 left>"
