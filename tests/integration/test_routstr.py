"""Recorded exchanges with a real Routstr node, played back: what it used and charged, and what its errors mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.harness import Answer, ProxyHarness, tokens_of
from tests.support.provider import MODEL, error_reply
from tests.support.recordings import recording

# sats per 1000 tokens of the node's gpt-4o-mini, at the time
RATES: dict[str, Any] = {"input_rate": 0.1515, "output_rate": 0.606, "base_fee": 0}


async def replayed(harness: ProxyHarness, name: str, **fields: object) -> tuple[Answer, dict[str, Any], bytes]:
    """The answer when the only provider gives the recorded one, its row, and the recorded body."""
    recorded = recording(name)
    await harness.add_provider("node", recorded.reply(), **RATES)
    arbstr = await harness.start()
    asked = {**recorded.request["body"], "model": MODEL, **fields}
    answer = await arbstr.send(json.dumps(asked).encode())
    return answer, await arbstr.row(answer), recorded.body


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("chat_nonstream_bearer_sk", (1000, 500)),
        ("chat_nonstream_small_usage", None),
        ("chat_cached", None),
        ("chat_claude_cache_write", None),
        ("chat_reasoning_tokens", None),
        ("chat_request_fee_model", None),
        ("chat_upstream_usd_cost", None),
        ("fixed_pricing_chat", None),
        ("overrun_capped_at_balance", None),
    ],
)
async def test_a_completion_passes_with_what_was_charged(
    harness: ProxyHarness, name: str, tokens: tuple[int, int] | None
) -> None:
    answer, row, body = await replayed(harness, name)
    assert (answer.status, answer.body) == (200, body)
    usage = answer.json["usage"]
    assert tokens_of(row) == (usage["prompt_tokens"], usage["completion_tokens"])
    if tokens is not None:
        assert tokens_of(row) == tokens
    charged = recording(name).measured["charged_msats"]
    assert row["cost"]["provider_sats"] == charged / 1000


async def test_the_rates_say_the_same_where_the_node_kept_to_them(harness: ProxyHarness) -> None:
    """1000 tokens in and 500 out: 454.5 msats, which the node rounds up to 455 as we do."""
    answer, row, _ = await replayed(harness, "chat_nonstream_bearer_sk")
    assert answer.headers["X-Arbstr-Cost-Sats"] == "0.455"
    assert row["cost"] == {"sats": 0.455, "provider_sats": 0.455, "list_sats": 0.455}


async def test_without_usage_nothing_was_charged_and_the_cost_is_unknown(harness: ProxyHarness) -> None:
    answer, row, body = await replayed(harness, "chat_nonstream_no_usage")
    assert (answer.status, answer.body) == (200, body)
    assert recording("chat_nonstream_no_usage").measured["charged_msats"] == 0
    assert row["success"]


async def test_a_stream_passes_but_for_the_chunk_of_its_cost(harness: ProxyHarness) -> None:
    answer, row, body = await replayed(harness, "chat_stream_bearer_sk")
    events = body.removesuffix(b"\n\n").split(b"\n\n")
    kept = [event for event in events if b'"usage"' not in event]
    assert len(kept) == len(events) - 1
    assert answer.events[: len(kept)] == kept
    assert answer.trailer["cost_sats"] == 0.455
    assert tokens_of(row) == (1000, 500)
    assert row["cost"] == {"sats": 0.455, "provider_sats": 0.455, "list_sats": 0.455}


async def test_a_stream_passes_with_its_usage_chunk_for_a_client_that_asks_for_usage(harness: ProxyHarness) -> None:
    answer, _, body = await replayed(harness, "chat_stream_bearer_sk", stream_options={"include_usage": True})
    assert answer.body.startswith(body)


async def test_a_stream_without_usage_ends_well(harness: ProxyHarness) -> None:
    answer, row, _ = await replayed(harness, "chat_stream_no_usage")
    assert row["success"]
    assert answer.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("name", ["stream_upstream_aborts", "stream_upstream_error_event"])
async def test_a_stream_that_broke_off_behind_the_node_is_not_taken_for_whole(harness: ProxyHarness, name: str) -> None:
    """The node says 200 and ends with zero usage and no `[DONE]`: nobody counted."""
    answer, row, _ = await replayed(harness, name)
    error = json.loads(answer.events[-1].removeprefix(b"data: "))["error"]
    assert error["code"] == "bad_upstream_response"
    assert b"[DONE]" not in answer.body
    assert not row["success"]
    assert row["error"]["status"] == 502
    assert tokens_of(row) == (None, None)
    assert row["cost"]["sats"] is None


@pytest.mark.parametrize(
    ("name", "attempts"),
    [
        ("err_no_auth", 1),
        ("err_bad_key", 1),
        ("err_not_a_key", 1),
        ("err_insufficient_balance", 1),
        ("err_concurrent_reservation_402", 1),
        ("err_unknown_model", 1),  # its catalogue has moved on
        ("err_upstream_401", 1),
        ("err_upstream_429", 1),  # it asks for twenty seconds
        ("err_upstream_429_stream", 1),
        ("err_upstream_500", 3),
        ("err_upstream_503", 3),
        ("err_upstream_badjson", 3),
        ("err_upstream_down_bearer", 3),
        ("err_upstream_html502", 3),
    ],
)
async def test_an_error_about_the_node_sends_the_request_elsewhere(
    harness: ProxyHarness, name: str, attempts: int
) -> None:
    recorded = recording(name)
    node = await harness.add_provider("node", recorded.reply())
    await harness.add_provider("beta")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (answer.status, answer.headers["X-Arbstr-Provider"]) == (200, "beta")
    assert answer.headers["X-Arbstr-Retries"] == f"{attempts}/node"
    assert len(node.requests) == attempts


@pytest.mark.parametrize("name", ["err_upstream_400", "err_max_tokens_string"])
async def test_an_error_about_the_request_passes(harness: ProxyHarness, name: str) -> None:
    answer, row, body = await replayed(harness, name, max_tokens=5)
    assert (answer.status, answer.body) == (400, body)
    assert row["error"]["status"] == 400


async def test_a_balance_too_low_everywhere_is_reported_in_the_nodes_words(harness: ProxyHarness) -> None:
    await harness.add_provider("node", recording("err_insufficient_balance").reply())
    await harness.add_provider("other", error_reply(402))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert answer.refusal == (402, "upstream_error", "insufficient_balance")
    assert "Insufficient balance: 9.83 sats" in answer.error["message"]


async def replayed_at(harness: ProxyHarness, name: str) -> tuple[Answer, dict[str, Any], bytes]:
    """The same for a recording of another dialect."""
    recorded = recording(name)
    await harness.add_provider("node", recorded.reply(), **{**RATES, "models": ()})
    arbstr = await harness.start()
    answer = await arbstr.send(json.dumps(recorded.request["body"]).encode(), path=recorded.request["path"])
    return answer, await arbstr.row(answer), recorded.body


@pytest.mark.parametrize(
    ("name", "tokens", "sats"),
    [
        ("messages_nonstream", (1000, 500), 10.605),
        ("messages_stream", (1000, 500), 10.605),
        ("responses_nonstream", (1000, 500), 0.455),
        ("responses_nonstream_cached", (1000, 500), 0.455),
        ("responses_stream", (1000, 500), 0.0),  # old nodes charge nothing for these
        ("embeddings_bearer", (1000, 0), 0.163),
    ],
)
async def test_other_dialects_pass_with_what_was_charged(
    harness: ProxyHarness, name: str, tokens: tuple[int, int], sats: float
) -> None:
    answer, row, body = await replayed_at(harness, name)
    assert answer.status == 200
    assert answer.body.startswith(body)
    assert (row["success"], tokens_of(row)) == (True, tokens)
    assert row["cost"]["provider_sats"] == sats
    assert row["cost"]["list_sats"] is not None
