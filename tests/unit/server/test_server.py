"""How many may be connected, and for how long without doing anything: who does nothing makes room for who comes."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from urllib.parse import urlsplit

import pytest
import uvloop
from aiohttp import web

from arbstr.errors import AddressInUse, ArbstrError
from arbstr.server import connections as clients
from arbstr.server import server as module
from arbstr.server.acceptor import Acceptor
from arbstr.server.protocol import Protocol
from arbstr.server.request import Request
from arbstr.server.responses import WholeResponse
from arbstr.server.server import listen
from tests.support.patience import PATIENCE_S

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
    url = (await listen(stack, hello, "127.0.0.1", port, max_connections=most_clients, max_request_bytes=1000)).url
    return urlsplit(url).port or 0


async def connected(port: int) -> Connection:
    return await asyncio.open_connection("127.0.0.1", port)


async def ask(connection: Connection) -> bytes:
    """What comes back for a request."""
    reader, writer = connection
    writer.write(REQUEST)
    async with asyncio.timeout(PATIENCE_S):
        return await reader.read(4096)


async def answer(port: int) -> bytes:
    """What comes back for a request on a new connection, nothing if it is closed before it was read."""
    connection = await connected(port)
    try:
        return await ask(connection)
    except ConnectionError:
        return b""
    finally:
        connection[1].close()


async def refusal(port: int) -> bytes:
    """All that a new connection gets, unasked, until the connection is closed."""
    reader, writer = await connected(port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()
    finally:
        writer.close()


@pytest.fixture
def slow() -> Iterator[list[asyncio.Event]]:
    """Events that requests to /slow wait for, one for each."""
    waiting: list[asyncio.Event] = []
    yield waiting
    for event in waiting:
        event.set()


async def busy(
    stack: AsyncExitStack, slow: list[asyncio.Event], most: int, room: int = 0
) -> tuple[int, list[Connection]]:
    """The port of a server with so many clients whose requests are under way, and with room for so many more."""

    async def waits(request: web.BaseRequest) -> web.Response:
        if request.path == "/slow":
            slow.append(asyncio.Event())
            await slow[-1].wait()
        return web.Response(text="hello")

    url = (await listen(stack, waits, "127.0.0.1", 0, max_connections=most + room, max_request_bytes=1000)).url
    port = urlsplit(url).port or 0
    connections = [await connected(port) for _ in range(most)]
    for _, writer in connections:
        writer.write(REQUEST.replace(b" / ", b" /slow "))
    async with asyncio.timeout(PATIENCE_S):
        while len(slow) < most:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.001)
    return port, connections


async def test_one_client_too_many_gets_a_503_and_the_others_are_served(
    stack: AsyncExitStack, slow: list[asyncio.Event]
) -> None:
    port, connections = await busy(stack, slow, 2)
    head, _, body = (await refusal(port)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 1\r\n" in head
    error = json.loads(body)["error"]
    assert (error["type"], error["code"]) == ("upstream_error", "overloaded")
    for event in slow:
        event.set()
    for reader, writer in connections:
        async with asyncio.timeout(PATIENCE_S):
            assert b"hello" in await reader.read(4096)
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


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is silent has been so for long."""
    monkeypatch.setattr(clients, "SOON_S", 0.0)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is silent has been so for a while only."""
    monkeypatch.setattr(clients, "JUST_HERE_S", 0.0)


@pytest.mark.parametrize("begins", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: localhost\r\n"])
@pytest.mark.usefixtures("settled")
async def test_who_asks_nothing_makes_room_for_who_comes(stack: AsyncExitStack, begins: bytes) -> None:
    """The one that has been silent the longest first; one that has been answered last."""
    port = await opened(stack, 3)
    answered = await connected(port)
    assert b"hello" in await ask(answered)
    silent = [await connected(port) for _ in range(2)]
    for _, writer in silent:
        writer.write(begins)
    assert b"hello" in await answer(port)
    async with asyncio.timeout(PATIENCE_S):
        assert await silent[0][0].read() == b""
    crowd = [await connected(port) for _ in range(2)]
    for connection in (crowd[-1], answered):
        assert b"hello" in await ask(connection)
    for _, writer in (answered, *silent, *crowd):
        writer.close()


@pytest.mark.usefixtures("here")
async def test_who_was_there_before_a_crowd_keeps_its_place(stack: AsyncExitStack) -> None:
    port = await opened(stack, 3)
    early = await connected(port)
    crowd = [await connected(port) for _ in range(10)]
    assert b"hello" in await ask(crowd[-1])
    assert b"hello" in await ask(early)
    for _, writer in (early, *crowd):
        writer.close()


async def test_a_crowd_that_comes_all_at_once_is_turned_away(stack: AsyncExitStack) -> None:
    port = await opened(stack, 3)
    crowd = [await connected(port) for _ in range(3)]
    assert b" 503 " in await refusal(port)
    for _, writer in crowd:
        writer.close()


async def test_who_has_been_answered_makes_room_too_if_nobody_is_silent(stack: AsyncExitStack) -> None:
    port = await opened(stack, 2)
    first, second = [await connected(port) for _ in range(2)]
    for connection in (first, second):
        assert b"hello" in await ask(connection)
    third = await connected(port)
    assert b"hello" in await ask(third)
    assert await first[0].read() == b""
    assert b"hello" in await ask(second)
    for _, writer in (first, second, third):
        writer.close()


async def test_who_sends_no_body_after_a_refusal_makes_room(stack: AsyncExitStack) -> None:
    """The server reads on for some seconds after its answer; the place may be another's meanwhile."""
    port = await opened(stack, 1)
    reader, writer = await connected(port)
    writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        assert b"hello" in await reader.read(4096)
    assert b"hello" in await answer(port)
    writer.close()


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are looked after a hundred times as often."""
    monkeypatch.setattr(clients, "LOOK_EVERY_S", clients.LOOK_EVERY_S / 200)
    monkeypatch.setattr(clients, "PATIENCE_S", dict.fromkeys(clients.PATIENCE_S, 0.2))


@pytest.mark.parametrize(
    ("begins", "ends"),
    [(b"", b""), (b"GET /aaa", b"HTTP/1.1 408 "), (b"GET / HTTP/1.1\r\nHost: x\r\n", b"HTTP/1.1 408 ")],
    ids=["nothing", "a line", "headers"],
)
@pytest.mark.usefixtures("short_timeouts")
async def test_a_request_that_does_not_come_is_not_waited_for_for_ever(
    stack: AsyncExitStack, begins: bytes, ends: bytes
) -> None:
    port = await opened(stack, 5)
    reader, writer = await connected(port)
    writer.write(begins)

    async def drips() -> None:
        while begins:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drips())
    async with asyncio.timeout(PATIENCE_S):
        assert (await reader.read(4096)).startswith(ends)
    dripping.cancel()
    writer.close()


@pytest.mark.usefixtures("short_timeouts")
async def test_a_connection_that_is_not_used_again_is_closed(stack: AsyncExitStack) -> None:
    port = await opened(stack, 5)
    connection = await connected(port)
    for _ in range(2):
        assert b"hello" in await ask(connection)
    async with asyncio.timeout(PATIENCE_S):
        assert await connection[0].read() == b""
    connection[1].close()


@pytest.mark.usefixtures("short_timeouts")
async def test_a_request_under_way_may_take_as_long_as_it_likes(
    stack: AsyncExitStack, slow: list[asyncio.Event]
) -> None:
    port, ((reader, writer), *_) = await busy(stack, slow, 1, room=1)
    silent = await connected(port)  # it came later, and is closed for it
    async with asyncio.timeout(PATIENCE_S):
        assert await silent[0].read() == b""
        slow[0].set()
        assert b"hello" in await reader.read(4096)
    for each in (writer, silent[1]):
        each.close()


@pytest.mark.parametrize("piecewise", [False, True])
@pytest.mark.usefixtures("short_timeouts")
async def test_an_answer_that_is_not_read_is_given_up(
    stack: AsyncExitStack, piecewise: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    lost = asyncio.Event()

    async def much(request: Request) -> web.StreamResponse:
        request.on_disconnect = lost.set
        if not piecewise:
            return WholeResponse(200, [], bytes(50_000_000))
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(50):
            await response.write(bytes(1_000_000))
        return response

    url = (await listen(stack, much, "127.0.0.1", 0, max_connections=5, max_request_bytes=1000)).url
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)) as client:
        client.sendall(REQUEST)
        async with asyncio.timeout(PATIENCE_S):
            while "a client that stopped reading" not in caplog.text:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
            if piecewise:
                await lost.wait()
        client.setblocking(False)
        got = 0
        with suppress(ConnectionError):  # it was reset
            async with asyncio.timeout(PATIENCE_S):
                while data := await asyncio.get_running_loop().sock_recv(client, 1_000_000):
                    got += len(data)
        assert got < 50_000_000


@pytest.mark.usefixtures("short_timeouts")
async def test_an_answer_that_is_read_slowly_is_not(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(clients.PATIENCE_S, "reading", 1)  # a busy machine may keep the reader waiting, too

    async def much(request: web.BaseRequest) -> web.StreamResponse:
        return WholeResponse(200, [], bytes(20_000_000))

    url = (await listen(stack, much, "127.0.0.1", 0, max_connections=5, max_request_bytes=1000)).url
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        client.connect(("127.0.0.1", urlsplit(url).port or 0))
        client.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(client, REQUEST)
        got = 0
        async with asyncio.timeout(2 * PATIENCE_S):
            while got < 20_000_000:
                got += len(await asyncio.get_running_loop().sock_recv(client, 300_000))
                await asyncio.sleep(0.02)


async def test_a_client_that_has_left_counts_no_longer_although_something_remembers_it(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered: list[web.RequestHandler] = []

    class Remembering(module._Server):
        def __call__(self) -> Protocol:
            protocol = super().__call__()
            remembered.append(protocol)
            return protocol

    monkeypatch.setattr(module, "_Server", Remembering)
    port = await opened(stack, 1)
    for _ in range(3):
        async with asyncio.timeout(PATIENCE_S):
            while b"hello" not in await answer(port):
                pass  # the server has yet to notice that the one before has left
    assert len(remembered) == 3


async def test_a_taken_address_and_a_foreign_one_are_different_errors(stack: AsyncExitStack) -> None:
    port = await opened(stack, 1)
    with pytest.raises(AddressInUse, match="already in use"):
        await opened(stack, 1, port)
    with pytest.raises(ArbstrError, match=r"can't listen on 192\.0\.2\.1:0: .*; choose an address of this machine"):
        await listen(stack, hello, "192.0.2.1", 0, max_connections=1, max_request_bytes=1000)


async def test_a_port_of_the_systems_is_said_to_be_one(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Acceptor, "open", refused)
    with pytest.raises(ArbstrError, match="80: Permission denied; ports below 1024 are the system's"):
        await listen(stack, hello, "127.0.0.1", 80, max_connections=1, max_request_bytes=1000)


async def test_nobody_is_let_in_after_its_end() -> None:
    async with AsyncExitStack() as stack:
        port = await opened(stack, 1)
    with pytest.raises(ConnectionRefusedError):
        await connected(port)


async def test_a_listener_that_ends_closes_connections_with_their_requests(stack: AsyncExitStack) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def waits(request: web.BaseRequest) -> web.Response:
        if request.path == "/slow":
            arrived.set()
            await go_on.wait()
        return web.Response(text="hello")

    listener = await listen(stack, waits, "127.0.0.1", 0, max_connections=2, max_request_bytes=1000)
    port = urlsplit(listener.url).port or 0
    idle, (reader, writer) = await connected(port), await connected(port)
    assert (await ask(idle)).endswith(b"hello")
    writer.write(REQUEST.replace(b" / ", b" /slow "))
    await arrived.wait()
    await listener.end()
    assert await idle[0].read() == b""
    with pytest.raises(ConnectionRefusedError):
        await connected(port)
    go_on.set()
    assert (await reader.read()).endswith(b"hello")  # to its end: it is closed
    for each in (idle[1], writer):
        each.close()
