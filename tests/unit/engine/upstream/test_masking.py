"""Keys in answers: masked wherever it is not the model that speaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.upstream.masking import PieceMasker, mask_answer, mask_events
from arbstr.redaction import Redactor, Secret, mask
from tests.support.provider import chunk, completion

KEY = "sk-alpha-0123456789abcdef"
REDACTOR = Redactor([Secret(KEY)])
SAYS_IT = completion(f"Your key is {KEY}.")


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


@pytest.mark.parametrize(
    "place",
    [
        {"x_debug": {"authorization": f"Bearer {KEY}"}},
        {"x_debug": [[{"a": f"Bearer {KEY}"}]]},
        {KEY: 1},
        {"system_fingerprint": KEY},
        {"usage": {"prompt_tokens": 1, "note": KEY}},
        {"error": {"message": KEY}},
    ],
)
def test_a_key_beside_the_choices_is_masked_and_the_rest_stays(place: dict[str, Any]) -> None:
    body = json.dumps({**SAYS_IT, **place}).encode()
    shown = json.loads(mask_answer(body, REDACTOR, CHAT.words_in))
    assert shown["choices"] == SAYS_IT["choices"]
    assert KEY not in json.dumps({name: value for name, value in shown.items() if name != "choices"})
    assert mask(KEY) in json.dumps(shown)


@pytest.mark.parametrize("name", ["x_debug", "provider", "headers", "annotations"])
def test_a_key_beside_the_words_of_a_choice_is_masked(name: str) -> None:
    holders: list[Callable[[Any], Any]] = [lambda choice: choice, lambda choice: choice["message"]]
    for holder in holders:
        document = json.loads(json.dumps(SAYS_IT))
        holder(document["choices"][0])[name] = {"key": KEY}
        shown = json.loads(mask_answer(json.dumps(document).encode(), REDACTOR, CHAT.words_in))
        assert holder(shown["choices"][0]).pop(name) == {"key": mask(KEY)}
        assert shown == SAYS_IT


@pytest.mark.parametrize("name", ["content", "reasoning", "reasoning_content", "refusal", "tool_calls"])
def test_what_the_model_says_passes_byte_for_byte(name: str) -> None:
    body = json.dumps({"choices": [{"index": 0, "message": {name: f"the word {KEY}"}}]}, indent=3).encode()
    assert mask_answer(body, REDACTOR, CHAT.words_in) is body


@pytest.mark.parametrize(
    ("name", "says", "hides"),
    [
        ("tool_calls", [{"function": {"name": KEY, "arguments": f'{{"k":"{KEY}"}}'}}], [{"id": KEY}]),
        ("tool_calls", [{"function": {"arguments": {"any": [KEY]}}}], [{"function": {"x_debug": KEY}}]),
        ("function_call", {"name": "f", "arguments": KEY}, {"from": KEY}),
        ("content", [KEY, {"type": "text", "text": KEY}], [{"type": "text", "x_debug": {"text": KEY}}]),
        ("reasoning_details", [{"summary": [{"text": KEY}]}], [{"id": KEY}]),
        ("audio", {"transcript": KEY, "data": KEY}, {"id": KEY}),
        ("logprobs", {"content": [{"token": KEY, "top_logprobs": [{"token": KEY}]}]}, {"host": KEY}),
    ],
)
def test_of_a_call_or_a_part_only_what_the_model_says_passes(name: str, says: Any, hides: Any) -> None:
    for holder in ("message", "delta"):
        body = json.dumps({"choices": [{holder: {name: says}}]}).encode()
        assert mask_answer(body, REDACTOR, CHAT.words_in) is body
        body = json.dumps({"choices": [{holder: {name: hides}}]}).encode()
        assert mask_answer(body, REDACTOR, CHAT.words_in) == body.replace(KEY.encode(), mask(KEY).encode())


def test_escapes_hide_no_key() -> None:
    body = b'{"choices":[{"message":{"content":"hi"}}],"x":"%b"}' % escaped(KEY).encode()
    assert json.loads(mask_answer(body, REDACTOR, CHAT.words_in))["x"] == mask(KEY)


def test_an_answer_without_a_key_is_the_same_object() -> None:
    body = json.dumps(completion("\u00e9")).encode()
    assert mask_answer(body, REDACTOR, CHAT.words_in) is body


def test_events_are_masked_one_by_one() -> None:
    says = chunk(KEY)
    event = b'id: 7\ndata: {"choices":[{"delta":{"content":"a"}}],"x":"%b"}\n\n' % KEY.encode()
    masked = mask_events(b": for %b\n\n" % KEY.encode() + says + event + says, REDACTOR, CHAT.words_in)
    assert masked.count(says) == 2
    assert masked.count(KEY.encode()) == 2
    assert masked.startswith(b": for sk-alp...***\n\n")
    assert b"id: 7\ndata: {" in masked


@given(st.lists(st.integers(1, 40), max_size=60), st.sampled_from([KEY, escaped(KEY)]), st.integers(0, 3))
def test_a_key_that_pieces_cut_is_masked(sizes: list[int], spelling: str, count: int) -> None:
    data = b"x" * 400 + b"y".join([spelling.encode()] * count) + b"z" * 400
    masker, passed, start = PieceMasker(REDACTOR), b"", 0
    for size in sizes:
        passed += masker.feed(data[start : start + size])
        start += size
    passed += masker.feed(data[start:]) + masker.flush()
    assert passed == data.replace(spelling.encode(), mask(KEY).encode())
