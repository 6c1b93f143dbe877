"""An orderly end: requests under way finish, new ones are turned away, nothing is lost."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.support.harness import ProxyHarness
from tests.support.patience import PATIENCE_S
from tests.support.provider import Move, chunk, completion, json_reply, sse_reply, stream_events


async def test_requests_under_way_finish_and_new_ones_are_turned_away(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *json_reply(completion())])
    arbstr = await harness.start()
    task = await arbstr.start_chat()
    await alpha.asked()
    draining = asyncio.create_task(arbstr.proxy.drain(asyncio.Event()))
    await arbstr.catch_up()
    answer = await arbstr.chat()
    assert answer.refusal == (503, "upstream_error", "shutting_down")
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await arbstr.row(answer))["error"]["status"] == 503
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
        draining = asyncio.create_task(arbstr.proxy.drain(asyncio.Event()))
        await arbstr.catch_up()
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
    draining = asyncio.create_task(arbstr.proxy.drain(asyncio.Event()))
    await arbstr.catch_up()
    go_on.set()
    await draining
    row = await arbstr.row()
    assert (row["error"]["status"], row["cost"]["sats"]) == (499, 26.0)


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
    row = await arbstr.row()
    assert (row["success"], row["error"]["status"]) == (False, 503)
    assert "stopped" in row["error"]["message"]


async def test_who_insists_does_not_wait_for_the_grace(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", [Move.NEVER])
    arbstr = await harness.start(server={"shutdown_grace": 3600})
    task = await arbstr.start_chat()
    await alpha.asked()
    insisted = asyncio.Event()
    draining = asyncio.create_task(arbstr.proxy.drain(insisted))
    await arbstr.catch_up()
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
