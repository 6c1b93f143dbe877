"""What a request may cost at most, and what may be spent in all: nothing that is sent or claimed gets around it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.world import World, body

LONG = "x" * 400_000  # 100,000 tokens; at the world's rates a thousand sats
AT_MOST_20 = {"rules": [{"name": "small", "max_sats_per_request": 20}]}
SMALL = {"X-Arbstr-Policy": "small"}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "description": LONG}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"title": LONG}}}},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": LONG}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": LONG}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}] * 3}]},
        {"n": 128},
        {"n": 2, "max_tokens": 400},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_everything_that_is_sent_counts_against_the_most_a_request_may_cost(
    world: World, fields: dict[str, Any]
) -> None:
    alpha = await world.sells("alpha")
    arbstr = await world.opens(policies=AT_MOST_20)
    answer = await arbstr.chat(headers=SMALL, **fields)
    message = await arbstr.refused(answer, 400, "invalid_request_error", "no_provider_within_policy")
    assert "max_sats_per_request = 20" in message
    assert alpha.requests == []


async def test_what_is_no_prompt_does_not(world: World) -> None:
    await world.sells("alpha")
    arbstr = await world.opens(policies=AT_MOST_20)
    answer = await arbstr.chat(headers=SMALL, user=LONG, metadata={"trace": LONG}, max_tokens=600.0)
    assert answer.status == 200


@pytest.mark.parametrize("second", [b"model", rb"\u006dodel"])
async def test_a_model_that_is_named_twice_is_bought_nowhere(world: World, second: bytes) -> None:
    alpha = await world.sells("alpha")
    arbstr = await world.opens()
    twice = json.dumps(body()).encode()[:-1] + b',"%b":"dear"}' % second
    message = await arbstr.refused(await arbstr.send(twice), 400, "invalid_request_error", "invalid_json")
    assert "'model' more than once" in message
    assert alpha.requests == []


async def test_a_byte_order_mark_before_the_json_is_taken_off(world: World) -> None:
    alpha = await world.sells("alpha")
    arbstr = await world.opens()
    data = json.dumps(body()).encode()
    assert (await arbstr.send(b"\xef\xbb\xbf" + data)).status == 200
    assert alpha.requests[0].body == data
