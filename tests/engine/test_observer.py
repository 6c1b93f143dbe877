"""A stream watched: usage, charge and endings are seen, and what passes is what came."""

from __future__ import annotations

import itertools
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine import metering
from arbstr.engine.observer import MAX_WATCHED, StreamObserver
from arbstr.types import Usage


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def delta(text: str, finish: str | None = None) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


USAGE = {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21}
USAGE_CHUNK = event({"choices": [], "usage": USAGE, "cost": {"total_msats": 420}})
DONE = b"data: [DONE]\n\n"


def watch(*parts: bytes, keep: bool = False) -> tuple[StreamObserver, bytes]:
    observer = StreamObserver(keep_usage_chunk=keep)
    out = b"".join(observer.feed(part) for part in parts)
    return observer, out + observer.end()


def test_usage_and_charge_are_read_and_the_usage_chunk_left_out() -> None:
    observer, out = watch(delta("hi"), delta("", "stop"), USAGE_CHUNK, DONE)
    assert out == delta("hi") + delta("", "stop") + DONE
    assert observer.usage == Usage(12, 9)
    assert observer.charged_msats == 420
    assert observer.done
    assert observer.complete


def test_a_charge_before_the_usage_is_read_although_both_come_at_once() -> None:
    charge = event({"choices": [], "cost": {"total_msats": 420}})
    observer, _ = watch(charge + event({"choices": [], "usage": USAGE}) + DONE)
    assert observer.usage == Usage(12, 9)
    assert observer.charged_msats == 420


def test_half_a_surrogate_pair_is_no_fault_of_a_stream() -> None:
    half = event({"choices": [{"delta": {"content": "cut \ud83d"}}], "usage": USAGE})
    observer, out = watch(half, delta("", "stop"), DONE)
    assert observer.opening_error is None
    assert observer.usage == Usage(12, 9)
    assert out == half + delta("", "stop") + DONE


def test_a_client_that_asked_for_usage_gets_its_chunk() -> None:
    _, out = watch(delta("hi", "stop"), USAGE_CHUNK, DONE, keep=True)
    assert out == delta("hi", "stop") + USAGE_CHUNK + DONE


def test_usage_beside_choices_passes_and_counts() -> None:
    chunk = event({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": USAGE})
    observer, out = watch(chunk, DONE)
    assert out == chunk + DONE
    assert observer.usage == Usage(12, 9)


def test_an_empty_choices_list_without_usage_passes() -> None:
    chunk = event({"choices": [], "prompt_filter_results": [{"usage": None}]})
    _, out = watch(chunk, delta("x", "stop"), DONE)
    assert out == chunk + delta("x", "stop") + DONE


@given(st.lists(st.integers(0, 900), max_size=10))
def test_any_split_leaves_the_same_bytes_and_the_same_usage(cuts: list[int]) -> None:
    stream = b": hello\r\n\r\n" + delta("grüße 😀") + delta("", "stop") + USAGE_CHUNK + DONE
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    observer, out = watch(*(stream[a:b] for a, b in itertools.pairwise(edges)))
    assert out == stream.replace(USAGE_CHUNK, b"")
    assert observer.usage == Usage(12, 9)
    assert observer.complete


def test_a_model_that_writes_about_usage_is_not_metered() -> None:
    text = delta('"usage": {"prompt_tokens": 99}, data: [DONE] "finish_reason": "stop"')
    observer, out = watch(text)
    assert out == text
    assert observer.usage is None
    assert not observer.complete


def test_nothing_passes_after_done() -> None:
    observer, out = watch(delta("x", "stop"), DONE + delta("more"), delta("and more"))
    assert out == delta("x", "stop") + DONE
    assert observer.done


def test_a_finish_reason_without_done_is_complete() -> None:
    observer, _ = watch(delta("x", "stop"))
    assert observer.complete
    assert not observer.done


@pytest.mark.parametrize("tail", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r\n"])
def test_a_done_without_its_empty_line_counts(tail: bytes) -> None:
    observer, out = watch(delta("x"), tail)
    assert observer.done
    assert out == delta("x") + DONE


def test_a_torn_last_event_is_dropped() -> None:
    observer, out = watch(delta("x"), b'data: {"choices": [{"del')
    assert out == delta("x")
    assert not observer.complete


def test_an_error_as_first_event_is_seen_whatever_comments_come_before() -> None:
    observer, _ = watch(b": working\n\n", event({"error": {"message": "no", "code": 500}}))
    assert observer.opened
    assert observer.opening_error == {"message": "no", "code": 500}


@pytest.mark.parametrize("data", [b"hello", b'{"choices": [', b"null", b"<html>"])
def test_a_first_event_that_is_no_json_is_an_error(data: bytes) -> None:
    observer, _ = watch(b"data: " + data + b"\n\n", delta("x"))
    assert observer.opening_error == {"message": "HTTP 200 whose first event is not JSON"}


@pytest.mark.parametrize(
    ("data", "judged"), [(b'{"choices": [', None), (b"hello", "HTTP 200 whose first event is not JSON")]
)
def test_a_first_event_too_long_to_be_held_is_judged_by_its_beginning(data: bytes, judged: str | None) -> None:
    observer = StreamObserver(keep_usage_chunk=False)
    out = b"".join(observer.feed(part) for part in (b"data: " + data, b" " * 70_000, b" " * 70_000))
    assert observer.opened
    assert (observer.opening_error or {}).get("message") == judged
    assert len(out) > 130_000


def test_a_stream_may_be_empty() -> None:
    observer, out = watch(DONE)
    assert observer.opening_error is None
    assert out == DONE


def test_an_error_after_the_first_event_passes_and_no_end_makes_good_for_it() -> None:
    error = event({"error": {"message": "no"}})
    observer, out = watch(delta("x", "stop"), error, DONE)
    assert observer.opening_error is None
    assert observer.error == {"message": "no"}
    assert out == delta("x", "stop") + error
    assert not observer.complete


def test_an_error_after_done_is_none() -> None:
    observer, _ = watch(delta("x"), DONE + event({"error": {"message": "no"}}))
    assert observer.error is None
    assert observer.complete


@pytest.mark.parametrize(
    "fields",
    [b"event: error\n", b"event:error\n", b"id: 1\nevent: error\n", b"event: error\r\n", b": x\nevent:error\n"],
)
def test_an_event_that_is_called_error_is_one(fields: bytes) -> None:
    observer, _ = watch(fields + b'data: {"message": "no"}\n\n')
    assert observer.opening_error == {"message": "no"}
    later, _ = watch(delta("x"), fields + b"data: no\n\n", DONE)
    assert later.error == {"message": "an error event"}


@pytest.mark.parametrize("error", [None, {}, "", []])
def test_an_empty_error_beside_choices_is_none(error: object) -> None:
    chunk = event({"choices": [{"delta": {"content": "x"}}], "error": error})
    observer, out = watch(chunk, chunk, DONE)
    assert observer.error is None
    assert observer.complete
    assert out == chunk + chunk + DONE


def test_a_usage_chunk_that_holds_an_error_is_not_left_out() -> None:
    chunk = event({"choices": [], "usage": USAGE, "error": {"message": "the quota ran out"}})
    observer, out = watch(delta("x"), chunk)
    assert out == delta("x") + chunk
    assert observer.usage == Usage(12, 9)
    assert observer.error == {"message": "the quota ran out"}


def test_half_a_surrogate_pair_hides_no_usage() -> None:
    chunk = b'data: {"choices": [{"delta": {"content": "\\ud83d"}}], "usage": ' + json.dumps(USAGE).encode() + b"}\n\n"
    observer, _ = watch(chunk, DONE)
    assert observer.opening_error is None
    assert observer.usage == Usage(12, 9)


LONG = "x" * 100_000


def in_pieces(data: bytes, size: int = 10_000) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def test_a_long_event_is_read_when_it_is_whole() -> None:
    """Where it begins and ends between reads, it is passed on before its end is there."""
    long = event({"choices": [{"delta": {"content": LONG}, "finish_reason": "stop"}], "usage": USAGE})
    observer, out = watch(*in_pieces(long + delta("more")))
    assert out == long + delta("more")
    assert observer.usage == Usage(12, 9)
    assert observer.finished
    assert observer.events == 2


def test_so_is_one_whose_empty_line_never_comes() -> None:
    long = event({"choices": [{"delta": {"content": LONG}, "finish_reason": "stop"}], "usage": USAGE})
    observer, out = watch(delta("x"), *in_pieces(long[:-2]))
    assert out == delta("x") + long
    assert observer.usage == Usage(12, 9)
    assert observer.complete


def test_a_long_error_is_one() -> None:
    long = event({"error": {"message": LONG}})
    observer, out = watch(delta("x"), *in_pieces(long), DONE)
    assert out == delta("x") + long
    assert observer.error == {"message": LONG}
    assert not observer.complete


def test_a_long_first_event_is_judged_by_its_beginning() -> None:
    observer, _ = watch(*in_pieces(delta(LONG)))
    assert (observer.opened, observer.opening_error) == (True, None)
    observer, _ = watch(*in_pieces(b"data: <html>" + LONG.encode()))
    assert observer.opening_error == {"message": "HTTP 200 whose first event is not JSON"}
    observer, _ = watch(*in_pieces(b": a comment " + LONG.encode()))
    assert not observer.opened


def test_no_more_of_an_endless_event_is_kept_than_a_megabyte() -> None:
    observer = StreamObserver(keep_usage_chunk=False)
    passed = sum(len(observer.feed(b"x" * 65_536)) for _ in range(64))
    assert passed > 63 * 65_536
    assert len(observer._long) == MAX_WATCHED
    observer.feed(b'"usage": {"prompt_tokens": 1}}\n\n' + DONE)
    assert observer.usage is None
    assert observer.done


KEY = b"sk-0123456789"


def mask(data: bytes) -> bytes:
    return data.replace(KEY, b"***")


def test_keys_are_masked_wherever_it_is_not_the_model_that_speaks() -> None:
    key = KEY.decode()
    words = delta(key)
    others = [
        b": for " + KEY + b"\n\n",
        event({"detail": key}),
        event({"choices": [{"delta": {"content": key}}], "error": {"message": key}}),
    ]
    observer = StreamObserver(keep_usage_chunk=False, mask=mask)
    for other in others:
        assert observer.feed(words + other) == words + mask(other)
        assert observer.feed(other + words) == mask(other) + words


def test_progress_counts_events_with_data() -> None:
    observer, _ = watch(delta("a") + delta("b") + b": note\n\n", delta("data: c"))
    assert observer.events == 3


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": "12", "completion_tokens": 9},
        {"prompt_tokens": -1, "completion_tokens": 9},
        {"prompt_tokens": True, "completion_tokens": 9},
        {"prompt_tokens": 1e300, "completion_tokens": 9},
        {"completion_tokens": 9},
    ],
)
def test_a_count_that_is_none_is_unknown(usage: dict[str, Any]) -> None:
    observer, _ = watch(event({"choices": [], "usage": usage}))
    assert observer.usage == Usage(None, 9)


def test_a_fault_of_the_metering_leaves_the_stream_whole(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(document: Any) -> None:
        raise RuntimeError("metering is broken")

    monkeypatch.setattr(metering, "usage_of", fails)
    with caplog.at_level(logging.ERROR):
        observer, out = watch(delta("x"), USAGE_CHUNK, delta("y", "stop"), USAGE_CHUNK, DONE)
    assert out == delta("x") + USAGE_CHUNK + delta("y", "stop") + USAGE_CHUNK + DONE
    assert observer.usage is None
    assert observer.charged_msats is None
    assert observer.complete
    assert len(caplog.records) == 1
