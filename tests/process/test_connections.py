"""Connections to providers that are lost, at every step of an exchange."""

from __future__ import annotations

import json

import pytest

from tests.support.faulty_provider import CHUNKED, EVENTS, JSON, FaultyProviderHarness
from tests.support.harness import tokens_of
from tests.support.provider import (
    DONE,
    Move,
    Part,
    chunk,
    chunked,
    completion,
    head,
    json_reply,
    usage_chunk,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

WHOLE = json.dumps(completion("from alpha")).encode()
BEGUN = [head(200, EVENTS, CHUNKED), chunked(chunk("from alpha"))]

# Before anything of the answer can have reached the client: the next provider is asked.

BEFORE: dict[str, list[Part]] = {
    "once the request is read": [],
    "within the status line": [b"HTTP/1.1 20"],
    "within the headers": [b"HTTP/1.1 200 OK\r\nContent-Type: appl"],
    "after the headers": [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"],
    "after an interim answer": [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"],
    "before a body of some length": [head(200, JSON, ("Content-Length", "100"))],
    "before a body in chunks": [head(200, JSON, CHUNKED)],
    "before a body of no length": [head(200, JSON)],
    "within a body of some length": [head(200, JSON, ("Content-Length", "999")), WHOLE],
    "within a chunk": [head(200, JSON, CHUNKED), b"fff\r\n" + WHOLE],
    "within a chunk's size": [head(200, JSON, CHUNKED), chunked(WHOLE), b"f"],
    "before the last chunk": [head(200, JSON, CHUNKED), chunked(WHOLE)],
    "within a body of no length": [head(200, JSON), WHOLE[:-5]],
    "before a stream's first event": [head(200, EVENTS, CHUNKED)],
    "after a stream's first comment": [head(200, EVENTS, CHUNKED), chunked(b": thinking\n\n")],
    "within a stream's first event": [head(200, EVENTS, CHUNKED), chunked(b'data: {"choices":[{"del')],
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("end", [Move.CLOSE, Move.RESET], ids=["closed", "reset"])
@pytest.mark.parametrize("parts", BEFORE.values(), ids=BEFORE)
async def test_a_connection_lost_before_the_answer_sends_the_request_on(
    faulty: FaultyProviderHarness, parts: list[Part], end: Move, stream: bool
) -> None:
    answer = await faulty.chat([*parts, end], stream=stream)
    assert (answer.status_code, answer.headers["x-arbstr-provider"]) == (200, "beta")
    assert answer.headers["x-arbstr-retries"] == "1/alpha"
    assert "from beta" in answer.text
    assert "from alpha" not in answer.text
    row = await faulty.row(answer)
    assert (row["success"], row["provider"]) == (True, "beta")


async def test_a_connection_lost_before_the_request_is_read_sends_it_on(faulty: FaultyProviderHarness) -> None:
    answer = await faulty.chat(json_reply(completion("from alpha")), model="deaf")
    assert (answer.status_code, answer.headers["x-arbstr-provider"]) == (200, "alpha")
    assert answer.headers["x-arbstr-retries"] == "1/deaf"


async def test_a_connection_lost_while_a_large_request_is_sent_sends_it_on(faulty: FaultyProviderHarness) -> None:
    answer = await faulty.chat(json_reply(completion()), model="deaf", padding="x" * 20_000_000)
    assert (answer.status_code, answer.headers["x-arbstr-retries"]) == (200, "1/deaf")


async def test_a_name_that_does_not_resolve_sends_the_request_on(faulty: FaultyProviderHarness) -> None:
    answer = await faulty.chat(json_reply(completion()), model="nameless")
    assert (answer.status_code, answer.headers["x-arbstr-retries"]) == (200, "1/nameless")


async def test_a_name_that_does_not_resolve_is_reported_with_its_provider(faulty: FaultyProviderHarness) -> None:
    answer = await faulty.chat(model="nameless-alone")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "all_providers_failed")
    message = answer.json()["error"]["message"]
    assert "'nameless' was tried once" in message
    assert "connection failed" in message
    assert (await faulty.row(answer))["error"] == {"status": 502, "message": message}


# After the first event: the client has a beginning, so the end is reported within the stream.

AFTER: dict[str, list[Part]] = {
    "after the first event": [],
    "within an event": [chunked(b'data: {"choices":[{"delta":{"content":"torn')],
    "within a character": [chunked('data: {"choices":[{"delta":{"content":"h\u00e9'.encode()[:-1])],
    "within a chunk": [b"fff\r\n" + chunk("more")],
    "within a chunk's size": [b"f"],
    "after an event": [chunked(chunk("more"))],
}


@pytest.mark.parametrize("end", [Move.CLOSE, Move.RESET], ids=["closed", "reset"])
@pytest.mark.parametrize("parts", AFTER.values(), ids=AFTER)
async def test_a_connection_lost_within_a_stream_is_reported_as_its_last_event(
    faulty: FaultyProviderHarness, parts: list[Part], end: Move
) -> None:
    answer = await faulty.chat([*BEGUN, *parts, end], stream=True)
    assert (answer.status_code, answer.headers["x-arbstr-provider"]) == (200, "alpha")
    assert "from alpha" in answer.text
    last = json.loads(answer.text.rstrip().rpartition("\n\n")[2].removeprefix("data: "))
    assert last["error"]["code"] == "bad_upstream_response"
    assert "[DONE]" not in answer.text
    row = await faulty.row(answer)
    assert (row["success"], row["error"]["status"], row["tokens"]["output"]) == (False, 502, None)


# After the finish_reason nothing is missing.

ENDED: dict[str, list[Part]] = {
    "before [DONE]": [],
    "within [DONE]": [chunked(b"data: [DO")],
    "after [DONE]": [chunked(DONE)],
    "within what follows [DONE]": [chunked(DONE), b"ff"],
}


@pytest.mark.parametrize("end", [Move.CLOSE, Move.RESET], ids=["closed", "reset"])
@pytest.mark.parametrize("parts", ENDED.values(), ids=ENDED)
async def test_a_connection_lost_after_the_finish_reason_costs_nothing(
    faulty: FaultyProviderHarness, parts: list[Part], end: Move
) -> None:
    finished = [*BEGUN, chunked(chunk(finish_reason="stop")), chunked(usage_chunk(10, 5))]
    answer = await faulty.chat([*finished, *parts, end], stream=True)
    *_, trailer, done = answer.text.rstrip().split("\n\n")
    assert done == "data: [DONE]"
    assert json.loads(trailer.removeprefix("data: "))["arbstr"]["output_tokens"] == 5
    assert "error" not in answer.text
    row = await faulty.row(answer)
    assert (row["success"], tokens_of(row)) == (True, (10, 5))
