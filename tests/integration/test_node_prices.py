"""Routstr nodes by name, address and key alone: what they sell and ask is read from them, again and again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from arbstr.config.schema import Provider
from arbstr.monitoring.source import OfferStatus
from arbstr.redaction import Secret
from tests.support.harness import Arbstr, ProxyHarness, key_of
from tests.support.provider import Part, ScriptedProvider, completion, error_reply, json_reply, sse_reply, stream_events
from tests.support.recordings import recording

ANSWER = json_reply(completion(tokens=(1000, 500)))


def prices(prompt: float, completion: float, name: str = "gpt-4o", **more: Any) -> list[Part]:
    """A node's list of one model, in sats per token."""
    entry = {"id": name, "sats_pricing": {"prompt": prompt, "completion": completion, "request": 0.001, **more}}
    return json_reply({"data": [entry]})


async def node(harness: ProxyHarness, name: str, listing: list[Part], *script: list[Part]) -> ScriptedProvider:
    provider = await harness.add_provider(name, *(script or (ANSWER,)), listing=listing)
    harness.providers[-1] = bare(name, provider.url)
    return provider


def bare(name: str, url: str) -> Provider:
    """All that a node's table needs, and a list that is read often."""
    return Provider(name=name, url=url, kind="routstr", api_key=Secret(key_of(name)), refresh=0.1)


async def listed(arbstr: Arbstr) -> dict[str, Any]:
    return {model["id"]: model["arbstr"] for model in (await arbstr.get("/v1/models")).json["data"]}


async def test_a_recorded_node_is_bought_from_at_its_own_rates_by_any_of_a_models_names(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", recording("models_list").reply())
    arbstr = await harness.start()
    assert "claude-sonnet-4" in await listed(arbstr)
    for asked in ("gpt-4o-mini", "OpenAI/GPT-4o-mini", "openai/gpt-4o-mini-2024-07-18", "gpt-4o-mini-20240718"):
        answer = await arbstr.chat(model=asked)
        assert answer.headers["X-Arbstr-Cost-Sats"] == "0.455"  # 1000 · 0.1515 + 500 · 0.606, rounded up
        assert alpha.requests[-1].json["model"] == "gpt-4o-mini"
    (row,) = (await arbstr.get("/v1/requests?model=gpt-4o-mini")).json["data"]
    assert row["cost"] == {"sats": 0.455, "provider_sats": None, "list_sats": 0.455}


async def test_a_nodes_prices_are_shown_with_the_provider(harness: ProxyHarness) -> None:
    await node(harness, "alpha", prices(0.002, 0.008))
    arbstr = await harness.start()
    await listed(arbstr)
    (shown,) = (await arbstr.get("/providers")).json["providers"]
    assert shown["models"] == ["gpt-4o"]
    assert (0 <= shown["list_age_s"] < 60, shown["list_stale"]) == (True, False)
    rates = {"input_rate_sats_per_1k": 2.0, "output_rate_sats_per_1k": 8.0, "base_fee_sats": 0.0}
    assert shown["model_rates"] == {"gpt-4o": rates}
    (status,) = arbstr.source.snapshot().providers
    assert (status.models, status.rates_for("gpt-4o")) == (("gpt-4o",), (2.0, 8.0, 0.0))


async def test_offers_are_found_by_any_of_a_models_names_with_what_was_learned_of_them(harness: ProxyHarness) -> None:
    charging = json_reply(completion(tokens=(1000, 500), cost_msats=9000))
    await node(harness, "alpha", prices(0.002, 0.008, "openai/gpt-4o"), charging)
    await harness.add_provider("beta", models=("other",))
    arbstr = await harness.start()
    await listed(arbstr)
    source = arbstr.source
    offers = await source.offers(("GPT-4o", "nobody's"))
    assert offers == {"GPT-4o": (OfferStatus("alpha", 2.0, 8.0, 0.0),), "nobody's": ()}
    assert offers["GPT-4o"][0].effective_msats(1000, 500) == 6000
    for _ in range(6):
        await arbstr.chat(model="gpt-4o")
    (offer,) = (await source.offers(("gpt-4o",)))["gpt-4o"]
    assert 1.4 < offer.ratio <= 1.5
    assert offer.effective_msats(1000, 500) == pytest.approx(6000 * offer.ratio)


async def test_the_cheaper_node_is_chosen_and_a_fall_is_used_after_one_refresh(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", prices(0.002, 0.008))
    beta = await node(harness, "beta", prices(0.001, 0.004))
    arbstr = await harness.start()
    assert (await listed(arbstr))["gpt-4o"] == {"providers": ["alpha", "beta"], "cheapest": "beta"}
    assert (await arbstr.chat()).headers["X-Arbstr-Provider"] == "beta"
    alpha.listing = prices(0.0005, 0.002)
    await alpha.looked_up(len(alpha.lookups) + 2)
    answer = await arbstr.chat()
    assert (answer.headers["X-Arbstr-Provider"], answer.headers["X-Arbstr-Cost-Sats"]) == ("alpha", "1.500")
    assert [len(alpha.requests), len(beta.requests)] == [1, 1]


@pytest.mark.parametrize("charges", [None, 1500], ids=["silent", "says what it charges"])
async def test_twenty_requests_after_a_fall_cost_what_the_cheaper_node_asks(
    harness: ProxyHarness, charges: int | None
) -> None:
    answer = json_reply(completion("so many words " * 150, tokens=(1000, 500), cost_msats=charges))
    beta = await node(harness, "beta", prices(0.001, 0.004), json_reply(completion(tokens=(1000, 500))))
    alpha = await node(harness, "alpha", prices(0.002, 0.008), answer)
    arbstr = await harness.start()
    await listed(arbstr)
    assert (await arbstr.chat()).headers["X-Arbstr-Cost-Sats"] == "3.000"
    alpha.listing = prices(0.0005, 0.002)
    await alpha.looked_up(len(alpha.lookups) + 2)
    answers = [await arbstr.chat() for _ in range(20)]
    assert {answer.headers["X-Arbstr-Cost-Sats"] for answer in answers} == {"1.500"}
    assert [len(alpha.requests), len(beta.requests)] == [20, 1]


async def test_a_price_that_rises_is_left_after_one_refresh(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", prices(0.001, 0.004))
    await node(harness, "beta", prices(0.0015, 0.006))
    arbstr = await harness.start()
    await listed(arbstr)
    assert (await arbstr.chat()).headers["X-Arbstr-Provider"] == "alpha"
    alpha.listing = prices(0.002, 0.008)
    await alpha.looked_up(len(alpha.lookups) + 2)
    answer = await arbstr.chat()
    assert (answer.headers["X-Arbstr-Provider"], answer.headers["X-Arbstr-Cost-Sats"]) == ("beta", "4.500")


async def test_an_estimate_and_a_row_say_the_price_its_age_and_its_source(harness: ProxyHarness) -> None:
    await node(harness, "alpha", prices(0.001, 0.004))
    await harness.add_provider("beta", ANSWER)
    arbstr = await harness.start()
    await listed(arbstr)
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    estimate = (await arbstr.send(json.dumps(asked).encode(), path="/v1/cost")).json
    answer = await arbstr.chat()
    row = (await arbstr.get(f"/v1/requests/{answer.headers['X-Arbstr-Request-Id']}")).json
    for said in (estimate, row["routing"]):
        prices_said = {each["provider"]: each["price"] for each in said["candidates"]}
        alpha, beta = prices_said["alpha"], prices_said["beta"]
        assert (alpha["input_rate_sats_per_1k"], alpha["output_rate_sats_per_1k"]) == (1.0, 4.0)
        assert (alpha["source"], 0 <= alpha["age_s"] < 60) == ("list", True)
        assert (beta["source"], beta["age_s"]) == ("configured", None)


async def test_a_price_is_the_one_at_which_a_request_was_sent(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await node(harness, "alpha", prices(0.001, 0.004), [go_on, *ANSWER])
    arbstr = await harness.start()
    await listed(arbstr)
    asking = asyncio.create_task(arbstr.chat())
    await alpha.asked()
    alpha.listing = prices(0.005, 0.020)
    await alpha.looked_up(len(alpha.lookups) + 2)
    go_on.set()
    assert (await asking).headers["X-Arbstr-Cost-Sats"] == "3.000"


async def test_what_a_node_does_not_list_is_not_bought_there(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", prices(0.001, 0.004))
    arbstr = await harness.start()
    await listed(arbstr)
    answer = await arbstr.chat(model="other")
    assert answer.refusal == (404, "invalid_request_error", "model_not_found")
    assert "served: gpt-4o" in answer.error["message"]
    assert alpha.requests == []


async def test_nothing_is_bought_from_a_node_before_its_prices_are_known(harness: ProxyHarness) -> None:
    alpha = await node(harness, "alpha", error_reply(500))
    arbstr = await harness.start()
    await alpha.looked_up()
    answer = await arbstr.chat()
    assert answer.refusal == (503, "upstream_error", "no_healthy_provider")
    assert "the lists of alpha are being read" in answer.error["message"]
    assert int(answer.headers["Retry-After"]) >= 1
    assert alpha.requests == []


async def test_while_a_nodes_prices_are_unknown_other_providers_serve(harness: ProxyHarness) -> None:
    await node(harness, "alpha", error_reply(500))
    await harness.add_provider("beta", ANSWER)
    arbstr = await harness.start()
    assert (await arbstr.chat()).headers["X-Arbstr-Provider"] == "beta"


async def test_a_policys_price_limit_holds_for_a_nodes_prices(harness: ProxyHarness) -> None:
    await node(harness, "alpha", prices(0.001, 0.060))
    arbstr = await harness.start(policies={"rules": [{"name": "r", "max_sats_per_1k_output": 50}]})
    await listed(arbstr)
    answer = await arbstr.chat(headers={"X-Arbstr-Policy": "r"})
    assert answer.refusal == (400, "invalid_request_error", "no_provider_within_policy")
    assert "its output rate of 60 is above max_sats_per_1k_output = 50" in answer.error["message"]


async def test_prices_are_known_at_once_after_a_restart(harness: ProxyHarness, tmp_path: Path) -> None:
    alpha = await node(harness, "alpha", prices(0.001, 0.004))
    for _ in range(2):
        async with ProxyHarness(tmp_path / "kept.db") as run:
            run.providers.append(bare("alpha", alpha.url))
            arbstr = await run.start()
            if not alpha.requests:
                await listed(arbstr)
            assert (await arbstr.chat()).headers["X-Arbstr-Cost-Sats"] == "3.000"
        alpha.listing = [asyncio.Event()]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cap_on_completion_tokens_is_one_that_a_node_counts(harness: ProxyHarness, stream: bool) -> None:
    alpha = await node(harness, "alpha", prices(0.001, 0.004), sse_reply(*stream_events("Hi")) if stream else ANSWER)
    beta = await harness.add_provider("beta", models=("other",))
    arbstr = await harness.start()
    await listed(arbstr)
    schema = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"max_completion_tokens": {}}}},
    }
    cases: list[tuple[dict[str, Any], int | None]] = [
        ({"max_completion_tokens": 300}, 300),
        ({"max_completion_tokens": 300, "max_tokens": 200}, 200),
        ({"max_tokens": 200}, 200),
        ({"tools": [schema]}, None),
    ]
    for fields, sent in cases:
        assert (await arbstr.chat(stream=stream, **fields)).status == 200
        asked = alpha.requests[-1].json
        assert asked.get("max_tokens") == sent
        assert asked.get("max_completion_tokens") == fields.get("max_completion_tokens")
    await arbstr.chat(model="other", max_completion_tokens=300)
    assert "max_tokens" not in beta.requests[0].json
