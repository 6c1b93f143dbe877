"""A chat answer as an answer of Messages, whole and streamed, as the official package reads it."""

from __future__ import annotations

from typing import Any

import pytest

from arbstr.engine.dialects.translation.messages import StreamTranslator, from_chat, to_chat
from tests.support.translation import (
    USAGE,
    answer,
    as_chunks,
    call,
    call_chunk,
    chunk,
    events_of,
    messages_stream,
    read_message,
    read_messages_stream,
    usage_chunk,
)


def whole(document: dict[str, Any], **request: Any) -> Any:
    return read_message(from_chat(document, {"model": "asked", **request}, answer_id="msg_1", now_s=1000.5))


def streamed(message: dict[str, Any], finish: str = "stop", **request: Any) -> Any:
    return read_messages_stream(messages_stream(as_chunks(message, finish, [3, 1], **USAGE), **request))


def both(message: dict[str, Any], finish: str = "stop", **request: Any) -> list[Any]:
    """Return the answer translated whole, and streamed."""
    return [whole(answer(finish, **message), **request), streamed(message, finish, **request)]


def test_text() -> None:
    for message in both({"content": "Hello, world."}):
        assert [block.text for block in message.content] == ["Hello, world."]
        assert (message.id, message.model, message.stop_reason) == ("msg_1", "served", "end_turn")


def test_usage_counts_cached_and_written_tokens_beside_the_input() -> None:
    usage = {**USAGE, "prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 2}}
    chunks = [chunk(content="x"), chunk("stop"), usage_chunk(**usage)]
    for message in (whole(answer("stop", usage, content="x")), read_messages_stream(messages_stream(chunks))):
        assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 9)
        assert (message.usage.cache_read_input_tokens, message.usage.cache_creation_input_tokens) == (8, 2)


def test_tool_calls() -> None:
    calls = [call("a", "look", '{"x":1}'), call("b", "look", "")]
    for message in both({"content": "I look.", "tool_calls": calls}, "tool_calls"):
        words, *found = message.content
        assert words.text == "I look."
        assert [(block.id, block.name, block.input) for block in found] == [("a", "look", {"x": 1}), ("b", "look", {})]
        assert message.stop_reason == "tool_use"


def test_a_call_of_a_tool_with_a_long_name() -> None:
    tool = {"name": "mcp__" + "x" * 100, "input_schema": {"type": "object"}}
    request = {"model": "asked", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "tools": [tool]}
    name = to_chat(request)["tools"][0]["function"]["name"]
    for message in both({"tool_calls": [call("a", name, "{}")]}, "tool_calls", tools=[tool]):
        assert message.content[0].name == tool["name"]


def test_thinking_comes_before_the_words_and_is_signed_with_the_field_it_came_in() -> None:
    for message in both({"reasoning_content": "Hm.", "content": "Yes."}):
        thinking, words = message.content
        assert (thinking.thinking, thinking.signature) == ("Hm.", "arbstr:reasoning_content")
        assert words.text == "Yes."


def test_a_refusal_is_text_and_a_stop_reason() -> None:
    for message in both({"refusal": "No."}):
        assert message.content[0].text == "No."
        assert (message.stop_reason, message.stop_details.explanation) == ("refusal", "No.")


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("x_new", "end_turn")],
)
def test_stop_reasons(finish: str, reason: str) -> None:
    for message in both({"content": "Once"}, finish):
        assert message.stop_reason == reason


def test_calls_mean_tool_use_whatever_the_provider_says() -> None:
    for message in both({"tool_calls": [call("a", "look", "{}")]}, "stop"):
        assert message.stop_reason == "tool_use"


@pytest.mark.parametrize("field", ["stop_reason", "matched_stop"])
def test_the_stop_sequence_where_the_provider_tells_it(field: str) -> None:
    document = answer("stop", content="x")
    document["choices"][0][field] = "END"
    last = chunk("stop")
    last["choices"][0][field] = "END"
    for message in (
        whole(document, stop_sequences=["END"]),
        read_messages_stream(messages_stream([chunk(content="x"), last], stop_sequences=["END"])),
    ):
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")


def test_an_empty_answer_has_no_content() -> None:
    for message in both({}):
        assert (message.content, message.stop_reason) == ([], "end_turn")


def test_arguments_that_are_no_object_are_kept_as_one() -> None:
    message = whole(answer("tool_calls", tool_calls=[call("a", "look", "{bro")]))
    assert message.content[0].input == {"arguments": "{bro"}


def test_pieces_of_parallel_calls_come_out_block_by_block() -> None:
    chunks = [
        call_chunk(0, id="a", name="f"),
        call_chunk(1, id="b", name="g"),
        call_chunk(1, '{"y":'),
        call_chunk(0, '{"x":'),
        call_chunk(1, "2}"),
        call_chunk(0, "1}"),
        chunk("tool_calls"),
    ]
    message: Any = read_messages_stream(messages_stream(chunks))
    assert [(block.id, block.input) for block in message.content] == [("a", {"x": 1}), ("b", {"y": 2})]


def test_arguments_that_come_before_the_name_are_kept() -> None:
    chunks = [call_chunk(0, '{"x":', id="a"), call_chunk(0, "1", name="f"), call_chunk(0, "}"), chunk("tool_calls")]
    message: Any = read_messages_stream(messages_stream(chunks))
    assert (message.content[0].name, message.content[0].input) == ("f", {"x": 1})


def test_a_call_goes_out_while_it_comes_in_once_the_one_before_it_is_complete() -> None:
    translator = StreamTranslator({"model": "asked"}, answer_id="msg_1", now_s=1000)
    translator.feed(call_chunk(0, '{"x":1}', id="a", name="f"))
    events = events_of(translator.feed(call_chunk(1, '{"y":', id="b", name="g")))
    assert [event["type"] for event in events] == ["content_block_stop", "content_block_start", "content_block_delta"]


def test_a_stream_that_breaks_off_ends_in_an_error() -> None:
    translator = StreamTranslator({"model": "asked"}, answer_id="msg_1", now_s=1000)
    translator.feed(chunk(content="He"))
    assert events_of(translator.fail("The provider hung up.")) == [
        {"type": "error", "error": {"type": "api_error", "message": "The provider hung up."}}
    ]


def test_the_order_of_events_is_that_of_the_official_service() -> None:
    kinds = [event["type"] for event in events_of(messages_stream([chunk(content="Hi"), chunk("stop")]))]
    assert kinds == [
        *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
