"""The bytes of a stream: none is altered, an event goes out when it is whole, silence is covered."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.effort import examples
from tests.support.harness import ProxyHarness, body
from tests.support.patience import PATIENCE_S, SHORT_S
from tests.support.provider import (
    DONE,
    Asked,
    Move,
    Part,
    after,
    byte_by_byte,
    chunk,
    cut_at,
    error_reply,
    event,
    sse_reply,
    stream_events,
    usage_chunk,
)

KEEPALIVE = b": keep-alive\n\n"


# Bytes

MIXED = b"".join(
    [
        b": hello\n\n",
        chunk("h\u00e9\U0001f600"),
        chunk("a").replace(b"\n", b"\r\n"),
        b":\n\n",
        b"event: message\nid: 7\nretry: 10\n" + chunk("\u2028"),
        b'data: {"choices":\ndata: []}\n\n',
        b"data\n\n",
        b"\n",
        chunk("a").replace(b"\n", b"\r"),
        chunk(finish_reason="stop"),
        b": bye\n\n",
    ]
)


async def test_a_stream_is_not_reframed(harness: ProxyHarness) -> None:
    _, answer = await harness.play_stream(MIXED, DONE)
    assert answer.provider_events == MIXED + DONE


async def test_a_stream_in_single_bytes_is_the_same_stream(harness: ProxyHarness) -> None:
    _, answer = await harness.play_stream(*byte_by_byte(MIXED + DONE))
    assert answer.provider_events == MIXED + DONE


async def test_single_bytes_do_not_hide_the_usage_chunk(harness: ProxyHarness) -> None:
    text = b"".join([chunk("a"), usage_chunk(12, 9), DONE])
    for crlf in (text, text.replace(b"\n", b"\r\n"), text.replace(b"\n", b"\r")):
        harness.providers.clear()
        _, answer = await harness.play_stream(*byte_by_byte(crlf))
        assert b'"usage"' not in answer.body
        assert b'"input_tokens":12' in answer.body


async def test_a_stream_cut_anywhere_is_the_same_stream(harness: ProxyHarness) -> None:
    """One arbstr for all examples; the provider cuts as hypothesis says."""
    text = MIXED + usage_chunk(12, 9) + DONE
    cuts: list[list[int]] = []

    @settings(max_examples=examples(30), database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.integers(1, len(text) - 1), max_size=8))
    def draw(places: list[int]) -> None:
        cuts.append(places)

    draw()
    left = iter(cuts)

    def cuts_it(asked: Asked) -> list[Part]:
        return sse_reply(*cut_at(text, *next(left)))

    await harness.add_provider("alpha", cuts_it)
    arbstr = await harness.start()
    for _ in cuts:
        answer = await arbstr.chat(stream=True)
        assert answer.provider_events == MIXED + DONE
        assert answer.trailer["input_tokens"] == 12


async def test_bytes_that_are_no_utf8_pass(harness: ProxyHarness) -> None:
    odd = b'data: {"choices":[{"delta":{"content":"\xff\xfe\xc3"}}]}\n\n'
    _, answer = await harness.play_stream(chunk("a"), odd, *stream_events("b"))
    assert odd in answer.body
    assert answer.trailer["output_tokens"] == 5


async def test_an_event_goes_out_as_soon_as_it_is_whole(harness: ProxyHarness) -> None:
    go_on = [asyncio.Event() for _ in range(3)]
    second = chunk("second")
    parts: list[Part] = [
        chunk("first"),
        go_on[0],
        second[:20],
        go_on[1],
        second[20:],
        go_on[2],
        *stream_events("third"),
    ]
    await harness.add_provider("alpha", sse_reply(*parts))
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        assert await stream.until(b"first") == chunk("first")
        go_on[0].set()
        go_on[1].set()
        assert await stream.until(b"second") == chunk("first") + second
        go_on[2].set()
        assert (await stream.rest()).trailer["output_tokens"] == 5


async def test_comments_before_the_first_event_are_a_first_byte(harness: ProxyHarness) -> None:
    """They may last longer than that may take: from the first one on the time between events counts."""

    def beats(asked: Asked) -> list[Part]:
        beat = [part for number in range(10) for part in (b": ping\n\n", after(0.05 * number))]
        return sse_reply(*beat, *stream_events("b"))

    await harness.add_provider("alpha", beats, timeouts={"first_byte": SHORT_S, "idle": 60})
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert answer.trailer["output_tokens"] == 5
    assert answer.body.count(b": ping\n\n") == 10


async def test_comments_of_the_provider_go_out_at_once(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(chunk("a"), b": still here\n\n", go_on, *stream_events("b")))
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(b": still here\n\n")
        go_on.set()
        assert (await stream.rest()).trailer


async def test_no_more_than_64_kb_of_an_event_are_held_back(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    long = chunk("x" * 200_000)
    parts: list[Part] = [chunk("a"), long[:150_000], go_on, long[150_000:], *stream_events("b")]
    await harness.add_provider("alpha", sse_reply(*parts))
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(b"x" * 80_000)
        go_on.set()
        answer = await stream.rest()
    assert answer.body.startswith(chunk("a") + long)
    assert answer.trailer["output_tokens"] == 5


async def test_a_long_event_that_breaks_off_is_ended_before_the_error(harness: ProxyHarness) -> None:
    _, answer = await harness.play_stream(chunk("a"), chunk("x" * 200_000)[:150_000])
    assert answer.stream_error


async def test_a_stream_that_is_not_labelled_as_one_is_one(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("a"), content_type="text/plain"))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.trailer["output_tokens"] == 5


@pytest.mark.parametrize("wish", [b"close", b"keep-alive"])
async def test_an_old_client_gets_its_stream_until_the_connection_closes(harness: ProxyHarness, wish: bytes) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("a")))
    arbstr = await harness.start()
    address = urlsplit(arbstr.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    text = json.dumps({**body(), "stream": True}).encode()
    lines = [
        b"POST /v1/chat/completions HTTP/1.0",
        b"Connection: %b" % wish,
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(text),
    ]
    writer.write(b"\r\n".join([*lines, b"", text]))
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    top, _, rest = answer.partition(b"\r\n\r\n")
    assert b" 200 " in top
    assert b"chunked" not in top.lower()
    assert rest.startswith(b"data: {")
    assert rest.endswith(b"data: [DONE]\n\n")


# Silence


async def test_a_silent_provider_is_covered_by_comments(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(chunk("a"), go_on, *stream_events("b")))
    arbstr = await harness.start(server={"keepalive": 0.01})
    async with arbstr.stream() as stream:
        await stream.until(KEEPALIVE * 3)
        go_on.set()
        answer = await stream.rest()
    assert answer.body.replace(KEEPALIVE, b"").startswith(chunk("a") + stream_events("b")[0])
    assert answer.trailer["output_tokens"] == 5


async def test_comments_stand_between_events_only(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    text = chunk("split")
    await harness.add_provider("alpha", sse_reply(chunk("a"), text[:20], go_on, text[20:], *stream_events("b")))
    arbstr = await harness.start(server={"keepalive": 0.01})
    async with arbstr.stream() as stream:
        await stream.until(KEEPALIVE)
        go_on.set()
        answer = await stream.rest()
    assert text in answer.body


async def test_no_comment_stands_in_a_long_event_that_is_half_out(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    long = chunk("x" * 200_000)
    parts: list[Part] = [chunk("a"), long[:150_000], go_on, long[150_000:], *stream_events("b")]
    await harness.add_provider("alpha", sse_reply(*parts), timeouts={"idle": 5})
    arbstr = await harness.start(server={"keepalive": 0.01})
    async with arbstr.stream() as stream:
        await stream.until(b"x" * 80_000)
        await stream.during(0.05)  # what comes in five times the interval is the event's
        go_on.set()
        answer = await stream.rest()
    assert long in answer.body


async def test_keepalives_come_also_before_a_providers_first_event(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(go_on, *stream_events("a")))
    arbstr = await harness.start(server={"keepalive": 0.01})
    async with arbstr.stream() as stream:
        assert stream.headers["X-Arbstr-Provider"] == "alpha"
        assert await stream.until(KEEPALIVE)
        go_on.set()
        answer = await stream.rest()
    assert answer.trailer["output_tokens"] == 5


async def test_an_error_after_a_silent_beginning_is_none_of_a_success(harness: ProxyHarness) -> None:
    """The client's stream has begun, so that nobody else can be asked; the provider is blamed all the same."""
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(go_on, event({"error": {"message": "out of coffee"}}), DONE))
    arbstr = await harness.start(server={"keepalive": 0.01})
    async with arbstr.stream() as stream:
        await stream.until(KEEPALIVE)
        go_on.set()
        answer = await stream.rest()
    assert "out of coffee" in answer.stream_error["message"]
    row = await arbstr.row(answer)
    assert (row["error"]["status"], row["attempts"][0]["failure"]) == (502, "bad_response")
    assert arbstr.source.snapshot().providers[0].failure_count == 1


async def test_the_first_byte_timeout_counts_the_silence_before_the_first_keepalive(harness: ProxyHarness) -> None:
    """The keep-alive comes just before a provider's time is up, which then has little left and no second time."""
    await harness.add_provider("alpha", sse_reply(Move.NEVER), timeouts={"first_byte": 1.0})
    arbstr = await harness.start(server={"keepalive": 0.9})
    answer = await arbstr.chat(stream=True)
    assert "1 s" in answer.stream_error["message"]
    row = await arbstr.row(answer)
    assert row["timing"]["stream_duration_ms"] < 1900  # with a second time


async def test_a_stream_that_began_with_silence_may_take_its_time_for_the_first_event(harness: ProxyHarness) -> None:
    """`idle` is for between events: until the first one `first_byte` holds, also after a comment of arbstr's own."""
    go_on = asyncio.Event()
    timeouts = {"idle": 0.05, "first_byte": PATIENCE_S}
    await harness.add_provider("alpha", sse_reply(go_on, *stream_events("a")), timeouts=timeouts)
    arbstr = await harness.start(server={"keepalive": 0.02})
    async with arbstr.stream() as stream:
        await stream.until(KEEPALIVE * 4)  # longer than `idle`
        go_on.set()
        answer = await stream.rest()
    assert answer.trailer["output_tokens"] == 5


async def test_no_comment_is_sent_before_the_status_is_known(harness: ProxyHarness) -> None:
    busy = [after(0.1), *error_reply(402)]
    await harness.add_provider("alpha", busy)
    arbstr = await harness.start(server={"keepalive": 0.01})
    answer = await arbstr.chat(stream=True)
    assert answer.refusal == (402, "upstream_error", "insufficient_balance")


async def test_keepalive_0_sends_none(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(chunk("a"), go_on, *stream_events("b")))
    arbstr = await harness.start(server={"keepalive": 0})
    async with arbstr.stream() as stream:
        await stream.until(b'"a"')
        go_on.set()
        assert b"keep-alive" not in (await stream.rest()).body


async def test_silence_is_counted_from_the_last_event(harness: ProxyHarness) -> None:
    """arbstr's own comments in between do not add up."""

    def beats(asked: Asked) -> list[Part]:
        beat = [part for number in range(12) for part in (chunk(str(number)), after(0.04 * number))]
        return sse_reply(*beat, *stream_events("b"))

    await harness.add_provider("alpha", beats, timeouts={"idle": SHORT_S})
    arbstr = await harness.start(server={"keepalive": 0.005})
    answer = await arbstr.chat(stream=True)
    assert answer.trailer["output_tokens"] == 5
    assert KEEPALIVE in answer.body


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"], ids=repr)
async def test_events_are_progress_however_their_lines_end(harness: ProxyHarness, end: str) -> None:
    def beats(asked: Asked) -> list[Part]:
        words = (chunk(str(number)).replace(b"\n\n", end.encode()) for number in range(12))
        return sse_reply(*(part for number, word in enumerate(words) for part in (word, after(0.04 * number))), *FINISH)

    await harness.add_provider("alpha", beats, timeouts={"idle": SHORT_S})
    arbstr = await harness.start()
    assert (await arbstr.chat(stream=True)).trailer["output_tokens"] == 5


@pytest.mark.parametrize("begun", [True, False], ids=["after an event", "before the first event"])
@pytest.mark.parametrize("keepalive", [0, 0.005, 15])
async def test_comments_alone_are_no_progress(harness: ProxyHarness, begun: bool, keepalive: float) -> None:
    def chatters(asked: Asked) -> list[Part]:
        beat = [part for number in range(400) for part in (b": hi\n\n", after(0.01 * number))]
        return sse_reply(*([chunk("a")] if begun else []), *beat)

    alpha = await harness.add_provider("alpha", chatters, timeouts={"idle": 0.2})
    arbstr = await harness.start(server={"keepalive": keepalive})
    answer = await arbstr.chat(stream=True)
    assert alpha.requests[0].left.is_set() or not alpha.requests[0].answered.is_set()
    if begun or keepalive == 0.005:  # the client's stream has begun
        assert "0.2 s" in answer.stream_error["message"]
    else:
        assert answer.refusal == (504, "upstream_error", "upstream_timeout")
        assert "0.2 s" in answer.error["message"]


# What says nothing yet is held back for a moment, so that another provider can be asked

ROLE = chunk(delta={"role": "assistant", "content": ""})
FINISH = stream_events("b")[2:]


async def test_a_role_goes_out_with_the_first_word(harness: ProxyHarness) -> None:
    _, answer = await harness.play_stream(b": hi\n\n", ROLE, ROLE, chunk("a"), *FINISH)
    assert answer.body.startswith(b": hi\n\n" + ROLE + ROLE + chunk("a"))


async def test_a_role_alone_is_not_held_back_for_long(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(ROLE, go_on, chunk("a"), *FINISH))
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        assert await stream.until(ROLE) == ROLE
        go_on.set()
        assert (await stream.rest()).trailer["output_tokens"] == 5


@pytest.mark.parametrize("ends", [[DONE], [], [event({"error": {"message": "out of coffee"}})]], ids=repr)
async def test_a_stream_that_began_and_never_said_anything_has_broken_off(
    harness: ProxyHarness, ends: list[Part]
) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(ROLE, go_on, *ends))
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(ROLE)
        go_on.set()
        answer = await stream.rest()
    assert answer.stream_error
    assert (await arbstr.row(answer))["error"]["status"] == 502
