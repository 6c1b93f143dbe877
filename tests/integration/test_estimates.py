"""What a request would cost, and how many tokens it has: for every dialect, and nothing is sent or recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.test_dialects import ask
from tests.support.dialects import ALL, MESSAGES, Speech
from tests.support.harness import Answer, Arbstr, ProxyHarness
from tests.support.provider import json_reply


async def count(arbstr: Arbstr, **fields: Any) -> Answer:
    data = json.dumps({"model": "gpt-4o", **MESSAGES.ask, **fields}).encode()
    return await arbstr.send(data, path="/v1/messages/count_tokens?beta=true")


@pytest.mark.parametrize("speech", ALL, ids=lambda speech: speech.name)
async def test_the_cost_of_a_request_is_estimated_in_any_dialect(harness: ProxyHarness, speech: Speech) -> None:
    alpha = await harness.add_provider("alpha", json_reply(speech.answer))
    arbstr = await harness.start()
    document = (await arbstr.send(speech.request(), path="/v1/cost")).json
    assert document["candidates"][0]["provider"] == "alpha"
    assert document["expected_output_tokens"] == {"embeddings": 0, "messages": 100}.get(speech.name, 256)
    assert document["expected_input_tokens"] == 3
    assert alpha.requests == []
    assert await arbstr.rows() == []


async def test_tokens_are_counted_here_and_said_to_be_an_estimate(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", json_reply(MESSAGES.answer), kind="routstr")
    arbstr = await harness.start()
    answer = await count(arbstr, system="x" * 390)
    assert answer.json == {"input_tokens": 100, "estimate": True}
    assert answer.headers["X-Arbstr-Estimate"] == "true"
    assert alpha.requests == []
    assert await arbstr.rows() == []


async def test_what_was_learned_of_a_model_counts(harness: ProxyHarness) -> None:
    usage = {"input_tokens": 4000, "output_tokens": 7}
    await harness.add_provider("alpha", json_reply({**MESSAGES.answer, "usage": usage}))
    arbstr = await harness.start()
    text = [{"role": "user", "content": "x" * 4000}]
    before = (await count(arbstr, messages=text)).json["input_tokens"]
    for _ in range(5):
        await ask(arbstr, MESSAGES, messages=text)
    await arbstr.finished(5)
    assert before == 1000
    assert (await count(arbstr, messages=text)).json["input_tokens"] > 2000


async def test_a_policy_that_nobody_has_is_refused_before_the_message_itself_is_sent(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(MESSAGES.answer))
    arbstr = await harness.start(policies={"rules": [{"name": "code"}]})
    assert (await arbstr.send(MESSAGES.request(), path="/policy/code/v1/messages/count_tokens")).status == 200
    answer = await arbstr.send(MESSAGES.request(), path="/policy/cod/v1/messages/count_tokens")
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith("No policy is named 'cod'")
    assert await arbstr.rows() == []


async def test_a_count_that_is_refused_has_anthropics_shape(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(MESSAGES.answer))
    arbstr = await harness.start()
    answer = await count(arbstr, messages=[])
    assert answer.status == 400
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 40}]}]}, 10),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"data": "x" * 40_000}}]}]}, 1000),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "t",
                                "content": [{"type": "image", "source": {"data": "x" * 40_000}}],
                            }
                        ],
                    }
                ]
            },
            1011,
        ),
    ],
    ids=["parts", "image", "image in a result"],
)
async def test_images_count_as_images_wherever_they_are(
    harness: ProxyHarness, fields: dict[str, Any], tokens: int
) -> None:
    await harness.add_provider("alpha", json_reply(MESSAGES.answer))
    arbstr = await harness.start()
    assert (await count(arbstr, **fields)).json["input_tokens"] == pytest.approx(tokens, abs=3)
