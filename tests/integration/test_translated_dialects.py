"""Responses and Messages at providers that speak chat only: what is known, what is learned, what comes back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.integration.test_dialects import ask, error_of, figures
from tests.support.dialects import CHAT, EMBEDDINGS, MESSAGES, RESPONSES, Speech
from tests.support.harness import ProxyHarness, key_of, tokens_of
from tests.support.provider import (
    DONE,
    MODEL,
    Move,
    byte_by_byte,
    chunk,
    completion,
    error_reply,
    event,
    json_reply,
    reply,
    sse_reply,
    stream_events,
    usage_chunk,
)

CHAT_ONLY: dict[str, Any] = {"dialects": ("chat",)}
STREAM = stream_events("Hello", " there", tokens=(12, 7), cost_msats=455)
NOT_FOUND = json_reply({"detail": "Not Found"}, status=404)
# What has no equivalent in chat, by dialect.
UNTRANSLATABLE: dict[str, dict[str, Any]] = {"responses": {"background": True}, "messages": {"container": "c-1"}}


@pytest.fixture(params=[RESPONSES, MESSAGES], ids=lambda speech: speech.name)
def speech(request: pytest.FixtureRequest) -> Speech:
    """Each dialect that can be translated."""
    found: Speech = request.param
    return found


def text_of(document: dict[str, Any]) -> str:
    """The text of a whole answer in either dialect."""
    content = document["content"] if "content" in document else document["output"][0]["content"]
    return "".join(part["text"] for part in content)


def streamed_text(body: bytes) -> str:
    """The text of a stream in either dialect."""
    documents = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: ")]
    deltas = [document.get("delta") for document in documents]
    return "".join(delta if isinstance(delta, str) else delta.get("text", "") for delta in deltas if delta is not None)


async def test_a_whole_answer_comes_back_in_the_clients_dialect(harness: ProxyHarness, speech: Speech) -> None:
    alpha = await harness.add_provider("alpha", json_reply(completion("Hello there", tokens=(12, 7))), **CHAT_ONLY)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech)
    assert answer.status == 200
    assert text_of(answer.json) == "Hello there"
    assert alpha.requests[0].path == "/v1/chat/completions"
    assert alpha.requests[0].json["messages"] == [{"role": "user", "content": "Say hello."}]
    assert answer.headers["X-Arbstr-Cost-Sats"] == "1.330"
    row = await arbstr.row(answer)
    assert (row["dialect"], row["success"], tokens_of(row)) == (speech.name, True, (12, 7))


@pytest.mark.parametrize("split", [False, True], ids=["at once", "byte by byte"])
async def test_a_stream_comes_back_in_the_clients_dialect(harness: ProxyHarness, speech: Speech, split: bool) -> None:
    parts = byte_by_byte(b"".join(STREAM)) if split else STREAM
    alpha = await harness.add_provider("alpha", sse_reply(*parts), **CHAT_ONLY)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech, stream=True)
    assert streamed_text(answer.body) == "Hello there"
    assert b"[DONE]" not in answer.body
    last = {"responses": b"event: response.completed", "messages": b"event: message_stop"}[speech.name]
    assert answer.events[-2].startswith(last)
    reported = figures(answer, speech)
    assert (reported["input_tokens"], reported["output_tokens"], reported["cost_sats"]) == (12, 7, 0.455)
    assert alpha.requests[0].json["stream_options"] == {"include_usage": True}
    row = await arbstr.row(answer)
    assert (row["dialect"], row["success"], row["cost"]["provider_sats"]) == (speech.name, True, 0.455)


async def test_a_stream_without_done_is_closed_all_the_same(harness: ProxyHarness, speech: Speech) -> None:
    await harness.add_provider("alpha", sse_reply(chunk("Hello"), chunk(finish_reason="stop")), **CHAT_ONLY)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech, stream=True)
    last = {"responses": b"event: response.completed", "messages": b"event: message_stop"}[speech.name]
    assert answer.body.count(last) == 1
    assert (await arbstr.row(answer))["success"]


async def test_an_event_longer_than_what_is_held_back_is_translated(harness: ProxyHarness, speech: Speech) -> None:
    long = "x" * 300_000
    events = [chunk("a"), chunk(long), chunk("b", finish_reason="stop"), usage_chunk(12, 7), DONE]
    data = b"".join(events)
    parts = [data[start : start + 50_000] for start in range(0, len(data), 50_000)]
    await harness.add_provider("alpha", sse_reply(*parts), **CHAT_ONLY)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech, stream=True)
    assert streamed_text(answer.body) == f"a{long}b"
    assert tokens_of(await arbstr.row(answer)) == (12, 7)


async def test_a_stream_that_breaks_off_ends_in_the_clients_error(harness: ProxyHarness, speech: Speech) -> None:
    await harness.add_provider("alpha", sse_reply(chunk("Hello"), Move.RESET), **CHAT_ONLY)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech, stream=True)
    assert streamed_text(answer.body) == "Hello"
    assert b"event: error\n" in answer.body
    assert b": arbstr" not in answer.body
    row = await arbstr.row(answer)
    assert (row["success"], row["error"]["status"]) == (False, 502)


async def test_json_in_answer_to_a_stream_request_comes_back_as_json(harness: ProxyHarness, speech: Speech) -> None:
    await harness.add_provider("alpha", json_reply(completion("Hello there", tokens=(12, 7))), **CHAT_ONLY)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech, stream=True)
    assert (text_of(answer.json), answer.headers["Content-Type"]) == ("Hello there", "application/json")
    assert tokens_of(await arbstr.row(answer)) == (12, 7)


async def test_a_translated_stream_is_kept_alive(harness: ProxyHarness, speech: Speech) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(*STREAM[:2], go_on, *STREAM[2:]), **CHAT_ONLY)
    arbstr = await harness.start(server={"keepalive": 0.05})
    async with arbstr.open(speech.request(stream=True), path=speech.path) as stream:
        await stream.until(b": keep-alive\n\n")
        go_on.set()
        answer = await stream.rest()
    assert streamed_text(answer.body) == "Hello there"
    assert figures(answer, speech)["output_tokens"] == 7


async def test_a_chat_stream_that_says_nothing_is_no_answer(harness: ProxyHarness, speech: Speech) -> None:
    await harness.add_provider("alpha", sse_reply(DONE), input_rate=1, **CHAT_ONLY)
    await harness.add_provider("beta", sse_reply(*STREAM), input_rate=2, **CHAT_ONLY)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech, stream=True)
    assert answer.headers["X-Arbstr-Retries"] == "1/alpha"
    assert streamed_text(answer.body) == "Hello there"


async def test_a_key_in_an_error_in_the_middle_is_masked(harness: ProxyHarness, speech: Speech) -> None:
    error = {"error": {"message": f"out of coffee, {key_of('alpha')}"}}
    await harness.add_provider("alpha", sse_reply(*STREAM[:2], event(error)), **CHAT_ONLY)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech, stream=True)
    assert b"out of coffee" in answer.body
    assert key_of("alpha").encode() not in answer.body
    assert key_of("alpha") not in json.dumps(await arbstr.row(answer))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("on_client_gone", "tokens"), [("drain", (12, 7)), ("cancel", (None, None))])
async def test_a_client_that_leaves_before_the_end(
    harness: ProxyHarness, speech: Speech, stream: bool, on_client_gone: str, tokens: tuple[int | None, int | None]
) -> None:
    go_on = asyncio.Event()
    raw = json.dumps(completion("Hello there", tokens=(12, 7))).encode()
    script = sse_reply(STREAM[0], go_on, *STREAM[1:]) if stream else [*reply(raw)[:1], raw[:20], go_on, raw[20:]]
    alpha = await harness.add_provider("alpha", script, on_client_gone=on_client_gone, **CHAT_ONLY)
    await harness.add_provider("beta", input_rate=1000, **CHAT_ONLY)
    arbstr = await harness.start()
    task = asyncio.create_task(ask(arbstr, speech, stream=stream))
    await alpha.asked()
    task.cancel()
    await asyncio.wait([task])
    await arbstr.catch_up()
    go_on.set()
    row = await arbstr.row()
    assert (row["success"], row["error"]["status"], row["provider"]) == (False, 499, "alpha")
    assert tokens_of(row) == tokens


async def test_who_leaves_with_the_last_event_has_had_the_answer(harness: ProxyHarness, speech: Speech) -> None:
    await harness.add_provider("alpha", sse_reply(*STREAM, Move.NEVER), **CHAT_ONLY)
    arbstr = await harness.start()
    last = {"responses": b"event: response.completed", "messages": b"event: message_stop"}[speech.name]
    async with arbstr.open(speech.request(stream=True), path=speech.path) as stream:
        await stream.until(last)
    row = await arbstr.row()
    assert (row["success"], tokens_of(row)) == (True, (12, 7))


async def test_a_policy_is_named_beside_what_was_translated(harness: ProxyHarness, speech: Speech) -> None:
    await harness.add_provider("alpha", sse_reply(*STREAM), **CHAT_ONLY)
    arbstr = await harness.start(policies={"rules": [{"name": "greeting", "keywords": ["hello"]}]})
    answer = await ask(arbstr, speech, stream=True)
    assert (answer.headers["X-Arbstr-Policy"], answer.headers["X-Arbstr-Streaming"]) == ("greeting", "true")
    assert (await arbstr.row(answer))["policy"] == "greeting"


async def test_what_chat_cannot_say_is_refused_by_name_before_anything_is_paid(
    harness: ProxyHarness, speech: Speech
) -> None:
    alpha = await harness.add_provider("alpha", json_reply(completion()), **CHAT_ONLY)
    arbstr = await harness.start()
    fields = UNTRANSLATABLE[speech.name]
    answer = await ask(arbstr, speech, **fields)
    error = error_of(answer, speech)
    assert answer.status == 400
    assert next(iter(fields)) in error["message"]
    if speech is RESPONSES:
        assert (error["code"], error["param"]) == ("unsupported_parameter", "background")
    assert alpha.requests == []
    assert "X-Arbstr-Provider" not in answer.headers
    row = await arbstr.row(answer)
    assert (row["provider"], row["error"]["status"]) == (None, 400)


async def test_unless_another_provider_speaks_the_dialect(harness: ProxyHarness, speech: Speech) -> None:
    alpha = await harness.add_provider("alpha", json_reply(completion()), input_rate=1, **CHAT_ONLY)
    await harness.add_provider("beta", json_reply(speech.answer), input_rate=2)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech, **UNTRANSLATABLE[speech.name])
    assert (answer.status, answer.json) == (200, speech.answer)
    assert alpha.requests == []


async def test_the_dialect_may_change_between_candidates(harness: ProxyHarness, speech: Speech) -> None:
    await harness.add_provider("alpha", error_reply(424), input_rate=1)
    await harness.add_provider("beta", json_reply(completion("Hello there")), input_rate=2, **CHAT_ONLY)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech)
    assert text_of(answer.json) == "Hello there"
    assert answer.headers["X-Arbstr-Retries"] == "1/alpha"


@pytest.mark.parametrize(
    "missing",
    [error_reply(405), NOT_FOUND, reply(b"<h1>Not found</h1>", status=404, content_type="text/html"), error_reply(501)],
    ids=["405", "404", "page", "501"],
)
async def test_an_endpoint_that_is_not_there_is_not_asked_for_again(
    harness: ProxyHarness, speech: Speech, missing: Any
) -> None:
    alpha = await harness.add_provider("alpha", missing, json_reply(completion("Hello there")))
    arbstr = await harness.start()
    answer = await ask(arbstr, speech)
    assert text_of(answer.json) == "Hello there"
    assert "X-Arbstr-Retries" not in answer.headers
    assert (await ask(arbstr, speech)).status == 200
    paths = [asked.path for asked in alpha.requests]
    assert paths == [speech.path, "/v1/chat/completions", "/v1/chat/completions"]


async def test_a_404_that_names_the_model_is_about_the_model(harness: ProxyHarness, speech: Speech) -> None:
    gone = error_reply(404, "The model `gpt-4o` does not exist", code="model_not_found")
    alpha = await harness.add_provider("alpha", gone, input_rate=1)
    await harness.add_provider("beta", json_reply(speech.answer), input_rate=2)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech)
    assert answer.headers["X-Arbstr-Retries"] == "1/alpha"
    assert [asked.path for asked in alpha.requests] == [speech.path]


async def test_a_404_for_both_endpoints_is_about_the_model(harness: ProxyHarness, speech: Speech) -> None:
    alpha = await harness.add_provider("alpha", NOT_FOUND, NOT_FOUND, json_reply(speech.answer))
    arbstr = await harness.start()
    assert (await ask(arbstr, speech)).status == 404
    assert len(alpha.requests) == 2


async def test_what_is_refused_by_a_provider_of_chat_is_reported_in_the_clients_shape(
    harness: ProxyHarness, speech: Speech
) -> None:
    await harness.add_provider("alpha", error_reply(422, "temperature: too hot"), **CHAT_ONLY)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech, temperature=9)
    assert answer.status == 422
    assert "too hot" in error_of(answer, speech)["message"]


async def test_an_endpoint_for_embeddings_that_is_not_there_is_missed_for_several_models(
    harness: ProxyHarness,
) -> None:
    models = ("gpt-4o", "small", "large")
    alpha = await harness.add_provider("alpha", NOT_FOUND, models=models, input_rate=1)
    beta = await harness.add_provider("beta", json_reply(EMBEDDINGS.answer), models=models, input_rate=2)
    arbstr = await harness.start()
    for model in ("gpt-4o", "gpt-4o", "small", "large"):
        assert (await ask(arbstr, EMBEDDINGS, model=model)).headers["X-Arbstr-Provider"] == "beta"
    assert [asked.json["model"] for asked in alpha.requests] == ["gpt-4o", "small"]
    assert len(beta.requests) == 4


async def test_a_missing_endpoint_of_embeddings_says_nothing_about_other_dialects(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", NOT_FOUND, json_reply(completion()))
    arbstr = await harness.start()
    assert (await ask(arbstr, EMBEDDINGS)).status == 404
    assert (await ask(arbstr, CHAT)).status == 200
    assert len(alpha.requests) == 2


async def test_a_provider_is_asked_only_in_what_it_is_configured_to_speak(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", json_reply(MESSAGES.answer), dialects=("messages",))
    arbstr = await harness.start()
    assert (await ask(arbstr, MESSAGES)).status == 200
    for speech in (CHAT, RESPONSES, EMBEDDINGS):
        answer = await ask(arbstr, speech)
        assert answer.refusal == (404, "invalid_request_error", "model_not_found")
        assert speech.name in answer.error["message"]
    assert len(alpha.requests) == 1


def words_of(message: dict[str, Any]) -> str:
    """The text of a message or item that was sent to a provider."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answer_may_refer_to_the_one_before_it(harness: ProxyHarness, stream: bool) -> None:
    first = sse_reply(*STREAM) if stream else json_reply(completion("Hello there"))
    alpha = await harness.add_provider("alpha", first, json_reply(completion("Bye")), **CHAT_ONLY)
    arbstr = await harness.start()
    answer = await ask(arbstr, RESPONSES, stream=stream)
    document = json.loads(answer.events[-2].partition(b"data: ")[2])["response"] if stream else answer.json
    second = await ask(arbstr, RESPONSES, input="And now?", previous_response_id=document["id"])
    assert text_of(second.json) == "Bye"
    assert second.json["previous_response_id"] == document["id"]
    assert list(map(words_of, alpha.requests[1].json["messages"])) == ["Say hello.", "Hello there", "And now?"]


async def test_what_an_answer_goes_on_with_counts_as_prompt(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", json_reply(completion("Hello there")), **CHAT_ONLY)
    rule = {"name": "thrifty", "keywords": ["cheaply"], "max_sats_per_request": 20}
    arbstr = await harness.start(policies={"rules": [rule]})
    first = await ask(arbstr, RESPONSES, input="x" * 40_000)
    again = await ask(arbstr, RESPONSES, input="Now cheaply.", previous_response_id=first.json["id"])
    assert again.refusal == (400, "invalid_request_error", "no_provider_within_policy")
    assert len(alpha.requests) == 1


async def test_an_error_that_quotes_what_was_said_earlier_is_kept_without_it(harness: ProxyHarness) -> None:
    refusal = error_reply(400, "Unexpected: 'my secret diary of last summer'")
    await harness.add_provider("alpha", json_reply(completion("Hello there")), refusal, **CHAT_ONLY)
    arbstr = await harness.start()
    first = await ask(arbstr, RESPONSES, input="Read my secret diary of last summer.")
    again = await ask(arbstr, RESPONSES, input="Go on.", previous_response_id=first.json["id"])
    assert again.status == 400
    assert "diary" not in json.dumps(await arbstr.row(again)) + arbstr.log


async def test_a_reference_to_an_answer_that_is_not_known_is_refused_by_name(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", json_reply(completion()), **CHAT_ONLY)
    arbstr = await harness.start()
    answer = await ask(arbstr, RESPONSES, previous_response_id="resp_0")
    error = error_of(answer, RESPONSES)
    assert (answer.status, error["code"], error["param"]) == (400, "unsupported_parameter", "previous_response_id")
    assert "resp_0" in error["message"]
    assert alpha.requests == []


async def test_a_conversation_goes_on_at_a_provider_of_its_dialect_with_all_that_was_said(
    harness: ProxyHarness,
) -> None:
    await harness.add_provider("alpha", json_reply(completion("Hello there")), error_reply(503), **CHAT_ONLY)
    beta = await harness.add_provider("beta", json_reply(RESPONSES.answer), output_rate=1000)
    arbstr = await harness.start(retry={"max_retries": 0})
    first = await ask(arbstr, RESPONSES)
    second = await ask(arbstr, RESPONSES, input="And now?", previous_response_id=first.json["id"])
    assert second.status == 200
    sent = beta.requests[0].json
    assert sent["previous_response_id"] is None
    assert list(map(words_of, sent["input"])) == ["Say hello.", "Hello there", "And now?"]


async def test_an_optional_field_is_left_out_where_a_provider_refuses_it(
    harness: ProxyHarness,
) -> None:
    refusals = [error_reply(400, f"property '{name}' is unsupported") for name in ("prompt_cache_key", "verbosity")]
    answers = [json_reply(completion("Hello there")) for _ in range(2)]
    alpha = await harness.add_provider("alpha", *refusals, *answers, **CHAT_ONLY)
    arbstr = await harness.start()
    for _ in range(2):
        answer = await ask(arbstr, RESPONSES, prompt_cache_key="k", text={"verbosity": "low"}, user="u")
        assert text_of(answer.json) == "Hello there"
        assert (await arbstr.row(answer))["success"]
    sent = [request.json for request in alpha.requests]
    assert [("prompt_cache_key" in each, "verbosity" in each) for each in sent] == [
        *((True, True), (False, True), (False, False), (False, False)),
    ]
    assert all(each["user"] == "u" for each in sent)


async def test_a_refusal_that_names_no_optional_field_is_the_clients(harness: ProxyHarness, speech: Speech) -> None:
    alpha = await harness.add_provider("alpha", error_reply(400, "temperature is too high"), **CHAT_ONLY)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech, temperature=9)
    assert answer.status == 400
    assert "temperature is too high" in error_of(answer, speech)["message"]
    assert len(alpha.requests) == 1


async def test_the_cap_goes_by_the_name_that_the_model_takes_where_an_alias_names_it(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", json_reply(completion()), models=["gpt-5-mini"], **CHAT_ONLY)
    arbstr = await harness.start(aliases={"claude-*": "gpt-5-mini"})
    await ask(arbstr, MESSAGES, model="claude-sonnet-4")
    sent = alpha.requests[0].json
    assert sent["model"] == "gpt-5-mini"
    assert "max_completion_tokens" in sent
    assert "max_tokens" not in sent


async def test_anthropics_client_sends_the_whole_conversation_where_there_are_no_threads(harness: ProxyHarness) -> None:
    """Its tool runner refers to earlier messages by id unless that is refused."""
    import anthropic

    calls = [{"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}]
    asking = completion("Let me see.")
    asking["choices"][0]["message"]["tool_calls"] = calls
    alpha = await harness.add_provider("alpha", json_reply(asking), json_reply(completion("Sunny.")), **CHAT_ONLY)
    arbstr = await harness.start()

    @anthropic.beta_async_tool
    async def weather(city: str) -> str:
        """Say how the weather is."""
        return f"sunny in {city}"

    async with anthropic.AsyncAnthropic(base_url=str(arbstr.url), api_key="x", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "How is the weather?"}]
        runner = client.beta.messages.tool_runner(model=MODEL, max_tokens=99, tools=[weather], messages=messages)
        last = await runner.until_done()
    assert [block.text for block in last.content if block.type == "text"] == ["Sunny."]
    assert [message["role"] for message in alpha.requests[1].json["messages"]] == ["user", "assistant", "tool"]


async def test_a_cap_beyond_what_a_provider_has_is_cut_to_it(harness: ProxyHarness) -> None:
    refusal = error_reply(400, "max_tokens is too large: 64000. This model supports at most 40000 completion tokens.")
    answers = [json_reply(completion("Hello there")) for _ in range(2)]
    alpha = await harness.add_provider("alpha", refusal, *answers, **CHAT_ONLY)
    arbstr = await harness.start()
    for _ in range(2):
        assert text_of((await ask(arbstr, MESSAGES, max_tokens=64_000)).json) == "Hello there"
    assert [request.json["max_tokens"] for request in alpha.requests] == [64_000, 40_000, 40_000]
