"""A latency sketch is within 2 % of the truth, and adding sketches is adding sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.ledger.latency_histogram import (
    _LARGEST,
    _VALUES,
    LONGEST_MS,
    exact_percentiles,
    pack,
    percentiles,
    sketch,
    sketch_text,
    unpack,
)

PERCENTS = (1, 50, 95, 99, 100)
latencies = st.lists(st.one_of(st.integers(0, 100), st.integers(0, LONGEST_MS)), min_size=1, max_size=200)


def sketched(values: list[int]) -> int:
    return sum(map(sketch, values))


def test_every_bucket_has_a_value_within_two_percent_of_its_smallest_and_largest_member() -> None:
    smallest = 0
    for largest, value in zip(_LARGEST, _VALUES, strict=True):
        assert smallest <= value <= largest
        assert 100 * value <= 102 * smallest or value == smallest
        assert 100 * value >= 98 * largest
        smallest = largest + 1
    assert smallest > LONGEST_MS


@given(latencies)
def test_percentiles_are_within_two_percent(values: list[int]) -> None:
    pairs = zip(percentiles(sketched(values), PERCENTS), exact_percentiles(values, PERCENTS), strict=True)
    for found, true in pairs:
        assert abs(found - true) <= 0.02 * true


@given(latencies, st.integers(1, 40))
def test_latencies_as_a_text_have_the_same_sketch_however_it_is_split(values: list[int], window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("arbstr.ledger.latency_histogram._WINDOW", window)
        assert sketch_text(" ".join(map(str, values))) == sketched(values)


@given(latencies, latencies)
def test_sketches_add_up_and_survive_the_database(some: list[int], others: list[int]) -> None:
    together = sketched(some) + sketched(others)
    assert together == sketched(some + others)
    assert unpack(pack(together)) == together


@pytest.mark.parametrize("latency_ms", range(50))
def test_small_latencies_are_exact(latency_ms: int) -> None:
    assert percentiles(sketch(latency_ms), (50,)) == [latency_ms]


def test_what_is_out_of_range_counts_at_its_end() -> None:
    assert percentiles(sketch(-5), (50,)) == [0]
    assert sketch(10**15) == sketch(LONGEST_MS)
    assert percentiles(0, (50, 99)) == [0, 0]
    assert unpack(pack(0)) == 0


@pytest.mark.parametrize(
    ("values", "median", "p95"),
    [([7], 7, 7), ([1, 2], 1, 2), ([1, 2, 3], 2, 3), (list(range(1, 101)), 50, 95), ([5, 5, 5, 9], 5, 9)],
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(
    values: list[int], median: int, p95: int
) -> None:
    assert exact_percentiles(values, (50, 95)) == [median, p95]
