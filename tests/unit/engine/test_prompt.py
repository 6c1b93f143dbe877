"""What counts as prompt: everything that the model will read, in whatever field it is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.dialects.body import decode
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.prompt import count_prompt

LONG = "x" * 400_000
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + LONG, "detail": "high"}}


def count(message: dict[str, Any] | None = None, **fields: Any) -> tuple[int, int]:
    messages = [{"role": "user", "content": "hello"}]
    return count_prompt({"model": "m", "messages": [*messages, message] if message else messages, **fields})


def part(**fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": [fields]}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.2, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 100, "n": 2},
        {"user": LONG, "metadata": {"trace": LONG}, "stop": ["END"], "logit_bias": {"50256": -100}},
        {"reasoning_effort": "high", "service_tier": "default", "prompt_cache_key": LONG, "x_new": 5},
    ],
)
def test_plain_messages_are_their_texts_and_settings_are_none(settings: dict[str, Any]) -> None:
    assert count({"role": "assistant", "content": None}, **settings) == (5, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "description": LONG}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {LONG: {}}}}}]},
        {"functions": [{"name": "f", "description": LONG}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"title": LONG}}}},
        {"tool_choice": {"type": "function", "function": {"name": LONG}}},
        {"prediction": {"type": "content", "content": LONG}},
        {"documents": [{"text": LONG}]},
        {"some_new_field": LONG},
        {"message": {"role": "user", "name": LONG, "content": ""}},
        {"message": {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": LONG}}]}},
        {"message": {"role": "assistant", "function_call": {"name": "f", "arguments": LONG}}},
        {"message": {"role": "assistant", "content": "", "reasoning_content": LONG}},
        {"message": {"role": "assistant", "content": None, "refusal": LONG}},
        {"message": {"role": "tool", "tool_call_id": LONG, "content": ""}},
        {"message": {"role": "user", "content": {"text": LONG}}},
        {"message": part(type="text", text=LONG)},
        {"message": part(type="text", text="", citations=[LONG])},
        {"message": part(type="refusal", refusal=LONG)},
        {"message": part(type="file", file={"filename": "a.pdf", "file_data": "data:application/pdf;base64," + LONG})},
        {"message": part(type="input_audio", input_audio={"format": "wav", "data": LONG})},
        {"message": part(type="video_url", video_url={"url": LONG})},
        {"message": part(type=LONG)},
        {"message": part(text=LONG)},
        {"message": {"role": "user", "content": [LONG]}},
    ],
)
def test_everything_else_that_is_sent_is_counted_wherever_it_stands(fields: dict[str, Any]) -> None:
    chars, images = count(**fields)
    assert 400_000 <= chars <= 400_200
    assert images == 0


@pytest.mark.parametrize(
    "image", [IMAGE, {"type": "input_image", "image_url": LONG}, {"type": "image", "source": {"data": LONG}}]
)
def test_an_image_is_counted_as_one_and_not_by_its_bytes(image: dict[str, Any]) -> None:
    assert count({"role": "user", "content": [image, {"type": "text", "text": "12"}, image]}) == (7, 2)


def test_a_character_is_one_whatever_its_bytes() -> None:
    assert count(tools=["é" * 1000])[0] == 5 + 1004


@pytest.mark.parametrize(
    "odd", [b'"\\ud83d"', b"[" * 1000 + b'"' + b"x" * 60 + b'"' + b"]" * 1000, b'["\\ud83d",1%b]' % (b"0" * 400)]
)
def test_what_is_hard_to_write_again_is_counted_all_the_same(odd: bytes) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[%b,"%b"]}' % (odd, b"y" * 500)
    assert 500 <= CHAT.parse(decode(body), body, request_id="r", policy=None).prompt_chars < 4000


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(["type", "text", "image_url"]), inner)
    ),
)


@given(st.lists(st.dictionaries(st.sampled_from(["role", "content", "name"]), anything)), anything)
def test_whatever_is_sent_has_a_count_no_larger_than_its_json(messages: list[dict[str, Any]], tools: Any) -> None:
    document = {"messages": messages, "tools": tools}
    chars, images = count_prompt(document)
    assert 0 <= chars <= len(json.dumps(document, ensure_ascii=False))
    assert images <= json.dumps(document).count("image_url")
