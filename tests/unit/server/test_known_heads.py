"""Requests whose heads came before: their answers are the same as if each had been parsed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.http import RawRequestMessage

from arbstr.engine.body_memory import BodyMemory
from arbstr.server import known_heads
from arbstr.server.known_heads import KnownHeads
from arbstr.server.protocol import Protocol
from arbstr.server.request import Request
from arbstr.server.request_body import RequestBody
from arbstr.server.server import listen
from tests.support.patience import PATIENCE_S

HEAD = b"POST /said HTTP/1.1\r\nHost: localhost\r\nX-Name: value\r\n"


def request(body: bytes, head: bytes = HEAD) -> bytes:
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The data of which heads were learned: what went to the parser."""
    seen: list[bytes] = []
    learn = KnownHeads.learn

    def spied(self: KnownHeads, data: bytes, message: RawRequestMessage) -> int | None:
        seen.append(data)
        return learn(self, data, message)

    monkeypatch.setattr(KnownHeads, "learn", spied)
    return seen


async def say(request: web.BaseRequest) -> web.Response:
    """Answer with the path, a header and the body."""
    assert isinstance(request, Request)
    body = await RequestBody(request, BodyMemory(0), any_type=True).read()
    return web.Response(body=b"%b|%b|%b;" % (request.path.encode(), request.headers.get("X-Name", "").encode(), body))


@pytest.fixture
async def talk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Talk]:
    async with AsyncExitStack() as stack:
        url = (await listen(stack, say, "127.0.0.1", 0, max_connections=10, max_request_bytes=1000)).url
        talk = Talk(*await asyncio.open_connection("127.0.0.1", urlsplit(url).port))
        receive = Protocol.data_received

        def spied(self: Protocol, data: bytes) -> None:
            receive(self, data)
            talk.arrived.put_nowait(len(data))

        monkeypatch.setattr(Protocol, "data_received", spied)
        yield talk
        talk.writer.close()


class Talk:
    """A client's connection; `arrived` are the sizes of what has arrived at its other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.arrived: asyncio.Queue[int] = asyncio.Queue()

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, each of which arrives by itself."""
        for piece in pieces:
            self.writer.write(piece)
            missing = len(piece)
            async with asyncio.timeout(PATIENCE_S):
                while missing > 0:
                    missing -= await self.arrived.get()

    async def said(self) -> bytes:
        """The body of the next answer."""
        async with asyncio.timeout(PATIENCE_S):
            await self.reader.readuntil(b"\r\n\r\n")
            return await self.reader.readuntil(b";")


async def test_a_head_is_parsed_once_for_bodies_of_any_length(talk: Talk, parsed: list[bytes]) -> None:
    for body in (b"one", b"another", b"", b"x" * 900):
        await talk.send(request(body))
        assert await talk.said() == b"/said|value|%b;" % body
    assert parsed == [request(b"one")]


async def test_heads_that_differ_in_a_byte_are_not_alike(talk: Talk) -> None:
    for name in (b"value", b"valuf", b"value"):
        await talk.send(request(b"body", HEAD.replace(b"value", name)))
        assert await talk.said() == b"/said|%b|body;" % name


async def test_a_body_that_comes_later_is_waited_for(talk: Talk) -> None:
    whole = request(b"in two parts")
    for pieces in ([whole], [whole[:-5], whole[-5:]], [whole[:-12], whole[-12:]], [whole[:20], whole[20:]], [whole]):
        await talk.send(*pieces)
        assert await talk.said() == b"/said|value|in two parts;"


async def test_after_a_body_that_came_later_heads_are_known_again(talk: Talk, parsed: list[bytes]) -> None:
    whole = request(b"in two parts")
    for pieces in ([whole[:-5], whole[-5:]], [whole], [whole]):
        await talk.send(*pieces)
        await talk.said()
    assert parsed == [whole[:-5]]


async def test_requests_sent_at_once_are_all_answered_in_order(talk: Talk) -> None:
    await talk.send(request(b"first"))
    await talk.send(request(b"second") + request(b"third"), request(b"fourth"))
    assert [await talk.said() for _ in range(4)] == [
        b"/said|value|%b;" % body for body in (b"first", b"second", b"third", b"fourth")
    ]


async def test_a_request_within_another_request_is_part_of_that(talk: Talk) -> None:
    """What has been parsed so far decides what bytes are, not what they would be by themselves."""
    known = request(b"known")
    await talk.send(known)
    assert await talk.said() == b"/said|value|known;"
    around = b"POST /around HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(known)
    await talk.send(around, known)
    assert await talk.said() == b"/around||%b;" % known


async def test_a_request_within_an_unfinished_head_is_part_of_that(talk: Talk) -> None:
    known = request(b"known")
    await talk.send(known)
    await talk.said()
    await talk.send(known[:-2], known[-2:] + b"GET /next HTTP/1.1\r\nX-Hidden: ")
    assert await talk.said() == b"/said|value|known;"
    await talk.send(known)
    assert await talk.said() == b"/next|value|known;"


async def test_a_request_within_a_chunked_body_is_part_of_that(talk: Talk) -> None:
    known = request(b"known")
    await talk.send(known)
    await talk.said()
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(known)
    await talk.send(chunked, known, b"\r\n0\r\n\r\n")
    assert await talk.said() == b"/said|value|%b;" % known


async def test_only_so_many_heads_are_known(talk: Talk, monkeypatch: pytest.MonkeyPatch, parsed: list[bytes]) -> None:
    monkeypatch.setattr(known_heads, "_MOST_KNOWN", 2)
    for name in (b"a", b"b", b"a", b"c", b"a"):
        await talk.send(request(b"", HEAD.replace(b"value", name)))
        await talk.said()
    assert [data.partition(b"X-Name: ")[2][:1] for data in parsed] == [b"a", b"b", b"c", b"a"]


async def test_a_long_head_is_not_kept(talk: Talk, parsed: list[bytes]) -> None:
    long = request(b"", HEAD.replace(b"value", b"v" * 9000))
    for _ in range(2):
        await talk.send(long)
        await talk.said()
    assert parsed == [long, long]
