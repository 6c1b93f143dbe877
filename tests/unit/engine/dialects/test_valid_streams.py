"""Any split of any valid stream of each dialect: words, reasoning, parallel calls, lines ended in any way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbstr.engine import metering
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.dialects.registry import DIALECTS
from arbstr.engine.upstream.sse import data_of, raw_events
from arbstr.engine.upstream.stream_observer import StreamObserver
from arbstr.engine.upstream.translated import Translation
from arbstr.redaction import Redactor
from tests.support import dialects
from tests.support.dialects import text_chunk
from tests.support.effort import examples
from tests.support.provider import DONE, event, usage_chunk
from tests.support.spoken import TOOLS, finishes, pieces, spoken, usages
from tests.support.translation import (
    as_chunks,
    chunk,
    messages_stream,
    read_messages_stream,
    read_responses_stream,
    responses_stream,
)

BY_NAME: dict[str, Dialect] = {dialect.name: dialect for dialect in DIALECTS}
LINE_ENDS = (b"\n", b"\n", b"\r\n", b"\r")


class Stream(NamedTuple):
    """A stream, where its events end, and the usage that it states."""

    data: bytes
    ends: list[int]
    usage: dict[str, Any]

    def parts(self, places: list[int]) -> list[bytes]:
        """Cut at some places, that are taken as they come to lie within it."""
        edges = sorted({0, len(self.data), *(place % (len(self.data) + 1) for place in places)})
        return [self.data[start:end] for start, end in pairwise(edges)]


def events_of_chat(chunks: list[dict[str, Any]]) -> list[bytes]:
    return [*map(event, chunks), DONE]


def events_in(name: str, chunks: list[dict[str, Any]], usage: dict[str, Any]) -> list[bytes]:
    """The same answer in a dialect: what chat's providers send, what arbstr makes of it, or its text alone."""
    if name == "chat":
        return events_of_chat(chunks)
    if name == "completions":
        words = [each["choices"][0]["delta"].get("content") for each in chunks if each["choices"]]
        return [*(text_chunk(word) for word in words if word), text_chunk("", "stop"), usage_event(usage), DONE]
    made = responses_stream(chunks, tools=TOOLS) if name == "responses" else messages_stream(chunks)
    return raw_events(made)


def usage_event(usage: dict[str, Any]) -> bytes:
    return event({**json.loads(usage_chunk()[6:]), "usage": usage})


@st.composite
def streams(draw: st.DrawFn, name: str, *, comments: bool = True) -> Stream:
    """Draw a valid stream."""
    message, sizes, finish, usage = draw(spoken), draw(pieces), draw(finishes), draw(usages())
    chunks = as_chunks(message, finish, sizes, **usage)
    for _ in range(draw(st.integers(0, 2))):  # reasoning goes on among the words
        chunks.insert(draw(st.integers(1, len(chunks) - 2)), chunk(reasoning_content="hm"))
    if draw(st.booleans()):
        chunks = [{**each, "obfuscation": "x" * (number % 5)} for number, each in enumerate(chunks)]
    events = events_in(name, chunks, usage)
    line_end, between = (
        draw(st.sampled_from(LINE_ENDS)),
        draw(st.sampled_from((b"", b"", b": hi\n\n", b": a\n: b\n\n"))),
    )
    written = [each.replace(b"\n", line_end) for each in events]
    if between and comments:
        written = [part for each in written for part in (between.replace(b"\n", line_end), each)]
    if draw(st.booleans()):
        written = [each.replace(b"data: ", b"data:", 1) for each in written]
    ends = [sum(map(len, written[: index + 1])) for index in range(len(written))]
    return Stream(b"".join(written), ends, usage)


@st.composite
def cut(draw: st.DrawFn, stream: Stream) -> list[bytes]:
    """Cut a stream: into bytes, or most often where an event ends or near it."""
    if draw(st.integers(0, 3)) == 0:
        return stream.parts(list(range(len(stream.data))))
    near = st.builds(int.__add__, st.sampled_from(stream.ends), st.integers(-4, 4))
    return stream.parts(draw(st.lists(near | near | st.integers(0, len(stream.data)), max_size=12)))


def feed(observer: StreamObserver, parts: list[bytes]) -> Iterator[bytes]:
    """Yield what goes out for each part, and at the end."""
    for part in parts:
        yield observer.feed(part)
    yield observer.end()


def state_of(observer: StreamObserver) -> dict[str, Any]:
    names = ("usage", "charged_msats", "complete", "finished", "concluded", "ended", "answered", "error", "events")
    return {name: getattr(observer, name) for name in names}


@pytest.mark.parametrize("name", ["chat", "completions", "messages", "responses"])
@given(data=st.data())
def test_any_split_of_any_valid_stream_gives_the_same_bytes_events_and_usage(name: str, data: st.DataObject) -> None:
    stream = data.draw(streams(name))
    parts = data.draw(cut(stream))
    whole, split = (StreamObserver(BY_NAME[name], keep_usage_chunk=True) for _ in range(2))
    assert b"".join(feed(whole, [stream.data])) == stream.data
    outs = list(feed(split, parts))
    assert b"".join(outs) == stream.data
    assert state_of(split) == state_of(whole)
    assert split.complete
    assert split.usage == metering.usage_of({"usage": stream.usage})
    _check_nothing_waits(stream, parts, outs)


def _check_nothing_waits(stream: Stream, parts: list[bytes], outs: list[bytes]) -> None:
    """Whole events go out at once; of CRLF's last line end half may still be to come."""
    came = gone = 0
    for part, out in zip(parts, outs, strict=False):
        came, gone = came + len(part), gone + len(out)
        assert gone >= max((end for end in stream.ends if end <= came), default=0)


@pytest.mark.parametrize("name", ["messages", "responses"])
@settings(max_examples=examples(12))  # the official readers are slow
@given(data=st.data())
def test_any_split_of_any_valid_stream_gives_the_same_translation(name: str, data: st.DataObject) -> None:
    stream = data.draw(streams("chat", comments=False))
    read = read_messages_stream if name == "messages" else read_responses_stream
    whole, split = (_translated(name, parts) for parts in ([stream.data], data.draw(cut(stream))))
    assert read(split) == read(whole)
    said = [json.loads(found) for raw in raw_events(whole) if (found := data_of(raw))]
    assert metering.usage_of(said[-1].get("response") or {"usage": said[-2].get("usage")}) == metering.usage_of(
        {"usage": stream.usage}
    )


def _translated(name: str, parts: list[bytes]) -> bytes:
    speech = dialects.MESSAGES if name == "messages" else dialects.RESPONSES
    dialect, body = BY_NAME[name], speech.request(stream=True, **({} if name == "messages" else {"tools": TOOLS}))
    request = dialect.parse(json.loads(body), body, request_id="r-1", policy=None)
    return b"".join(feed(Translation(dialect, request, None, now_s=1000).observer(Redactor([])), parts))
