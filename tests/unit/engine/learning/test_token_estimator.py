"""Expected tokens: what is assumed at first, what is learned, how soon, and that it follows a change."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.learning.token_estimator import TokenEstimator
from arbstr.types import LearnedRatio


def learn(
    tokens: TokenEstimator,
    used_output: int,
    *,
    times: int = 1,
    policy: str | None = None,
    model: str = "m",
    used_input: int = 100,
    max_tokens: int | None = None,
) -> None:
    for _ in range(times):
        tokens.update(policy, model, used_input * 4, max_tokens, used_input, used_output)


def output(
    tokens: TokenEstimator,
    *,
    policy: str | None = None,
    model: str = "m",
    used_input: int = 100,
    max_tokens: int | None = None,
) -> float:
    return tokens.predict(policy, model, used_input * 4, max_tokens)[1]


# --- before anything is known


@given(st.integers(0, 10**9), st.none() | st.integers(0, 10**9))
def test_at_first_input_is_a_quarter_of_the_characters_and_output_the_cap_or_256(chars: int, cap: int | None) -> None:
    assert TokenEstimator().predict(None, "m", chars, cap) == (chars / 4, 256 if cap is None else cap)


# --- output


def test_the_mean_of_a_known_distribution_is_found() -> None:
    tokens, lengths = TokenEstimator(), random.Random(5)
    for _ in range(2000):
        learn(tokens, int(lengths.expovariate(1 / 80)), policy="chat")
    assert output(tokens, policy="chat") == pytest.approx(80, rel=0.25)


def test_a_change_is_followed_within_a_few_hundred_requests() -> None:
    tokens = TokenEstimator()
    learn(tokens, 20, times=5000)
    assert output(tokens) == pytest.approx(20, rel=0.01)
    learn(tokens, 900, times=100)
    assert output(tokens) > 500
    learn(tokens, 900, times=400)
    assert output(tokens) == pytest.approx(900, rel=0.03)


def test_a_few_requests_already_count() -> None:
    tokens = TokenEstimator()
    learn(tokens, 20, times=3)
    assert output(tokens) < 80


def test_policies_models_and_sizes_of_input_are_estimated_apart() -> None:
    tokens = TokenEstimator()
    cases = [("code", "m", 100, 10), ("chat", "m", 100, 400), ("chat", "n", 100, 800), ("chat", "m", 3000, 90)]
    for _ in range(300):
        for policy, model, used_input, length in cases:
            learn(tokens, length, policy=policy, model=model, used_input=used_input)
    for policy, model, used_input, length in cases:
        found = output(tokens, policy=policy, model=model, used_input=used_input)
        assert found == pytest.approx(length, rel=0.05)


def test_what_is_new_leans_on_the_next_coarser_group() -> None:
    tokens = TokenEstimator()
    learn(tokens, 30, times=200, policy="code")
    learn(tokens, 600, times=200, policy="chat")
    assert output(tokens, policy="code", model="new") == pytest.approx(30, rel=0.2)
    assert output(tokens, policy="code", used_input=50_000) == pytest.approx(30, rel=0.2)
    assert 30 < output(tokens, policy="new") < 600


@given(st.integers(1, 5000), st.integers(0, 200))
def test_no_expectation_is_above_the_requests_own_cap(length: int, cap: int) -> None:
    tokens = TokenEstimator()
    learn(tokens, length, times=20)
    assert output(tokens, max_tokens=cap) <= cap


def test_answers_that_a_cap_cut_off_do_not_make_others_look_short() -> None:
    tokens = TokenEstimator()
    learn(tokens, 500, times=50)
    learn(tokens, 16, times=200, max_tokens=16)
    assert output(tokens) == pytest.approx(500, rel=0.05)
    assert output(tokens, max_tokens=16) == 16


def test_an_absurd_count_does_not_spoil_the_mean_for_good() -> None:
    tokens = TokenEstimator()
    learn(tokens, 50, times=100)
    learn(tokens, 2**53)
    learn(tokens, 50, times=1000)
    assert output(tokens) == pytest.approx(50, rel=0.1)


# --- input


def test_characters_per_token_are_learned_by_model() -> None:
    tokens = TokenEstimator()
    for _ in range(100):
        tokens.update(None, "dense", 1000, None, 500, 10)
    assert tokens.predict(None, "dense", 1000, None)[0] == pytest.approx(500, rel=0.02)
    assert tokens.predict(None, "other", 1000, None)[0] == 250


@pytest.mark.parametrize(("chars", "used_input"), [(10, 5000), (0, 700), (90_000, 300), (50, 0), (40, 30)])
def test_input_that_is_not_the_text_alone_teaches_nothing_about_text(chars: int, used_input: int) -> None:
    tokens = TokenEstimator()
    tokens.update(None, "m", chars, None, used_input, 10)
    assert tokens.predict(None, "m", 1000, None)[0] == 250


# --- ratios, and what outlives a restart


def test_ratios_by_policy_are_the_mean_of_output_over_input() -> None:
    tokens = TokenEstimator()
    learn(tokens, 20, policy="chat")
    learn(tokens, 60, policy="chat")
    learn(tokens, 5)
    assert tokens.ratios() == (LearnedRatio("chat", 0.4, 2), LearnedRatio(None, 0.05, 1))


def test_everything_learned_survives_export_and_restore() -> None:
    tokens, lengths = TokenEstimator(), random.Random(3)
    for _ in range(500):
        policy, model = lengths.choice(["code", None]), lengths.choice(["m", "n"])
        tokens.update(policy, model, 300, None, 100, lengths.randrange(300))
    again = TokenEstimator()
    again.restore(*tokens.export())
    for policy in ("code", None, "other"):
        for model in ("m", "n", "o"):
            assert again.predict(policy, model, 300, None) == pytest.approx(tokens.predict(policy, model, 300, None))
    assert again.ratios() == tokens.ratios()


def test_ratios_alone_as_an_older_ledger_has_them_are_gone_by() -> None:
    tokens = TokenEstimator()
    tokens.restore({"code": (0.05, 400)}, {})
    assert output(tokens, policy="code", used_input=1000) == pytest.approx(50, rel=0.15)
    assert output(tokens, policy="other", used_input=1000) == 256
    assert output(tokens, policy="other", used_input=1000, max_tokens=900) == 900


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=6
).map(json.dumps)


@given(
    st.dictionaries(st.text(), st.tuples(st.floats(), st.integers())),
    st.dictionaries(
        st.tuples(st.sampled_from(["output", "text", "?"]), anything | st.sampled_from(['"m"', "[]", '[null,"m",13]'])),
        anything | st.text() | st.lists(st.floats() | st.integers(), min_size=2, max_size=2).map(json.dumps),
        max_size=8,
    ),
)
def test_whatever_a_database_holds_expectations_stay_numbers(
    ratios: dict[str, tuple[float, int]], cells: dict[tuple[str, str], str]
) -> None:
    tokens = TokenEstimator()
    tokens.restore(ratios, cells)
    learn(tokens, 50)
    for number in tokens.predict(None, "m", 400, None):
        assert math.isfinite(number)
        assert number >= 0
    json.dumps(tokens.export()[0], allow_nan=False)


def test_memory_is_bounded_however_many_models_clients_name() -> None:
    tokens = TokenEstimator()
    for number in range(20_000):
        learn(tokens, 10, model=f"model-{number}")
    assert len(tokens.export()[1]) < 20_000
    assert output(tokens, model="model-19999") < 30


def test_no_more_is_restored_than_is_remembered() -> None:
    tokens = TokenEstimator()
    cells = {("text", json.dumps(f"{n}")): "[9,9]" for n in range(9000)}
    cells |= {("output", json.dumps([f"{n}"])): "[9,9]" for n in range(9000)}
    tokens.restore({f"rule-{n}": (1.0, 9) for n in range(9000)}, cells)
    ratios, kept = tokens.export()
    assert len(ratios) < 5000
    assert len(kept) < 10_000


def test_models_that_clients_make_up_displace_none_that_is_asked_for() -> None:
    tokens = TokenEstimator()
    learn(tokens, 500, times=50)
    learned = tokens.predict(None, "m", 400, None)
    for number in range(20_000):
        # Of another size, so of no group of the model's own; and of the largest, if that were to count.
        tokens.update(None, f"model-{number}", 80_000, None, 20_000, 10)
    assert tokens.predict(None, "m", 400, None)[0] == learned[0]
    assert output(tokens) > 400


# --- samples


def test_a_group_that_has_all_it_remembers_is_not_moved_by_others() -> None:
    tokens = TokenEstimator()
    learn(tokens, 20, times=200)
    learn(tokens, 5000, times=200, model="long")
    assert output(tokens) == pytest.approx(20)


def test_groups_of_new_models_go_on_learning_from_a_model_that_is_well_known() -> None:
    tokens = TokenEstimator()
    learn(tokens, 20, times=200)
    assert output(tokens, model="new") == pytest.approx(20, rel=0.01)
    learn(tokens, 900, times=2000)
    assert output(tokens, model="new") == pytest.approx(900, rel=0.03)


def test_characters_per_token_go_on_being_learned_of_a_model_that_is_well_known() -> None:
    tokens = TokenEstimator()
    learn(tokens, 20, times=200)
    for _ in range(4000):
        tokens.update(None, "m", 800, None, 100, 20)
    assert tokens.predict(None, "m", 800, None)[0] == pytest.approx(100, rel=0.05)
