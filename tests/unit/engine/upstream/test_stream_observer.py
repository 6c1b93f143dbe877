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
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.upstream.long_event import MAX_KEPT
from arbstr.engine.upstream.stream_observer import StreamObserver
from arbstr.redaction import Redactor, Secret
from arbstr.types import Usage


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def delta(text: str, finish: str | None = None) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


USAGE = {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21}
USAGE_CHUNK = event({"choices": [], "usage": USAGE, "cost": {"total_msats": 420}})
DONE = b"data: [DONE]\n\n"


def watch(*parts: bytes, keep: bool = False) -> tuple[StreamObserver, bytes]:
    observer = StreamObserver(CHAT, keep_usage_chunk=keep)
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


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (delta("a"), True),
        (delta("", "stop"), True),
        (delta("") + delta("a"), True),
        (USAGE_CHUNK, True),
        (event({"error": {"message": "no"}}), True),
        (b"event: error\ndata: {}\n\n", True),
        (delta(""), False),
        (event({"choices": []}), False),
        (event({"choices": [], "usage": None}), False),
        (b"event: ping\ndata: {}\n\n", False),
        (b"data:\n\n", False),
        (b": a\n\n", False),
        (event({"choices": [{"delta": {"content": "a" * 100_000}}]}), True),
        (event({"choices": [], "padding": "a" * 100_000}), False),
    ],
)
@pytest.mark.parametrize("width", [1_000_000, 30_000])
def test_doubt_lasts_until_an_event_says_something(block: bytes, says: bool, width: int) -> None:
    observer, _ = watch(delta("hi"))
    observer.in_doubt = True
    for start in range(0, len(block), width):
        observer.feed(block[start : start + width])
    assert observer.in_doubt is not says


def test_half_a_surrogate_pair_is_no_fault_of_a_stream() -> None:
    half = event({"choices": [{"delta": {"content": "cut \ud83d"}}], "usage": USAGE})
    observer, out = watch(half, delta("", "stop"), DONE)
    assert observer.error is None
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


def test_no_event_passes_after_done() -> None:
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
    assert observer.error == {"message": "no", "code": 500}
    assert not observer.answered


@pytest.mark.parametrize("data", [b"hello", b'{"choices": [', b"null", b"<html>"])
def test_a_first_event_that_is_no_json_is_an_error(data: bytes) -> None:
    observer, _ = watch(b"data: " + data + b"\n\n", delta("x"))
    assert observer.error == {"message": "the first event is not JSON"}
    assert not observer.answered


def test_a_later_one_passes() -> None:
    ping = b"data: ping\n\n"
    observer, out = watch(event({"choices": []}), ping, delta("x"), ping, DONE)
    assert observer.complete
    assert out.count(ping) == 2


@pytest.mark.parametrize(
    ("data", "judged"),
    [
        (b'{"choices": [', None),
        (b"hello", "the first event is not JSON"),
        (b'{"error": {"message": "no', "an error of more than 64 KB"),
        (b'{"choices": [{"delta": {"content": "no', None),
    ],
)
def test_a_first_event_too_long_to_be_held_is_judged_by_its_beginning(data: bytes, judged: str | None) -> None:
    observer = StreamObserver(CHAT, keep_usage_chunk=False)
    out = b"".join(observer.feed(part) for part in (b"data: " + data, b" " * 70_000, b" " * 70_000))
    assert observer.answered == (judged is None)
    assert (observer.error or {}).get("message") == judged
    assert len(out) > 130_000


ROLE = event({"choices": [{"delta": {"role": "assistant", "content": "", "tool_calls": [], "refusal": None}}]})


@pytest.mark.parametrize(
    "events",
    [(), (ROLE,), (USAGE_CHUNK,), (b": hi\n\n", ROLE, ROLE), (event({}),), (delta("", ""),), (delta("", "null"),)],
)
def test_an_end_before_anything_was_said_is_no_end(events: tuple[bytes, ...]) -> None:
    observer, out = watch(*events, DONE)
    assert (observer.answered, observer.done, observer.complete) == (False, True, False)
    assert DONE not in out


@pytest.mark.parametrize(
    "choice",
    [
        {"delta": {"content": "x"}},
        {"delta": {"content": " "}},
        {"delta": {"content": [{"type": "text", "text": "x"}]}},
        {"delta": {"reasoning_content": "hm"}},
        {"delta": {"reasoning": "hm"}},
        {"delta": {"tool_calls": [{"index": 0}]}},
        {"delta": {"function_call": {"name": "f"}}},
        {"delta": {"refusal": "no"}},
        {"delta": {"audio": {"data": "x"}}},
        {"delta": {}, "finish_reason": "stop"},
        {"finish_reason": "length"},
        {"text": "x"},
        {"message": {"role": "assistant", "content": "x"}},
    ],
)
def test_whatever_says_something_is_an_answer(choice: dict[str, Any]) -> None:
    observer, out = watch(ROLE, event({"choices": [choice]}), DONE)
    assert observer.answered
    assert observer.complete
    assert out.endswith(DONE)


@pytest.mark.parametrize("word", ["", " ", "null", "NULL", "error", "Error", " null "])
def test_a_finish_reason_that_is_no_word_finishes_nothing(word: str) -> None:
    observer, _ = watch(delta("x", word))
    assert not observer.finished
    assert not observer.complete


@pytest.mark.parametrize("reason", [True, 1, [], ["stop"], {"a": "stop"}])
def test_a_finish_reason_that_is_no_text_finishes_nothing(reason: object) -> None:
    observer, _ = watch(event({"choices": [{"delta": {"content": "x"}, "finish_reason": reason}]}))
    assert not observer.finished


def test_a_finish_reason_elsewhere_finishes_nothing() -> None:
    observer, _ = watch(delta("x"), event({"choices": [], "debug": {"finish_reason": "stop"}}))
    assert not observer.finished


def test_what_follows_done_in_one_read_does_not_count() -> None:
    observer, out = watch(delta("x") + DONE + delta("y", "stop") + event({"usage": USAGE}))
    assert out == delta("x") + DONE
    assert (observer.events, observer.finished, observer.usage) == (1, False, None)


ERRORS = [
    {"error": {"message": "no"}},
    {"error": "no"},
    {"error": True},
    {"error": 500},
    {"errors": [{"message": "no"}]},
    [{"error": {"message": "no"}}],
    {"object": "error", "message": "no", "code": 429},
    {"type": "error", "message": "no"},
    {"message": "no", "code": 429},
    {"message": "no", "type": "invalid_model"},
    {"detail": "no"},
    {"detail": [{"loc": ["body", "n"], "msg": "no", "type": "value_error"}]},
    {"detail": {"error": {"message": "no"}}},
    {"success": False, "errors": [], "messages": []},
    {"choices": [{"error": {"message": "no"}, "delta": {"content": ""}}]},
    {"choices": [{"delta": {"content": ""}, "finish_reason": "error"}]},
    {"choices": [{"delta": {"content": "x"}}], "error": {"message": "no"}},
]


@pytest.mark.parametrize("document", ERRORS, ids=str)
@pytest.mark.parametrize("together", [False, True], ids=["alone", "in one read"])
def test_an_error_in_any_shape_is_one_at_any_place(document: Any, together: bool) -> None:
    """First it is the end of the attempt, later of the stream; and how the network cuts it changes nothing."""
    for before, answered in (((), False), ((ROLE,), False), ((delta("x"),), True)):
        parts = [*before, event(document), delta("y", "stop"), DONE]
        observer, out = watch(*([b"".join(parts)] if together else parts))
        assert observer.error is not None
        assert observer.answered == answered
        assert not observer.complete
        assert DONE not in out


def test_an_event_that_says_choices_twice_hides_no_error_beside_it() -> None:
    twice = b'data: {"choices": [], "x": {"choices": []}}\n\n'
    observer, _ = watch(delta("x") + twice + event({"message": "no", "code": 429}) + delta("y", "stop") + DONE)
    assert observer.error == {"message": "no", "code": 429}


@pytest.mark.parametrize(
    "document",
    [
        {"choices": [], "message": "queued"},
        {"choices": [{"delta": {"content": "x"}}], "message": "fine", "code": 200},
        {"choices": [{"delta": {"content": "x"}}], "detail": "fine", "success": True},
        {"choices": [{"delta": {"content": "x"}, "error": None, "content_filter_results": {"error": {"code": "x"}}}]},
        {"choices": [{"delta": {"content": "x"}}], "error": {"message": "", "code": None}},
        {"id": "x", "type": "ping"},
        {},
        [],
        "text",
        7,
    ],
    ids=str,
)
def test_what_only_looks_like_an_error_is_none(document: Any) -> None:
    observer, _ = watch(delta("x"), event(document), delta("y", "stop"), DONE)
    assert observer.error is None
    assert observer.complete


def test_an_error_after_the_first_event_passes_and_no_end_makes_good_for_it() -> None:
    error = event({"error": {"message": "no"}})
    observer, out = watch(delta("x", "stop"), error, DONE)
    assert observer.answered
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
def test_an_event_named_error_is_an_error(fields: bytes) -> None:
    observer, _ = watch(fields + b'data: {"message": "no"}\n\n')
    assert observer.error == {"message": "no"}
    assert not observer.answered
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
    assert observer.error is None
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


def test_a_long_event_whose_empty_line_never_comes_is_read() -> None:
    long = event({"choices": [{"delta": {"content": LONG}, "finish_reason": "stop"}], "usage": USAGE})
    observer, out = watch(delta("x"), *in_pieces(long[:-2]))
    assert out == delta("x") + long
    assert observer.usage == Usage(12, 9)
    assert observer.complete


def test_a_long_error_event_is_an_error() -> None:
    long = event({"error": {"message": LONG}})
    observer, out = watch(delta("x"), *in_pieces(long), DONE)
    assert out == delta("x") + long
    assert observer.error is not None
    assert observer.error["message"].startswith("xxx")
    assert len(observer.error["message"]) < 1000
    assert not observer.complete


def test_a_long_first_event_is_judged_by_its_beginning() -> None:
    observer, _ = watch(*in_pieces(delta(LONG)))
    assert (observer.answered, observer.error) == (True, None)
    observer, _ = watch(*in_pieces(b"data: <html>" + LONG.encode()))
    assert observer.error == {"message": "the first event is not JSON"}
    observer, _ = watch(*in_pieces(b": a comment " + LONG.encode()))
    assert (observer.answered, observer.error) == (False, None)


def test_no_more_of_an_endless_event_is_kept_than_a_megabyte() -> None:
    observer = StreamObserver(CHAT, keep_usage_chunk=False)
    passed = sum(len(observer.feed(b"x, " * 20_000)) for _ in range(64))
    assert passed > 63 * 60_000
    assert len(observer._long) == MAX_KEPT
    observer.feed(b'"usage": {"prompt_tokens": 1}}\n\n' + DONE)
    assert observer.usage is None
    assert observer.done


@pytest.mark.parametrize(
    "content",
    [
        "x" * 1_500_000,
        "a\\n" * 500_000,
        '\\"usage\\": {\\"prompt_tokens\\": 1}, ' * 40_000,
        "\U0001f600gr\u00fc\u00df" * 200_000,
        "\\" * 1_500_001,
        "[{,]}:" * 300_000,
    ],
    ids=["base64", "lines", "usage in words", "not ASCII", "backslashes", "brackets"],
)
@pytest.mark.parametrize("size", [4096, 10_007, 65_536])
def test_usage_and_finish_reason_beside_megabytes_of_content_are_read(content: str, size: int) -> None:
    choice = {"delta": {"content": content, "role": "assistant"}, "finish_reason": "stop", "logprobs": [0.125] * 1000}
    for document in ({"choices": [choice], "usage": USAGE}, {"usage": USAGE, "choices": [choice]}):
        long = b"data: %b\n\n" % json.dumps(document, ensure_ascii=False).encode()
        observer, out = watch(*in_pieces(long, size), DONE)
        assert out == long + DONE
        assert observer.usage == Usage(12, 9)
        assert observer.finished
        assert len(observer._long) == 0


def test_a_stream_with_a_byte_order_mark_is_read() -> None:
    mark = b"\xef\xbb\xbf"
    observer, out = watch(mark + delta("x"), delta("y", "stop"), USAGE_CHUNK, DONE)
    assert out == mark + delta("x") + delta("y", "stop") + DONE
    assert (observer.events, observer.complete) == (3, True)


KEY = b"sk-0123456789"
REDACTOR = Redactor([Secret(KEY.decode())])


def test_keys_are_masked_wherever_it_is_not_the_model_that_speaks() -> None:
    key = KEY.decode()
    words = delta(key)
    others = [b": for " + KEY + b"\n\n", event({"detail": key}), event({"error": {"message": key}, "choices": []})]
    observer = StreamObserver(CHAT, keep_usage_chunk=False, redactor=REDACTOR)
    for other in others:
        assert observer.feed(words + other) == words + REDACTOR.data(other)
        assert observer.feed(other + words) == REDACTOR.data(other) + words


@pytest.mark.parametrize("beside", [{"x_debug": f"Bearer {KEY.decode()}"}, {"error": {"message": KEY.decode()}}])
def test_in_a_chunk_all_is_masked_but_for_the_models_words(beside: dict[str, Any]) -> None:
    chunk = {"choices": [{"delta": {"content": KEY.decode()}}]}
    observer = StreamObserver(CHAT, keep_usage_chunk=False, redactor=REDACTOR)
    shown = json.loads(observer.feed(event({**chunk, **beside})).removeprefix(b"data: "))
    assert shown["choices"] == chunk["choices"]
    assert KEY.decode() not in json.dumps({name: shown[name] for name in beside})


@pytest.mark.parametrize("key", ['sk-"0123\\456', "sk-0123/456+789=="])
@pytest.mark.parametrize("slash", ["/", "\\/"])
def test_a_key_is_masked_as_json_spells_it(key: str, slash: str) -> None:
    data = event({"choices": [{"delta": {"content": "hi"}}], "x_debug": f"Bearer {key}"}).replace(b"/", slash.encode())
    shown = StreamObserver(CHAT, keep_usage_chunk=False, redactor=Redactor([Secret(key)])).feed(data)
    assert json.loads(shown.removeprefix(b"data: "))["x_debug"] == f"Bearer {key[:6]}...***"


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("ends", [True, False])
def test_a_key_that_reads_cut_in_a_long_event_is_masked(size: int, ends: bool) -> None:
    data = event({"error": {"message": "x" * 70_000 + KEY.decode() + "x" * 100}})
    data = data if ends else data.rstrip(b"\n")
    observer, passed = StreamObserver(CHAT, keep_usage_chunk=False, redactor=REDACTOR), b""
    for start in [0, *range(69_000, len(data), size)]:
        passed += observer.feed(data[start : 69_000 if start == 0 else start + size])
    assert (passed + observer.end()).rstrip(b"\n") == REDACTOR.data(data).rstrip(b"\n")


def test_progress_counts_events_with_data() -> None:
    observer, _ = watch(delta("a") + delta("b") + b": note\n\n", delta("data: c"))
    assert observer.events == 3


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": "12", "completion_tokens": 9},
        {"prompt_tokens": -1, "completion_tokens": 9},
        {"prompt_tokens": True, "completion_tokens": 9},
        {"prompt_tokens": 1.5, "completion_tokens": 9},
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

    monkeypatch.setattr(metering, "counts_of", fails)
    with caplog.at_level(logging.ERROR):
        observer, out = watch(delta("x"), USAGE_CHUNK, delta("y", "stop"), USAGE_CHUNK, DONE)
    assert out == delta("x") + USAGE_CHUNK + delta("y", "stop") + USAGE_CHUNK + DONE
    assert observer.usage is None
    assert observer.charged_msats is None
    assert observer.complete
    assert len(caplog.records) == 1
