"""Chunks that differ in their text alone: recognised among all others, whatever that text is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.chunk_template import first_template
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.upstream.stream_observer import StreamObserver
from arbstr.redaction import Redactor, Secret


def chunk(text: str, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: " + json.dumps({"id": "c-1", "choices": [choice], **more}).encode() + b"\n\n"


def raw_chunk(text: bytes) -> bytes:
    """A chunk in which these bytes stand where its text should."""
    return chunk("TEXT").replace(b"TEXT", text)


def matched(block: bytes) -> tuple[int, int, bytes] | None:
    found = first_template(chunk("first"), CHAT)
    assert found is not None
    return found[1].texts(block)


@pytest.mark.parametrize(
    "texts", [["a"], ["a", "b", ""], ['say "hi"', "\\", "\n", "é"], ["error", "[DONE]", "data: x"]]
)
def test_chunks_of_text_are_recognised_by_their_template(texts: list[str]) -> None:
    block = b"".join(map(chunk, texts))
    assert matched(block) == (len(block), len(texts), b"\t".join(json.dumps(text)[1:-1].encode() for text in texts))


def test_what_follows_the_last_chunk_of_text_is_not_taken() -> None:
    assert matched(chunk("a") + b"data: [DONE]\n\n") == (len(chunk("a")), 1, b"a")


@pytest.mark.parametrize(
    "text",
    [
        b'a"',
        b"a\\",
        b'a\\\\"b',
        b'a","role":"x',
        b"a\n",
        b"a\r",
        b'a"},"error":{"message":"x"},"d":{"content":"',
        b"\\\\\\",
    ],
)
def test_a_text_that_may_end_before_its_chunk_does_is_none(text: bytes) -> None:
    assert matched(raw_chunk(text)) is None
    assert matched(chunk("a") + raw_chunk(text) + chunk("b")) is None


def test_something_else_between_chunks_of_text_is_found() -> None:
    assert matched(chunk("a") + b": comment\n\n" + chunk("b")) is None
    assert matched(chunk("a") + b'data: {"error":{}}\n\n' + chunk("b")) is None
    assert matched(b": comment\n\n" + chunk("a")) is None


@pytest.mark.parametrize(
    "block",
    [
        chunk("a", usage={"prompt_tokens": 1}),
        chunk("a", cost={"total_msats": 1}),
        chunk("a", error={"message": "x"}),
        chunk("a", success=False),
        chunk("a").replace(b"null", b'"stop"'),
        chunk("a").replace(b"\n", b"\r\n"),
        chunk(""),
        chunk("a").replace(b'"choices"', b'"others"'),
        chunk("a").replace(b"]}", b"}"),
        b"event: error\n" + chunk("a"),
        b'data: {"choices": [], "x": {"delta": {"content": "a"}}}\n\n',
        b"data: [DONE]\n\n",
        b": comment\n\n",
    ],
)
def test_a_chunk_that_is_more_or_less_than_text_gives_no_template(block: bytes) -> None:
    assert first_template(block, CHAT) is None


def test_usage_that_is_null_as_it_stands_in_every_chunk_but_the_last_is_no_usage() -> None:
    assert first_template(chunk("a", usage=None), CHAT) is not None


RAW = st.sampled_from(
    [
        b"a",
        b'"',
        b"\\",
        b'\\"',
        b"error",
        b"k-1",
        b"\n",
        b"\nevent: error\n",
        b'a"},"finish_reason":"stop","d":{"content":"b',
        b'a"}}],"usage":{"prompt_tokens":5,"completion_tokens":1},"choices":[{"delta":{"content":"b',
        b'a"}}],"error":{"message":"no"},"choices":[{"delta":{"content":"b',
        b'a"}}],"x":"k-1","choices":[{"delta":{"content":"b',
    ]
)


@given(texts=st.lists(RAW, max_size=6))
def test_chunks_that_come_together_are_seen_as_those_that_come_alone(texts: list[bytes]) -> None:
    chunks = [chunk("first"), *map(raw_chunk, texts), chunk("last")]

    def watched(pieces: list[bytes]) -> tuple[bytes, list[object]]:
        observer = StreamObserver(CHAT, keep_usage_chunk=False, redactor=Redactor([Secret("k-1")]))
        out = b"".join(map(observer.feed, pieces)) + observer.end()
        known: list[object] = [observer.answered, observer.finished, observer.error, observer.events, observer.usage]
        return out, known

    one_by_one = [bytes([byte]) for byte in b"".join(chunks)]
    assert watched([b"".join(chunks)]) == watched(chunks) == watched(one_by_one)
