"""Cheapest with prompt caches in mind: conversations over providers that cache, and what is said of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.caching_provider import PromptCache
from tests.support.harness import Answer, Arbstr, ProxyHarness
from tests.support.provider import MODEL, error_reply, json_reply

LONG = "word " * 2000
CACHED: dict[str, Any] = {"input_rate": 11, "cached_input_rate": 1, "output_rate": 30, "base_fee": 0}
PLAIN: dict[str, Any] = {"input_rate": 10, "output_rate": 30, "base_fee": 0}


class Talk:
    """A conversation that grows by an answer and a question with each request."""

    def __init__(self, arbstr: Arbstr, topic: str, **fields: Any) -> None:
        self.arbstr = arbstr
        self.messages = [{"role": "system", "content": f"{topic} {LONG}"}, {"role": "user", "content": "hello"}]
        self.fields = fields

    @property
    def body(self) -> bytes:
        return json.dumps({"model": MODEL, "messages": self.messages, "max_tokens": 5, **self.fields}).encode()

    async def go_on(self, **headers: str) -> Answer:
        """Send the next request, and wait for its row."""
        answer = await self.arbstr.send(self.body, headers={key.replace("_", "-"): v for key, v in headers.items()})
        await self.arbstr.row(answer)
        self.messages += [{"role": "assistant", "content": "Hello"}, {"role": "user", "content": "and?"}]
        return answer

    async def estimate(self) -> dict[str, Any]:
        """What arbstr expects of the next request."""
        found: dict[str, Any] = (await self.arbstr.send(self.body, path="/v1/cost")).json
        return found


def provider_of(answer: Answer) -> str:
    assert answer.status == 200
    return answer.headers["X-Arbstr-Provider"]


@pytest.mark.parametrize("fields", [{}, {"stream": True}])
async def test_a_conversation_goes_on_where_its_prompt_is_cached(harness: ProxyHarness, fields: dict[str, Any]) -> None:
    caches = PromptCache(), PromptCache()
    await harness.add_provider("first", caches[0], **CACHED)
    await harness.add_provider("second", caches[1], **CACHED | {"input_rate": 10.9})
    arbstr = await harness.start()
    talk = Talk(arbstr, "one", **fields)
    assert [provider_of(await talk.go_on()) for _ in range(3)] == ["second"] * 3
    row = (await arbstr.rows(3))[0]
    assert row["tokens"]["cached"] > 0.9 * row["tokens"]["input"]


async def test_what_is_expected_to_be_cached_is_said_beforehand_and_beside_the_row(harness: ProxyHarness) -> None:
    await harness.add_provider("caching", PromptCache(), **CACHED)
    await harness.add_provider("plain", PromptCache(), **PLAIN | {"input_rate": 12})
    arbstr = await harness.start()
    talk = Talk(arbstr, "one")
    await talk.go_on()
    estimate = await talk.estimate()
    warm, cold = estimate["candidates"]
    assert (warm["provider"], cold["provider"], cold["cached_tokens"]) == ("caching", "plain", 0)
    assert estimate["reuse"]["previous_provider"] == "caching"
    row = await arbstr.row(await talk.go_on())
    assert row["tokens"]["cached"] == pytest.approx(warm["cached_tokens"], rel=0.02)
    chosen = row["routing"]["candidates"][0]
    assert (chosen["provider"], chosen["cached_tokens"]) == ("caching", warm["cached_tokens"])
    assert f"its cache should have {chosen['cached_tokens']:,} tokens of the prompt" in chosen["reason"]
    assert row["cost"]["sats"] == pytest.approx(chosen["expected_cost_sats"], rel=0.05)
    saved = row["tokens"]["cached"] * 10 / 1000
    assert row["cache"] == {
        "predicted_tokens": warm["cached_tokens"],
        "saved_sats": pytest.approx(saved),
        "switching_sats": 0.0,
    }
    stats = (await arbstr.get("/v1/stats?group_by=session")).json
    assert stats["cache"]["cached_tokens"] == row["tokens"]["cached"]
    assert stats["cache"]["saved_sats"] == pytest.approx(saved)
    assert stats["sessions"][row["session"]]["cache"] == stats["cache"]


async def test_what_it_cost_to_leave_a_warm_provider_is_said(harness: ProxyHarness) -> None:
    away = await harness.add_provider("away", PromptCache(), **CACHED)
    await harness.add_provider("other", PromptCache(), **PLAIN | {"input_rate": 12})
    arbstr = await harness.start(retry={"max_retries": 0})
    talk = Talk(arbstr, "one")
    await talk.go_on()
    away.script = [error_reply(500)]
    row = await arbstr.row(await talk.go_on())
    assert (row["provider"], row["cache"]["predicted_tokens"], row["cache"]["saved_sats"]) == ("other", 0, 0.0)
    assert row["cache"]["switching_sats"] == pytest.approx(row["routing"]["reuse"]["previous_saves_sats"])
    assert row["cache"]["switching_sats"] == pytest.approx(2500 * 10 / 1000, rel=0.05)
    assert (await arbstr.get("/v1/stats")).json["cache"]["switching_sats"] == row["cache"]["switching_sats"]


async def test_a_message_whose_marks_for_the_cache_move_is_known_again(harness: ProxyHarness) -> None:
    """As Claude Code sends it: `cache_control` is always at the end; the prompt before it is the same."""
    answer = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hello"}]}
    usage = {"input_tokens": 10, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 2400, "output_tokens": 5}
    reply = json_reply({**answer, "stop_reason": "end_turn", "usage": usage})
    speaks = {"dialects": ("messages",), "cache_write_rate": 12.5}
    await harness.add_provider("caching", reply, **CACHED | speaks)
    await harness.add_provider("other", reply, **CACHED | speaks)
    arbstr = await harness.start()

    def said(*texts: str) -> bytes:
        parts: list[dict[str, Any]] = [{"type": "text", "text": text} for text in texts]
        parts[-1]["cache_control"] = {"type": "ephemeral"}
        system = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
        messages = [{"role": "user", "content": [part]} for part in parts]
        return json.dumps({"model": MODEL, "max_tokens": 5, "system": system, "messages": messages}).encode()

    await arbstr.row(await arbstr.send(said("one"), path="/v1/messages"))
    row = await arbstr.row(await arbstr.send(said("one", "two"), path="/v1/messages"))
    assert row["routing"]["reuse"]["previous_provider"] == row["provider"] == "caching"
    assert row["cache"]["predicted_tokens"] > 2000
    assert row["tokens"]["cache_write"] == 2400


async def test_a_cache_that_finds_nothing_any_more_is_left(harness: ProxyHarness) -> None:
    fickle, steady = PromptCache(), PromptCache()
    await harness.add_provider("fickle", fickle, **CACHED)
    await harness.add_provider("steady", steady, **CACHED | {"cached_input_rate": 3})
    arbstr = await harness.start()
    assert provider_of(await Talk(arbstr, "before").go_on()) == "fickle"
    fickle.forgets = True
    talk = Talk(arbstr, "after")
    went = [provider_of(await talk.go_on()) for _ in range(16)]
    assert (went[0], went[-1]) == ("fickle", "steady")


async def test_a_request_falls_back_to_the_next_warmest(harness: ProxyHarness) -> None:
    down = await harness.add_provider("down", PromptCache(), **CACHED)
    await harness.add_provider("cheap", PromptCache(), **PLAIN)
    await harness.add_provider("warm", PromptCache(), **CACHED | {"cached_input_rate": 2})
    arbstr = await harness.start(retry={"max_retries": 0}, policies={"rules": [{"name": "w", "providers": ["warm"]}]})
    talk = Talk(arbstr, "one")
    await talk.go_on()
    await talk.go_on(X_Arbstr_Policy="w")
    down.script = [error_reply(500)]
    answer = await talk.go_on()
    assert provider_of(answer) == "warm"


async def test_a_policy_pins_conversations_and_another_ignores_caches(harness: ProxyHarness) -> None:
    await harness.add_provider("cheap", PromptCache(), **PLAIN)
    await harness.add_provider("caching", PromptCache(), **CACHED | {"input_rate": 20})
    rules = [
        {"name": "stay", "affinity": "session"},
        {"name": "ignore", "affinity": "none"},
        {"name": "dear", "providers": ["caching"]},
    ]
    arbstr = await harness.start(policies={"rules": rules})
    talk = Talk(arbstr, "one", prompt_cache_key="one")
    assert provider_of(await talk.go_on(X_Arbstr_Policy="stay")) == "cheap"
    assert provider_of(await talk.go_on(X_Arbstr_Policy="dear")) == "caching"
    assert provider_of(await talk.go_on(X_Arbstr_Policy="stay")) == "cheap"
    assert provider_of(await talk.go_on(X_Arbstr_Policy="dear")) == "caching"
    assert provider_of(await talk.go_on()) == "caching"
    assert provider_of(await talk.go_on(X_Arbstr_Policy="ignore")) == "cheap"
    talk.fields["prompt_cache_key"] = "two"
    estimate = await arbstr.send(talk.body, path="/v1/cost", headers={"X-Arbstr-Policy": "stay"})
    first = estimate.json["candidates"][0]["provider"]
    assert provider_of(await talk.go_on(X_Arbstr_Policy="stay")) == first
    pinned = await arbstr.send(talk.body, path="/v1/cost", headers={"X-Arbstr-Policy": "stay"})
    assert pinned.json["candidates"][0]["provider"] == first
    assert "it has this conversation" in pinned.json["candidates"][0]["reason"]


async def test_where_no_provider_has_a_price_for_what_is_cached_nothing_is_kept(harness: ProxyHarness) -> None:
    await harness.add_provider("one", PromptCache(), **PLAIN)
    await harness.add_provider("two", PromptCache(), **PLAIN)
    arbstr = await harness.start()
    talk = Talk(arbstr, "one")
    await talk.go_on()
    assert (await talk.estimate())["reuse"] is None
