"""What providers quote of a request is stored nowhere."""

from __future__ import annotations

import base64
import html
import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.quotes import MARK, without_quotes

PROMPT = "Please tell nobody that the Eagle has landed at Löwenstraße 7\nand that it is late."


def body(content: Any = PROMPT, **fields: Any) -> bytes:
    return json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **fields}).encode()


@pytest.mark.parametrize(
    "quoted",
    [
        PROMPT,
        PROMPT.upper(),
        PROMPT.replace("\n", " "),
        PROMPT.replace(" ", "  "),
        PROMPT[:30],
        PROMPT[7:40],
        PROMPT[-30:],
        json.dumps(PROMPT)[1:-1],
        json.dumps(json.dumps(PROMPT))[1:-1],
        json.dumps(PROMPT, ensure_ascii=False),
        quote(PROMPT),
        html.escape(PROMPT),
        repr(PROMPT),
        PROMPT[:20] + "..." + PROMPT[-20:],
    ],
)
@pytest.mark.parametrize("sent", [body(), body([{"type": "text", "text": PROMPT}]), body("x", tools=[{"d": PROMPT}])])
def test_a_quote_is_taken_out_however_it_is_written(quoted: str, sent: bytes) -> None:
    shown = without_quotes(f"HTTP 400: your prompt was rejected: {quoted} (code 12)", sent)
    assert shown.startswith("HTTP 400: your prompt was rejected: ")
    assert shown.endswith("(code 12)")
    assert MARK in shown
    for word in ("Eagle", "landed", "wenstra", "tell nobody", "late"):
        assert word.casefold() not in shown.casefold()


@pytest.mark.parametrize(
    ("content", "message", "shown"),
    [
        ("hunter2", "bad word: hunter2!", f"bad word: {MARK}!"),
        ("my password is hunter2", "bad word: hunter2", f"bad word: {MARK}"),
        ("who is Ada?", "content 'who is Ada?' is not allowed", f"content '{MARK}' is not allowed"),
        ("I love Ada", "the word “Love” is not allowed", f"the word “{MARK}” is not allowed"),
        ("東京タワーの高さを教えてください", "NG: 東京タワーの高さ", f"NG: {MARK}"),
    ],
)
def test_short_quotes_are_taken_out_too(content: str, message: str, shown: str) -> None:
    assert without_quotes(message, body(content)) == shown


@pytest.mark.parametrize(
    "message",
    [
        "HTTP 404: The model `gpt-4o` does not exist",
        "HTTP 400: 'max_tokens' is too large: 200000 (limit 4096)",
        "HTTP 400: messages[0].content must be a string",
        "HTTP 429: rate limit reached for organization org-123, try again in 20s",
        "HTTP 400: this model's maximum context length is 8192 tokens",
        "HTTP 500",
    ],
)
def test_a_providers_own_words_stay(message: str) -> None:
    sent = body("Hello! What is the maximum that you can do?", max_tokens=200000, stream=True)
    assert without_quotes(message, sent) == message


@given(st.text(), st.binary(max_size=200))
def test_whatever_was_said_and_sent_something_is_left_to_say(message: str, sent: bytes) -> None:
    assert isinstance(without_quotes(message, sent), str)


@given(st.text(st.characters(categories=["L", "N"]), min_size=30, max_size=200), st.data())
def test_no_long_part_of_a_prompt_is_left(prompt: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(prompt) - 25))
    assert prompt[start : start + 25] not in without_quotes(f"no: {prompt[start:]}", body(prompt))


def test_ten_megabytes_take_a_moment() -> None:
    prompt = "It was the best of times, it was the worst of times. " * 190_000 + PROMPT
    for sent in (body(prompt), body("x", field=["ab"] * 900_000)):
        started = time.process_time()
        shown = without_quotes(f"HTTP 400: the prompt is bad: {PROMPT}. " + "It was the best of tomes " * 8, sent)
        assert time.process_time() - started < 1.5
    assert "landed" not in without_quotes(PROMPT, body(prompt))
    assert shown


def test_a_file_that_is_quoted_is_taken_out() -> None:
    packed = base64.b64encode(bytes(range(256)) * 20).decode()
    sent = body([{"type": "file", "file": {"file_data": packed}}])
    assert without_quotes(f"can't read {packed[:100]}", sent) == f"can't read {MARK}"
