"""The official client, pointed at arbstr, notices nothing: answers, streams, tools, models, exception classes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.support.harness import Arbstr, ProxyHarness
from tests.support.patience import SHORT_S
from tests.support.provider import (
    Move,
    chunk,
    completion,
    error_reply,
    json_reply,
    reply,
    sse_reply,
    stream_events,
)

MESSAGES: Any = [{"role": "user", "content": "hi"}]
TOOL = {"name": "weather", "arguments": '{"city": "Zürich"}'}


@pytest.fixture
async def clients() -> AsyncIterator[list[openai.AsyncOpenAI]]:
    made: list[openai.AsyncOpenAI] = []
    yield made
    for client in made:
        await client.close()


def client_of(arbstr: Arbstr, clients: list[openai.AsyncOpenAI], **given: Any) -> openai.AsyncOpenAI:
    options = {"base_url": f"{arbstr.url}/v1", "api_key": "clients-own-key", "max_retries": 0, **given}
    clients.append(openai.AsyncOpenAI(**options))
    return clients[-1]


async def test_a_completion(harness: ProxyHarness, clients: list[openai.AsyncOpenAI]) -> None:
    await harness.add_provider("alpha", json_reply(completion("Grüezi", tokens=(12, 9))))
    client = client_of(await harness.start(), clients)
    answer = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert answer.choices[0].message.content == "Grüezi"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (12, 9)


async def test_the_cost_is_in_the_raw_responses_headers(
    harness: ProxyHarness, clients: list[openai.AsyncOpenAI]
) -> None:
    await harness.add_provider("alpha", json_reply(completion(tokens=(1000, 500))))
    client = client_of(await harness.start(), clients)
    raw = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES)
    assert raw.headers["x-arbstr-cost-sats"] == "26.000"
    assert raw.parse().choices[0].message.content == "Hello"


async def test_a_stream(harness: ProxyHarness, clients: list[openai.AsyncOpenAI]) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("Grü", "ezi ", "\U0001f600")))
    client = client_of(await harness.start(), clients)
    stream = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    chunks = [part async for part in stream]
    assert "".join(part.choices[0].delta.content or "" for part in chunks) == "Grüezi \U0001f600"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(part.choices for part in chunks)  # no usage chunk, which trips readers that did not ask for it


async def test_a_stream_with_usage(harness: ProxyHarness, clients: list[openai.AsyncOpenAI]) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("a", tokens=(12, 9))))
    client = client_of(await harness.start(), clients)
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [part async for part in stream]
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].choices) == (12, [])


async def test_the_official_clients_stream_helper_gathers_a_stream(
    harness: ProxyHarness, clients: list[openai.AsyncOpenAI]
) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("Hel", "lo")))
    client = client_of(await harness.start(), clients)
    async with client.chat.completions.stream(model="gpt-4o", messages=MESSAGES) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "Hello"


async def test_a_tool_call(harness: ProxyHarness, clients: list[openai.AsyncOpenAI]) -> None:
    given = {"id": "call_1", "type": "function", "function": TOOL}
    said = completion(None, message={"tool_calls": [given]}, finish_reason="tool_calls")
    alpha = await harness.add_provider("alpha", json_reply(said))
    client = client_of(await harness.start(), clients)
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    answer = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, tools=tools)
    assert alpha.requests[0].json["tools"] == tools
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.arguments == TOOL["arguments"]


async def test_a_tool_call_in_a_stream(harness: ProxyHarness, clients: list[openai.AsyncOpenAI]) -> None:
    text = TOOL["arguments"]
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    parts = [{"index": 0, "function": {"arguments": text[at : at + 4]}} for at in range(0, len(text), 4)]
    deltas = [chunk(delta={"tool_calls": [call]}) for call in (first, *parts)]
    await harness.add_provider("alpha", sse_reply(*deltas, *stream_events(finish_reason="tool_calls")))
    client = client_of(await harness.start(), clients)
    async with client.chat.completions.stream(model="gpt-4o", messages=MESSAGES) as stream:
        final = await stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or []
    assert call.function.arguments == text


async def test_leaving_a_stream(harness: ProxyHarness, clients: list[openai.AsyncOpenAI]) -> None:
    await harness.add_provider("alpha", sse_reply(chunk("a"), Move.NEVER), on_client_gone="cancel")
    arbstr = await harness.start()
    client = client_of(arbstr, clients)
    stream = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    async for _ in stream:
        break
    await stream.close()
    assert (await arbstr.row())["error"]["status"] == 499


async def test_models(harness: ProxyHarness, clients: list[openai.AsyncOpenAI]) -> None:
    await harness.add_provider("alpha", models=("gpt-4o", "vendor/model:free"))
    client = client_of(await harness.start(), clients)
    assert [model.id async for model in client.models.list()] == ["gpt-4o", "vendor/model:free"]
    assert (await client.models.retrieve("gpt-4o")).owned_by == "routstr"


@pytest.mark.parametrize(
    ("replied", "model", "expected", "code"),
    [
        (error_reply(422, kind="invalid_request_error", code="odd"), "gpt-4o", openai.UnprocessableEntityError, "odd"),
        (error_reply(400, code="invalid_value"), "gpt-4o", openai.BadRequestError, "invalid_value"),
        (json_reply(completion()), "gpt-5", openai.NotFoundError, "model_not_found"),
        (json_reply(completion()), "", openai.BadRequestError, "missing_model"),
        (error_reply(500), "gpt-4o", openai.InternalServerError, "all_providers_failed"),
        (reply(b"<h1>Hi</h1>"), "gpt-4o", openai.InternalServerError, "bad_upstream_response"),
    ],
    ids=["422", "400", "404", "no model", "502", "unusable"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_errors_are_the_exceptions_that_the_client_knows(
    harness: ProxyHarness,
    clients: list[openai.AsyncOpenAI],
    replied: Any,
    model: str,
    expected: type[openai.APIStatusError],
    code: str,
    stream: bool,
) -> None:
    await harness.add_provider("alpha", replied)
    client = client_of(await harness.start(), clients)
    with pytest.raises(expected) as caught:
        await client.chat.completions.create(model=model, messages=MESSAGES, stream=stream)
    assert caught.value.code == code
    assert caught.value.response.headers["x-arbstr-request-id"]


async def test_a_wrong_token_is_an_authentication_error(
    harness: ProxyHarness, clients: list[openai.AsyncOpenAI]
) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"auth_token": "the-right-token"})
    with pytest.raises(openai.AuthenticationError) as caught:
        await client_of(arbstr, clients).chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert caught.value.code == "invalid_api_key"
    right = client_of(arbstr, clients, api_key="the-right-token")
    assert (await right.chat.completions.create(model="gpt-4o", messages=MESSAGES)).choices


async def test_too_many_requests_are_a_rate_limit_error(
    harness: ProxyHarness, clients: list[openai.AsyncOpenAI]
) -> None:
    await harness.add_provider("alpha")
    client = client_of(await harness.start(server={"rate_limit_rps": 0.01}), clients)
    await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    with pytest.raises(openai.RateLimitError):
        await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)


@pytest.mark.parametrize("end", [Move.RESET, Move.CLOSE], ids=["reset", "closed"])
async def test_a_stream_that_breaks_off_is_an_api_error(
    harness: ProxyHarness, clients: list[openai.AsyncOpenAI], end: Move
) -> None:
    await harness.add_provider("alpha", sse_reply(chunk("Hel"), end))
    client = client_of(await harness.start(), clients)
    stream = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="broke off") as caught:
        async for _ in stream:
            pass
    assert caught.value.code == "bad_upstream_response"


async def test_the_clients_own_retries_are_requests_of_their_own(
    harness: ProxyHarness, clients: list[openai.AsyncOpenAI]
) -> None:
    await harness.add_provider("alpha", error_reply(401), json_reply(completion()))
    arbstr = await harness.start()
    client = client_of(arbstr, clients, max_retries=2)
    assert (await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)).choices
    records = await arbstr.finished(2)
    assert [record.error_status for record in records] == [502, None]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_client_does_not_repeat_what_may_have_been_paid(
    harness: ProxyHarness, clients: list[openai.AsyncOpenAI], stream: bool
) -> None:
    alpha = await harness.add_provider("alpha", [Move.NEVER], timeouts={"first_byte": SHORT_S})
    client = client_of(await harness.start(), clients, max_retries=openai.DEFAULT_MAX_RETRIES)
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=stream)
    assert caught.value.status_code == 504
    assert len(alpha.requests) == 1


@pytest.mark.parametrize("done", [True, False], ids=["with [DONE]", "without"])
async def test_every_chunk_has_what_strict_clients_look_for(
    harness: ProxyHarness, clients: list[openai.AsyncOpenAI], done: bool
) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("Hel", "lo", done=done)))
    client = client_of(await harness.start(), clients)
    stream = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


async def test_many_at_once(harness: ProxyHarness, clients: list[openai.AsyncOpenAI]) -> None:
    await harness.add_provider("alpha")
    client = client_of(await harness.start(), clients)
    asked = (client.chat.completions.create(model="gpt-4o", messages=MESSAGES) for _ in range(20))
    answers = await asyncio.gather(*asked)
    assert {answer.choices[0].message.content for answer in answers} == {"Hello"}
