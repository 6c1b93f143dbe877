"""What is believed of a provider's prompt cache, given what it found so far."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.learning.cache_stats import CacheStats


def seen(*found: float, age_s: float = 60.0, tokens: float = 10_000.0) -> CacheStats:
    stats = CacheStats()
    for share in found:
        stats.add(age_s, tokens, int(share * tokens))
    return stats


def test_a_cache_that_was_never_tried_is_expected_to_find_everything_for_five_minutes() -> None:
    stats = CacheStats()
    assert stats.expected(1, 5000) == stats.expected(300, 5000) == 1
    assert stats.expected(301, 5000) < 0.5
    assert stats.expected(3600, 5000) < 0.1


def test_what_it_finds_on_average_is_expected_of_it() -> None:
    assert seen(*[1, 0] * 50).expected(60, 10_000) == pytest.approx(0.5, abs=0.1)


def test_one_that_stops_finding_anything_is_no_longer_trusted_and_tried_again_after_some_hours() -> None:
    stats = seen(*[1] * 100)
    assert stats.expected(60, 10_000) == 1
    for _ in range(100):
        stats.add(60, 10_000, 0)
    assert stats.expected(60, 10_000) < 0.2
    stats.age(0)
    stats.age(6 * 3600)
    assert stats.expected(60, 10_000) > 0.7


def test_one_that_keeps_prompts_for_an_hour_is_found_out() -> None:
    assert seen(*[1] * 30, age_s=1500).expected(1500, 10_000) > 0.8


def test_one_that_forgets_after_a_minute_is_found_out_and_still_trusted_within_it() -> None:
    stats = seen(*[1] * 30, age_s=50)
    for _ in range(30):
        stats.add(100, 10_000, 0)
    assert stats.expected(50, 10_000) > 0.75
    assert stats.expected(100, 10_000) < 0.35


def test_one_that_does_not_cache_short_prompts_is_found_out_and_still_trusted_with_long_ones() -> None:
    stats = seen(*[0] * 30, tokens=500)
    for _ in range(30):
        stats.add(60, 5000, 5000)
    assert stats.expected(60, 500) < 0.35
    assert stats.expected(60, 5000) > 0.75


def test_nothing_is_expected_of_a_beginning_too_short_for_any_cache_and_nothing_learned_from_it() -> None:
    stats = CacheStats()
    assert (stats.expected(1, 63), stats.expected(1, 64)) == (0, 1)
    for _ in range(50):
        stats.add(1, 20, 0)
    assert stats.expected(1, 500) == 1


def test_the_share_that_is_written_is_that_of_recent_requests() -> None:
    stats = CacheStats()
    assert stats.written == 0
    for _ in range(100):
        stats.add_written(1)
    for _ in range(100):
        stats.add_written(0.5)
    assert 0.5 <= stats.written < 0.6


def test_what_was_learned_survives_a_restart_and_fades_only_from_then_on() -> None:
    before, after = seen(*[1, 0, 0] * 20), CacheStats()
    before.add_written(0.5)
    after.restore(json.loads(json.dumps(before.state())), now_s=1e6)
    after.age(1e6)
    assert after.tried
    assert after.written == 0.5
    for age_s in (1, 60, 299, 900):
        assert after.expected(age_s, 10_000) == before.expected(age_s, 10_000)


@pytest.mark.parametrize("state", [None, {}, [], [[1, 1]], [["a", 1]] * 13, [[-1, 1]] * 13, "text"])
def test_a_state_that_means_nothing_is_ignored(state: object) -> None:
    stats = CacheStats()
    stats.restore(state, now_s=5)
    assert not stats.tried
    assert stats.expected(1, 5000) == 1


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(1, 1e6), st.integers(0, 10**6), st.floats(0, 1e5))))
def test_whatever_it_reports_the_expected_share_is_between_nothing_and_all(
    reports: list[tuple[float, float, int, float]],
) -> None:
    stats, now_s = CacheStats(), 0.0
    for age_s, tokens, cached, later_s in reports:
        stats.add(age_s, tokens, cached)
        now_s += later_s
        stats.age(now_s)
        assert all(0 <= stats.expected(age, length) <= 1 for age in (0, 60, 301, 9999) for length in (1, 1024, 1e6))
