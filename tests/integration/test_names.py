"""Names of models: aliases, case, each provider's own id, and what rows and lists say of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.harness import Arbstr, ProxyHarness
from tests.support.patience import PATIENCE_S
from tests.support.provider import Part, completion, error_reply, json_reply

ALIASES = {"fast": "gpt-4o-mini", "claude-sonnet-4*": "claude-3.5-sonnet"}


def lists(*names: str) -> list[Part]:
    return json_reply({"data": [{"id": name} for name in names]})


async def catalogue(arbstr: Arbstr) -> dict[str, Any]:
    return {model["id"]: model["arbstr"] for model in (await arbstr.get("/v1/models")).json["data"]}


async def test_an_alias_is_served_by_its_model_and_the_row_has_both_names(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", models=("gpt-4o-mini", "claude-3.5-sonnet"))
    arbstr = await harness.start(aliases=ALIASES)
    answer = await arbstr.chat(model="Claude-Sonnet-4-20250514")
    assert alpha.requests[0].json["model"] == "claude-3.5-sonnet"
    row = await arbstr.row(answer)
    assert (row["model"], row["served_model"]) == ("Claude-Sonnet-4-20250514", "claude-3.5-sonnet")
    assert (await arbstr.chat(model="FAST")).status == 200
    assert alpha.requests[1].json["model"] == "gpt-4o-mini"


async def test_a_models_case_does_not_matter_and_each_provider_gets_its_own_id(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", error_reply(401), models=("GPT-4o",))
    beta = await harness.add_provider(
        "beta", models=({"id": "gpt-4o", "upstream_id": "openai/gpt-4o", "input_rate": 70, "output_rate": 70},)
    )
    arbstr = await harness.start()
    answer = await arbstr.chat(model="gpt-4O")
    assert [provider.requests[0].json["model"] for provider in (alpha, beta)] == ["GPT-4o", "openai/gpt-4o"]
    row = await arbstr.row(answer)
    assert (row["model"], row["served_model"], row["provider"]) == ("gpt-4O", "GPT-4o", "beta")
    assert row["cost"]["sats"] == (10 * 70 + 5 * 70) / 1000 + 1


async def test_a_body_whose_model_is_an_alias_changes_in_nothing_else(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", models=("gpt-4o-mini",))
    arbstr = await harness.start(aliases=ALIASES)
    body = b'{ "messages" : [{"role":"user","content":"\\"model\\": 1e400 \xc3\xa9"}],"seed":1e2, "model" : "fast" }'
    assert (await arbstr.send(body)).status == 200
    assert alpha.requests[0].body == body.replace(b'"fast"', b'"gpt-4o-mini"')


async def test_rules_hold_for_what_an_alias_stands_for(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", models=("gpt-4o-mini", "claude-3.5-sonnet"))
    rules = [
        {"name": "mini", "allowed_models": ["GPT-4O-mini"]},
        {"name": "aliased", "allowed_models": ["fast"]},
        {"name": "late", "allowed_models": ["fast", "claude-3.5-sonnet"], "fallback_models": ["FAST"]},
    ]
    arbstr = await harness.start(aliases=ALIASES, policies={"rules": rules})
    for policy in ("mini", "aliased"):
        assert (await arbstr.chat(model="fast", headers={"X-Arbstr-Policy": policy})).status == 200
        assert (await arbstr.chat(model="gpt-4o-mini", headers={"X-Arbstr-Policy": policy})).status == 200
        refused = await arbstr.chat(model="claude-sonnet-4", headers={"X-Arbstr-Policy": policy})
        assert refused.refusal == (400, "invalid_request_error", "model_not_allowed")


async def test_a_fallback_model_may_be_an_alias(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", models=("gpt-4o-mini", {"id": "dear", "output_rate": 9000}))
    rule = {"name": "r", "max_sats_per_1k_output": 100, "fallback_models": ["fast"]}
    arbstr = await harness.start(aliases=ALIASES, policies={"rules": [rule]})
    answer = await arbstr.chat(model="dear", headers={"X-Arbstr-Policy": "r"})
    assert alpha.requests[0].json["model"] == "gpt-4o-mini"
    assert (await arbstr.row(answer))["served_model"] == "gpt-4o-mini"


async def test_models_lists_aliases_by_their_names_and_who_serves_them(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", models=("gpt-4o-mini", "claude-3.5-sonnet"))
    await harness.add_provider("beta", models=("GPT-4o-mini",), output_rate=1)
    arbstr = await harness.start(aliases=ALIASES)
    known = await catalogue(arbstr)
    assert list(known) == ["gpt-4o-mini", "claude-3.5-sonnet", "fast"]
    assert known["fast"] == {"providers": ["alpha", "beta"], "cheapest": "beta", "alias_of": "gpt-4o-mini"}
    assert (await arbstr.get("/v1/models/Fast")).json["id"] == "fast"


async def test_a_name_that_an_aliass_pattern_takes_is_a_model(harness: ProxyHarness) -> None:
    """Clients look for the model that they were made for, and are served it under that name."""
    await harness.add_provider("alpha", models=("gpt-4o-mini", "claude-3.5-sonnet"))
    arbstr = await harness.start(aliases=ALIASES)
    model = (await arbstr.get("/v1/models/claude-Sonnet-4-20250514")).json
    assert (model["id"], model["arbstr"]["alias_of"]) == ("claude-Sonnet-4-20250514", "claude-3.5-sonnet")
    assert (await arbstr.get("/v1/models/claude-sonnet-5")).status == 404


async def test_an_alias_may_be_asked_for_in_the_ledger_before_it_was_used(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", models=("gpt-4o-mini",))
    arbstr = await harness.start(aliases=ALIASES)
    assert (await arbstr.get("/v1/stats?model=FAST")).json["empty"]
    await arbstr.row(await arbstr.chat(model="fast"))
    await arbstr.row(await arbstr.chat(model="Fast"))
    assert (await arbstr.get("/v1/stats?model=FAST")).json["counts"]["total"] == 2


async def test_what_a_provider_lists_is_in_every_answer_about_it(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", models=(), listing=lists("openai/gpt-4o", "o3"))
    arbstr = await harness.start()
    assert list(await catalogue(arbstr)) == ["openai/gpt-4o", "o3"]
    assert (await arbstr.get("/providers")).json["providers"][0]["models"] == ["openai/gpt-4o", "o3"]
    answer = await arbstr.chat(model="GPT-4o")
    assert alpha.requests[0].json["model"] == "openai/gpt-4o"
    assert (await arbstr.row(answer))["served_model"] == "GPT-4o"


async def test_a_model_that_is_not_on_a_list_is_tried_there_after_those_that_list_it(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", models=(), listing=lists("o3"), input_rate=0, output_rate=0, base_fee=0)
    beta = await harness.add_provider("beta", error_reply(401), models=("gpt-4o",))
    arbstr = await harness.start()
    await catalogue(arbstr)
    answer = await arbstr.chat()
    assert answer.headers["X-Arbstr-Retries"] == "1/beta"
    assert answer.headers["X-Arbstr-Provider"] == "alpha"
    assert len(beta.requests) == len(alpha.requests) == 1
    assert (await arbstr.chat(model="unheard-of")).status == 200


async def test_lists_are_read_again(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", models=(), listing=lists("old"), refresh=0.1)
    arbstr = await harness.start()
    assert list(await catalogue(arbstr)) == ["old"]
    alpha.listing = lists("new")
    async with asyncio.timeout(PATIENCE_S):
        await alpha.looked_up(len(alpha.lookups) + 2)
    assert list(await catalogue(arbstr)) == ["new"]


async def test_a_list_that_does_not_come_delays_no_request(
    harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbstr.market.catalogue.WAIT_S", 3 * PATIENCE_S)
    alpha = await harness.add_provider("alpha", json_reply(completion("at once")), models=(), listing=[asyncio.Event()])
    arbstr = await harness.start()
    async with asyncio.timeout(PATIENCE_S):
        assert (await arbstr.chat()).status == 200
    assert len(alpha.requests) == 1
