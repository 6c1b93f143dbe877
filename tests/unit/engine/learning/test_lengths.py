"""What several providers say of tokens, joined: no single one moves what is expected of the others."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.learning.lengths import Lengths, Texts, join
from arbstr.engine.learning.token_estimator import TokenEstimator


def lengths(**answers: Sequence[float]) -> Lengths:
    known = Lengths()
    for provider, tokens in answers.items():
        for length in tokens:
            known.add(provider, length)
    return known


def test_what_a_single_provider_says_is_all_there_is() -> None:
    known = lengths(alpha=[100, 200, 300])
    assert (known.value, known.seen, known.weight) == (200, 3, 3)


def test_providers_that_agree_are_as_good_as_one() -> None:
    assert lengths(alpha=[100] * 10, beta=[130] * 20).value == pytest.approx(120, rel=0.03)


@pytest.mark.parametrize("claim", [0, 1, 20_000, 1_000_000])
@pytest.mark.parametrize("times", [1, 6, 1000])
def test_a_third_provider_moves_what_the_others_say_by_twice_at_most(claim: float, times: int) -> None:
    known = lengths(alpha=[100] * 10, beta=[120] * 10, liar=[claim] * times)
    assert 50 <= known.value <= 240
    assert 50 <= known.longest <= 240


@pytest.mark.parametrize("claim", [0, 1, 20_000, 1_000_000])
@pytest.mark.parametrize("times", [1, 6, 1000])
def test_of_two_the_one_nearer_to_what_is_assumed_is_believed(claim: float, times: int) -> None:
    known = lengths(alpha=[300] * 10, liar=[claim] * times)
    assert 128 <= known.value <= 600


def test_a_provider_seen_little_has_no_say_in_the_middle() -> None:
    known = lengths(alpha=[900] * 50, beta=[1000] * 50, new=[3], newer=[1], newest=[2])
    assert known.value == pytest.approx(940, rel=0.02)


def test_the_longest_lately_is_remembered_and_fades() -> None:
    known = lengths(alpha=[50] * 20 + [2000] + [50] * 10)
    assert 1200 < known.longest <= 2000
    for _ in range(300):
        known.add("alpha", 50)
    assert known.longest < 100


said = st.lists(st.tuples(st.floats(0, 2**20), st.integers(1, 100)), min_size=3, max_size=9)


@given(said, st.integers(0, 2), st.floats(0, 2**20))
def test_whatever_one_says_the_rest_hold_the_joined_within_their_own_bounds(
    honest: list[tuple[float, int]], place: int, claim: float
) -> None:
    weighty = [(value, max(weight, 4)) for value, weight in honest]
    lowest, highest = min(value for value, _ in weighty), max(value for value, _ in weighty)
    weighty.insert(place, (claim, 100))
    assert lowest / 2 * 0.999 <= join(weighty, 256.0) <= highest * 2 * 1.001


def test_characters_per_token_are_joined_over_providers_without_a_liar() -> None:
    texts = Texts()
    for _ in range(50):
        texts.add("alpha", 4000, 1000)
        texts.add("beta", 4000, 1000)
        texts.add("liar", 4000, 8000)
    assert texts.chars_per_token > 2


def test_a_provider_that_claims_much_is_not_believed_after_a_restart() -> None:
    tokens = TokenEstimator()
    for _ in range(20):
        tokens.update(None, "m", 400, None, 100, 150, provider="alpha")
        tokens.update(None, "m", 400, None, 100, 170, provider="beta")
        tokens.update(None, "m", 400, None, 100, 1_000_000, provider="liar")
    again = TokenEstimator()
    again.restore(*tokens.export())
    for known in (tokens, again):
        assert known.predict(None, "m", 400, None)[1] < 340
        assert known.at_most(None, "m", 400, None)[1] < 340


def test_what_an_earlier_version_learned_of_all_providers_together_is_left_out() -> None:
    tokens = TokenEstimator()
    tokens.restore({}, {("output", "[]"): "[6,1000000.0]", ("text", '"m"'): "[9.0,9.0]"})
    assert tokens.predict(None, "m", 400, None) == (100, 256)


def test_no_more_providers_are_remembered_than_can_be_configured_sensibly() -> None:
    known = Lengths()
    for number in range(1000):
        known.add(f"provider-{number}", 100)
    assert len(known.state()) <= 32
    assert len(json.dumps(known.state())) < 2000


@given(
    st.dictionaries(st.text(), st.lists(st.floats() | st.integers(), max_size=4), max_size=40) | st.lists(st.integers())
)
def test_whatever_was_kept_is_restored_as_numbers_or_not_at_all(state: object) -> None:
    for known in (Lengths.restored(state), Texts.restored(state)):
        if isinstance(known, Lengths):
            assert math.isfinite(known.value)
            assert math.isfinite(known.longest)
        elif known is not None:
            assert 0 < known.chars_per_token < 20
