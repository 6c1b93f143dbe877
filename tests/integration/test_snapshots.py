"""What a snapshot says is going on: read from the requests themselves, so that nobody has to have watched."""

from __future__ import annotations

import asyncio

from arbstr.monitoring.source import RunningRequest
from tests.support.harness import ProxyHarness
from tests.support.provider import MODEL, chunk, completion, json_reply, sse_reply, stream_events


async def test_a_stream_is_among_the_running_requests_until_its_end(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    await harness.add_provider("alpha", sse_reply(chunk("a"), chunk("b"), go_on, *stream_events("c")))
    arbstr = await harness.start()
    arbstr.stop_watching()
    async with arbstr.stream() as stream:
        await stream.until(b'"b"')
        (running,) = arbstr.source.snapshot().running
        assert (running.model, running.provider, running.streaming, running.policy) == (MODEL, "alpha", True, None)
        assert running.first_byte_ms is not None
        assert running.events >= 2
        go_on.set()
        request_id = (await stream.rest()).headers["X-Arbstr-Request-Id"]
    assert running.request_id == request_id
    while arbstr.source.snapshot().running:
        await arbstr.catch_up()
    assert [record.request_id for record in arbstr.source.snapshot().recent] == [request_id]
    assert arbstr.source.snapshot().totals.requests == 1


async def test_a_request_that_waits_for_its_provider_has_no_first_byte(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *json_reply(completion())])
    arbstr = await harness.start()
    task = await arbstr.start_chat()
    await alpha.asked()
    (running,) = arbstr.source.snapshot().running
    assert running == RunningRequest(running.request_id, running.at_ms, MODEL, False, "alpha", None, None, 0)
    go_on.set()
    await task
    await arbstr.finished()
    assert not arbstr.source.snapshot().running


async def test_a_request_that_outlives_its_configuration_still_runs(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *json_reply(completion())])
    arbstr = await harness.start()
    task = await arbstr.start_chat()
    await alpha.asked()
    assert (await arbstr.proxy.reloads.reload()).problems == ()
    assert [running.provider for running in arbstr.source.snapshot().running] == ["alpha"]
    go_on.set()
    await task
    await arbstr.finished()
    assert not arbstr.source.snapshot().running
