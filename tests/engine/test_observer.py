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
from arbstr.engine.observer import StreamObserver
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


def test_an_error_after_the_first_event_is_only_passed_on() -> None:
    error = event({"error": {"message": "no"}})
    observer, out = watch(delta("x"), error)
    assert observer.opening_error is None
    assert out == delta("x") + error


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
