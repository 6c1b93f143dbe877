"""The bodies of requests take memory: each within its limit, and all of them within one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.harness import Arbstr, ProxyHarness
from tests.support.provider import Move, completion, json_reply

MB = 1_000_000


async def waiting(harness: ProxyHarness, count: int) -> tuple[Arbstr, list[asyncio.Task[Any]], asyncio.Event]:
    """An arbstr of 1 MB requests, and so many of 0.9 MB at a provider that answers when the event is set."""
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *json_reply(completion())])
    arbstr = await harness.start(server={"max_request_mb": 1})
    asking = [await arbstr.start_chat("x" * (9 * MB // 10)) for _ in range(count)]
    while len(alpha.requests) < count:
        await arbstr.catch_up()
    return arbstr, asking, go_on


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_that_find_no_room_together_are_refused_until_others_are_served(
    harness: ProxyHarness, chunked: bool
) -> None:
    arbstr, asking, go_on = await waiting(harness, 5)
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * (9 * MB // 10)}]}).encode()

    async def parts() -> Any:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    async with arbstr.session.post(
        arbstr.url + "/v1/chat/completions",
        data=parts() if chunked else body,
        headers={"Content-Type": "application/json"},
    ) as refused:
        assert refused.status == 503
        assert refused.headers["Retry-After"] == "1"
        assert (await refused.json())["error"]["code"] == "overloaded"
    assert (await arbstr.get("/health")).status == 200
    go_on.set()
    assert [(await task).status for task in asking] == [200] * 5
    assert (await arbstr.send(body)).status == 200


async def test_a_client_that_leaves_gives_its_room_back(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", *[[Move.NEVER]] * 6, json_reply(completion()), on_client_gone="cancel")
    arbstr = await harness.start(server={"max_request_mb": 1})
    for number in range(1, 7):
        task = await arbstr.start_chat("x" * (9 * MB // 10))
        while len(alpha.requests) < number:
            await arbstr.catch_up()
        task.cancel()
        await arbstr.finished(number)
    assert (await arbstr.chat("x" * (9 * MB // 10))).status == 200
