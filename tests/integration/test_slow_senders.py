"""Clients that take their time to send a request: they keep nobody out."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from arbstr.server import request_body
from tests.support.harness import Arbstr, ProxyHarness, body
from tests.support.patience import PATIENCE_S

BODY = json.dumps(body()).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def begun(arbstr: Arbstr) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which all of a request but its last byte was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(arbstr.url).port)
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:-1])
    return reader, writer


async def test_requests_that_are_still_being_sent_take_no_place(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"max_in_flight": 1})
    slow = [await begun(arbstr) for _ in range(3)]
    await arbstr.catch_up()
    assert (await arbstr.chat()).status == 200
    for reader, writer in slow:
        writer.write(BODY[-1:])
        assert b" 200 OK" in await reader.readuntil(b"\r\n")
        writer.close()
    assert [row["success"] for row in await arbstr.rows(4)] == [True] * 4


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/cost"])
async def test_a_body_that_comes_byte_by_byte_is_not_waited_for_for_ever(
    harness: ProxyHarness, path: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "SILENCE_S", 0.3)
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(arbstr.url).port)
    writer.write(HEAD.replace(b"/v1/chat/completions", path) + b"Content-Length: 10000\r\n\r\n")

    async def drips() -> None:
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drips())
    async with asyncio.timeout(PATIENCE_S):
        assert b" 408 " in await reader.readuntil(b"\r\n")
    dripping.cancel()
    writer.close()
    if b"cost" not in path:
        ((row),) = await arbstr.rows(1)
        assert row["error"]["status"] == 408


async def test_announced_bytes_take_no_room(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"max_request_mb": 1})
    head = HEAD + b"Content-Length: 1000000\r\n\r\n{"
    slow = [await asyncio.open_connection("127.0.0.1", urlsplit(arbstr.url).port) for _ in range(20)]
    for _, writer in slow:
        writer.write(head)
    await arbstr.catch_up()
    assert (await arbstr.chat("x" * 900_000)).status == 200
    for _, writer in slow:
        writer.close()
    assert [row["error"]["status"] for row in await arbstr.rows(21) if not row["success"]] == [499] * 20
