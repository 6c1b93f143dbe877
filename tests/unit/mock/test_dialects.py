"""How a fake provider answers in each dialect, over real sockets."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from arbstr.config.schema import Config, Mock, MockProvider
from arbstr.mock import FakeFleet

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALLS = 'Please call get_weather with {"city": "Bern"} and call get_weather with {"city": "Rome"}.'
CITIES = [{"city": "Bern"}, {"city": "Rome"}]
LONG = "A sentence that is said again and again. " * 200  # 2050 tokens


@dataclass
class Reply:
    status: int
    type: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[tuple[str | None, Any]]:
        """Each event's name and data."""
        found = []
        for block in self.body.decode().split("\n\n")[:-1]:
            lines = dict(line.split(": ", 1) for line in block.split("\n"))
            data = lines["data"]
            found.append((lines.get("event"), data if data == "[DONE]" else json.loads(data)))
        return found

    @property
    def names(self) -> list[str | None]:
        """The events' names, equal ones in a row but once."""
        names = [name for name, _ in self.events]
        return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]


@dataclass
class Asker:
    session: aiohttp.ClientSession
    fleet: FakeFleet

    async def ask(self, path: str, **fields: Any) -> Reply:
        url = f"{self.fleet.config.providers[0].url}/{path}"
        async with self.session.post(url, json={"model": "gpt-4o", **fields}) as response:
            return Reply(response.status, response.content_type, await response.read())

    async def chat(self, *messages: dict[str, Any], **fields: Any) -> Reply:
        return await self.ask("chat/completions", messages=list(messages), **fields)

    async def responses(self, given: Any, **fields: Any) -> Reply:
        return await self.ask("responses", input=given, **fields)

    async def messages(self, *messages: dict[str, Any], **fields: Any) -> Reply:
        return await self.ask("messages", messages=list(messages), **{"max_tokens": 4096, **fields})


@asynccontextmanager
async def asker(**settings: Any) -> AsyncIterator[Asker]:
    quick = {"name": "a", "models": ("gpt-4o",), "delay_ms": 0, "tokens_per_second": 0, **settings}
    config = Config(mock=Mock(providers=(MockProvider(**quick),), seed=1))
    async with FakeFleet(config) as fleet, aiohttp.ClientSession() as session:
        yield Asker(session, fleet)


def said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


# --- responses


async def test_a_response_has_its_text_and_usage() -> None:
    async with asker() as client:
        whole = (await client.responses("hello there", max_output_tokens=5)).json
    assert whole["object"] == "response"
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    (message,) = whole["output"]
    assert (message["type"], message["role"]) == ("message", "assistant")
    assert message["content"][0]["type"] == "output_text"
    usage = whole["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (2, 5, 7)
    assert whole["cost"]["total_msats"] == 2 * 10 + 5 * 30


async def test_a_streamed_response_has_the_events_in_their_order_numbered_through() -> None:
    async with asker() as client:
        reply = await client.responses("hello", stream=True)
    assert reply.names == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    documents = [document for _, document in reply.events]
    assert [document["sequence_number"] for document in documents] == list(range(len(documents)))
    text = "".join(document["delta"] for name, document in reply.events if name == "response.output_text.delta")
    completed = documents[-1]["response"]
    assert completed["output"][0]["content"][0]["text"] == text
    assert completed["usage"]["output_tokens"] > 0
    assert documents[-1]["cost"]["total_msats"] > 0


async def test_a_response_calls_tools_in_parallel_and_quotes_their_results() -> None:
    tools = [{"type": "function", "name": "get_weather", "parameters": SCHEMA}, {"type": "web_search"}]
    async with asker() as client:
        streamed = await client.responses(CALLS, tools=tools, stream=True)
        one = (await client.responses(CALLS, tools=tools, parallel_tool_calls=False)).json
        calls = streamed.events[-1][1]["response"]["output"]
        results = [
            {"type": "function_call_output", "call_id": call["call_id"], "output": f"sun {i}"}
            for i, call in enumerate(calls)
        ]
        answer = (await client.responses([said(CALLS), *calls, *results], tools=tools)).json
    assert [call["type"] for call in calls] == ["function_call"] * 2
    assert [json.loads(call["arguments"]) for call in calls] == CITIES
    assert "response.function_call_arguments.delta" in streamed.names
    assert "response.function_call_arguments.done" in streamed.names
    assert len(one["output"]) == 1
    assert answer["output"][0]["content"][0]["text"] == "The tool said: sun 0 sun 1"


async def test_a_custom_tool_is_called_with_text() -> None:
    async with asker() as client:
        whole = (await client.responses("patch it", tools=[{"type": "custom", "name": "apply_patch"}])).json
    (call,) = whole["output"]
    assert (call["type"], call["name"], call["input"]) == ("custom_tool_call", "apply_patch", "example")


async def test_a_response_reasons_where_it_is_asked_to() -> None:
    fields = {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}
    async with asker() as client:
        whole = (await client.responses("hello", **fields)).json
        streamed = await client.responses("hello", stream=True, **fields)
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message"]
    assert whole["output"][0]["encrypted_content"]
    assert whole["output"][0]["summary"][0]["text"]
    assert whole["usage"]["output_tokens_details"]["reasoning_tokens"] == 20
    assert streamed.names[2:8] == [
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
    ]


async def test_a_response_has_the_format_that_was_asked_for() -> None:
    wanted = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}
    async with asker() as client:
        whole = (await client.responses("hello", text=wanted)).json
    assert json.loads(whole["output"][0]["content"][0]["text"]) == {"city": "example"}


async def test_a_response_does_not_go_on_from_one_that_nobody_remembers() -> None:
    async with asker() as client:
        assert (await client.responses("hello", previous_response_id="resp_1")).status == 400


async def test_a_response_may_fail_at_its_start_or_in_its_middle() -> None:
    async with asker() as client:
        begun = await client.ask("responses", model="mock-error-event", input="hello", stream=True)
        late = await client.ask("responses", model="mock-late-error", input="hello", stream=True)
    assert begun.names == ["error"]
    assert late.names[-1] == "response.failed"
    assert late.events[-1][1]["response"]["error"]["code"] == "server_error"


# --- messages


async def test_a_message_has_its_text_and_usage() -> None:
    async with asker() as client:
        whole = (await client.messages(said("hello there"), max_tokens=5, system="Be brief.")).json
    assert (whole["type"], whole["role"], whole["stop_reason"]) == ("message", "assistant", "max_tokens")
    assert whole["content"][0]["type"] == "text"
    assert (whole["usage"]["input_tokens"], whole["usage"]["output_tokens"]) == (5, 5)
    assert whole["cost"]["total_msats"] == 5 * 10 + 5 * 30


async def test_a_streamed_message_has_the_events_in_their_order_and_then_the_charge() -> None:
    async with asker() as client:
        reply = await client.messages(said("hello"), stream=True)
    assert reply.names == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "cost",
    ]
    events = dict(reply.events)
    assert events["message_start"]["message"]["content"] == []
    assert events["message_delta"]["delta"]["stop_reason"] == "end_turn"
    assert events["message_delta"]["usage"]["output_tokens"] > 1
    assert events["cost"]["cost"]["total_msats"] > 0


async def test_a_message_uses_tools_in_parallel_and_quotes_their_results() -> None:
    tools = [{"name": "get_weather", "input_schema": SCHEMA}, {"type": "web_search_20250305", "name": "web_search"}]
    async with asker() as client:
        whole = (await client.messages(said(CALLS), tools=tools)).json
        choice = {"type": "auto", "disable_parallel_tool_use": True}
        one = (await client.messages(said(CALLS), tools=tools, tool_choice=choice)).json
        streamed = await client.messages(said(CALLS), tools=tools, stream=True)
        results = [
            {"type": "tool_result", "tool_use_id": use["id"], "content": [{"type": "text", "text": f"sun {i}"}]}
            for i, use in enumerate(whole["content"])
        ]
        turns = [{"role": "assistant", "content": whole["content"]}, {"role": "user", "content": results}]
        answer = (await client.messages(said(CALLS), *turns, tools=tools)).json
    assert whole["stop_reason"] == "tool_use"
    assert [use["input"] for use in whole["content"]] == CITIES
    assert len(one["content"]) == 1
    parts = [data for name, data in streamed.events if name == "content_block_delta"]
    joined = ["".join(part["delta"]["partial_json"] for part in parts if part["index"] == i) for i in (0, 1)]
    assert [json.loads(text) for text in joined] == CITIES
    assert answer["content"][0]["text"] == "The tool said: sun 0 sun 1"
    assert answer["stop_reason"] == "end_turn"


async def test_what_the_system_says_in_between_is_not_the_question() -> None:
    reminder = {"role": "system", "content": "Call get_time with {}."}
    tools = [{"name": "get_time", "input_schema": {"type": "object"}}, {"name": "get_weather", "input_schema": SCHEMA}]
    async with asker() as client:
        whole = (await client.messages(said(CALLS), reminder, tools=tools)).json
    assert [use["name"] for use in whole["content"]] == ["get_weather"] * 2


async def test_what_the_system_says_in_a_users_place_is_not_the_question() -> None:
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
    async with asker() as client:
        reminder = said("<system>\nAnswer in verse.\n</system>")
        calls = (await client.chat(said(CALLS), reminder, tools=tools)).json["choices"][0]["message"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == CITIES


async def test_a_message_thinks_where_it_is_asked_to() -> None:
    async with asker() as client:
        whole = (await client.messages(said("hello"), thinking={"type": "enabled", "budget_tokens": 1024})).json
        streamed = await client.messages(said("hello"), thinking={"type": "adaptive"}, stream=True)
    assert [block["type"] for block in whole["content"]] == ["thinking", "text"]
    assert whole["content"][0]["signature"]
    kinds = [data["delta"]["type"] for name, data in streamed.events if name == "content_block_delta"]
    assert list(dict.fromkeys(kinds)) == ["thinking_delta", "signature_delta", "text_delta"]


async def test_a_message_has_the_format_that_was_asked_for() -> None:
    async with asker() as client:
        wanted = {"format": {"type": "json_schema", "schema": SCHEMA}}
        whole = (await client.messages(said("hello"), output_config=wanted)).json
    assert json.loads(whole["content"][0]["text"]) == {"city": "example"}


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("mock-error-529", 529, "overloaded_error"),
        ("mock-error-429", 429, "rate_limit_error"),
        ("mock-error-402", 402, "billing_error"),
        ("mock-error-500", 500, "api_error"),
        ("no-such-model", 404, "not_found_error"),
    ],
)
async def test_errors_about_messages_have_anthropics_shape(model: str, status: int, kind: str) -> None:
    async with asker() as client:
        reply = await client.ask("messages", model=model, max_tokens=5, messages=[said("hello")])
    assert reply.status == status
    assert reply.json["type"] == "error"
    assert reply.json["error"]["type"] == kind
    assert reply.json["error"]["message"]


async def test_an_error_in_a_streamed_message_is_an_event_of_its_own() -> None:
    async with asker() as client:
        reply = await client.ask(
            "messages", model="mock-late-error", max_tokens=50, messages=[said("hello")], stream=True
        )
    assert reply.names[-1] == "error"
    assert reply.events[-1][1]["error"]["type"] == "api_error"


async def test_anthropic_insists_on_a_limit() -> None:
    async with asker() as client:
        assert (await client.ask("messages", messages=[said("hello")])).status == 400


async def test_tokens_are_not_counted_beforehand() -> None:
    async with asker() as client:
        assert (await client.ask("messages/count_tokens", messages=[said("hello")])).status == 404


# --- prompt caches


async def test_the_beginning_of_a_chat_that_was_seen_before_is_cached_and_costs_less() -> None:
    async with asker(input_rate=10, output_rate=0) as client:
        first = (await client.chat(said(LONG), said("one"), max_tokens=1)).json["usage"]
        again = (await client.chat(said(LONG), said("two"), max_tokens=1)).json["usage"]
        short = (await client.chat(said("one"), max_tokens=1)).json["usage"]
        short_again = (await client.chat(said("one"), max_tokens=1)).json["usage"]
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    assert again["prompt_tokens_details"]["cached_tokens"] == len(LONG) // 4
    assert again["prompt_tokens"] == first["prompt_tokens"]
    assert short_again["prompt_tokens_details"] == short["prompt_tokens_details"] == {"cached_tokens": 0}


async def test_anthropics_buckets_are_disjoint_and_filled_on_request() -> None:
    marked = {"role": "user", "content": [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]}
    async with asker() as client:
        unmarked = (await client.messages(said(LONG), max_tokens=1)).json["usage"]
        written = (await client.messages(marked, max_tokens=1)).json["usage"]
        read = (await client.messages(marked, said("And now?"), max_tokens=1)).json["usage"]
    whole = len(LONG) // 4
    buckets = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    assert [unmarked[name] for name in buckets] == [whole, 0, 0]
    assert [written[name] for name in buckets] == [0, whole, 0]
    assert [read[name] for name in buckets] == [0, 2, whole]


# --- the others


async def test_a_completion_goes_on_from_its_prompt() -> None:
    async with asker() as client:
        whole = (await client.ask("completions", prompt="Once upon a time", max_tokens=4, n=2)).json
        streamed = await client.ask("completions", prompt="Once", max_tokens=3, stream=True)
    assert whole["object"] == "text_completion"
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["length", "length"]
    assert whole["usage"]["completion_tokens"] == 8
    assert streamed.events[-1][1] == "[DONE]"
    assert all(document["object"] == "text_completion" for _, document in streamed.events[:-1])


async def test_embeddings_are_the_same_for_the_same_text_in_either_format() -> None:
    async with asker() as client:
        plain = (await client.ask("embeddings", input=["one", "two", "one"], dimensions=8)).json
        packed = (await client.ask("embeddings", input="one", dimensions=8, encoding_format="base64")).json
    first, other, same = (one["embedding"] for one in plain["data"])
    assert first == same != other
    assert len(first) == 8
    unpacked = struct.unpack("<8f", base64.b64decode(packed["data"][0]["embedding"]))
    assert unpacked == pytest.approx(first, abs=1e-6)
    assert plain["usage"]["prompt_tokens"] == plain["usage"]["total_tokens"] == 2
    assert plain["cost"]["output_tokens"] == 0


@pytest.mark.parametrize("given", [None, "", [], {}, [{}], 5])
async def test_embeddings_need_an_input(given: Any) -> None:
    async with asker() as client:
        assert (await client.ask("embeddings", input=given)).status == (200 if given == "" else 400)


async def test_images_are_pictures() -> None:
    async with asker() as client:
        whole = (await client.ask("images/generations", model="gpt-image-1", prompt="a cat", n=2)).json
    assert [base64.b64decode(one["b64_json"])[:4] for one in whole["data"]] == [b"\x89PNG"] * 2
    assert whole["usage"]["output_tokens"] == 2 * 272


async def test_speech_is_sound_and_a_recording_has_a_text() -> None:
    async with asker() as client:
        spoken = await client.ask("audio/speech", model="tts-1", input="hello there", voice="alloy")
        form = aiohttp.FormData({"model": "whisper-1"})
        form.add_field("file", spoken.body, filename="hello.wav", content_type="audio/wav")
        url = f"{client.fleet.config.providers[0].url}/audio/transcriptions"
        async with client.session.post(url, data=form) as response:
            heard = await response.json()
    assert (spoken.type, spoken.body[:4]) == ("audio/wav", b"RIFF")
    assert heard["text"]
    assert heard["usage"]["total_tokens"] > 0


async def test_nothing_is_to_be_moderated_and_no_model_is_needed() -> None:
    async with asker() as client:
        url = f"{client.fleet.config.providers[0].url}/moderations"
        async with client.session.post(url, json={"input": ["a", "b"]}) as response:
            verdicts = (await response.json())["results"]
    assert [verdict["flagged"] for verdict in verdicts] == [False, False]


async def test_documents_are_ranked_by_the_words_of_the_query() -> None:
    documents = ["a dog", "the blue cat", "a cat"]
    async with asker() as client:
        ranked = (await client.ask("rerank", query="the cat", documents=documents, top_n=2)).json
        refused = await client.ask("rerank", query="the cat")
    assert [one["index"] for one in ranked["results"]] == [1, 2]
    assert ranked["usage"]["total_tokens"] > 0
    assert refused.status == 400


@pytest.mark.parametrize("part", [b"--x\r\n[]--x--\r\n", b"--x\r\n", b"--y--", b""])
async def test_a_form_that_cannot_be_read_is_refused(part: bytes) -> None:
    async with asker() as client:
        url = f"{client.fleet.config.providers[0].url}/rerank"
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        async with client.session.post(url, data=part, headers=headers) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (400, "invalid_json")


# --- which dialects


async def test_a_provider_that_speaks_chat_alone_does_not_know_the_other_paths() -> None:
    async with asker(dialects=("chat",)) as client:
        assert (await client.chat(said("hello"), max_tokens=1)).status == 200
        for path in ("responses", "messages", "embeddings", "completions", "moderations"):
            reply = await client.ask(path, input="x", prompt="x", messages=[said("x")], max_tokens=1)
            assert (reply.status, reply.json) == (404, {"detail": "Not Found"})
        assert client.fleet.asked == (1,)


@pytest.mark.parametrize("path", ["responses", "messages", "embeddings", "completions", "images/generations"])
@pytest.mark.parametrize("model", ["mock-error-503", "mock-bad-json", "mock-empty", "mock-echo", "mock-no-usage"])
async def test_behaviors_are_the_same_in_every_dialect(path: str, model: str) -> None:
    async with asker() as client:
        reply = await client.ask(path, model=model, input="x", prompt="x", messages=[said("x")], max_tokens=1)
    assert reply.status == (503 if model == "mock-error-503" else 200)
    if model == "mock-empty":
        assert reply.body == b""
    if model == "mock-no-usage" and path != "images/generations":
        assert "cost" not in reply.json


@pytest.mark.parametrize("path", ["responses", "messages", "embeddings", "completions", "images/generations"])
async def test_what_is_no_request_is_refused_in_every_dialect(path: str) -> None:
    async with asker() as client:
        reply = await client.ask(path)
    assert reply.status == 400
    assert reply.json["error"]["message"]
