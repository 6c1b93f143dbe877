"""Whatever JSON a client or a provider sends: a request is translated or refused, an answer is always translated."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbstr.engine.dialects.translation import messages, responses
from arbstr.engine.lenient_json import loads
from arbstr.errors import InvalidRequest
from tests.support.effort import examples
from tests.support.translation import USAGE, answer, call, call_chunk, chunk, events_of, usage_chunk

IMAGE = "data:image/png;base64,AAAA"
RESPONSES_REQUEST: dict[str, Any] = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {"role": "developer", "content": [{"type": "input_text", "text": "x"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": IMAGE}]},
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "x"}],
            "encrypted_content": "arbstr:reasoning",
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "x"}, {"type": "refusal", "refusal": "x"}],
        },
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}", "namespace": "n"},
        {
            "type": "function_call_output",
            "call_id": "a",
            "output": [{"type": "input_file", "filename": "x", "file_data": "x"}],
        },
        {"type": "custom_tool_call", "call_id": "b", "name": "p", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "b", "output": "x"},
        {"type": "tool_search_call", "call_id": "c", "arguments": {}},
        {"type": "tool_search_output", "call_id": "c", "tools": [{"type": "function", "name": "g"}]},
    ],
    "tools": [
        {"type": "function", "name": "f", "parameters": {}, "strict": True, "description": "x"},
        {"type": "custom", "name": "p", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]},
        {"type": "web_search"},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "text": {"format": {"type": "json_schema", "name": "s", "schema": {}}, "verbosity": "low"},
    "reasoning": {"effort": "low"},
    "include": [],
    "metadata": {},
    "max_output_tokens": 9,
    "stream": True,
}
MESSAGES_REQUEST: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "x"}],
    "messages": [
        {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "x", "data": "x"}}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "x", "signature": "arbstr:reasoning"},
                {"type": "text", "text": "x"},
                {"type": "tool_use", "id": "a", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": [{"type": "text", "text": "x"}],
                    "is_error": True,
                },
                {
                    "type": "document",
                    "title": "x",
                    "source": {"type": "content", "content": [{"type": "text", "text": "x"}]},
                },
                {"type": "search_result", "title": "x", "source": "x", "content": [{"type": "text", "text": "x"}]},
            ],
        },
    ],
    "tools": [{"name": "f", "input_schema": {}}, {"type": "web_search_20250305", "name": "w"}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["x"],
    "stream": True,
}
ANSWER = answer(
    "tool_calls",
    {**USAGE, "prompt_tokens_details": {"cached_tokens": 1}},
    content=[{"type": "text", "text": "x"}, {"type": "thinking", "thinking": [{"type": "text", "text": "x"}]}],
    reasoning_content="x",
    refusal="x",
    tool_calls=[call("a", "f", "{}"), call("b", "p", "{}")],
    function_call={"name": "f", "arguments": "{}"},
    annotations=[
        {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 1, "url": "x", "title": "x"}}
    ],
)
CHUNKS: list[Any] = [
    chunk(role="assistant", content=""),
    chunk(reasoning="x"),
    chunk(content="x", annotations=ANSWER["choices"][0]["message"]["annotations"]),
    chunk(content=[{"type": "text", "text": "x"}]),
    call_chunk(0, "{", id="a", name="f"),
    call_chunk(1, "{}", id="b", name="p"),
    call_chunk(0, "}"),
    chunk(refusal="x"),
    chunk("tool_calls"),
    usage_chunk(**USAGE),
]

words = st.sampled_from(
    [
        "",
        "x",
        "\ud800",
        "input_text",
        "text",
        "function",
        "message",
        "tool_result",
        "auto",
        "arbstr:reasoning",
        "a",
        "é\n",
    ]
)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | words | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=6
)
dialects = pytest.mark.parametrize(
    ("dialect", "request_of"),
    [(responses, RESPONSES_REQUEST), (messages, MESSAGES_REQUEST)],
    ids=["responses", "messages"],
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values within a value, the value itself left out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in inner for place in ((*path, key), *places(one, (*path, key)))]


@st.composite
def mutations(draw: Any, original: Any) -> Any:
    """Draw a document in which up to three values have been replaced, or removed."""
    document = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places(document)))
        parent = document
        for key in path:
            parent = parent[key]
        if draw(st.booleans()):
            parent[last] = draw(values)
        else:
            del parent[last]
        if not places(document):
            break
    return document


def translate(dialect: ModuleType, request: Any) -> None:
    refused: InvalidRequest | None = None
    try:
        chat = dialect.to_chat(request)
    except InvalidRequest as error:
        refused = error
    if refused is None:
        assert isinstance(chat["messages"], list)
        json.dumps(chat)
    else:
        assert refused.param
        assert "\ud800" not in refused.message


@dialects
@settings(max_examples=examples(30))
@given(data=st.data())
def test_any_request_is_translated_or_refused(
    dialect: ModuleType, request_of: dict[str, Any], data: st.DataObject
) -> None:
    translate(dialect, data.draw(mutations(request_of)))
    translate(dialect, data.draw(st.dictionaries(st.sampled_from(list(request_of)), values)))


@dialects
@settings(max_examples=examples(30))
@given(data=st.data())
def test_any_answer_is_translated(dialect: ModuleType, request_of: dict[str, Any], data: st.DataObject) -> None:
    document = data.draw(mutations(ANSWER) | st.dictionaries(words, values))
    json.dumps(dialect.from_chat(document, request_of, answer_id="id_1", now_s=1.0))


@dialects
@settings(max_examples=examples(30))
@given(data=st.data())
def test_any_stream_is_translated(dialect: ModuleType, request_of: dict[str, Any], data: st.DataObject) -> None:
    translator = dialect.StreamTranslator(request_of, answer_id="id_1", now_s=1.0)
    body = b"".join(translator.feed(one) for one in data.draw(mutations(CHUNKS)) if isinstance(one, dict))
    events_of(body + data.draw(st.sampled_from([translator.end, lambda: translator.fail("broken")]))())


@dialects
@pytest.mark.parametrize(
    "message",
    [
        {"content": "x" * 2_000_000},
        {"tool_calls": [call(str(n), "f", "{}") for n in range(20_000)]},
        {"tool_calls": [call("a", "p", '{"input":"' + "x" * 2_000_000 + '"}')]},
        {"content": [{"type": "text", "text": "x"}] * 200_000},
    ],
    ids=["long text", "many calls", "a long call", "many parts"],
)
def test_a_large_answer_takes_bounded_time(dialect: ModuleType, request_of: dict[str, Any], message: Any) -> None:
    began = time.process_time()
    dialect.from_chat(answer("stop", **message), request_of, answer_id="id_1", now_s=1.0)
    translator = dialect.StreamTranslator(request_of, answer_id="id_1", now_s=1.0)
    translator.feed(chunk("stop", **message))
    translator.end()
    assert time.process_time() - began < 5


@dialects
@pytest.mark.parametrize("order", [lambda n: n % 2, lambda n: n % 1000, lambda n: 999 - n % 1000])
def test_a_stream_of_many_pieces_in_any_order_takes_bounded_time(
    dialect: ModuleType, request_of: dict[str, Any], order: Callable[[int], int]
) -> None:
    began = time.process_time()
    translator = dialect.StreamTranslator(request_of, answer_id="id_1", now_s=1.0)
    for number in range(20_000):
        index = order(number)
        translator.feed(call_chunk(index, '{"x":"{}"}', id=f"call_{index}", name="f"))
    translator.end()
    assert time.process_time() - began < 5


@dialects
def test_a_request_of_many_items_takes_bounded_time(dialect: ModuleType, request_of: dict[str, Any]) -> None:
    began = time.process_time()
    items, turns = request_of.get("input", []), request_of.get("messages", [])
    translate(dialect, {**request_of, "input": items * 2000, "messages": turns * 5000})
    assert time.process_time() - began < 5


LONG = "x" * 100
THOUGHT = {"type": "summary_text", "text": LONG}
OF_RESPONSES: list[dict[str, Any]] = [
    {"role": "system", "content": LONG},
    {"role": "user", "content": LONG},
    {"role": "assistant", "content": LONG},
    {"type": "reasoning", "encrypted_content": "arbstr:reasoning", "summary": [THOUGHT]},
    {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "a", "output": LONG},
]
OF_MESSAGES: list[dict[str, Any]] = [
    {"type": "text", "text": LONG},
    {"type": "thinking", "thinking": LONG, "signature": "arbstr:reasoning"},
    {"type": "tool_use", "id": "a", "name": "f", "input": {}},
]


@pytest.mark.parametrize("item", OF_RESPONSES, ids=lambda item: str(item.get("type", item.get("role"))))
def test_many_items_of_one_kind_take_bounded_time(item: dict[str, Any]) -> None:
    began = time.process_time()
    responses.to_chat({"model": "m", "input": [item] * 60_000 + [{"role": "assistant", "content": "hi"}]})
    assert time.process_time() - began < 3


@pytest.mark.parametrize("block", OF_MESSAGES, ids=lambda block: str(block["type"]))
def test_many_blocks_of_one_kind_take_bounded_time(block: dict[str, Any]) -> None:
    began = time.process_time()
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [block] * 60_000}]
    messages.to_chat({"model": "m", "max_tokens": 9, "messages": turns})
    assert time.process_time() - began < 3


def test_many_messages_of_the_systems_take_bounded_time() -> None:
    began = time.process_time()
    turns = [{"role": "system", "content": LONG}] * 60_000 + [{"role": "user", "content": "hi"}]
    messages.to_chat({"model": "m", "max_tokens": 9, "messages": turns})
    assert time.process_time() - began < 3


@dialects
def test_a_deeply_nested_value_is_refused_or_passed_on(dialect: ModuleType, request_of: dict[str, Any]) -> None:
    deep = loads(b"[" * 900 + b"]" * 900)
    for name in request_of:
        translate(dialect, {**request_of, name: deep})
