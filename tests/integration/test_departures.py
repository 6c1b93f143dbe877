"""Clients that leave before they have their answer: what the row says, what the provider sees, who is not blamed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from arbstr.engine import pipeline
from arbstr.types import RequestRecord
from tests.support.harness import Answer, Arbstr, ProxyHarness, body, tokens_of
from tests.support.patience import PATIENCE_S
from tests.support.provider import (
    DONE,
    Move,
    Part,
    ScriptedProvider,
    chunk,
    completion,
    error_reply,
    json_reply,
    sse_reply,
    stream_events,
    usage_chunk,
)

DRAIN, CANCEL = "drain", "cancel"


async def leave(task: asyncio.Task[Answer], arbstr: Arbstr) -> None:
    """The client closes its connection, and arbstr notices."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await arbstr.catch_up()


async def ask_and_leave(arbstr: Arbstr, provider: ScriptedProvider, *, stream: bool) -> None:
    """The client asks, and closes its connection when the provider has its request."""
    task = await arbstr.start_chat(stream=stream)
    await provider.asked()
    await leave(task, arbstr)


async def only(arbstr: Arbstr) -> RequestRecord:
    """The record of the only request."""
    (record,) = await arbstr.finished()
    return record


async def health(arbstr: Arbstr, name: str = "alpha") -> dict[str, Any]:
    state: dict[str, Any] = (await arbstr.get("/health")).json["providers"][name]
    return state


async def disconnected_early(provider: ScriptedProvider) -> None:
    """Wait until the provider has lost its caller."""
    async with asyncio.timeout(PATIENCE_S):
        await provider.requests[0].left.wait()


async def read_to_end(provider: ScriptedProvider) -> None:
    """Wait until the provider has said everything."""
    async with asyncio.timeout(PATIENCE_S):
        await provider.requests[0].answered.wait()


async def says_that_the_client_left(arbstr: Arbstr) -> dict[str, Any]:
    """The only row, which says so."""
    row = await arbstr.row()
    assert not row["success"]
    assert row["error"]["status"] == 499
    assert "client" in row["error"]["message"]
    return row


# After it


async def test_who_leaves_after_the_providers_done_has_had_its_answer(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("a"), Move.NEVER))
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(DONE)
        stream.leave()
    row = await arbstr.row()
    assert (row["success"], tokens_of(row)) == (True, (10, 5))


# Before the answer


async def test_drain_reads_the_answer_for_the_row(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *json_reply(completion(tokens=(1000, 500), cost_msats=455))])
    beta = await harness.add_provider("beta")
    arbstr = await harness.start()
    task = await arbstr.start_chat()
    await alpha.asked()
    await leave(task, arbstr)
    go_on.set()
    row = await says_that_the_client_left(arbstr)
    assert tokens_of(row) == (1000, 500)
    assert row["cost"] == {"sats": 0.455, "provider_sats": 0.455, "list_sats": 26.0}
    assert row["provider"] == "alpha"
    await read_to_end(alpha)
    assert not beta.requests


async def test_a_request_that_is_only_drained_takes_no_living_clients_place(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider(
        "alpha", *[[go_on, *json_reply(completion(tokens=(1000, 500)))]] * 2, json_reply(completion())
    )
    arbstr = await harness.start(server={"max_in_flight": 1})
    await ask_and_leave(arbstr, alpha, stream=False)
    second = await arbstr.start_chat()
    await alpha.asked(2)
    await leave(second, arbstr)  # one is drained already, the most there may be: this one is given up
    assert (await arbstr.finished())[0].input_tokens is None
    assert (await arbstr.chat()).status == 200
    go_on.set()
    rows = await arbstr.finished(3)
    assert [row.success for row in rows] == [False, True, False]
    assert rows[2].input_tokens == 1000


async def test_drain_reads_a_stream_that_had_not_begun(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *sse_reply(*stream_events("a", tokens=(1000, 500)))])
    arbstr = await harness.start()
    await ask_and_leave(arbstr, alpha, stream=True)
    go_on.set()
    row = await says_that_the_client_left(arbstr)
    assert row["streaming"]
    assert row["cost"]["sats"] == 26.0
    await read_to_end(alpha)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_cancel_hangs_up_at_once(harness: ProxyHarness, stream: bool) -> None:
    alpha = await harness.add_provider("alpha", [Move.NEVER], on_client_gone=CANCEL)
    beta = await harness.add_provider("beta")
    arbstr = await harness.start()
    await ask_and_leave(arbstr, alpha, stream=stream)
    await disconnected_early(alpha)
    row = await says_that_the_client_left(arbstr)
    assert row["provider"] == "alpha"
    assert tokens_of(row) == (None, None)
    assert row["cost"]["sats"] is None
    assert not beta.requests


# In the middle of a stream


async def test_drain_reads_a_stream_to_its_end(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider(
        "alpha", sse_reply(chunk("a"), go_on, *stream_events("b", tokens=(1000, 500), cost_msats=9))
    )
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(b'"a"')
        stream.leave()
    await arbstr.catch_up()
    assert arbstr.source.snapshot().running  # it is still read
    go_on.set()
    row = await says_that_the_client_left(arbstr)
    assert tokens_of(row) == (1000, 500)
    assert row["cost"] == {"sats": 0.009, "provider_sats": 0.009, "list_sats": 26.0}
    await read_to_end(alpha)


async def test_cancel_hangs_up_in_the_middle_of_a_stream(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", sse_reply(chunk("a"), Move.NEVER), on_client_gone=CANCEL)
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(b'"a"')
        stream.leave()
    await disconnected_early(alpha)
    row = await says_that_the_client_left(arbstr)
    assert row["streaming"]
    assert tokens_of(row) == (None, None)


async def test_cancel_keeps_the_usage_that_came_before(harness: ProxyHarness) -> None:
    running = (
        b'data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1000,"completion_tokens":500}}\n\n'
    )
    alpha = await harness.add_provider("alpha", sse_reply(running, Move.NEVER), on_client_gone=CANCEL)
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(b'"a"')
        stream.leave()
    await disconnected_early(alpha)
    row = await says_that_the_client_left(arbstr)
    assert tokens_of(row) == (1000, 500)


async def test_drain_ends_with_a_stream_that_breaks_off(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(chunk("a"), go_on, usage_chunk(0, 0), Move.RESET))
    beta = await harness.add_provider("beta")
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(b'"a"')
        stream.leave()
    await arbstr.catch_up()
    go_on.set()
    row = await says_that_the_client_left(arbstr)
    assert tokens_of(row) == (None, None)
    assert not beta.requests


@pytest.mark.parametrize(
    "script", [[Move.NEVER], sse_reply(chunk("a"), Move.NEVER)], ids=["before the answer", "in the middle"]
)
async def test_draining_has_an_end(harness: ProxyHarness, script: list[Part], monkeypatch: pytest.MonkeyPatch) -> None:
    assert pipeline.DRAIN_S == 120
    monkeypatch.setattr(pipeline, "DRAIN_S", 0.03)
    alpha = await harness.add_provider("alpha", script)
    arbstr = await harness.start()
    await ask_and_leave(arbstr, alpha, stream=True)
    await disconnected_early(alpha)
    row = await says_that_the_client_left(arbstr)
    assert row["provider"] == "alpha"


# When no provider is at work


async def test_leaving_during_backoff_ends_the_request_at_once(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", error_reply(500))
    beta = await harness.add_provider("beta")
    arbstr = await harness.start(retry={"backoff": 3600})
    task = await arbstr.start_chat()
    await alpha.asked()
    while not (await health(arbstr))["failure_count"]:
        pass  # until arbstr has the 500
    await leave(task, arbstr)
    row = await says_that_the_client_left(arbstr)
    assert row["provider"] == "alpha"
    assert len(alpha.requests) == 1
    assert not beta.requests


@pytest.mark.parametrize(
    "fails", [error_reply(500), error_reply(401), [Move.RESET], json_reply([])], ids=["500", "401", "reset", "no JSON"]
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_nothing_is_retried_after_the_client_left(harness: ProxyHarness, fails: list[Part], stream: bool) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *fails])
    beta = await harness.add_provider("beta")
    arbstr = await harness.start()
    await ask_and_leave(arbstr, alpha, stream=stream)
    go_on.set()
    await says_that_the_client_left(arbstr)
    assert len(alpha.requests) == 1
    assert not beta.requests


async def connect(arbstr: Arbstr) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(arbstr.url)
    return await asyncio.open_connection(address.hostname, address.port)


async def test_leaving_while_the_request_is_sent_has_a_row_too(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    _, writer = await connect(arbstr)
    lines = [
        b"POST /v1/chat/completions HTTP/1.1",
        b"Host: 127.0.0.1",
        b"Content-Type: application/json",
        b"Content-Length: 1000",
    ]
    writer.write(b"\r\n".join([*lines, b"", b'{"model": "gpt']))
    await writer.drain()
    await arbstr.catch_up()
    writer.close()
    await writer.wait_closed()
    row = await says_that_the_client_left(arbstr)
    assert (row["model"], row["provider"]) == ("", None)
    assert not alpha.requests


# After the answer


async def test_leaving_after_done_is_no_departure(harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbstr.engine.upstream.response.TAIL_S", 0.02)
    alpha = await harness.add_provider("alpha", sse_reply(*stream_events("a"), Move.NEVER))
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(DONE)
        stream.leave()
    row = await arbstr.row()
    assert row["success"]
    assert "error" not in row
    await disconnected_early(alpha)  # which does not end its body


async def test_leaving_after_a_whole_answer_is_no_departure(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    _, writer = await connect(arbstr)
    text = json.dumps(body()).encode()
    lines = [
        b"POST /v1/chat/completions HTTP/1.1",
        b"Host: 127.0.0.1",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(text),
    ]
    writer.write(b"\r\n".join([*lines, b"", text]))
    assert (await arbstr.row())["success"]
    writer.close()
    await writer.wait_closed()


async def test_leaving_before_done_is_one_even_after_the_last_word(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    await harness.add_provider(
        "alpha", sse_reply(chunk("a"), chunk(finish_reason="stop"), go_on, usage_chunk(12, 9), DONE)
    )
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(b'"stop"')
        stream.leave()
    await arbstr.catch_up()
    go_on.set()
    row = await says_that_the_client_left(arbstr)
    assert tokens_of(row) == (12, 9)


async def test_a_client_that_stops_reading_and_leaves(harness: ProxyHarness) -> None:
    """The stream is more than all buffers on the way hold, so arbstr waits for the client to read."""
    events = [chunk("x" * 60_000) for _ in range(300)]
    alpha = await harness.add_provider("alpha", sse_reply(*events, *stream_events("b", tokens=(1000, 500))))
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(b"xxx")
        assert not alpha.requests[0].answered.is_set()
        stream.leave()
    row = await says_that_the_client_left(arbstr)
    assert row["cost"]["sats"] == 26.0
    await read_to_end(alpha)


# Who is not blamed

SCRIPTS: dict[str, list[Part]] = {
    "it would have answered": json_reply(completion()),
    "it would have failed": error_reply(500),
    "it would have closed": [Move.CLOSE],
    "it would have made no sense": json_reply([]),
}


@pytest.mark.parametrize("then", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("on_client_gone", [DRAIN, CANCEL])
async def test_health_is_not_blamed_before_the_answer(
    harness: ProxyHarness, then: list[Part], on_client_gone: str
) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *then], on_client_gone=on_client_gone)
    arbstr = await harness.start(breaker={"failure_threshold": 1})
    task = await arbstr.start_chat()
    await alpha.asked()
    await leave(task, arbstr)
    go_on.set()
    await says_that_the_client_left(arbstr)
    state = await health(arbstr)
    assert (state["state"], state["failure_count"], state["in_flight"]) == ("closed", 0, 0)


@pytest.mark.parametrize("then", [DONE, Move.RESET, Move.CLOSE], ids=["ends", "resets", "closes"])
@pytest.mark.parametrize("on_client_gone", [DRAIN, CANCEL])
async def test_health_is_not_blamed_in_the_middle(harness: ProxyHarness, then: Part, on_client_gone: str) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(chunk("a"), go_on, then), on_client_gone=on_client_gone)
    arbstr = await harness.start(breaker={"failure_threshold": 1})
    async with arbstr.stream() as stream:
        await stream.until(b'"a"')
        stream.leave()
    await arbstr.catch_up()
    go_on.set()
    await says_that_the_client_left(arbstr)
    state = await health(arbstr)
    assert (state["state"], state["failure_count"], state["in_flight"]) == ("closed", 0, 0)


async def test_a_crowd_that_leaves_leaves_nothing_behind(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", sse_reply(chunk("a"), Move.NEVER), on_client_gone=CANCEL)
    arbstr = await harness.start()
    tasks = [await arbstr.start_chat(stream=True) for _ in range(40)]
    await alpha.asked(40)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    records = await arbstr.finished(40)
    assert {record.error_status for record in records} == {499}
    assert (await health(arbstr))["in_flight"] == 0
    assert len(await arbstr.rows(40)) == 40
    assert not arbstr.source.snapshot().running


async def test_a_client_that_leaves_within_a_whole_answer_did_not_get_it(harness: ProxyHarness) -> None:
    """However fast the provider was: what the sockets could not take in yet is with arbstr, and so is the request."""
    await harness.add_provider("alpha", json_reply(completion("x" * 16_000_000)), json_reply(completion()))
    arbstr = await harness.start(server={"max_in_flight": 1})
    address = urlsplit(arbstr.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1024)
    data = json.dumps(body()).encode()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(data), data)
    )
    async with asyncio.timeout(PATIENCE_S):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert (await arbstr.chat()).refusal == (503, "upstream_error", "overloaded")
    writer.transport.abort()
    row = await says_that_the_client_left_first(arbstr)
    assert row["cost"]["sats"] is not None  # it is paid all the same
    assert (await arbstr.chat()).status == 200


async def says_that_the_client_left_first(arbstr: Arbstr) -> dict[str, Any]:
    """The row of the request that came first."""
    await arbstr.finished(2)
    row = (await arbstr.rows(2))[-1]
    assert (row["success"], row["error"]["status"]) == (False, 499)
    return row


@asynccontextmanager
async def never_shaking_hands() -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Event]]:
    """A server that never completes a TLS handshake: its URL, and set when a caller comes and when it hangs up."""
    called, disconnected_early = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        disconnected_early.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1", called, disconnected_early


async def test_a_provider_to_which_there_is_no_connection_yet_is_spared_the_request(harness: ProxyHarness) -> None:
    """Its client has left: nothing is paid for nobody, whatever `on_client_gone` says of answers."""
    async with never_shaking_hands() as (url, called, disconnected_early):
        harness.add_provider_at("alpha", url, on_client_gone="drain", timeouts={"connect": 60})
        await harness.add_provider("beta")
        arbstr = await harness.start()
        task = await arbstr.start_chat()
        await called.wait()
        await leave(task, arbstr)
        record = await only(arbstr)
        async with asyncio.timeout(PATIENCE_S):
            await disconnected_early.wait()
    assert (record.error_status, record.provider, record.doubtful_msats) == (499, "alpha", 0)


async def test_a_time_for_the_answer_that_is_too_short_to_connect_costs_nothing(harness: ProxyHarness) -> None:
    async with never_shaking_hands() as (url, _, _):
        harness.add_provider_at("alpha", url, timeouts={"connect": 60, "first_byte": 0.05})
        arbstr = await harness.start()
        answer = await arbstr.chat()
        assert answer.refusal == (504, "upstream_error", "upstream_timeout")
        assert answer.headers["X-Arbstr-Retries"] == "3/alpha", "what was not sent may be tried again"
        assert "X-Should-Retry" not in answer.headers
        assert (await only(arbstr)).doubtful_msats == 0
