"""An orderly end: requests under way finish, new ones are turned away, nothing is lost."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.integration.test_raw_requests import GET, POST, error_in, talk_with
from tests.support.harness import Arbstr, ProxyHarness, body
from tests.support.patience import PATIENCE_S
from tests.support.provider import Move, chunk, completion, json_reply, sse_reply, stream_events


async def begun(arbstr: Arbstr, forced: asyncio.Event | None = None) -> asyncio.Task[None]:
    """An end that has begun: arbstr takes no more connections."""
    draining = asyncio.create_task(arbstr.proxy.drain(forced or asyncio.Event()))
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionRefusedError):
            while True:
                _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(arbstr.url).port)
                writer.close()
    return draining


async def test_requests_under_way_finish_and_new_ones_are_turned_away(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *json_reply(completion())])
    arbstr = await harness.start()
    task = await arbstr.start_chat()
    await alpha.asked()
    async with talk_with(arbstr, b"") as connected, talk_with(arbstr, GET + b"\r\n") as asked:
        await asked.head()
        draining = await begun(arbstr)
        await asked.rest()  # which ends, as it waits for nothing
        data = json.dumps(body("hi")).encode()
        connected.writer.write(POST + b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        answer = await connected.rest()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: " in answer
    assert error_in(answer)["code"] == "shutting_down"
    assert not draining.done()
    go_on.set()
    assert (await task).status == 200
    await draining
    assert len(alpha.requests) == 1


async def test_a_stream_under_way_finishes(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(chunk("a"), go_on, *stream_events("b")))
    arbstr = await harness.start()
    async with arbstr.stream() as stream:
        await stream.until(b'"a"')
        draining = await begun(arbstr)
        go_on.set()
        assert (await stream.rest()).trailer["output_tokens"] == 5
    await draining


async def test_a_shutdown_waits_for_an_answer_that_is_drained(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *json_reply(completion(tokens=(1000, 500)))])
    arbstr = await harness.start()
    task = await arbstr.start_chat()
    await alpha.asked()
    task.cancel()
    await arbstr.catch_up()
    draining = await begun(arbstr)
    go_on.set()
    await draining
    (record,) = await arbstr.finished()
    assert (record.error_status, record.cost_msats) == (499, 26_000)


async def test_what_takes_longer_than_the_grace_is_ended_with_a_row(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", sse_reply(chunk("a"), Move.NEVER))
    arbstr = await harness.start(server={"shutdown_grace": 0.02})
    async with arbstr.stream() as stream:
        await stream.until(b'"a"')
        await arbstr.proxy.drain(asyncio.Event())
        async with asyncio.timeout(PATIENCE_S):
            await alpha.requests[0].left.wait()
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.rest()  # which has no end, and does not look as if it had one
    (record,) = await arbstr.finished()
    assert (record.success, record.error_status) == (False, 503)
    assert "stopped" in (record.error_message or "")


async def test_who_insists_does_not_wait_for_the_grace(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", [Move.NEVER])
    arbstr = await harness.start(server={"shutdown_grace": 3600})
    task = await arbstr.start_chat()
    await alpha.asked()
    insisted = asyncio.Event()
    draining = await begun(arbstr, insisted)
    insisted.set()
    async with asyncio.timeout(PATIENCE_S):
        await draining
    (record,) = await arbstr.finished()
    assert record.error_status == 503
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await task


async def test_an_idle_arbstr_stops_at_once(harness: ProxyHarness) -> None:
    arbstr = await harness.start(server={"shutdown_grace": 3600})
    async with asyncio.timeout(PATIENCE_S):
        await arbstr.proxy.drain(asyncio.Event())


async def test_rows_of_the_last_moment_are_written(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(completion(tokens=(1000, 500))))
    arbstr = await harness.start()
    await asyncio.gather(*(arbstr.chat() for _ in range(20)))
    await arbstr.finished(20)
    await harness.close()
    again = await harness.start()
    assert (await again.get("/v1/stats")).json["counts"]["total"] == 20
