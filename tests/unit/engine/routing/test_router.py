"""From a request to an order of providers: limits, breakers, prices, and what was learned about providers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.config.schema import Provider, Rule
from arbstr.engine.pricing import cost_msats
from arbstr.engine.routing.listing import ListedModel
from arbstr.engine.routing.router import Router
from arbstr.errors import (
    ApiError,
    ModelNotAllowed,
    ModelNotFound,
    NoHealthyProvider,
    NoProviderWithinPolicy,
    UnknownPolicy,
)
from arbstr.events import OverchargeFound
from arbstr.ledger.routing_json import routing_json
from arbstr.redaction import Secret
from arbstr.types import Attempt, Rates, Routing, Usage
from tests.support.clock import Clock
from tests.support.engine_builders import answered, chat, order, provider, router

KEY = Secret("sk-0123456789")
ALPHA = provider("alpha")
BETA = provider("beta")


def reason(routing: Routing, name: str) -> str:
    return dict(routing.excluded)[name]


# --- who is a candidate


def test_before_anything_is_learned_the_expected_cost_is_the_plain_sum() -> None:
    chosen = router([provider("alpha", 10, 30, base_fee=1)])
    routing = chosen.route(chat(prompt_chars=401))
    assert routing.candidates[0].expected_cost_msats == pytest.approx(401 / 4 * 10 + 256 * 30 + 1000)
    assert routing.candidates[0].weight_msats == routing.candidates[0].expected_cost_msats
    assert (routing.expected_input_tokens, routing.expected_output_tokens) == (100, 256)
    assert chosen.route(chat(max_tokens=7)).expected_output_tokens == 7


def test_only_providers_of_the_model_are_candidates_and_one_that_lists_none_sells_every() -> None:
    providers = [provider("a", models=("m",)), provider("b", models=("n",)), provider("any")]
    chosen = router(providers)
    assert order(chosen.route(chat("m"))) == ["a", "any"]
    assert order(chosen.route(chat("n"))) == ["b", "any"]
    assert order(chosen.route(chat("x"))) == ["any"]


def test_an_unknown_model_is_refused_with_those_that_are_served() -> None:
    chosen = router([provider("a", models=("m", "n")), provider("b", models=("n", "o"))])
    with pytest.raises(ModelNotFound, match=r"'x'.*served: m, n, o\."):
        chosen.route(chat("x"))


def test_the_named_policy_is_judged_before_the_model() -> None:
    chosen = router([provider("a", models=("m",))], Rule(name="code", allowed_models=("m",)))
    with pytest.raises(UnknownPolicy):
        chosen.route(chat("x", policy="nope"))
    with pytest.raises(ModelNotAllowed):
        chosen.route(chat("x", policy="code"))


def test_providers_whose_output_is_dearer_than_the_limit_are_left_out() -> None:
    rule = Rule(name="code", max_sats_per_1k_output=30)
    chosen = router([provider("dear", 1, 30.01), provider("just", 10, 30)], rule)
    routing = chosen.route(chat(policy="code"))
    assert order(routing) == ["just"]
    assert "30.01" in reason(routing, "dear")
    assert "max_sats_per_1k_output = 30" in reason(routing, "dear")
    assert order(chosen.route(chat())) == ["dear", "just"]


def test_a_rule_picks_and_excludes_providers_by_name() -> None:
    rules = [Rule(name="some", providers=("b", "c")), Rule(name="not", exclude_providers=("b",))]
    chosen = router([provider(name) for name in "abc"], *rules)
    assert order(chosen.route(chat(policy="some"))) == ["b", "c"]
    assert order(chosen.route(chat(policy="not"))) == ["a", "c"]
    assert reason(chosen.route(chat(policy="not")), "b").endswith("exclude_providers")


def test_providers_that_are_expected_to_cost_more_than_the_limit_are_left_out_for_that_request() -> None:
    chosen = router([provider("a", 10, 10), provider("b", 100, 100)], Rule(name="small", max_sats_per_request=5))
    routing = chosen.route(chat(policy="small", prompt_chars=400, max_tokens=100))
    assert order(routing) == ["a"]
    assert "expected cost of 20 sats" in reason(routing, "b")
    assert order(chosen.route(chat(policy="small", prompt_chars=40, max_tokens=10))) == ["a", "b"]


def test_providers_known_to_be_too_slow_are_left_out_and_unknown_ones_are_not() -> None:
    chosen = router([provider("slow"), provider("new")], Rule(name="quick", max_latency_ms=1000))
    request = chat(policy="quick", max_tokens=50)
    chosen.learn(answered(request, chosen.route(request), provider="slow", latency_ms=4000), request)
    routing = chosen.route(request)
    assert order(routing) == ["new"]
    assert "4000 ms is above max_latency_ms = 1000" in reason(routing, "slow")


def test_a_provider_that_only_failed_so_far_may_still_be_quick_enough() -> None:
    chosen = router([provider("only")], Rule(name="quick", max_latency_ms=1000))
    fail(chosen, "only", times=3)
    assert order(chosen.route(chat(policy="quick"))) == ["only"]


def test_of_a_stream_only_the_first_byte_must_be_in_time() -> None:
    chosen = router([provider("a")], Rule(name="quick", max_latency_ms=1000))
    request = chat(policy="quick", stream=True)
    record = answered(request, chosen.route(request), latency_ms=200, stream_duration_ms=20_000, output_tokens=256)
    chosen.learn(record, request)
    assert order(chosen.route(request)) == ["a"]
    with pytest.raises(NoProviderWithinPolicy, match="max_latency_ms"):
        chosen.route(chat(policy="quick"))


def test_when_no_provider_is_within_the_policy_the_limit_is_named() -> None:
    chosen = router([provider("a", 1, 60), provider("b", 1, 70)], Rule(name="code", max_sats_per_1k_output=50))
    with pytest.raises(NoProviderWithinPolicy, match=r"policy 'code'.*a: its output rate of 60.*b: .*= 50\."):
        chosen.route(chat(policy="code"))


def test_providers_that_rest_are_left_out_with_the_reason() -> None:
    chosen = router([provider("a"), provider("b")], unavailable=lambda: ["a"])
    routing = chosen.route(chat())
    assert order(routing) == ["b"]
    assert "breaker" in reason(routing, "a")


def test_when_all_providers_rest_the_client_learns_when_the_first_comes_back() -> None:
    waits = {"a": 20.0, "b": 7.5, "c": 30.0, "d": 1.0}

    def first_back_in_s(names: Iterable[str]) -> float:
        return min(waits[name] for name in names)

    providers = [provider(name) for name in "abc"]
    chosen = router(providers, unavailable=lambda: "abc", retry_after_s=first_back_in_s)
    with pytest.raises(NoHealthyProvider, match="a, b, c") as caught:
        chosen.route(chat())
    assert caught.value.retry_after_s == 7.5


def test_a_provider_that_rests_for_the_model_is_left_out_with_the_reason() -> None:
    routing = router([ALPHA, BETA], cooling=lambda model: {"alpha": "it is gone"}).route(chat())
    assert order(routing) == ["beta"]
    assert routing.excluded == (("alpha", "it is paused for this model: it is gone"),)


def test_providers_that_rest_for_the_model_are_asked_when_nobody_else_sells_it() -> None:
    routing = router([ALPHA, BETA], cooling=lambda model: {"alpha": "gone", "beta": "gone"}).route(chat())
    assert order(routing) == ["alpha", "beta"]
    assert [(candidate.early, candidate.note) for candidate in routing.candidates] == [
        (False, "it is paused for this model, but no other provider is left")
    ] * 2


def test_the_last_provider_of_a_model_is_not_cut_off() -> None:
    asked: list[list[str]] = []

    def due_next(names: Iterable[str]) -> str:
        asked.append(list(names))
        return "beta"

    closed = router([ALPHA, BETA], unavailable=lambda: ["alpha", "beta"], due_next=due_next)
    for decide in (closed.route, closed.preview):
        routing = decide(chat())
        (candidate,) = routing.candidates
        assert (candidate.provider, candidate.early) == ("beta", True)
        assert "breaker is open" in candidate.note
        assert [provider for provider, _ in routing.excluded] == ["alpha"]
    assert asked == [["alpha", "beta"]] * 2


def test_providers_beyond_a_limit_are_not_probed_early() -> None:
    rule = Rule(name="code", exclude_providers=("beta",))
    closed = router(
        [ALPHA, BETA], rule, unavailable=lambda: ["alpha", "beta"], due_next=lambda names: next(iter(names))
    )
    assert order(closed.route(chat(policy="code"))) == ["alpha"]


def test_fallback_models_that_can_be_had_come_before_an_early_probe() -> None:
    rule = Rule(name="code", fallback_models=("claude-3.5-sonnet",))
    providers = [provider("alpha", models=("gpt-4o",)), provider("beta", models=("claude-3.5-sonnet",))]
    open_ones = {"alpha"}
    made = router(providers, rule, unavailable=lambda: open_ones, due_next=lambda names: next(iter(names)))
    assert order(made.route(chat(policy="code"))) == ["beta"]
    open_ones.add("beta")
    assert order(made.route(chat(policy="code"))) == ["alpha"]


def test_who_rests_for_the_model_is_asked_when_all_others_may_not_be_probed() -> None:
    closed = router(
        [ALPHA, BETA],
        unavailable=lambda: ["beta"],
        cooling=lambda model: {"alpha": "gone"},
        due_next=lambda names: None,
    )
    routing = closed.route(chat())
    assert [(candidate.provider, candidate.early) for candidate in routing.candidates] == [("alpha", False)]


def test_limits_are_judged_before_breakers() -> None:
    rule = Rule(name="code", max_sats_per_1k_output=50)
    chosen = router([provider("dear", 1, 60)], rule, unavailable=lambda: ["dear"])
    with pytest.raises(NoProviderWithinPolicy):
        chosen.route(chat(policy="code"))


# --- fallback models


def test_a_rules_fallback_models_are_taken_in_order_when_the_model_has_no_candidate() -> None:
    rule = Rule(name="r", max_sats_per_1k_output=50, fallback_models=("nowhere", "small", "tiny"))
    providers = [provider("a", 1, 60, models=("big",)), provider("b", models=("small", "tiny"))]
    chosen = router(providers, rule)
    routing = chosen.route(chat("big", policy="r"))
    assert (routing.model, order(routing)) == ("small", ["b"])
    assert chosen.route(chat("never-heard-of", policy="r")).model == "small"
    assert chosen.route(chat("tiny", policy="r")).model == "tiny"


def test_when_no_fallback_model_has_a_candidate_the_asked_models_reason_is_given() -> None:
    rule = Rule(name="r", max_sats_per_1k_output=50, fallback_models=("small",))
    providers = [provider("a", 1, 60, models=("big",)), provider("b", models=("small",))]
    chosen = router(providers, rule, unavailable=lambda: ["b"])
    with pytest.raises(NoProviderWithinPolicy, match="'big'"):
        chosen.route(chat("big", policy="r"))


def test_what_a_fallback_model_took_is_learned_as_that_models() -> None:
    rule = Rule(name="r", fallback_models=("small",))
    chosen = router([provider("b", models=("small",))], rule)
    request = chat("big", policy="r")
    for _ in range(20):
        record = answered(request, chosen.route(request), list_cost_msats=1000, provider_cost_msats=2000)
        chosen.learn(record, request)
    assert "2.00 times" in chosen.route(chat("small")).candidates[0].note


# --- what is learned: tokens


def test_a_request_that_was_never_routed_teaches_nothing() -> None:
    chosen = router([provider("a")])
    record = answered(chat(), chosen.route(chat()))
    chosen.learn(replace(record, routing=None), chat())
    assert chosen.learner.tokens.ratios() == ()


def test_learned_lengths_change_who_is_cheapest() -> None:
    providers = [provider("cheap-output", 12, 20), provider("cheap-input", 8, 60)]
    chosen = router(providers)
    request = chat(prompt_chars=4000)
    assert order(chosen.route(request))[0] == "cheap-output"
    for _ in range(30):
        record = answered(request, chosen.route(request), input_tokens=1000, output_tokens=15)
        chosen.learn(record, request)
    assert order(chosen.route(request))[0] == "cheap-input"


def test_another_configuration_decides_by_what_was_learned_before_it_and_goes_on_learning() -> None:
    before, after = router([ALPHA, BETA]), router([ALPHA, provider("beta", 11, 1)])
    after.take_over(before, ["alpha", "beta"])
    for one in (before, after):
        for _ in range(20):
            routing = one.route(chat())
            one.learn(answered(chat(), routing, output_tokens=2000), chat())
        assert after.route(chat()).expected_output_tokens == pytest.approx(2000, rel=0.05)
    assert order(after.route(chat())) == ["beta", "alpha"]


@pytest.mark.parametrize(
    "fields",
    [
        {"success": False, "error_status": 502},
        {"success": False, "error_status": 499},
        {"input_tokens": None},
        {"output_tokens": None},
    ],
)
def test_nothing_about_tokens_is_learned_from_answers_that_are_not_whole(fields: dict[str, Any]) -> None:
    chosen = router([provider("a")])
    for _ in range(50):
        request = chat()
        chosen.learn(answered(request, chosen.route(request), **({"output_tokens": 5} | fields)), request)
    assert chosen.route(chat()).expected_output_tokens == 256
    assert chosen.learner.tokens.ratios() == ()


# --- what is learned: charges


def charge(chosen: Router, name: str, charged: int, computed: int = 10_000, times: int = 1) -> None:
    for _ in range(times):
        request = chat()
        routing = chosen.route(request)
        record = answered(request, routing, provider=name, list_cost_msats=computed, provider_cost_msats=charged)
        chosen.learn(record, request)


def two_providers(**given: Any) -> Router:
    """One that asks 10 and one that asks 12."""
    return router([provider("ten", 10, 10), provider("twelve", 12, 12)], **given)


def test_providers_are_compared_by_what_they_really_charge() -> None:
    chosen = two_providers()
    charge(chosen, "ten", 15_000, times=8)
    routing = chosen.route(chat())
    assert order(routing) == ["twelve", "ten"]
    assert routing.candidates[1].weight_msats > routing.candidates[1].expected_cost_msats
    assert "times what its rates say" in routing.candidates[1].note
    assert routing.candidates[0].note == ""


@pytest.mark.parametrize("odd", [1, 5_000, 400_000, 2**53])
def test_one_odd_charge_moves_nothing(odd: int) -> None:
    chosen = two_providers()
    charge(chosen, "ten", 10_000, times=2)
    charge(chosen, "ten", odd)
    assert order(chosen.route(chat())) == ["ten", "twelve"]
    charge(chosen, "ten", 10_000, times=3)
    assert chosen.route(chat()).candidates[0].note == ""


def test_charges_as_computed_but_for_rounding_leave_the_price_exactly_as_it_is() -> None:
    chosen = two_providers()
    charge(chosen, "ten", 455, computed=454, times=30)
    candidate = chosen.route(chat()).candidates[0]
    assert candidate.weight_msats == candidate.expected_cost_msats


def test_a_provider_that_claims_to_charge_nothing_wins_nothing_by_it() -> None:
    chosen = two_providers()
    charge(chosen, "twelve", 0, times=50)
    assert order(chosen.route(chat())) == ["ten", "twelve"]


def test_a_provider_that_claims_next_to_nothing_looks_half_as_dear_at_best() -> None:
    chosen = router([provider("honest", 10, 10), provider("liar", 25, 25)])
    charge(chosen, "liar", 1, times=50)
    routing = chosen.route(chat())
    assert order(routing) == ["honest", "liar"]
    assert routing.candidates[1].weight_msats >= routing.candidates[1].expected_cost_msats / 2


def test_a_free_provider_that_charges_after_all_is_priced_by_its_charges() -> None:
    chosen = router([provider("free", 0, 0), provider("ten", 10, 10)])
    assert order(chosen.route(chat())) == ["free", "ten"]
    charge(chosen, "free", 90_000, computed=0, times=6)
    routing = chosen.route(chat())
    assert order(routing) == ["ten", "free"]
    assert routing.candidates[1].weight_msats == pytest.approx(90_000)
    assert routing.candidates[1].expected_cost_msats == 0


def test_an_overcharge_is_published_once_and_again_after_it_had_stopped() -> None:
    found: list[OverchargeFound] = []
    chosen = two_providers(publish=found.append)
    charge(chosen, "ten", 15_000, times=20)
    assert [(event.provider, event.model) for event in found] == [("ten", "gpt-4o")]
    assert found[0].ratio > 1.1
    assert (found[0].charged_msats, found[0].computed_msats) == (15_000, 10_000)
    charge(chosen, "ten", 10_000, times=20)
    charge(chosen, "ten", 15_000, times=20)
    assert len(found) == 2


def test_a_ratio_that_wavers_about_the_tolerance_is_published_once() -> None:
    found: list[OverchargeFound] = []
    chosen = two_providers(publish=found.append)
    for _ in range(20):
        charge(chosen, "ten", 11_200, times=8)
        charge(chosen, "ten", 10_800, times=8)
    assert len(found) == 1


def test_an_overcharge_within_the_tolerance_or_of_less_than_the_least_sum_is_not_published() -> None:
    found: list[OverchargeFound] = []
    chosen = two_providers(publish=found.append)
    charge(chosen, "ten", 10_900, times=30)  # nine percent
    charge(chosen, "twelve", 15, computed=10, times=30)  # half as much again, but fractions of a sat
    assert found == []


@pytest.mark.parametrize("strategy", ["cheapest", "round_robin", "lowest_latency", "weighted"])
def test_a_provider_that_overcharges_goes_last_if_so_configured(strategy: str) -> None:
    providers = [provider("cheap", 1, 1), provider("dear", 90, 90)]
    chosen = router(providers, policies={"on_overcharge": "demote", "default_strategy": strategy})
    charge(chosen, "cheap", 15_000, times=8)
    assert [order(chosen.route(chat())) for _ in range(3)] == [["dear", "cheap"]] * 3


def test_a_provider_that_overcharges_is_left_out_if_so_configured_until_that_is_a_day_ago() -> None:
    clock = Clock()
    chosen = two_providers(policies={"on_overcharge": "exclude"}, clock=clock)
    charge(chosen, "ten", 15_000, times=8)
    routing = chosen.route(chat())
    assert order(routing) == ["twelve"]
    assert "times what its rates say" in reason(routing, "ten")
    clock.now += 25 * 3600
    assert order(chosen.route(chat())) == ["ten", "twelve"]


def test_when_all_providers_are_left_out_for_overcharging_the_error_says_so() -> None:
    chosen = router([provider("ten", 10, 10)], policies={"on_overcharge": "exclude"})
    with pytest.raises(NoProviderWithinPolicy, match="times what its rates say"):
        charge(chosen, "ten", 15_000, times=8)


def test_the_limit_on_a_requests_cost_counts_what_a_provider_really_charges() -> None:
    chosen = router([provider("a", 10, 10)], Rule(name="small", max_sats_per_request=5))
    request = chat(policy="small", prompt_chars=400, max_tokens=200)
    assert order(chosen.route(request)) == ["a"]
    charge(chosen, "a", 60_000, times=20)
    with pytest.raises(NoProviderWithinPolicy, match="max_sats_per_request"):
        chosen.route(request)


def test_the_ratio_of_a_provider_is_known_over_all_its_models() -> None:
    chosen = two_providers()
    assert chosen.learner.charged_ratio("ten") is None
    charge(chosen, "ten", 20_000, times=30)
    assert chosen.learner.charged_ratio("ten") == pytest.approx(2)


# --- what is learned: who answers


def fail(chosen: Router, name: str, times: int = 1, **fields: Any) -> None:
    failed: dict[str, Any] = {"failure": "status", "status": 500}
    for _ in range(times):
        request = chat()
        attempt = Attempt(name, 0, 10, **(failed | fields))
        record = answered(request, chosen.route(request), provider=name, success=False, attempts=(attempt,))
        chosen.learn(record, request)


def succeed(chosen: Router, name: str, times: int = 1) -> None:
    for _ in range(times):
        request = chat()
        chosen.learn(answered(request, chosen.route(request), provider=name), request)


def test_a_provider_that_often_fails_is_dearer_than_it_looks() -> None:
    chosen = two_providers()
    for _ in range(20):
        fail(chosen, "ten")
        succeed(chosen, "ten")
    routing = chosen.route(chat())
    assert order(routing) == ["twelve", "ten"]
    assert "answers 58 % of requests" in routing.candidates[1].note


def test_one_failure_does_not_move_a_provider_behind_the_others() -> None:
    chosen = router([provider("ten", 10, 10), provider("also-ten", 10.01, 10.01)])
    fail(chosen, "ten")
    assert order(chosen.route(chat())) == ["ten", "also-ten"]


def test_no_number_of_failures_makes_a_provider_more_than_five_times_as_dear() -> None:
    chosen = router([provider("cheap", 1, 1), provider("dear", 6, 6)])
    fail(chosen, "cheap", times=500)
    assert order(chosen.route(chat())) == ["cheap", "dear"]


def test_failures_are_forgotten_with_time() -> None:
    clock = Clock()
    chosen = two_providers(clock=clock)
    fail(chosen, "ten", times=20)
    assert order(chosen.route(chat()))[0] == "twelve"
    clock.now += 6 * 3600
    assert order(chosen.route(chat()))[0] == "ten"


def test_a_stale_catalogue_and_a_request_at_fault_say_nothing_about_the_provider() -> None:
    chosen = two_providers()
    fail(chosen, "ten", times=50, failure="stale_catalogue", status=404)
    fail(chosen, "ten", times=50, failure=None, status=422)
    assert chosen.route(chat()).candidates[0].note == ""


def test_a_stream_that_broke_off_is_a_failure_though_it_had_begun_to_answer() -> None:
    chosen = two_providers()
    for _ in range(20):
        request = chat(stream=True)
        attempts = (Attempt("ten", 0, 100, "bad_response", 200),)
        record = answered(
            request, chosen.route(request), provider="ten", success=False, error_status=502, attempts=attempts
        )
        chosen.learn(record, request)
    assert order(chosen.route(chat())) == ["twelve", "ten"]


def test_what_fails_after_its_client_has_left_is_nobodys_failure() -> None:
    chosen = two_providers()
    for _ in range(20):
        request = chat(stream=True)
        attempts = (Attempt("twelve", 0, 10, "status", 500), Attempt("ten", 10, 10, "bad_response", 200))
        record = answered(
            request, chosen.route(request), provider="ten", success=False, error_status=499, attempts=attempts
        )
        chosen.learn(record, request)
    routing = chosen.route(chat())
    assert order(routing) == ["ten", "twelve"]
    assert routing.candidates[0].note == ""
    assert "answers" in routing.candidates[1].note


# --- what it would have cost elsewhere


def test_baselines_are_the_dearest_and_the_median_candidate_for_the_tokens_used() -> None:
    chosen = router([provider(name, rate, rate) for name, rate in zip("abc", (1, 10, 100), strict=True)])
    routing = chosen.route(chat())
    assert chosen.baselines(routing, Usage(10, 5)) == (1500, 150)
    assert chosen.baselines(replace(routing, candidates=tuple(routing.candidates)), Usage(10, 5)) == (1500, 150)


def test_the_median_of_an_even_number_lies_between_the_two_in_the_middle() -> None:
    chosen = router([provider(name, rate, 0) for name, rate in zip("abcd", (1, 2, 3, 100), strict=True)])
    assert chosen.baselines(chosen.route(chat()), Usage(1, 0)) == (100, 3)  # 2.5, half up


def test_baselines_price_cached_tokens_as_each_provider_does() -> None:
    chosen = router([provider("a", 10, 0, cached_input_rate=1), provider("b", 8, 0)])
    assert chosen.baselines(chosen.route(chat()), Usage(100, 0, cached_tokens=90)) == (800, 495)


@given(
    st.lists(st.tuples(*[st.decimals(0, 1000, places=3).map(float)] * 3), min_size=1, max_size=5),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_baselines_are_exact_to_the_millisat(rates: list[tuple[float, ...]], tokens_in: int, tokens_out: int) -> None:
    providers = [provider(f"p{place}", i, o, base_fee=fee) for place, (i, o, fee) in enumerate(rates)]
    chosen = router(providers)
    usage = Usage(tokens_in, tokens_out)
    costs = sorted(cost_msats(provider.rates, usage) or 0 for provider in providers)
    dearest, median = chosen.baselines(chosen.route(chat()), usage)
    assert dearest == costs[-1]
    assert median == (costs[(len(costs) - 1) // 2] + costs[len(costs) // 2] + 1) // 2


def test_baselines_of_unknown_tokens_are_unknown() -> None:
    chosen = router([provider("a")])
    assert chosen.baselines(chosen.route(chat()), Usage(10, None)) == (None, None)


def test_providers_left_out_by_a_rule_are_no_baseline() -> None:
    chosen = router([provider("a", 1, 1), provider("dear", 1, 99)], Rule(name="r", max_sats_per_1k_output=50))
    assert chosen.baselines(chosen.route(chat(policy="r")), Usage(1, 1)) == (2, 2)


# --- a decision as JSON


def test_a_decision_as_json_says_who_at_what_price_and_why() -> None:
    rule = Rule(name="code", max_sats_per_1k_output=50)
    chosen = router([provider("b", 20, 40), provider("a", 10, 30), provider("dear", 1, 60)], rule)
    document = routing_json(chosen.preview(chat(policy="code", prompt_chars=400, max_tokens=10)))
    assert document == {
        "model": "gpt-4o",
        "policy": "code",
        "policy_reason": "named by the request",
        "strategy": "cheapest",
        "expected_input_tokens": 100,
        "expected_output_tokens": 10,
        "candidates": [
            {
                "provider": "a",
                "expected_cost_sats": 1.3,
                "weight_sats": 1.3,
                "cached_tokens": 0,
                "reason": "number 1 by expected price",
                "price": asked(10, 30, "configured"),
            },
            {
                "provider": "b",
                "expected_cost_sats": 2.4,
                "weight_sats": 2.4,
                "cached_tokens": 0,
                "reason": "number 2 by expected price",
                "price": asked(20, 40, "configured"),
            },
        ],
        "excluded": [
            {"provider": "dear", "reason": "its output rate of 60 is above max_sats_per_1k_output = 50"},
        ],
        "reuse": None,
    }
    assert json.loads(json.dumps(document)) == document


def asked(input_rate: float, output_rate: float, source: str, *, fee: float = 0, age_s: int | None = None) -> object:
    """A price as JSON."""
    return {
        "input_rate_sats_per_1k": input_rate,
        "output_rate_sats_per_1k": output_rate,
        "base_fee_sats": fee,
        "source": source,
        "age_s": age_s,
    }


def test_a_price_is_said_with_its_age_and_where_it_is_from() -> None:
    clock = Clock()
    node, filed = (
        Provider(name="node", url="http://localhost:1/v1", kind="routstr", api_key=KEY),
        provider("filed", 10, 30),
    )
    half = Provider(name="half", url="http://localhost:1/v1", kind="routstr", api_key=KEY, output_rate=7)
    chosen = router([node, filed, half], clock=clock)
    rates = Rates(Decimal(2), Decimal(8), Decimal(0))

    def said(model: ListedModel, **known: Any) -> dict[str, object]:
        for one in (node, half):
            chosen.names.learn(one, (model,), **known)
        clock.now += 61
        return {each["provider"]: each["price"] for each in routing_json(chosen.preview(chat()))["candidates"]}

    fresh = said(ListedModel("gpt-4o", (), rates))
    assert fresh == {
        "node": asked(2, 8, "list", age_s=61),
        "half": asked(2, 7, "list", age_s=61),
        "filed": asked(10, 30, "configured"),
    }
    read_again = said(ListedModel("gpt-4o", (), rates))
    assert read_again == fresh
    assert said(ListedModel("gpt-4o", (), rates, doubted=True))["node"] == asked(2, 8, "doubted", age_s=61)
    old = said(ListedModel("gpt-4o", (), rates), doubted=True, age_s=700)
    assert old["node"] == asked(2, 8, "stale", age_s=761)


def test_what_a_provider_that_says_it_is_free_charges_is_a_learned_price() -> None:
    chosen = router([provider("free", 0, 0)])
    request = chat()
    for _ in range(8):
        chosen.learn(answered(request, chosen.route(request), provider_cost_msats=300, list_cost_msats=0), request)
    (candidate,) = routing_json(chosen.preview(chat()))["candidates"]
    assert candidate["price"] == asked(0, 0, "learned", fee=0.3)


def test_what_moved_a_provider_is_part_of_the_reason() -> None:
    chosen = two_providers()
    charge(chosen, "ten", 15_000, times=30)
    last = routing_json(chosen.preview(chat()))["candidates"][1]
    assert last["reason"] == "number 2 by expected price; charges 1.50 times what its rates say"


# --- restarts, bounds


def test_what_was_learned_about_charges_survives_a_restart_and_is_not_published_again() -> None:
    found: list[OverchargeFound] = []
    before = two_providers()
    charge(before, "ten", 15_000, times=8)
    after = two_providers(publish=found.append)
    after.learner.restore(*before.learner.export())
    assert after.route(chat()) == before.route(chat())
    assert found == []


@pytest.mark.parametrize(
    "cells",
    [
        {("charges", "nonsense"): "[]"},
        {("charges", '["ten","gpt-4o"]'): '[[1],[2,"x"],null,[-5,3],[NaN,1]]'},
        {("charges", '["gone","gpt-4o"]'): "[[5,1],[5,1],[5,1]]"},
        {("charges", '["ten"]'): "{}"},
        {("unheard-of", '["ten","gpt-4o"]'): "[[5,1]]"},
    ],
)
def test_stored_charges_that_make_no_sense_are_left_out(cells: dict[tuple[str, str], str]) -> None:
    chosen = two_providers()
    chosen.learner.restore({}, cells)
    assert order(chosen.route(chat())) == ["ten", "twelve"]
    assert chosen.learner.charged_ratio("ten") is None


@pytest.mark.no_cover  # what it runs is covered by others
def test_memory_is_bounded_however_many_models_clients_name() -> None:
    chosen = router([provider("any"), provider("lists", models=("listed",))])
    charge(chosen, "any", 15_000)
    for number in range(10_000):
        chosen.route(chat(f"model-{number}"))
    chosen.route(chat("listed"))
    assert len(chosen._candidate_sets) + len(chosen.learner._offers) < 20_000


def test_names_of_models_that_nobody_serves_are_not_kept() -> None:
    chosen = router([provider("a", models=("m",))])
    for number in range(50):
        with pytest.raises(ModelNotFound):
            chosen.route(chat(f"x{number}"))
    assert len(chosen._candidate_sets) == 0


# --- whatever the configuration and the history


rates = st.floats(0, 100)
names = st.sampled_from("abcd")


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    limit = st.none() | st.floats(0, 50)
    return Rule(
        name="rule",
        strategy=draw(st.sampled_from(["cheapest", "lowest_latency", "round_robin", "weighted"])),
        max_sats_per_1k_output=draw(limit),
        max_sats_per_request=draw(limit),
        max_latency_ms=draw(st.none() | st.floats(1, 3000)),
        providers=tuple(draw(st.sets(names))),
        exclude_providers=tuple(draw(st.sets(names, max_size=2))),
        fallback_models=tuple(draw(st.lists(st.sampled_from(["m", "n"]), max_size=2))),
    )


@st.composite
def providers(draw: st.DrawFn) -> list[Provider]:
    models = st.sampled_from([(), ("m",), ("n",), ("m", "n")])
    return [
        provider(name, draw(rates), draw(rates), base_fee=draw(rates), models=draw(models))
        for name in draw(st.lists(names, unique=True, min_size=1))
    ]


@given(providers(), rules(), st.sets(names), st.sampled_from(["warn", "demote", "exclude"]), st.integers(0, 2**32))
def test_no_choice_ever_breaks_a_limit_of_the_policy(
    known: list[Provider], rule: Rule, resting: set[str], on_overcharge: str, seed: int
) -> None:
    chance = random.Random(seed)
    chosen = router(
        known,
        rule,
        policies={"on_overcharge": on_overcharge},
        unavailable=lambda: resting,
        random=chance.random,
    )
    by_name = {provider.name: provider for provider in known}
    for _ in range(12):
        cap = chance.choice([None, 5, 500])
        request = chat("m", policy="rule", prompt_chars=chance.randrange(40_000), max_tokens=cap)
        try:
            routing = chosen.route(request)
        except ApiError:
            continue
        assert routing.candidates
        assert routing.model in ("m", *rule.fallback_models)
        for candidate in routing.candidates:
            provider = by_name[candidate.provider]
            assert provider.serves(routing.model)
            assert provider.name not in resting
            assert provider.name not in rule.exclude_providers
            assert not rule.providers or provider.name in rule.providers
            assert rule.max_sats_per_1k_output is None or provider.output_rate <= rule.max_sats_per_1k_output
            limit = rule.max_sats_per_request
            assert limit is None or candidate.expected_cost_msats <= limit * 1000
        left_out = [name for name, _ in routing.excluded]
        assert sorted(left_out + order(routing)) == sorted(s.name for s in known if s.serves(routing.model))
        record = answered(
            request,
            routing,
            success=chance.random() < 0.8,
            latency_ms=chance.randrange(5000),
            list_cost_msats=chance.randrange(3) * 1000,
            provider_cost_msats=chance.choice([None, 0, 5000]),
        )
        chosen.learn(record, request)
