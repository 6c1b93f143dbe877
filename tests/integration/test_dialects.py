"""What holds for every dialect: fallback, streams as they come, endings, metering, rows, headers, errors."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from tests.support.dialects import (
    ALL,
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    STREAMED,
    Speech,
    named,
    response,
)
from tests.support.harness import Answer, Arbstr, ProxyHarness, key_of, tokens_of
from tests.support.patience import SHORT_S
from tests.support.provider import DONE, Move, byte_by_byte, error_reply, event, json_reply, reply, sse_reply

KEY = key_of("alpha")


@pytest.fixture(params=ALL, ids=lambda speech: speech.name)
def speech(request: pytest.FixtureRequest) -> Speech:
    """Each dialect."""
    found: Speech = request.param
    return found


@pytest.fixture(params=STREAMED, ids=lambda speech: speech.name)
def streamed(request: pytest.FixtureRequest) -> Speech:
    """Each dialect that has streams."""
    found: Speech = request.param
    return found


async def ask(arbstr: Arbstr, speech: Speech, *, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    return await arbstr.send(speech.request(**fields), headers=headers, path=speech.path)


def figures(answer: Answer, speech: Speech) -> dict[str, Any]:
    """What arbstr says at the end of a stream."""
    if speech is CHAT:
        return answer.trailer
    *_, before, last = answer.events
    if speech is COMPLETIONS:
        assert last == b"data: [DONE]"
        chunk = json.loads(before.removeprefix(b"data: "))
        assert (chunk["object"], chunk["choices"]) == ("text_completion", [])
        reported: dict[str, Any] = chunk["arbstr"]
        return reported
    reported = json.loads(last.removeprefix(b": arbstr "))
    assert isinstance(reported, dict)
    return reported


def error_of(answer: Answer, speech: Speech) -> dict[str, Any]:
    """The error in an answer, which has the dialect's shape and no more."""
    document = answer.json
    if speech is not MESSAGES:
        return answer.error
    assert set(document) == {"type", "error"}
    assert document["type"] == "error"
    assert set(document["error"]) == {"type", "message"}
    error: dict[str, Any] = document["error"]
    return error


async def test_an_answer_passes_byte_for_byte_and_has_one_row(harness: ProxyHarness, speech: Speech) -> None:
    raw = json.dumps(speech.answer, indent=1).encode()
    alpha = await harness.add_provider("alpha", reply(raw), input_rate=10, output_rate=30, base_fee=1)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech, x_unknown=[1.50])
    assert (answer.status, answer.body) == (200, raw)
    assert alpha.requests[0].path == speech.path
    assert alpha.requests[0].body == speech.request(x_unknown=[1.50])
    assert answer.headers["X-Arbstr-Provider"] == "alpha"
    assert answer.headers["X-Arbstr-Cost-Sats"] == f"{1 + (120 + 30 * speech.output) / 1000:.3f}"
    row = await arbstr.row(answer)
    assert (row["dialect"], row["success"], row["streaming"]) == (speech.name, True, False)
    assert tokens_of(row) == (12, speech.output)
    assert row["cost"]["sats"] == pytest.approx(1 + (120 + 30 * speech.output) / 1000)
    assert len(await arbstr.rows()) == 1


@pytest.mark.parametrize("split", [False, True], ids=["at once", "byte by byte"])
async def test_a_stream_passes_byte_for_byte_with_its_cost_at_the_end(
    harness: ProxyHarness, streamed: Speech, split: bool
) -> None:
    await harness.add_provider("alpha", sse_reply(*(byte_by_byte(streamed.stream) if split else streamed.events)))
    arbstr = await harness.start()
    answer = await ask(arbstr, streamed, stream=True)
    assert answer.body.startswith(streamed.shown)
    assert answer.headers["X-Arbstr-Streaming"] == "true"
    reported = figures(answer, streamed)
    assert (reported["input_tokens"], reported["output_tokens"], reported["provider"]) == (12, 7, "alpha")
    assert reported["cost_sats"] == pytest.approx(1.33)
    assert reported["request_id"] == answer.headers["X-Arbstr-Request-Id"]
    row = await arbstr.row(answer)
    assert (row["dialect"], row["success"], row["streaming"], tokens_of(row)) == (streamed.name, True, True, (12, 7))


async def test_the_end_goes_out_although_the_connection_stays_open(harness: ProxyHarness, streamed: Speech) -> None:
    await harness.add_provider("alpha", sse_reply(streamed.stream, Move.NEVER))
    arbstr = await harness.start()
    answer = await ask(arbstr, streamed, stream=True)
    assert figures(answer, streamed)["output_tokens"] == 7
    assert (await arbstr.row(answer))["success"]


async def test_who_leaves_with_the_last_event_has_had_the_answer(harness: ProxyHarness, streamed: Speech) -> None:
    await harness.add_provider("alpha", sse_reply(streamed.stream, Move.NEVER))
    arbstr = await harness.start()
    async with arbstr.open(streamed.request(stream=True), path=streamed.path) as stream:
        await stream.until(streamed.shown)
    row = await arbstr.row()
    assert (row["success"], tokens_of(row)) == (True, (12, 7))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_fails_is_bought_from_the_next(harness: ProxyHarness, streamed: Speech, stream: bool) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    bad = sse_reply(named(error)) if stream else json_reply(error)
    alpha = await harness.add_provider("alpha", error_reply(500), bad, input_rate=1)
    await harness.add_provider("beta", json_reply({"error": {"message": "no"}}), input_rate=2)
    good = sse_reply(*streamed.events) if stream else json_reply(streamed.answer)
    await harness.add_provider("gamma", good, input_rate=3)
    arbstr = await harness.start()
    answer = await ask(arbstr, streamed, stream=stream)
    assert answer.status == 200
    assert answer.headers["X-Arbstr-Provider"] == "gamma"
    assert answer.headers["X-Arbstr-Retries"] == "2/alpha, 1/beta"
    assert len(alpha.requests) == 2
    assert (await arbstr.row(answer))["provider"] == "gamma"


async def test_anthropics_provider_that_is_overloaded_is_asked_again(harness: ProxyHarness) -> None:
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    alpha = await harness.add_provider("alpha", json_reply(overloaded, status=529), json_reply(MESSAGES.answer))
    arbstr = await harness.start()
    answer = await ask(arbstr, MESSAGES)
    assert (answer.status, answer.headers["X-Arbstr-Retries"]) == (200, "1/alpha")
    assert len(alpha.requests) == 2


async def test_a_stream_that_ends_before_it_says_anything_is_no_answer(harness: ProxyHarness, streamed: Speech) -> None:
    await harness.add_provider("alpha", sse_reply(*streamed.events[: streamed.content]), input_rate=1)
    await harness.add_provider("beta", sse_reply(*streamed.events), input_rate=2)
    arbstr = await harness.start()
    answer = await ask(arbstr, streamed, stream=True)
    assert answer.headers["X-Arbstr-Provider"] == "beta"
    assert answer.body.startswith(streamed.shown)


async def test_a_stream_that_breaks_off_ends_in_an_error_of_the_dialects(
    harness: ProxyHarness, streamed: Speech
) -> None:
    begun = streamed.events[: streamed.content + 1]
    await harness.add_provider("alpha", sse_reply(*begun, Move.RESET))
    arbstr = await harness.start()
    answer = await ask(arbstr, streamed, stream=True)
    assert answer.body.startswith(b"".join(begun))
    last = answer.body[len(b"".join(begun)) :]
    assert b"arbstr" not in last
    first, *more = last.removesuffix(b"\n\n").split(b"\n\n")
    name, _, data = first.rpartition(b"data: ")
    document = json.loads(data)
    if streamed is MESSAGES:
        assert (name, more) == (b"event: error\n", [])
        assert document["type"] == "error"
        assert set(document["error"]) == {"type", "message"}
    elif streamed is RESPONSES:
        assert name == b"event: error\n"
        assert (document["type"], document["code"]) == ("error", "bad_upstream_response")
        assert more[0].startswith(b"event: response.failed\n")
    else:
        assert (name, more) == (b"", [])
        assert document["error"]["code"] == "bad_upstream_response"
    row = await arbstr.row(answer)
    assert (row["success"], row["error"]["status"]) == (False, 502)


async def test_an_error_in_the_middle_of_a_stream_is_the_rows(harness: ProxyHarness, streamed: Speech) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "out of coffee"}}
    await harness.add_provider("alpha", sse_reply(*streamed.events[: streamed.content + 1], named(error)))
    arbstr = await harness.start()
    row = await arbstr.row(await ask(arbstr, streamed, stream=True))
    assert (row["success"], row["error"]["status"]) == (False, 502)
    assert "out of coffee" in row["error"]["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_client_that_leaves_pays_for_what_is_drained(
    harness: ProxyHarness, streamed: Speech, stream: bool
) -> None:
    go_on = asyncio.Event()
    raw = json.dumps(streamed.answer).encode()
    begun = streamed.stream[:200] if stream else raw[:20]
    rest = streamed.stream[200:] if stream else raw[20:]
    script = sse_reply(begun, go_on, rest) if stream else [*reply(raw)[:1], begun, go_on, rest]
    alpha = await harness.add_provider("alpha", script)
    arbstr = await harness.start()
    task = asyncio.create_task(ask(arbstr, streamed, stream=stream))
    await alpha.asked()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await arbstr.catch_up()
    go_on.set()
    row = await arbstr.row()
    assert (row["success"], row["error"]["status"], tokens_of(row)) == (False, 499, (12, 7))


async def test_a_key_is_masked_everywhere_but_in_the_models_words(harness: ProxyHarness, speech: Speech) -> None:
    await harness.add_provider("alpha", json_reply({**speech.answer, "x_debug": {"authorization": f"Bearer {KEY}"}}))
    arbstr = await harness.start()
    answer = await ask(arbstr, speech)
    assert KEY.encode() not in answer.body
    assert {**answer.json, "x_debug": None} == {**speech.answer, "x_debug": None}


async def test_a_models_words_are_never_masked(harness: ProxyHarness, streamed: Speech) -> None:
    half = streamed.stream.replace(b"Hello", KEY.encode()[:40])
    whole = json.dumps(streamed.answer).replace("Hello", KEY).encode()
    await harness.add_provider("alpha", sse_reply(half.replace(b" there", KEY.encode())), reply(whole))
    arbstr = await harness.start()
    answer = await ask(arbstr, streamed, stream=True)
    assert answer.body.count(KEY.encode()) >= 1
    assert (await ask(arbstr, streamed)).body == whole


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": None}, 400, "missing_model"),
        ({"model": "nobody-has-it"}, 404, "model_not_found"),
        ({"stream": "yes"}, 400, "invalid_parameter"),
    ],
)
async def test_what_arbstr_refuses_it_refuses_in_the_dialects_shape(
    harness: ProxyHarness, speech: Speech, fields: dict[str, Any], status: int, code: str
) -> None:
    if speech is EMBEDDINGS and "stream" in fields:
        return  # not a field of theirs
    await harness.add_provider("alpha", json_reply(speech.answer))
    arbstr = await harness.start()
    answer = await ask(arbstr, speech, **fields)
    error = error_of(answer, speech)
    assert answer.status == status
    if speech is MESSAGES:
        assert error["type"] == {400: "invalid_request_error", 404: "not_found_error"}[status]
    else:
        assert error["code"] == code
    row = await arbstr.row(answer)
    assert (row["dialect"], row["success"], row["error"]["status"]) == (speech.name, False, status)


async def test_a_refusal_about_the_request_passes_as_it_came(harness: ProxyHarness, speech: Speech) -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: too large"}}
    alpha = await harness.add_provider("alpha", json_reply(error, status=400))
    arbstr = await harness.start()
    answer = await ask(arbstr, speech)
    assert (answer.status, answer.json) == (400, error)
    assert len(alpha.requests) == 1


async def test_a_policy_is_found_by_header_and_by_the_last_user_message(harness: ProxyHarness, speech: Speech) -> None:
    await harness.add_provider("alpha", json_reply(speech.answer))
    rules = [{"name": "greeting", "keywords": ["hello"]}, {"name": "named"}]
    arbstr = await harness.start(policies={"rules": rules})
    assert (await ask(arbstr, speech)).headers["X-Arbstr-Policy"] == "greeting"
    assert (await ask(arbstr, speech, headers={"X-Arbstr-Policy": "named"})).headers["X-Arbstr-Policy"] == "named"


async def test_a_token_is_asked_for_in_the_dialects_shape(harness: ProxyHarness, speech: Speech) -> None:
    alpha = await harness.add_provider("alpha", json_reply(speech.answer))
    arbstr = await harness.start(server={"auth_token": "open-sesame-0123456789"})
    answer = await ask(arbstr, speech)
    assert (answer.status, error_of(answer, speech)["type"]) == (401, "authentication_error")
    assert "x-api-key" in error_of(answer, speech)["message"]
    answer = await ask(arbstr, speech, headers={"x-api-key": "open-sesame-0123456789"})
    assert answer.status == 200
    assert "x-api-key" not in alpha.requests[0].headers
    assert alpha.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_stats_know_the_dialects(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", *(json_reply(speech.answer) for speech in ALL))
    arbstr = await harness.start()
    for speech in ALL:
        await ask(arbstr, speech)
    await arbstr.rows(len(ALL))
    document = (await arbstr.get("/v1/stats?group_by=dialect")).json
    assert {name: group["counts"]["success"] for name, group in document["dialects"].items()} == {
        speech.name: 1 for speech in ALL
    }


async def test_anthropics_headers_and_beta_go_up_and_no_other(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", json_reply(MESSAGES.answer))
    arbstr = await harness.start()
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "x-1", "x-app": "cli"}
    answer = await arbstr.send(MESSAGES.request(), headers=headers, path="/v1/messages?beta=true&debug=1")
    assert answer.status == 200
    (asked,) = alpha.requests
    assert asked.path == "/v1/messages?beta=true"
    assert asked.headers["anthropic-version"] == "2023-06-01"
    assert asked.headers["anthropic-beta"] == "x-1"
    assert "x-app" not in asked.headers


async def test_cached_tokens_of_a_message_count_as_input(harness: ProxyHarness) -> None:
    usage = {"input_tokens": 2, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 3, "output_tokens": 7}
    rates: dict[str, Any] = {
        "input_rate": 10,
        "output_rate": 30,
        "base_fee": 0,
        "cached_input_rate": 1,
        "cache_write_rate": 12,
    }
    await harness.add_provider("alpha", json_reply({**MESSAGES.answer, "usage": usage}), **rates)
    arbstr = await harness.start()
    row = await arbstr.row(await ask(arbstr, MESSAGES))
    assert row["tokens"] == {"input": 12, "cached": 7, "cache_write": 3, "output": 7}
    assert row["cost"]["sats"] == pytest.approx((2 * 10 + 7 * 1 + 3 * 12 + 7 * 30) / 1000)


async def test_what_a_node_charged_for_a_message_comes_after_its_end(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    cost = b"event: cost\n" + event({"cost": {"total_msats": 10_605}})
    await harness.add_provider("alpha", sse_reply(MESSAGES.stream, go_on, cost))
    arbstr = await harness.start()
    async with arbstr.open(MESSAGES.request(stream=True), path=MESSAGES.path) as stream:
        await stream.until(MESSAGES.stream)
        go_on.set()
        answer = await stream.rest()
    assert answer.body.startswith(MESSAGES.stream + cost)
    assert figures(answer, MESSAGES)["cost_sats"] == 10.605
    assert (await arbstr.row(answer))["cost"]["provider_sats"] == 10.605


async def test_embeddings_are_expected_to_have_no_output(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(EMBEDDINGS.answer), input_rate=10, output_rate=1_000_000, base_fee=0)
    arbstr = await harness.start()
    row = await arbstr.row(await ask(arbstr, EMBEDDINGS, input=["x" * 400]))
    assert row["cost"]["sats"] == pytest.approx(0.12)
    (record,) = await arbstr.finished()
    assert record.routing is not None
    assert (record.routing.expected_input_tokens, record.routing.expected_output_tokens) == (100, 0)


async def test_chat_is_as_it_was(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(CHAT.answer))
    arbstr = await harness.start()
    assert (await arbstr.row(await ask(arbstr, CHAT)))["dialect"] == "chat"


async def test_a_stream_is_kept_alive_between_events(harness: ProxyHarness, streamed: Speech) -> None:
    go_on = asyncio.Event()
    begun = b"".join(streamed.events[: streamed.content + 1])
    await harness.add_provider("alpha", sse_reply(begun, go_on, streamed.stream[len(begun) :]))
    arbstr = await harness.start(server={"keepalive": 0.05})
    async with arbstr.open(streamed.request(stream=True), path=streamed.path) as stream:
        await stream.until(b": keep-alive\n\n")
        go_on.set()
        answer = await stream.rest()
    assert answer.body.replace(b": keep-alive\n\n", b"").startswith(streamed.shown)
    assert figures(answer, streamed)["output_tokens"] == 7


async def test_a_stream_that_stands_still_is_given_up(harness: ProxyHarness, streamed: Speech) -> None:
    begun = streamed.events[: streamed.content + 1]
    await harness.add_provider("alpha", sse_reply(*begun, Move.NEVER), timeouts={"idle": 0.2})
    arbstr = await harness.start()
    row = await arbstr.row(await ask(arbstr, streamed, stream=True))
    assert (row["success"], row["error"]["status"]) == (False, 502)


async def test_a_provider_that_does_not_answer_in_time_may_have_charged(harness: ProxyHarness, speech: Speech) -> None:
    await harness.add_provider("alpha", [Move.NEVER], timeouts={"first_byte": SHORT_S}, input_rate=1)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech)
    assert (answer.status, answer.headers["X-Should-Retry"]) == (504, "false")
    assert error_of(answer, speech)["type"] == ("timeout_error" if speech is MESSAGES else "upstream_error")


async def test_json_in_answer_to_a_stream_request_passes_as_json(harness: ProxyHarness, streamed: Speech) -> None:
    await harness.add_provider("alpha", json_reply(streamed.answer))
    arbstr = await harness.start()
    answer = await ask(arbstr, streamed, stream=True)
    assert (answer.json, answer.headers["Content-Type"]) == (streamed.answer, "application/json")
    assert tokens_of(await arbstr.row(answer)) == (12, 7)


async def test_a_stream_that_ends_without_its_last_event_gets_one(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(*MESSAGES.events[:-1]))
    arbstr = await harness.start()
    answer = await ask(arbstr, MESSAGES, stream=True)
    assert answer.events[-2].startswith(b"event: message_stop\n")
    assert (await arbstr.row(answer))["success"]


@pytest.mark.parametrize("kept", [-1, 5], ids=["all but the last event", "no end"])
async def test_done_does_not_stand_for_the_event_that_clients_of_responses_wait_for(
    harness: ProxyHarness, kept: int
) -> None:
    await harness.add_provider("alpha", sse_reply(*RESPONSES.events[:kept], DONE))
    arbstr = await harness.start()
    answer = await ask(arbstr, RESPONSES, stream=True)
    assert answer.events[-1].startswith(b"event: response.failed\n")
    row = await arbstr.row(answer)
    assert (row["success"], row["error"]["status"]) == (False, 502)
    assert "ended before the answer was complete" in row["error"]["message"]


async def test_done_does_not_stand_for_the_end_of_a_message(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(*MESSAGES.events[:5], DONE))
    arbstr = await harness.start()
    answer = await ask(arbstr, MESSAGES, stream=True)
    assert answer.events[-1].startswith(b"event: error\n")
    assert not (await arbstr.row(answer))["success"]


async def test_a_message_that_ends_in_done_gets_its_last_event(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(*MESSAGES.events[:-1], DONE))
    arbstr = await harness.start()
    answer = await ask(arbstr, MESSAGES, stream=True)
    assert answer.events[-2].startswith(b"event: message_stop\n")
    assert (await arbstr.row(answer))["success"]


# What no client of the dialect could use: bought from the next.
NO_ANSWERS: tuple[tuple[Speech, dict[str, Any]], ...] = (
    (MESSAGES, {"content": None}),
    (MESSAGES, {"content": "Hello"}),
    (MESSAGES, {"content": [], "stop_reason": None}),
    (MESSAGES, {"content": [None]}),
    (MESSAGES, {"content": [{}]}),
    (MESSAGES, {"content": [], "stop_reason": "error"}),
    (MESSAGES, {"error": {"type": "overloaded_error", "message": "Overloaded"}}),
    (MESSAGES, {"type": "error", "message": "no"}),
    (RESPONSES, {"output": None}),
    (RESPONSES, {"output": []}),
    (RESPONSES, {"output": [None]}),
    (RESPONSES, {"output": "Hello"}),
    (RESPONSES, {"status": "failed"}),
    (RESPONSES, {"status": "cancelled"}),
    (RESPONSES, {"status": "failed", "error": {"code": "server_error", "message": "no"}}),
    (EMBEDDINGS, {"data": None}),
    (EMBEDDINGS, {"data": []}),
    (EMBEDDINGS, {"data": [{"embedding": None}]}),
    (EMBEDDINGS, {"data": [{"embedding": []}]}),
    (EMBEDDINGS, {"data": [{"object": "error", "message": "no"}]}),
    (COMPLETIONS, {"choices": None}),
    (COMPLETIONS, {"choices": [{"index": 0, "text": None}]}),
    (COMPLETIONS, {"choices": [{"index": 0, "text": "", "error": {"message": "no"}, "finish_reason": "error"}]}),
)


async def test_a_200_without_an_answer_is_bought_from_the_next_in_every_dialect(harness: ProxyHarness) -> None:
    replies = [json_reply({**speech.answer, **spoilt}) for speech, spoilt in NO_ANSWERS]
    await harness.add_provider("alpha", *replies)
    good = [json_reply(speech.answer) for speech, _ in NO_ANSWERS]
    await harness.add_provider("beta", *good, input_rate=1000, output_rate=1000)
    arbstr = await harness.start()
    for speech, spoilt in NO_ANSWERS:
        answer = await ask(arbstr, speech)
        assert (answer.headers["X-Arbstr-Provider"], answer.status) == ("beta", 200), (speech.name, spoilt)


@pytest.mark.parametrize(
    ("speech", "beside"),
    [
        (EMBEDDINGS, {"code": 200, "message": "success"}),
        (RESPONSES, {"message": "ok", "detail": None}),
        (MESSAGES, {"message": "ok", "status": "done"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_a_message_beside_an_answer_is_no_error(
    harness: ProxyHarness, speech: Speech, beside: dict[str, Any]
) -> None:
    await harness.add_provider("alpha", json_reply({**speech.answer, **beside}))
    arbstr = await harness.start()
    answer = await ask(arbstr, speech)
    assert answer.status == 200
    assert (await arbstr.row(answer))["success"]


async def test_a_response_whose_last_event_says_that_it_failed_is_none(harness: ProxyHarness) -> None:
    last = named({"type": "response.completed", "response": {**response(), "status": "failed"}})
    await harness.add_provider("alpha", sse_reply(*RESPONSES.events[:-1], last))
    arbstr = await harness.start()
    row = await arbstr.row(await ask(arbstr, RESPONSES, stream=True))
    assert (row["success"], row["error"]["status"]) == (False, 502)


async def test_a_million_numbers_are_an_answer(harness: ProxyHarness) -> None:
    data = [{"object": "embedding", "index": index, "embedding": [0] * 1000} for index in range(1200)]
    raw = json.dumps({**EMBEDDINGS.answer, "data": data}).encode()
    await harness.add_provider("alpha", reply(raw))
    arbstr = await harness.start()
    answer = await ask(arbstr, EMBEDDINGS)
    assert answer.body == raw
    assert tokens_of(await arbstr.row(answer)) == (12, 0)


async def test_what_has_no_output_teaches_nothing_about_answers(harness: ProxyHarness) -> None:
    replies = [json_reply(EMBEDDINGS.answer)] * 3 + [json_reply({"data": [], "usage": {"total_tokens": 9000}})] * 3
    await harness.add_provider("alpha", *replies)
    arbstr = await harness.start()
    for speech, path in [(EMBEDDINGS, EMBEDDINGS.path)] * 3 + [(CHAT, "/v1/images/generations")] * 3:
        assert (await arbstr.send(speech.request(), path=path)).status == 200
    await arbstr.finished(6)
    assert (await arbstr.send(CHAT.request(), path="/v1/cost")).json["expected_output_tokens"] == 256
