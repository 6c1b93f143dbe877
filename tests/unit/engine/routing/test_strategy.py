"""In which order providers are tried."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, get_args

import pytest

from arbstr.config.schema import Rule, Strategy
from arbstr.engine.routing.router import Router
from arbstr.engine.routing.strategy import strategies
from arbstr.types import Attempt
from tests.support.clock import Clock
from tests.support.engine_builders import answered, chat, order, provider, router


def serve(chosen: Router, times: int = 1, **fields: Any) -> list[str]:
    """Route requests of one kind that are not answered; who came first, each time."""
    return [order(chosen.route(chat(**fields)))[0] for _ in range(times)]


def answer(chosen: Router, name: str, first_byte_ms: int, whole_ms: int, output_tokens: int) -> None:
    """Let a provider answer a stream."""
    request = chat(stream=True)
    record = answered(
        request,
        chosen.route(request),
        provider=name,
        latency_ms=first_byte_ms,
        stream_duration_ms=whole_ms,
        output_tokens=output_tokens,
    )
    chosen.learn(record, request)


def test_the_configuration_offers_every_strategy_and_no_other() -> None:
    assert set(get_args(Strategy)) == set(strategies(random.random))


# --- cheapest


@pytest.mark.parametrize("name", ["cheapest", "lowest_cost"])
def test_cheapest_sorts_by_the_price_of_the_request_at_hand(name: str) -> None:
    providers = [provider("output", 20, 1), provider("input", 1, 20), provider("fee", 5, 5, base_fee=1)]
    chosen = router(providers, policies={"default_strategy": name})
    assert order(chosen.route(chat(prompt_chars=40_000, max_tokens=10))) == ["input", "fee", "output"]
    assert order(chosen.route(chat(prompt_chars=40, max_tokens=4000))) == ["output", "fee", "input"]


def test_equal_prices_keep_the_order_of_the_configuration() -> None:
    names = [f"p{number}" for number in (3, 1, 2)]
    chosen = router([provider(name) for name in names])
    assert order(chosen.route(chat())) == names


def test_lowest_cost_and_cheapest_are_one_strategy_by_one_name() -> None:
    chosen = router([provider("alpha")], policies={"default_strategy": "lowest_cost"})
    assert chosen.route(chat()).strategy == "cheapest"


# --- lowest latency


def latency_router(*names: str, clock: Clock | None = None) -> Router:
    return router(
        [provider(name) for name in names], policies={"default_strategy": "lowest_latency"}, clock=clock or Clock()
    )


def test_providers_that_were_never_measured_are_tried_first_so_that_all_get_measured() -> None:
    chosen = latency_router("a", "b", "c")
    for name in "abc":
        assert order(chosen.route(chat()))[0] == name
        answer(chosen, name, 100, 1000, 100)


def test_the_quickest_to_the_whole_expected_answer_comes_first() -> None:
    chosen = latency_router("prompt-but-slow", "late-but-quick")
    for _ in range(5):
        answer(chosen, "prompt-but-slow", 50, 50 + 200 * 40, 200)
        answer(chosen, "late-but-quick", 900, 900 + 200 * 5, 200)
    assert serve(chosen) == ["late-but-quick"]
    assert serve(chosen, max_tokens=5) == ["prompt-but-slow"]


def test_whole_answers_teach_speed_too() -> None:
    chosen = latency_router("slow", "quick")
    for length in (10, 400, 50, 300):
        for name, per_token in (("slow", 30), ("quick", 3)):
            request = chat()
            latency = 200 + per_token * length
            record = answered(request, chosen.route(request), provider=name, latency_ms=latency, output_tokens=length)
            chosen.learn(record, request)
    assert serve(chosen) == ["quick"]
    slow = chosen.learner.offer("slow", "gpt-4o").latency_ms(100)
    assert slow == pytest.approx(200 + 30 * 100, rel=0.02)


def test_waiting_at_one_provider_is_not_held_against_the_next() -> None:
    chosen = latency_router("a", "b")
    request = chat()
    attempts = (Attempt("a", 0, 5000, failure="timeout"), Attempt("b", 5000, 100))
    record = answered(request, chosen.route(request), provider="b", latency_ms=5100, attempts=attempts)
    chosen.learn(record, request)
    assert chosen.learner.offer("b", "gpt-4o").latency_ms(50) == pytest.approx(100)


def test_a_provider_that_only_ever_failed_comes_last_though_it_was_never_measured() -> None:
    chosen = latency_router("broken", "slow")
    request = chat()
    attempts = (Attempt("broken", 0, 1, failure="connect"), Attempt("slow", 1, 9000))
    record = answered(request, chosen.route(request), provider="slow", latency_ms=9001, attempts=attempts)
    chosen.learn(record, request)
    assert order(chosen.route(chat())) == ["slow", "broken"]


def test_a_slow_provider_is_measured_again_once_what_is_known_is_old() -> None:
    clock = Clock()
    chosen = latency_router("slow", "quick", clock=clock)
    for name, whole in (("slow", 9000), ("quick", 500)):
        answer(chosen, name, 100, whole, 100)
    assert serve(chosen) == ["quick"]
    clock.now += 3600
    assert serve(chosen) == ["slow"]


# --- round robin


def test_round_robin_gives_each_its_turn() -> None:
    chosen = router([provider(name) for name in "abc"], policies={"default_strategy": "round_robin"})
    assert serve(chosen, 7) == list("abcabca")


def test_round_robin_takes_turns_by_model() -> None:
    chosen = router([provider(name) for name in "ab"], policies={"default_strategy": "round_robin"})
    firsts = [order(chosen.route(chat(model)))[0] for model in ("m", "n", "m", "n")]
    assert firsts == ["a", "a", "b", "b"]


def test_round_robin_goes_on_when_one_is_resting_and_takes_it_back_in() -> None:
    resting = {"b"}
    chosen = router(
        [provider(name) for name in "abc"],
        policies={"default_strategy": "round_robin"},
        unavailable=lambda: resting,
    )
    assert serve(chosen, 4) == list("acac")
    resting.clear()
    assert serve(chosen, 4) == list("bacb")


def test_a_preview_takes_nobodys_turn() -> None:
    chosen = router([provider(name) for name in "ab"], policies={"default_strategy": "round_robin"})
    assert [order(chosen.preview(chat()))[0] for _ in range(3)] == ["a", "a", "a"]
    assert serve(chosen, 2) == ["a", "b"]


# --- weighted


def test_weighted_draws_in_proportion_to_the_weights() -> None:
    providers = [provider("heavy", weight=6), provider("middle", weight=3), provider("light", weight=1)]
    chosen = router(providers, policies={"default_strategy": "weighted"}, random=random.Random(7).random)
    drawn = Counter(serve(chosen, 4000))
    assert drawn["heavy"] == pytest.approx(2400, rel=0.08)
    assert drawn["middle"] == pytest.approx(1200, rel=0.08)
    assert drawn["light"] == pytest.approx(400, rel=0.15)


@pytest.mark.parametrize("extreme", [0.0, 1.0 - 2**-53])
def test_weighted_stands_the_ends_of_the_random_numbers(extreme: float) -> None:
    chosen = router([provider("a"), provider("b")], policies={"default_strategy": "weighted"}, random=lambda: extreme)
    assert order(chosen.route(chat())) == ["a", "b"]


# --- which one holds


def test_a_rules_strategy_wins_over_the_default() -> None:
    rule = Rule(name="turns", strategy="round_robin")
    chosen = router([provider("a"), provider("b")], rule)
    assert serve(chosen, 3, policy="turns") == ["a", "b", "a"]
    assert chosen.route(chat(policy="turns")).strategy == "round_robin"
    assert chosen.route(chat()).strategy == "cheapest"
