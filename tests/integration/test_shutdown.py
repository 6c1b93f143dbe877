"""An orderly end: requests under way finish, new ones are turned away, nothing is lost."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.support.harness import PATIENCE_S, World
from tests.support.provider import Move, chunk, completion, json_reply, sse_reply, stream_events


async def test_requests_under_way_finish_and_new_ones_are_turned_away(world: World) -> None:
    go_on = asyncio.Event()
    alpha = await world.sells("alpha", [go_on, *json_reply(completion())])
    arbstr = await world.opens()
    task = await arbstr.asks()
    await alpha.asked()
    draining = asyncio.create_task(arbstr.proxy.drain(asyncio.Event()))
    await arbstr.notices()
    answer = await arbstr.chat()
    assert answer.told == (503, "upstream_error", "shutting_down")
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await arbstr.row(answer))["error"]["status"] == 503
    assert not draining.done()
    go_on.set()
    assert (await task).status == 200
    await draining
    assert len(alpha.requests) == 1


async def test_a_stream_under_way_finishes(world: World) -> None:
    go_on = asyncio.Event()
    await world.sells("alpha", sse_reply(chunk("a"), go_on, *stream_events("b")))
    arbstr = await world.opens()
    async with arbstr.stream() as stream:
        await stream.until(b'"a"')
        draining = asyncio.create_task(arbstr.proxy.drain(asyncio.Event()))
        await arbstr.notices()
        go_on.set()
        assert (await stream.rest()).trailer["output_tokens"] == 5
    await draining


async def test_an_answer_that_is_drained_is_waited_for_too(world: World) -> None:
    go_on = asyncio.Event()
    alpha = await world.sells("alpha", [go_on, *json_reply(completion(tokens=(1000, 500)))])
    arbstr = await world.opens()
    task = await arbstr.asks()
    await alpha.asked()
    task.cancel()
    await arbstr.notices()
    draining = asyncio.create_task(arbstr.proxy.drain(asyncio.Event()))
    await arbstr.notices()
    go_on.set()
    await draining
    row = await arbstr.row()
    assert (row["error"]["status"], row["cost"]["sats"]) == (499, 26.0)


async def test_what_takes_longer_than_the_grace_is_ended_with_a_row(world: World) -> None:
    alpha = await world.sells("alpha", sse_reply(chunk("a"), Move.NEVER))
    arbstr = await world.opens(server={"shutdown_grace": 0.02})
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


async def test_who_insists_does_not_wait_for_the_grace(world: World) -> None:
    alpha = await world.sells("alpha", [Move.NEVER])
    arbstr = await world.opens(server={"shutdown_grace": 3600})
    task = await arbstr.asks()
    await alpha.asked()
    insisted = asyncio.Event()
    draining = asyncio.create_task(arbstr.proxy.drain(insisted))
    await arbstr.notices()
    insisted.set()
    async with asyncio.timeout(PATIENCE_S):
        await draining
    (record,) = await arbstr.finished()
    assert record.error_status == 503
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await task


async def test_an_idle_arbstr_stops_at_once(world: World) -> None:
    arbstr = await world.opens(server={"shutdown_grace": 3600})
    async with asyncio.timeout(PATIENCE_S):
        await arbstr.proxy.drain(asyncio.Event())


async def test_rows_of_the_last_moment_are_written(world: World) -> None:
    await world.sells("alpha", json_reply(completion(tokens=(1000, 500))))
    arbstr = await world.opens()
    await asyncio.gather(*(arbstr.chat() for _ in range(20)))
    await arbstr.finished(20)
    await world.close()
    again = await world.opens()
    assert (await again.get("/v1/stats")).json["counts"]["total"] == 20
