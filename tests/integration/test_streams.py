"""Streams pass as they come; what arbstr adds at their end, and how they may end otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from arbstr.events import StreamProgress
from tests.support.harness import ProxyHarness, tokens_of
from tests.support.patience import PATIENCE_S
from tests.support.provider import (
    DONE,
    Asked,
    Move,
    Part,
    after,
    chunk,
    chunked,
    completion,
    cut_at,
    event,
    head,
    json_reply,
    sse_reply,
    stream_events,
    usage_chunk,
)

STARTED = head(200, ("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked"))


# Progress


async def test_progress_is_published_a_few_times_a_second_at_most(harness: ProxyHarness) -> None:
    pause = asyncio.Event()
    asyncio.get_running_loop().call_later(0.6, pause.set)
    words = [chunk(str(number)) for number in range(60)]
    await harness.add_provider("alpha", sse_reply(*words[:30], pause, *words[30:], *stream_events("end")))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    lasted_ms = (await arbstr.row(answer))["timing"]["stream_duration_ms"]
    reported = [event.events for event in arbstr.events if isinstance(event, StreamProgress)]
    assert 1 <= len(reported) <= lasted_ms // 250
    assert reported == sorted(reported)


# A good end


async def test_arbstrs_event_and_a_last_done_follow_the_providers(harness: ProxyHarness) -> None:
    arbstr, answer = await harness.play_stream(*stream_events("Hel", "lo", tokens=(12, 9)))
    assert answer.events[-3:][0] == answer.events[-3:][2] == b"data: [DONE]"
    assert answer.body.count(b"[DONE]") == 2
    assert list(answer.trailer) == [
        "request_id",
        "provider",
        "cost_sats",
        "latency_ms",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
    ]
    assert answer.trailer == {
        "request_id": answer.headers["X-Arbstr-Request-Id"],
        "provider": "alpha",
        "cost_sats": 1.39,
        "latency_ms": answer.trailer["latency_ms"],
        "input_tokens": 12,
        "cached_tokens": 0,
        "output_tokens": 9,
    }
    row = await arbstr.row(answer)
    assert (row["success"], row["streaming"], row["provider"]) == (True, True, "alpha")


async def test_the_headers_of_a_stream(harness: ProxyHarness) -> None:
    _, answer = await harness.play_stream(*stream_events("a"))
    assert answer.status == 200
    assert answer.headers["X-Arbstr-Streaming"] == "true"
    assert answer.headers["X-Arbstr-Provider"] == "alpha"
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert not {"X-Arbstr-Cost-Sats", "X-Arbstr-Latency-Ms", "X-Arbstr-Policy", "X-Arbstr-Retries"} & set(
        answer.headers
    )


async def test_a_whole_answer_has_no_streaming_header(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    assert "X-Arbstr-Streaming" not in (await arbstr.chat()).headers


async def test_the_end_does_not_wait_for_the_provider_to_close(
    harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbstr.engine.upstream.response.TAIL_S", 0.02)
    alpha = await harness.add_provider("alpha", sse_reply(*stream_events("a"), Move.NEVER))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert answer.trailer["provider"] == "alpha"
    assert (await arbstr.row(answer))["success"]
    async with asyncio.timeout(PATIENCE_S):
        await alpha.requests[0].left.wait()  # a provider that never ends its body is not waited for long


async def test_what_follows_done_goes_nowhere(harness: ProxyHarness) -> None:
    _, answer = await harness.play_stream(*stream_events("a"), chunk("more"), DONE)
    assert b"more" not in answer.body
    assert answer.body.count(b"[DONE]") == 2


@pytest.mark.parametrize(
    "done", [b"data: [DONE]\n\n", b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n", b"data: [DONE]\r\r", b"data: [DONE]"]
)
async def test_done_however_it_is_spelled(harness: ProxyHarness, done: bytes) -> None:
    _, answer = await harness.play_stream(*stream_events("a", done=False), done)
    assert answer.body.count(b"[DONE]") == 2
    assert answer.provider_events.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
    assert answer.body.endswith(b"}}\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter"])
async def test_a_finish_reason_is_an_end_without_done(harness: ProxyHarness, reason: str) -> None:
    arbstr, answer = await harness.play_stream(*stream_events("a", finish_reason=reason, done=False))
    assert answer.body.count(b"[DONE]") == 2
    assert answer.trailer["output_tokens"] == 5
    row = await arbstr.row(answer)
    assert row["success"]
    assert tokens_of(row) == (10, 5)


@pytest.mark.parametrize("end", [Move.RESET, Move.CLOSE])
async def test_a_finish_reason_is_an_end_even_if_the_connection_breaks_after_it(
    harness: ProxyHarness, end: Move
) -> None:
    arbstr, answer = await harness.play_stream(chunk("a"), chunk(finish_reason="stop"), end)
    assert answer.events[-1] == b"data: [DONE]"
    assert (await arbstr.row(answer))["success"]


async def test_a_finish_reason_in_the_text_is_none(harness: ProxyHarness) -> None:
    _, answer = await harness.play_stream(chunk('"finish_reason":"stop"'), chunk('{"finish_reason": "stop"}'))
    assert answer.stream_error


async def test_done_in_the_text_is_none(harness: ProxyHarness) -> None:
    _, answer = await harness.play_stream(*stream_events("data: [DONE]", "[DONE]", "\n\ndata: [DONE]\n\n", "end"))
    assert b'"end"' in answer.body
    assert answer.trailer["output_tokens"] == 5


# A bad end

BROKEN: dict[str, list[Part]] = {
    "ended too early": sse_reply(chunk("Hel")),
    "reset": [STARTED, chunked(chunk("Hel")), Move.RESET],
    "closed": [STARTED, chunked(chunk("Hel")), Move.CLOSE],
    "closed within an event": [STARTED, chunked(chunk("Hel")), chunked(b'data: {"choi'), Move.CLOSE],
    "reset within an event": [STARTED, chunked(chunk("Hel")), b'ff\r\ndata: {"choi', Move.RESET],
    "a chunk of no size": [STARTED, chunked(chunk("Hel")), b"zz\r\n"],
    "shorter than it said": [
        head(200, ("Content-Type", "text/event-stream"), ("Content-Length", "99999")),
        chunk("Hel"),
        Move.CLOSE,
    ],
    "an error in the middle": sse_reply(chunk("Hel"), event({"error": {"message": "out of coffee"}})),
    "garbage": sse_reply(chunk("Hel"), b"\x00\xff\xfe garbage \xc3"),
}


@pytest.mark.parametrize("replied", BROKEN.values(), ids=BROKEN)
async def test_a_stream_that_breaks_off_ends_with_an_error_and_nothing_else(
    harness: ProxyHarness, replied: list[Part]
) -> None:
    await harness.add_provider("alpha", replied)
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert answer.status == 200
    assert answer.body.startswith(chunk("Hel"))
    error = answer.stream_error
    assert "alpha" in error["message"]
    row = await arbstr.row(answer)
    assert (row["success"], row["error"]["status"], row["provider"]) == (False, 502, "alpha")
    assert "broke off" in row["error"]["message"]
    assert tokens_of(row) == (None, None)
    assert row["cost"]["sats"] is None


async def test_a_stream_that_falls_silent_for_longer_than_idle_has_broken_off(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", sse_reply(chunk("Hel"), Move.NEVER), timeouts={"idle": 0.05})
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert "0.05 s" in answer.stream_error["message"]
    assert (await arbstr.row(answer))["error"]["status"] == 502
    async with asyncio.timeout(PATIENCE_S):
        await alpha.requests[0].left.wait()


EMPTY = {
    "no choices": b'data: {"choices":[]}\n\n',
    "usage null": b'data: {"choices":[],"usage":null}\n\n',
    "a role": chunk(delta={"role": "assistant", "content": ""}),
    "an empty text": chunk(""),
    "an empty delta": chunk(),
    "an empty finish_reason": chunk(finish_reason=""),
    "a ping": b'event: ping\ndata: {"type": "ping"}\n\n',
    "a ping without data": b"event: ping\n\n",
    "empty data": b"data:\n\n",
    "empty lines": b"\n\n",
    "no JSON": b"data: ping\n\n",
    "CRLF": b'data: {"choices":[]}\r\n\r\n',
    "CR": b'data: {"choices":[]}\r\r',
    "two at once": b'data: {"choices":[]}\n\ndata: {"type": "ping"}\n\n',
    "and half the next": b'"choices":[]}\n\ndata: {',
}


@pytest.mark.parametrize("nothing", EMPTY.values(), ids=EMPTY)
async def test_a_stream_that_says_nothing_is_given_up_after_idle(harness: ProxyHarness, nothing: bytes) -> None:
    def chatters(asked: Asked) -> list[Part]:
        said = chunk("Hel") + (b"data: {" if nothing.endswith(b"{") else b"")
        return sse_reply(said, *(part for number in range(400) for part in (after(0.01 * number), nothing)))

    alpha = await harness.add_provider("alpha", chatters, timeouts={"idle": 0.2})
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert b"'alpha' broke off: no content for 0.2 s" in answer.body
    async with asyncio.timeout(PATIENCE_S):
        await alpha.requests[0].left.wait()


WORDS = {
    "content": chunk("a"),
    "reasoning": chunk(delta={"content": "", "reasoning_content": "hm"}),
    "a tool call": chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}),
    "usage": event({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}),
    "a word among nothing": EMPTY["no choices"] + chunk("a") + EMPTY["a ping"],
}


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
async def test_a_word_now_and_then_is_enough(harness: ProxyHarness, word: bytes) -> None:
    def speaks_rarely(asked: Asked) -> list[Part]:
        said = [word if number % 20 == 10 else EMPTY["no choices"] for number in range(150)]
        beat = (part for number, each in enumerate(said) for part in (after(0.01 * number), each))
        return sse_reply(chunk("a"), *beat, *stream_events("b"))

    await harness.add_provider("alpha", speaks_rarely, timeouts={"idle": 0.6})
    arbstr = await harness.start()
    assert (await arbstr.chat(stream=True)).trailer["output_tokens"] == 5


async def test_the_providers_own_error_reaches_the_client_first(harness: ProxyHarness) -> None:
    _, answer = await harness.play_stream(chunk("Hel"), event({"error": {"message": "out of coffee"}}))
    assert answer.events[1] == b'data: {"error": {"message": "out of coffee"}}'
    assert len(answer.events) == 3


async def test_done_after_an_error_makes_no_success_of_it(harness: ProxyHarness) -> None:
    arbstr, answer = await harness.play_stream(chunk("Hel"), event({"error": {"message": "out of coffee"}}), DONE)
    assert answer.events[1] == b'data: {"error": {"message": "out of coffee"}}'
    assert "out of coffee" in answer.stream_error["message"]
    row = await arbstr.row(answer)
    assert (row["success"], row["error"]["status"]) == (False, 502)
    assert arbstr.source.snapshot().providers[0].failure_count == 1


async def test_half_an_event_is_not_given_to_the_client(harness: ProxyHarness) -> None:
    _, answer = await harness.play_stream(chunk("Hel"), b'data: {"choices": [{"del')
    assert answer.stream_error
    assert answer.body.count(b"choices") == 1


async def test_a_whole_event_without_its_empty_line_is(harness: ProxyHarness) -> None:
    _, answer = await harness.play_stream(chunk("Hel"), chunk("lo").rstrip(b"\n"))
    assert answer.stream_error
    assert answer.events[1] == chunk("lo").strip()


# Usage


async def test_the_usage_chunk_is_left_out_for_who_did_not_ask_for_it(harness: ProxyHarness) -> None:
    events = stream_events("a", tokens=None, done=False)
    _, answer = await harness.play_stream(*events, usage_chunk(12, 9), DONE)
    assert answer.provider_events == b"".join(events) + DONE
    assert (answer.trailer["input_tokens"], answer.trailer["output_tokens"]) == (12, 9)


@pytest.mark.parametrize("options", [{"include_usage": False}, {}, None])
async def test_the_usage_chunk_is_left_out_where_include_usage_is_not_true(
    harness: ProxyHarness, options: dict[str, bool] | None
) -> None:
    _, answer = await harness.play_stream(*stream_events("a", tokens=(12, 9)), stream_options=options)
    assert b'"usage"' not in answer.body


async def test_the_usage_chunk_stays_for_who_asked_for_it(harness: ProxyHarness) -> None:
    events = stream_events("a", tokens=(12, 9))
    _, answer = await harness.play_stream(*events, stream_options={"include_usage": True})
    assert answer.provider_events == b"".join(events)


async def test_usage_beside_content_always_stays(harness: ProxyHarness) -> None:
    last = {
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 9},
    }
    events = [chunk("a"), event(last), DONE]
    _, answer = await harness.play_stream(*events)
    assert answer.provider_events == b"".join(events)
    assert answer.trailer["input_tokens"] == 12


async def test_null_usage_on_every_chunk_is_none(harness: ProxyHarness) -> None:
    nothing = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}], "usage": None}
    events = [event(nothing), chunk(finish_reason="stop")]
    _, answer = await harness.play_stream(*events, usage_chunk(12, 9), DONE)
    assert answer.provider_events == b"".join(events) + DONE
    assert answer.trailer["input_tokens"] == 12


async def test_a_usage_chunk_at_the_beginning_leaves_no_trace(harness: ProxyHarness) -> None:
    """Some servers begin with one that says nothing yet."""
    events = stream_events("a", tokens=None, done=False)
    _, answer = await harness.play_stream(usage_chunk(0, 0), *events, usage_chunk(12, 9), DONE)
    assert answer.provider_events == b"".join(events) + DONE


async def test_usage_after_done_is_not_waited_for(harness: ProxyHarness) -> None:
    _, answer = await harness.play_stream(*stream_events("a", tokens=None), usage_chunk(12, 9))
    assert answer.trailer["input_tokens"] is None


# The row


async def test_a_streams_row_is_listed_when_it_is_closed_and_once(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(chunk("a"), go_on, *stream_events("b")))
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(b'"a"')
        assert await arbstr.rows() == []
        assert (await arbstr.get("/v1/stats")).json["counts"]["total"] == 0
        go_on.set()
        answer = await stream.rest()
    await arbstr.finished()
    (row,) = await arbstr.rows(1)
    assert row["request_id"] == answer.headers["X-Arbstr-Request-Id"]


async def test_a_streams_row_is_there_as_soon_as_its_provider_has_answered(
    harness: ProxyHarness, tmp_path: Path
) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(chunk("a"), go_on, *stream_events("b")))
    arbstr = await harness.start()

    async def row_once(is_open: int) -> tuple[object, ...]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await arbstr.catch_up()
                with contextlib.closing(sqlite3.connect(tmp_path / "arbstr.db")) as ledger:
                    rows = ledger.execute(
                        "SELECT correlation_id, provider, streaming FROM requests WHERE (open <> 0) = ?", (is_open,)
                    )
                    if found := rows.fetchall():
                        (row,) = found
                        return tuple(row)

    async with arbstr.stream() as stream:
        await stream.until(b'"a"')
        request_id = stream.headers["X-Arbstr-Request-Id"]
        assert await row_once(is_open=1) == (request_id, "alpha", 1)
        go_on.set()
        await stream.rest()
    assert await row_once(is_open=0) == (request_id, "alpha", 1)


async def test_many_streams_at_once_do_not_mix(harness: ProxyHarness) -> None:
    def repeats_the_question(asked: Asked) -> list[Part]:
        word = asked.json["messages"][0]["content"]
        return sse_reply(*cut_at(b"".join(stream_events(*[word] * 20, tokens=(int(word), 1))), *range(7, 2000, 131)))

    await harness.add_provider("alpha", repeats_the_question)
    arbstr = await harness.start()
    answers = await asyncio.gather(*(arbstr.chat(str(number), stream=True) for number in range(30)))
    for number, answer in enumerate(answers):
        assert answer.body.count(b'"content": "%d"' % number) == 20
        assert answer.trailer["input_tokens"] == number


async def test_a_whole_answer_after_a_stream_on_one_connection(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", sse_reply(*stream_events("a")), json_reply(completion("b")))
    arbstr = await harness.start()
    await arbstr.chat(stream=True)
    assert (await arbstr.chat()).json == completion("b")
    assert alpha.connections == 1
