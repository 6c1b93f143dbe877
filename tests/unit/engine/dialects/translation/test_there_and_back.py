"""Nothing is lost on the way: an answer sent back is what the provider said, and a stream is its whole answer."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings

from arbstr.engine import metering
from arbstr.engine.dialects.translation import messages, responses
from tests.support.effort import examples
from tests.support.spoken import TOOLS, finishes, pieces, spoken, usages
from tests.support.translation import (
    answer,
    as_chunks,
    messages_stream,
    read_message,
    read_messages_stream,
    read_response,
    read_responses_stream,
    responses_stream,
)


def said(message: dict[str, Any]) -> tuple[Any, ...]:
    """Return the words, reasoning and calls of a chat message."""
    found = [
        (one["id"], one["function"]["name"], json.loads(one["function"]["arguments"]))
        for one in message.get("tool_calls", [])
    ]
    return message["content"], message.get("reasoning_content", ""), found


def as_history(translated: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a Responses answer's items as a client sends them back."""
    outputs = [
        {"type": f"{item['type']}_output", "call_id": item["call_id"], "output": "ok"}
        for item in translated["output"]
        if item["type"] in ("function_call", "custom_tool_call")
    ]
    return [*translated["output"], *outputs]


@given(message=spoken)
def test_a_responses_answer_sent_back_is_what_the_provider_said(message: dict[str, Any]) -> None:
    request = {"model": "m", "tools": TOOLS}
    translated = responses.from_chat(answer("stop", **message), request, answer_id="resp_1", now_s=1.0)
    history = responses.to_chat({**request, "input": as_history(translated)})["messages"]
    assert said(history[0]) == said(message)


@given(message=spoken)
def test_an_answer_of_messages_sent_back_is_what_the_provider_said(message: dict[str, Any]) -> None:
    translated = messages.from_chat(answer("stop", **message), {"model": "m"}, answer_id="msg_1", now_s=1.0)
    history = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": translated["content"]}]
    found = messages.to_chat({"model": "m", "max_tokens": 9, "messages": history})["messages"]
    assert said(found[1]) == said(message)


@settings(max_examples=examples(20))  # the official readers are slow
@given(message=spoken, sizes=pieces, usage=usages(), finish=finishes)
def test_a_responses_stream_says_what_the_whole_answer_does(
    message: dict[str, Any], sizes: list[int], usage: dict[str, Any], finish: str
) -> None:
    request = {"model": "m", "tools": TOOLS}
    streamed = read_responses_stream(responses_stream(as_chunks(message, finish, sizes, **usage), **request))
    whole = responses.from_chat(answer(finish, usage, **message), request, answer_id="resp_1", now_s=1000.5)
    whole.pop("completed_at", None)
    assert streamed == read_response(whole)


@settings(max_examples=examples(20))  # the official readers are slow
@given(message=spoken, sizes=pieces, usage=usages(), finish=finishes)
def test_a_messages_stream_says_what_the_whole_answer_does(
    message: dict[str, Any], sizes: list[int], usage: dict[str, Any], finish: str
) -> None:
    streamed = read_messages_stream(messages_stream(as_chunks(message, finish, sizes, **usage)))
    whole = messages.from_chat(answer(finish, usage, **message), {"model": "m"}, answer_id="msg_1", now_s=1000.5)
    assert streamed == read_message(whole)


@given(usage=usages())
def test_usage_reads_the_same_in_every_dialect(usage: dict[str, Any]) -> None:
    chat = answer("stop", usage, content="x")
    wanted = metering.usage_of(chat)
    for dialect in (responses, messages):
        translated = dialect.from_chat(chat, {"model": "m"}, answer_id="id_1", now_s=1.0)
        assert metering.usage_of(translated) == wanted
