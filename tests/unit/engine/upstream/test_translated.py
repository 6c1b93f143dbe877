"""A provider's bytes, cut anywhere, come out as the same answer in the client's dialect."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbstr.engine.dialects.translation import messages, responses
from arbstr.engine.upstream.translated import TranslatingObserver
from arbstr.redaction import Redactor
from tests.support.translation import (
    USAGE,
    answer,
    as_chunks,
    call,
    call_chunk,
    chunk,
    read_message,
    read_messages_stream,
    read_response,
    read_responses_stream,
)

REQUEST = {"model": "m"}
ENDS = (b"\n\n", b"\r\n\r\n")
texts = st.text(st.sampled_from('ab"\\\n\té€😀{}[]:,'), max_size=12)
dialects = pytest.mark.parametrize(
    ("dialect", "read_stream", "read_whole"),
    [(responses, read_responses_stream, read_response), (messages, read_messages_stream, read_message)],
    ids=["responses", "messages"],
)


def observer_of(dialect: ModuleType) -> TranslatingObserver:
    translator = dialect.StreamTranslator(REQUEST, answer_id="id_1", now_s=1.0)
    return TranslatingObserver(translator, on_end=lambda: None, redactor=Redactor([]))


def encoded(chunks: list[dict[str, Any]], end: bytes = b"\n\n", *, ascii_only: bool = True) -> bytes:
    documents = [json.dumps(one, ensure_ascii=ascii_only, separators=(",", ":")).encode() for one in chunks]
    return b"".join(b"data: " + data + end for data in [*documents, b"[DONE]"])


def observed(dialect: ModuleType, data: bytes, sizes: list[int]) -> bytes:
    observer = observer_of(dialect)
    out, turn = b"", 0
    while data:
        size = sizes[turn % len(sizes)]
        out, data, turn = out + observer.feed(data[:size]), data[size:], turn + 1
    return out + observer.end()


@dialects
@settings(max_examples=40)
@given(
    content=st.lists(texts, min_size=1, max_size=6),
    reasoning=texts,
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=6),
    end=st.sampled_from(ENDS),
    ascii_only=st.booleans(),
)
def test_any_cut_gives_the_same_answer(
    dialect: ModuleType,
    read_stream: Callable[[bytes], Any],
    read_whole: Callable[[Any], Any],
    content: list[str],
    reasoning: str,
    sizes: list[int],
    end: bytes,
    ascii_only: bool,
) -> None:
    said = {"content": "".join(content), "reasoning_content": reasoning, "tool_calls": [call("a", "f", '{"x":1}')]}
    chunks = as_chunks({**said, "content": None}, "tool_calls", [3], **USAGE)
    spoken = [chunk(content=piece) for piece in content]
    first_call = next(index for index, one in enumerate(chunks) if "tool_calls" in str(one["choices"][:1]))
    data = encoded(chunks[:first_call] + spoken + chunks[first_call:], end, ascii_only=ascii_only)
    whole = dialect.from_chat(answer("tool_calls", **said), REQUEST, answer_id="id_1", now_s=1.0)
    whole.pop("completed_at", None)
    assert read_stream(observed(dialect, data, sizes)) == read_whole(whole)


@dialects
def test_words_that_come_together_are_one_event(
    dialect: ModuleType, read_stream: Callable[[bytes], Any], read_whole: Callable[[Any], Any]
) -> None:
    chunks = [chunk(role="assistant"), *(chunk(content=f"{n} ") for n in range(50)), chunk("stop")]
    out = observed(dialect, encoded(chunks), [1_000_000])
    assert out.count(b'"delta":') < 6
    assert "0 1 2" in str(read_stream(out))


@dialects
def test_half_of_a_pair_of_surrogates_does_not_break_a_stream(
    dialect: ModuleType, read_stream: Callable[[bytes], Any], read_whole: Callable[[Any], Any]
) -> None:
    halves = [chunk(content="a"), chunk(content="\ud83d"), chunk(content="\ude00"), chunk(content="b"), chunk("stop")]
    for sizes in ([1_000_000], [len(encoded(halves[:1])) - len(b"data: [DONE]\n\n")]):
        assert observed(dialect, encoded(halves), sizes)


@dialects
def test_calls_of_several_tools_stay_apart_however_the_bytes_are_cut(
    dialect: ModuleType, read_stream: Callable[[bytes], Any], read_whole: Callable[[Any], Any]
) -> None:
    chunks = [call_chunk(0, id="a", name="f"), call_chunk(0, '{"x":1}'), call_chunk(1, '{"y":2}', id="b", name="g")]
    shown = str(read_stream(observed(dialect, encoded([*chunks, chunk("tool_calls")]), [7])))
    assert shown.index("'f'") < shown.index("'g'")
