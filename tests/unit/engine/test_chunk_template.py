"""Chunks that differ in their text and numbers alone: recognised among all others, whatever these are."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st

from arbstr.engine.chunk_template import first_template
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.completions import COMPLETIONS
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.dialects.messages import MESSAGES
from arbstr.engine.dialects.responses import RESPONSES
from arbstr.engine.upstream.sse import MAX_HELD
from arbstr.engine.upstream.stream_observer import StreamObserver
from arbstr.redaction import Redactor, Secret
from tests.fuzz.spoil import maybe_spoilt
from tests.support import dialects
from tests.support.dialects import Speech, named
from tests.support.provider import DONE, event


def chunk(text: str, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: " + json.dumps({"id": "c-1", "choices": [choice], **more}).encode() + b"\n\n"


def raw_chunk(text: bytes) -> bytes:
    """A chunk in which these bytes stand where its text should."""
    return chunk("TEXT").replace(b"TEXT", text)


def matched(block: bytes) -> tuple[int, int, bytes] | None:
    found = first_template(chunk("first"), CHAT)
    assert found is not None
    run = found[1].match(block)
    return None if run is None else (run.size, run.chunks, run.texts)


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


@pytest.mark.parametrize("between", [b": comment\n\n", b'data: {"error":{}}\n\n', b"\n\n"])
def test_something_else_between_chunks_of_text_is_found(between: bytes) -> None:
    assert matched(chunk("a") + between + chunk("b")) is None
    assert matched(between + chunk("a")) is None


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


# What dialects send for a text, with a number and a padding where they have them.
Maker = Callable[[bytes, bytes, bytes], bytes]


def filled(document: bytes) -> Maker:
    def chunk_of(text: bytes, number: bytes = b"3", padding: bytes = b"xY") -> bytes:
        return document.replace(b"TEXT", text).replace(b'"NUMBER"', number).replace(b"PADDING", padding)

    return chunk_of


CHOICE = {"index": 0, "delta": {"content": "TEXT"}, "finish_reason": None}
WHERE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
OUTPUT = "response.output_text.delta"
CHUNKS: dict[str, tuple[Dialect, Speech, Maker]] = {
    "chat": (CHAT, dialects.CHAT, filled(event({"id": "c-1", "choices": [CHOICE], "usage": None}))),
    "chat, padded": (CHAT, dialects.CHAT, filled(event({"choices": [CHOICE], "obfuscation": "PADDING"}))),
    "completions": (COMPLETIONS, dialects.COMPLETIONS, filled(event({"choices": [{"text": "TEXT", "index": 0}]}))),
    "messages": (
        MESSAGES,
        dialects.MESSAGES,
        filled(named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "TEXT"}})),
    ),
    "messages, unnamed": (
        MESSAGES,
        dialects.MESSAGES,
        filled(event({"type": "content_block_delta", "index": 1, "delta": {"thinking": "TEXT"}})),
    ),
    "responses": (
        RESPONSES,
        dialects.RESPONSES,
        filled(named({"type": OUTPUT, **WHERE, "delta": "TEXT", "logprobs": [], "sequence_number": "NUMBER"})),
    ),
    "responses, padded": (
        RESPONSES,
        dialects.RESPONSES,
        filled(
            named({"type": OUTPUT, "sequence_number": "NUMBER", **WHERE, "delta": "TEXT", "obfuscation": "PADDING"})
        ),
    ),
}


@pytest.mark.parametrize("kind", CHUNKS)
def test_the_chunks_of_every_dialect_are_recognised_by_their_text_and_numbers(kind: str) -> None:
    dialect, _, chunk_of = CHUNKS[kind]
    found = first_template(named({"type": "x"}) + chunk_of(b"first", b"9", b""), dialect)
    assert found is not None
    chunks = [chunk_of(b"a", b"10", b"pad"), chunk_of(b"", b"11", b""), chunk_of(rb"say \"hi\"", b"1200", b"x")]
    run = found[1].match(b"".join(chunks) + DONE)
    assert run is not None
    assert (run.size, run.chunks, run.text) == (sum(map(len, chunks)), 3, rb"asay \"hi\"")
    for chunk in chunks:
        single = found[1].match(chunk)
        assert single is not None
        assert (single.size, single.chunks) == (len(chunk), 1)


class ParsingObserver(StreamObserver):
    """Parses every event, and judges none by its bytes alone."""

    def _find_template(self, block: bytes) -> int:
        return 0

    def _is_words(self, raw: bytes) -> bool:
        return False


HOSTILE = st.sampled_from(
    [
        *(
            b"a",
            b"",
            b'"',
            b"\\",
            b'\\"',
            b"\\\\",
            b"\t",
            b"\n",
            b"\r",
            b"\n\n",
            b"error",
            b"k-1",
            b"{",
            b"}",
            b"}\n\n",
        ),
        *(b"\n\ndata: [DONE]\n\n", b"\n\n: k-1\n\n", b"\nevent: error\n", b'5,"error":{"message":"no"}', b"x" * 99),
        *(b'","error":{"message":"no"},"x":"', b'"},"usage":{"input_tokens":5},"x":{"y":"', b'","x":"k-1","y":"'),
        *(b'","type":"message_stop","x":"', b'"},"stop_reason":"end_turn","x":{"y":"', b'","delta":"'),
        *(b'","type":"response.completed","x":"', b'"},"finish_reason":"stop","d":{"content":"'),
        b'"}}],"cost":{"total_msats":5},"choices":[{"delta":{"content":"b',
    ]
)
PLAIN = st.sampled_from([b"hi", b" word", rb"\n", rb"\"usage\": {", "grüß".encode()])


@pytest.mark.parametrize("kind", CHUNKS)
@given(data=st.data())
def test_what_passes_by_its_template_is_seen_as_by_one_who_parses_every_event(kind: str, data: st.DataObject) -> None:
    dialect, speech, chunk_of = CHUNKS[kind]
    numbers = st.integers(0, 120).map(lambda number: b"%d" % number)
    chunk = st.builds(chunk_of, PLAIN, numbers, PLAIN)
    hostile = st.builds(chunk_of, PLAIN | HOSTILE, numbers | HOSTILE, PLAIN | HOSTILE)
    others = st.sampled_from([*speech.events, DONE, b": k-1\n\n", event({"error": {"message": "no k-1"}})])
    parts = data.draw(st.lists(chunk | chunk.flatmap(maybe_spoilt) | hostile | others, min_size=1, max_size=9))
    stream = chunk_of(b"first", b"1", b"x") + b"".join(parts)
    assume(len(stream) <= MAX_HELD)
    note(f"{parts!r}")

    def seen(observer: StreamObserver, pieces: list[bytes]) -> tuple[bytes, list[object]]:
        out = b"".join([*map(observer.feed, pieces), observer.end()])
        known = [observer.answered, observer.error, observer.finished, observer.ended, observer.done, observer.events]
        return out.rstrip(b"\r\n"), [*known, observer.usage, observer.charged_msats]

    redactor = Redactor([Secret("k-1")])
    whole, split, parsed = (
        made(dialect, keep_usage_chunk=False, redactor=redactor)
        for made in (StreamObserver, StreamObserver, ParsingObserver)
    )
    expected = seen(parsed, [stream])
    assert seen(whole, [stream]) == expected
    assert seen(split, [chunk_of(b"first", b"1", b"x"), *parts]) == expected
