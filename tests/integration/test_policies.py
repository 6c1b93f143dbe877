"""Which rule holds for a request, and who is asked first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.harness import Answer, ProxyHarness, body
from tests.support.provider import (
    MODEL,
    Asked,
    Part,
    ScriptedProvider,
    completion,
    error_reply,
    json_reply,
    sse_reply,
    stream_events,
)

CODE = {"name": "code", "keywords": ["code", "function"]}
PROSE = {"name": "prose", "keywords": ["poem", "code"]}


def rules(*given: dict[str, Any], **policies: Any) -> dict[str, Any]:
    return {"rules": given, **policies}


def policy(answer: Answer) -> str | None:
    assert answer.status == 200, answer.body
    return answer.headers.get("X-Arbstr-Policy")


def asked_in_order(*providers: ScriptedProvider) -> list[int]:
    return [len(provider.requests) for provider in providers]


async def test_the_rule_that_the_header_names_holds(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(policies=rules(CODE, PROSE))
    answer = await arbstr.chat("write code", headers={"X-Arbstr-Policy": "prose"})
    assert policy(answer) == "prose"
    assert (await arbstr.row(answer))["policy"] == "prose"


async def test_a_stream_names_its_rule_too(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("a")))
    arbstr = await harness.start(policies=rules(CODE))
    assert policy(await arbstr.chat("write code", stream=True)) == "code"


async def test_a_refusal_by_a_rule_and_its_row_name_the_rule(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", output_rate=30)
    arbstr = await harness.start(policies=rules({"name": "cheap", "max_sats_per_1k_output": 1}))
    answer = await arbstr.chat(headers={"X-Arbstr-Policy": "cheap"})
    assert answer.refusal == (400, "invalid_request_error", "no_provider_within_policy")
    assert answer.headers["X-Arbstr-Policy"] == "cheap"
    assert (await arbstr.row(answer))["policy"] == "cheap"


@pytest.mark.parametrize("text", ["Code review", "these codes", "my\ncode", "a (code)", "CODE", "x-code"])
async def test_a_keyword_at_the_start_of_a_word_recognises_a_rule(harness: ProxyHarness, text: str) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(policies=rules(CODE))
    answer = await arbstr.chat(text)
    assert policy(answer) == "code"
    assert (await arbstr.row(answer))["policy"] == "code"


@pytest.mark.parametrize("text", ["decode", "barcodes", "hello", "", "co de"])
async def test_a_keyword_within_a_word_does_not(harness: ProxyHarness, text: str) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(policies=rules(CODE))
    answer = await arbstr.chat(text)
    assert policy(answer) is None
    assert (await arbstr.row(answer))["policy"] is None


async def test_the_first_rule_with_a_keyword_in_it_holds(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(policies=rules(CODE, PROSE))
    assert policy(await arbstr.chat("a poem about code")) == "code"
    assert policy(await arbstr.chat("a poem")) == "prose"


async def test_only_the_last_user_message_is_looked_at(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(policies=rules(CODE))
    messages = [
        {"role": "system", "content": "You code."},
        {"role": "user", "content": "code"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "code"},
    ]
    assert policy(await arbstr.chat(messages=messages)) is None


async def test_text_parts_of_a_multimodal_message_count(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(policies=rules(CODE))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,code"}}
    assert policy(await arbstr.chat([image, {"type": "text", "text": "what code is this?"}])) == "code"
    assert policy(await arbstr.chat([image, {"type": "text", "text": "what is this?"}])) is None


async def test_a_recognised_rule_that_does_not_allow_the_model_is_passed_over(harness: ProxyHarness) -> None:
    """Only a rule named by header refuses a model."""
    await harness.add_provider("alpha")
    arbstr = await harness.start(policies=rules({**CODE, "allowed_models": ["claude"]}, PROSE))
    assert policy(await arbstr.chat("code")) == "prose"
    assert policy(await arbstr.chat("function")) is None


async def test_without_a_rule_the_default_strategy_holds(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    beta = await harness.add_provider("beta")
    arbstr = await harness.start(policies=rules(CODE, default_strategy="round_robin"))
    for _ in range(4):
        await arbstr.chat()
    assert asked_in_order(alpha, beta) == [2, 2]


async def test_a_rules_own_strategy_wins_over_the_default(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", output_rate=40)
    beta = await harness.add_provider("beta", output_rate=20)
    arbstr = await harness.start(policies=rules({**CODE, "strategy": "lowest_cost"}, default_strategy="round_robin"))
    for _ in range(3):
        await arbstr.chat("code")
    assert asked_in_order(alpha, beta) == [0, 3]


async def test_the_cheapest_is_asked_first(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", output_rate=40)
    beta = await harness.add_provider("beta", output_rate=20)
    gamma = await harness.add_provider("gamma", output_rate=30)
    arbstr = await harness.start()
    assert (await arbstr.chat()).headers["X-Arbstr-Provider"] == "beta"
    assert asked_in_order(alpha, beta, gamma) == [0, 1, 0]


async def test_fallbacks_are_asked_in_order_of_price(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(401), output_rate=40)
    await harness.add_provider("beta", error_reply(401), output_rate=20)
    await harness.add_provider("gamma", error_reply(401), output_rate=30)
    arbstr = await harness.start()
    assert (await arbstr.chat()).headers["X-Arbstr-Retries"] == "1/beta, 1/gamma, 1/alpha"


async def test_equal_prices_keep_the_order_of_the_configuration(harness: ProxyHarness) -> None:
    for name in ("delta", "alpha", "gamma"):
        await harness.add_provider(name, error_reply(401))
    arbstr = await harness.start()
    assert (await arbstr.chat()).headers["X-Arbstr-Retries"] == "1/delta, 1/alpha, 1/gamma"


@pytest.mark.parametrize(
    ("fields", "cheapest"),
    [
        # A long prompt and a short answer, or the other way round: 400 characters are 100 tokens.
        ({"content": "x" * 400, "max_tokens": 10}, "cheap-in"),
        ({"content": "x" * 400, "max_completion_tokens": 10}, "cheap-in"),
        ({"content": "x" * 400, "max_tokens": 200}, "cheap-out"),
        ({"content": "x" * 400}, "cheap-out"),  # 256 expected
        ({"content": "x" * 1200}, "cheap-in"),  # 300 against 256
        ({"content": [{"type": "text", "text": "x" * 1200}]}, "cheap-in"),
        ({"content": "", "max_tokens": 1}, "cheap-out"),
    ],
)
async def test_cheapest_is_by_expected_tokens(harness: ProxyHarness, fields: dict[str, Any], cheapest: str) -> None:
    await harness.add_provider("cheap-in", input_rate=10, output_rate=20, base_fee=0)
    await harness.add_provider("cheap-out", input_rate=20, output_rate=10, base_fee=0)
    arbstr = await harness.start()
    assert (await arbstr.chat(**fields)).headers["X-Arbstr-Provider"] == cheapest


@pytest.mark.parametrize(("max_tokens", "cheapest"), [(100, "beta"), (10_000, "alpha")])
async def test_the_fee_is_part_of_the_price(harness: ProxyHarness, max_tokens: int, cheapest: str) -> None:
    await harness.add_provider("alpha", output_rate=1, base_fee=100)
    await harness.add_provider("beta", output_rate=50, base_fee=0)
    arbstr = await harness.start()
    assert (await arbstr.chat(max_tokens=max_tokens)).headers["X-Arbstr-Provider"] == cheapest


async def test_only_providers_that_serve_the_model_are_candidates(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", models=("claude",), output_rate=1)
    beta = await harness.add_provider("beta")
    arbstr = await harness.start()
    await arbstr.chat()
    assert asked_in_order(alpha, beta) == [0, 1]


async def test_a_provider_that_lists_no_models_takes_every_model(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", models=())
    arbstr = await harness.start()
    assert (await arbstr.chat(model="some/model:free")).status == 200
    assert alpha.requests[0].json["model"] == "some/model:free"


async def test_providers_beyond_a_rules_limit_are_no_candidates(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", output_rate=60)
    beta = await harness.add_provider("beta", error_reply(401), output_rate=50)
    arbstr = await harness.start(policies=rules({**CODE, "max_sats_per_1k_output": 50}))
    assert (await arbstr.chat("code")).status == 502
    assert asked_in_order(alpha, beta) == [0, 1]
    assert (await arbstr.chat("hello")).status == 200
    assert asked_in_order(alpha, beta) == [1, 2]


async def test_lowest_latency_learns_who_is_quick(harness: ProxyHarness) -> None:
    """Unknown providers are tried; then the quickest stays."""
    alpha = await harness.add_provider("alpha")
    beta = await harness.add_provider("beta")
    arbstr = await harness.start(policies={"default_strategy": "lowest_latency"})
    for _ in range(4):
        assert (await arbstr.chat()).status == 200
    assert sum(asked_in_order(alpha, beta)) == 4


MODELS = ("gpt-4o", {"id": "claude", "upstream_id": "anthropic/claude", "input_rate": 3, "output_rate": 15})


async def test_a_model_with_rates_and_a_name_of_its_own_is_bought_by_them(harness: ProxyHarness) -> None:
    """The dear provider's claude is the cheapest; it gets the request under its own name for it."""
    alpha = await harness.add_provider("alpha", json_reply(completion(tokens=(1000, 500))), models=MODELS, base_fee=0)
    beta = await harness.add_provider("beta", models=("gpt-4o", "claude"), input_rate=5, output_rate=20, base_fee=0)
    arbstr = await harness.start()
    answer = await arbstr.chat(model="claude", temperature=0.3)
    assert answer.headers["X-Arbstr-Provider"] == "alpha"
    assert answer.headers["X-Arbstr-Cost-Sats"] == "10.500"
    assert alpha.requests[0].json == body(model="anthropic/claude", temperature=0.3)
    row = await arbstr.row(answer)
    assert (row["model"], row["served_model"]) == ("claude", "claude")
    assert (await arbstr.chat()).headers["X-Arbstr-Provider"] == "beta"
    assert beta.requests[0].json["model"] == "gpt-4o"
    rates = (await arbstr.get("/providers")).json["providers"][0]["model_rates"]
    assert rates == {"claude": {"input_rate_sats_per_1k": 3, "output_rate_sats_per_1k": 15, "base_fee_sats": 0}}
    assert (await arbstr.get("/v1/models")).json["data"][1]["arbstr"] == {
        "providers": ["alpha", "beta"],
        "cheapest": "alpha",
    }


async def test_each_candidate_gets_a_request_under_its_own_name_for_the_model(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", error_reply(503), models=({"id": "claude", "upstream_id": "a/claude"},))
    beta = await harness.add_provider("beta", models=("claude",), input_rate=500)
    arbstr = await harness.start()
    assert (await arbstr.chat(model="claude")).status == 200
    assert {asked.json["model"] for asked in alpha.requests} == {"a/claude"}
    assert beta.requests[0].json["model"] == "claude"


async def test_a_rules_limit_on_the_output_price_is_by_the_models_own_rate(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", models=MODELS, output_rate=80)
    arbstr = await harness.start(policies=rules({**CODE, "max_sats_per_1k_output": 20}))
    assert (await arbstr.chat("code", model="claude")).status == 200
    assert (await arbstr.chat("code", model="gpt-4o")).status == 400


async def test_a_fallback_model_goes_up_in_place_of_one_that_nobody_serves(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", json_reply(completion(model="gpt-4o-mini")), models=("gpt-4o-mini",))
    arbstr = await harness.start(policies=rules({**CODE, "fallback_models": ["gpt-4o-mini"]}))
    answer = await arbstr.chat("code", temperature=0.3)
    assert answer.status == 200
    assert alpha.requests[0].json["model"] == "gpt-4o-mini"
    assert alpha.requests[0].json["temperature"] == 0.3
    row = await arbstr.row(answer)
    assert (row["model"], row["served_model"]) == ("gpt-4o", "gpt-4o-mini")


# --- default_max_tokens

CAPPED = {"rules": [{"name": "short", "default_max_tokens": 700}]}
SHORT = {"X-Arbstr-Policy": "short"}


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, {"max_tokens": 700}),
        ({"stream": True}, {"max_tokens": 700}),
        ({"max_tokens": None}, {"max_tokens": 700}),
        ({"max_tokens": 9000}, {"max_tokens": 9000}),
        ({"max_completion_tokens": 9000}, {"max_completion_tokens": 9000}),
    ],
    ids=str,
)
async def test_a_request_without_a_cap_gets_the_policys(
    harness: ProxyHarness, asked: dict[str, Any], sent: dict[str, Any]
) -> None:
    reply = sse_reply(*stream_events()) if asked.get("stream") else json_reply(completion())
    alpha = await harness.add_provider("alpha", reply)
    arbstr = await harness.start(policies=CAPPED)
    assert (await arbstr.chat(headers=SHORT, **asked)).status == 200
    caps = {name: value for name, value in alpha.requests[0].json.items() if "tokens" in name}
    assert caps == sent


async def test_without_that_policy_nothing_is_added(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start(policies=CAPPED)
    assert (await arbstr.chat()).status == 200
    assert "max_tokens" not in alpha.requests[0].json


async def test_the_policys_cap_counts_for_what_a_request_is_expected_to_cost(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(policies=CAPPED)
    answer = await arbstr.chat(headers=SHORT)
    detail = (await arbstr.get(f"/v1/requests/{answer.headers['X-Arbstr-Request-Id']}")).json
    assert detail["routing"]["expected_output_tokens"] == 700


async def test_a_provider_that_refuses_an_added_cap_is_asked_without_and_not_sent_it_again(
    harness: ProxyHarness,
) -> None:
    def strict(asked: Asked) -> Sequence[Part]:
        if "max_tokens" in asked.json:
            return error_reply(400, "Unsupported parameter: 'max_tokens'", kind="invalid_request_error")
        return json_reply(completion())

    alpha = await harness.add_provider("alpha", strict)
    arbstr = await harness.start(policies=CAPPED)
    for _ in range(2):
        answer = await arbstr.chat(headers=SHORT)
        assert answer.status == 200
        assert "X-Arbstr-Retries" not in answer.headers
    assert ["max_tokens" in asked.json for asked in alpha.requests] == [True, False, False]
    assert (await arbstr.chat(headers=SHORT, max_tokens=5)).status == 400, "the client's own refusal is passed on"


async def test_another_refusal_of_a_request_with_an_added_cap_is_passed_on(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", error_reply(400, "no such tool", kind="invalid_request_error"))
    arbstr = await harness.start(policies=CAPPED)
    assert (await arbstr.chat(headers=SHORT)).status == 400
    assert len(alpha.requests) == 1


async def test_a_translated_request_has_the_policys_cap_too(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", dialects=("chat",))
    arbstr = await harness.start(policies=CAPPED)
    asked = json.dumps({"model": MODEL, "input": "hi"}).encode()
    assert (await arbstr.send(asked, path="/v1/responses", headers=SHORT)).status == 200
    assert 700 in (alpha.requests[0].json.get("max_tokens"), alpha.requests[0].json.get("max_completion_tokens"))
