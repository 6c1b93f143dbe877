"""Streams of every dialect, however they are split: the same bytes out, the same usage, the same end."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.dialects.passthrough import Passthrough, is_path
from arbstr.engine.dialects.registry import DIALECTS
from arbstr.engine.upstream.stream_observer import StreamObserver
from arbstr.engine.upstream.translated import Translation
from arbstr.errors import InternalError
from arbstr.redaction import Redactor, Secret
from arbstr.types import Usage
from tests.support import dialects
from tests.support.dialects import STREAMED, TOKENS, Speech, message_events, named, response_events
from tests.support.provider import DONE, event, stream_events

BY_NAME: dict[str, Dialect] = {dialect.name: dialect for dialect in DIALECTS}
NO_KEYS = Redactor([])
WORDS = st.lists(
    st.text(max_size=12) | st.sampled_from(['"', "\\", "error", '"usage": {', "\n\ndata: [DONE]"]), max_size=6
)
CUTS = st.lists(st.integers(0, 6000), max_size=12)


def observe(speech: Speech, *parts: bytes, redactor: Redactor = NO_KEYS) -> tuple[StreamObserver, bytes]:
    observer = StreamObserver(BY_NAME[speech.name], keep_usage_chunk=False, redactor=redactor)
    out = b"".join(observer.feed(part) for part in parts)
    return observer, out + observer.end()


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def state_of(observer: StreamObserver) -> dict[str, Any]:
    """All that is known of a stream at its end."""
    names = ("usage", "charged_msats", "complete", "finished", "ended", "answered", "error", "events", "size")
    return {name: getattr(observer, name) for name in names}


@pytest.mark.parametrize("speech", STREAMED, ids=lambda speech: speech.name)
@given(cuts=CUTS)
def test_any_split_gives_the_same_bytes_and_the_same_usage(speech: Speech, cuts: list[int]) -> None:
    whole, expected = observe(speech, speech.stream)
    assert expected == speech.shown
    assert whole.usage == Usage(*TOKENS)
    assert whole.complete
    parts, out = observe(speech, *cut(speech.stream, cuts))
    assert out == expected
    assert state_of(parts) == state_of(whole)


@pytest.mark.parametrize("name", ["chat", "messages", "responses"])
@given(words=WORDS, cuts=CUTS)
def test_any_split_of_any_words_gives_the_same_bytes_and_the_same_usage(
    name: str, words: list[str], cuts: list[int]
) -> None:
    speech = {"chat": dialects.CHAT, "messages": dialects.MESSAGES, "responses": dialects.RESPONSES}[name]
    events = {"chat": stream_events, "messages": message_events, "responses": response_events}[name](
        *words, tokens=TOKENS
    )
    stream = b"".join(events)
    whole, expected = observe(speech, stream)
    assert whole.usage == Usage(*TOKENS)
    assert whole.complete
    parts, out = observe(speech, *cut(stream, cuts))
    assert (out, state_of(parts)) == (expected, state_of(whole))


@pytest.mark.parametrize("name", ["messages", "responses"])
@given(words=WORDS, cuts=CUTS)
def test_any_split_gives_the_same_translation(name: str, words: list[str], cuts: list[int]) -> None:
    speech = {"messages": dialects.MESSAGES, "responses": dialects.RESPONSES}[name]
    stream = b"".join(stream_events(*words, tokens=TOKENS))
    outs = [translated(speech, parts) for parts in ([stream], cut(stream, cuts))]
    assert but_for_pieces(outs[0]) == but_for_pieces(outs[1])
    assert "".join(text_deltas(outs[0])) == "".join(words)


def translated(speech: Speech, parts: list[bytes]) -> bytes:
    dialect, body = BY_NAME[speech.name], speech.request(stream=True)
    request = dialect.parse(json.loads(body), body, request_id="r-1", policy=None)
    translation = Translation(dialect, request, None, now_s=1000)
    observer = translation.observer(NO_KEYS)
    out = b"".join(observer.feed(part) for part in parts) + observer.end()
    assert observer.usage == Usage(*TOKENS)
    assert observer.ended
    return out


def documents_of(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: ")]


def but_for_pieces(stream: bytes) -> list[dict[str, Any]]:
    """The events of a translated stream without those of text, which goes out in as many pieces as it came in."""
    kept = [
        document for document in documents_of(stream) if not str(document["type"]).endswith((".delta", "block_delta"))
    ]
    return [{name: value for name, value in document.items() if name != "sequence_number"} for document in kept]


def text_deltas(stream: bytes) -> list[str]:
    deltas = [document.get("delta") for document in documents_of(stream)]
    return [delta if isinstance(delta, str) else delta.get("text", "") for delta in deltas if delta is not None]


@pytest.mark.parametrize("speech", STREAMED, ids=lambda speech: speech.name)
@pytest.mark.parametrize("width", [1, 7, 100, 1_000_000])
def test_a_key_is_masked_outside_the_models_words(speech: Speech, width: int) -> None:
    key = "sk-0123456789abcdef-0123456789"
    strange = event({"type": "x", "choices": [], "debug": f"Bearer {key}", "comment": "response.output.delta"})
    stream = b": for " + key.encode() + b"\n\n" + strange + speech.stream.replace(b"Hello", key.encode())
    parts = [stream[start : start + width] for start in range(0, len(stream), width)]
    _, out = observe(speech, *parts, redactor=Redactor([Secret(key)]))
    assert out.count(key.encode()) == speech.shown.count(b"Hello")


@pytest.mark.parametrize("speech", STREAMED, ids=lambda speech: speech.name)
def test_events_longer_than_what_is_held_back_are_read(speech: Speech) -> None:
    long = "x" * 100_000
    stream = speech.stream.replace(b"Hello", long.encode())
    observer, out = observe(speech, *cut(stream, list(range(0, len(stream), 30_000))))
    assert out == speech.shown.replace(b"Hello", long.encode())
    assert (observer.usage, observer.complete) == (Usage(*TOKENS), True)


def test_the_last_event_of_a_message_is_not_the_end_of_all() -> None:
    cost = b"event: cost\n" + event({"cost": {"total_msats": 10_605}})
    observer, out = observe(dialects.MESSAGES, dialects.MESSAGES.stream, cost)
    assert out == dialects.MESSAGES.stream + cost
    assert observer.charged_msats == 10_605
    assert not observer.done


def test_a_response_that_failed_is_an_error() -> None:
    failed = {"status": "failed", "error": {"code": "server_error", "message": "out of coffee"}}
    last = named({"type": "response.failed", "response": failed})
    observer, _ = observe(dialects.RESPONSES, *dialects.RESPONSES.events[:5], last)
    assert observer.error == failed["error"]
    assert not observer.complete


@pytest.mark.parametrize("width", [1, 1_000_000])
@pytest.mark.parametrize(("count", "expected"), [(7, [7, 8]), (1, [1, 2]), (0, [0, 1])])
def test_the_error_of_a_response_that_breaks_off_goes_on_with_the_numbers_of_its_events(
    width: int, count: int, expected: list[int]
) -> None:
    events = b"".join(response_events("a", '"sequence_number": 99', "b", "c")[:count]) + b'event: x\ndata: {"sequ'
    parts = [events[start : start + width] for start in range(0, len(events), width)]
    observer, _ = observe(dialects.RESPONSES, *parts)
    failed = documents_of(observer.fail(InternalError("it broke off")))
    assert [document["sequence_number"] for document in failed] == expected


def test_words_about_the_end_are_no_end() -> None:
    text = 'stop_reason": "end_turn", {"type":"message_stop"} event: error'
    observer, _ = observe(dialects.MESSAGES, *message_events(text)[:5])
    assert (observer.answered, observer.finished, observer.ended, observer.error) == (True, False, False, None)


@pytest.mark.parametrize("path", ["images/generations", "a", "a-b_c/d.e/F0"])
def test_a_path_that_is_passed_through(path: str) -> None:
    assert is_path(path)
    assert Passthrough(path).name == path


@pytest.mark.parametrize(
    "path", ["", "/", "a/", "/a", "a//b", "..", "a/../b", "a b", "a?b", "ä", "a" * 101, "a/.b", "a\n"]
)
def test_a_path_that_is_none(path: str) -> None:
    assert not is_path(path)


@pytest.mark.parametrize("speech", STREAMED, ids=lambda speech: speech.name)
def test_nothing_passes_after_done_however_it_comes(speech: Speech) -> None:
    begun = speech.events[: speech.content + 1]
    after = speech.events[speech.content] * 2
    _, out = observe(speech, b"".join(begun) + DONE + after)
    assert out == b"".join(begun) + DONE
