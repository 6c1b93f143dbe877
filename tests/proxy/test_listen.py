"""How many may be connected: whoever comes when all places are taken is told so, without having been asked for more."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
import uvloop
from aiohttp import web

from arbstr.errors import AddressInUse, ArbstrError
from arbstr.proxy import listen as module
from arbstr.proxy.listen import listen

PATIENCE_S = 10.0
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


async def opened(stack: AsyncExitStack, most_clients: int, port: int = 0) -> int:
    """The port of a server that takes so many clients."""
    url = await listen(stack, hello, "127.0.0.1", port, most_clients=most_clients, max_request_bytes=1000)
    return urlsplit(url).port or 0


async def connected(port: int) -> Connection:
    return await asyncio.open_connection("127.0.0.1", port)


async def asks(connection: Connection) -> bytes:
    """What comes back for a request."""
    reader, writer = connection
    writer.write(REQUEST)
    async with asyncio.timeout(PATIENCE_S):
        return await reader.read(4096)


async def answer(port: int) -> bytes:
    """What comes back for a request on a new connection, nothing if it is closed before it was read."""
    connection = await connected(port)
    try:
        return await asks(connection)
    except ConnectionError:
        return b""
    finally:
        connection[1].close()


async def refusal(port: int) -> bytes:
    """All that whoever connects now gets, unasked, until the connection is closed."""
    reader, writer = await connected(port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()
    finally:
        writer.close()


async def test_one_client_too_many_is_told_to_come_back_and_the_others_are_served(stack: AsyncExitStack) -> None:
    port = await opened(stack, 2)
    connections = [await connected(port) for _ in range(2)]
    assert b"hello" in await asks(connections[0])  # and so both have been taken up
    head, _, body = (await refusal(port)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 1\r\n" in head
    error = json.loads(body)["error"]
    assert (error["type"], error["code"]) == ("upstream_error", "overloaded")
    assert b"hello" in await asks(connections[1])
    for _, writer in connections:
        writer.close()


def test_of_a_crowd_that_comes_at_once_no_more_are_let_in() -> None:
    """On the loop that arbstr runs on, which sets up connections for all of them before the first has one."""
    crowd, most = 20, 5

    async def count() -> list[bytes]:
        async with AsyncExitStack() as stack:
            port = await opened(stack, most)
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(crowd)]
            for client in clients:
                client.setblocking(False)
                client.send(REQUEST)
            async with asyncio.timeout(PATIENCE_S):
                answers = [await asyncio.get_running_loop().sock_recv(client, 4096) for client in clients]
            for client in clients:
                client.close()
            return answers

    answers = uvloop.run(count())
    assert [b"hello" in answer for answer in answers] == [True] * most + [False] * (crowd - most)
    assert all(b" 503 " in answer for answer in answers[most:])


async def test_a_client_that_leaves_makes_room(stack: AsyncExitStack) -> None:
    port = await opened(stack, 1)
    first = await connected(port)
    assert b"hello" in await asks(first)
    assert b"503" in await refusal(port)
    first[1].close()
    async with asyncio.timeout(PATIENCE_S):
        while b"hello" not in await answer(port):
            pass  # the server has yet to notice


async def test_a_client_that_has_left_counts_no_longer_although_something_remembers_it(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered: list[web.RequestHandler] = []

    class Remembering(module._Server):
        def __call__(self) -> web.RequestHandler:
            remembered.append(super().__call__())
            return remembered[-1]

    monkeypatch.setattr(module, "_Server", Remembering)
    port = await opened(stack, 1)
    for _ in range(3):
        async with asyncio.timeout(PATIENCE_S):
            while b"hello" not in await answer(port):
                pass  # the server has yet to notice that the one before has left
    assert len(remembered) == 3


async def test_a_taken_address_and_a_foreign_one_are_told_apart(stack: AsyncExitStack) -> None:
    port = await opened(stack, 1)
    with pytest.raises(AddressInUse, match="already in use"):
        await opened(stack, 1, port)
    with pytest.raises(ArbstrError, match=r"can't listen on 192\.0\.2\.1:0"):
        await listen(stack, hello, "192.0.2.1", 0, most_clients=1, max_request_bytes=1000)


async def test_nobody_is_let_in_after_its_end() -> None:
    async with AsyncExitStack() as stack:
        port = await opened(stack, 1)
    with pytest.raises(ConnectionRefusedError):
        await connected(port)
