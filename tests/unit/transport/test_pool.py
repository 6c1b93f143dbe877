"""Connections to providers over real sockets: every failure is reported as what it was."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from arbstr.transport.decoding import BARREN_BYTES, PIECE_BYTES
from arbstr.transport.http11 import HELD_BYTES, BrokenResponse, ResponseStream
from arbstr.transport.pool import PooledTransport
from tests.support.paths import DATA
from tests.support.patience import PATIENCE_S

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture
async def transport() -> AsyncIterator[PooledTransport]:
    transport = PooledTransport()
    yield transport
    await transport.aclose()


@asynccontextmanager
async def server(talk: Talk) -> AsyncIterator[str]:
    """A server on loopback that speaks by the byte; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"


async def head(reader: asyncio.StreamReader) -> bytes:
    """One request with its body."""
    text = await reader.readuntil(b"\r\n\r\n")
    length = next((line for line in text.split(b"\r\n") if line.lower().startswith(b"content-length:")), b":0")
    return text + await reader.readexactly(int(length.split(b":")[1]))


def answering(*parts: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()

    return talk


def post(url: str, *, connect_s: float = 5) -> httpx.Request:
    return httpx.Request("POST", url, content=b"{}", extensions={"timeout": {"connect": connect_s}})


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that no event tells."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - sockets have no event for it
            await asyncio.sleep(0.001)


async def exchange(transport: PooledTransport, url: str) -> tuple[int, bytes]:
    response = await transport.handle_async_request(post(url))
    assert isinstance(response.stream, httpx.AsyncByteStream)
    try:
        return response.status_code, b"".join([chunk async for chunk in response.stream])
    finally:
        await response.stream.aclose()


def catching(data: bytes) -> tuple[Talk, asyncio.Future[bytes]]:
    """A server's answer to one request, and that request to come."""
    seen: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(await head(reader))
        writer.write(data)

    return talk, seen


async def test_request_and_answer_pass_as_they_are(transport: PooledTransport) -> None:
    talk, seen = catching(b"HTTP/1.1 201 Made\r\nX-One: 1\r\nX-One: 2\r\nContent-Length: 2\r\n\r\nhi")
    async with server(talk) as url:
        request = httpx.Request("POST", url + "/x", headers=[(b"X-Up", "ü".encode())], content=b'{"a":1}')
        response = await transport.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        body = b"".join([chunk async for chunk in response.stream])
        await response.stream.aclose()
    sent = await seen
    assert sent.startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert sent.endswith(b'\r\n\r\n{"a":1}')
    assert (response.status_code, body) == (201, b"hi")
    assert response.headers.get_list("x-one") == ["1", "2"]


async def test_a_request_names_its_host_and_length_once_whatever_it_was_given(transport: PooledTransport) -> None:
    talk, seen = catching(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    async with server(talk) as url:
        wrong = [(b"HOST", b"elsewhere"), (b"Content-LENGTH", b"99")]
        request = httpx.Request("POST", url, headers=wrong, stream=httpx.ByteStream(b"{}"))
        await transport.handle_async_request(request)
    lines = (await seen).lower().split(b"\r\n")
    assert [line for line in lines if line.startswith((b"host:", b"content-length:"))] == [
        b"host: " + url.removeprefix("http://").partition("/")[0].encode(),
        b"content-length: 2",
    ]


@pytest.mark.parametrize("name_and_value", [(b"X-A", b"1\r\nX-B: 2"), (b"X-A\n", b"1"), (b"X-A", b"1\r")])
async def test_no_header_can_smuggle_in_another(
    transport: PooledTransport, name_and_value: tuple[bytes, bytes]
) -> None:
    request = httpx.Request("POST", "http://127.0.0.1:9/v1", headers=[name_and_value], stream=httpx.ByteStream(b""))
    with pytest.raises(httpx.LocalProtocolError, match="line break"):
        await transport.handle_async_request(request)


async def test_redirects_are_not_followed_and_cookies_not_kept(transport: PooledTransport) -> None:
    requests: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            requests.append(await head(reader))
            writer.write(b"HTTP/1.1 302 Go\r\nLocation: /other\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")

    async with server(talk) as url:
        assert await exchange(transport, url) == (302, b"")
        assert await exchange(transport, url) == (302, b"")
    assert len(requests) == 2
    assert b"cookie" not in requests[1].lower()


async def test_a_refused_connection(transport: PooledTransport) -> None:
    async with server(answering()) as url:
        pass
    with pytest.raises(httpx.ConnectError):
        await exchange(transport, url)


async def test_a_name_that_does_not_resolve(transport: PooledTransport) -> None:
    with pytest.raises(httpx.ConnectError):
        await exchange(transport, "http://no-such-host.invalid/v1")


async def test_a_connection_that_is_not_made_in_time(transport: PooledTransport) -> None:
    # A listener whose queue is full lets further connections hang.
    with socket.socket() as listening, contextlib.ExitStack() as fillers:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        with pytest.raises(httpx.ConnectTimeout):
            await transport.handle_async_request(
                post(f"http://127.0.0.1:{listening.getsockname()[1]}/", connect_s=0.05)
            )


async def test_a_server_that_closes_without_an_answer(transport: PooledTransport) -> None:
    async with server(answering()) as url:
        with pytest.raises(httpx.RemoteProtocolError, match="closed without a response"):
            await exchange(transport, url)


async def test_a_server_that_resets(transport: PooledTransport) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.transport.abort()

    async with server(talk) as url:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await exchange(transport, url)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Huge: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    ],
    ids=["not http", "status", "length", "huge header", "short body", "bad chunk", "torn chunk", "bad gzip"],
)
async def test_an_answer_that_is_not_http(transport: PooledTransport, answer: bytes) -> None:
    async with server(answering(answer)) as url:
        with pytest.raises(httpx.RemoteProtocolError):
            await exchange(transport, url)


async def test_a_body_that_turns_into_garbage(transport: PooledTransport) -> None:
    go_on = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await go_on.wait()
        writer.write(b"nonsense\r\n")
        await reader.read()

    async with server(talk) as url:
        response = await transport.handle_async_request(post(url))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        chunks = aiter(response.stream)
        assert await anext(chunks) == b"hi"
        go_on.set()
        with pytest.raises(httpx.RemoteProtocolError):
            async with asyncio.timeout(PATIENCE_S):
                await anext(chunks)
        await response.stream.aclose()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b"hello" * 1000)),
        ("X-GZip", gzip.compress(b"hello" * 1000)),
        ("deflate", zlib.compress(b"hello" * 1000)),
        ("deflate", zlib.compress(b"hello" * 1000)[2:-4]),  # without its wrapping, as some send it
        ("identity", b"hello" * 1000),
    ],
    ids=["gzip", "x-gzip", "deflate", "bare deflate", "identity"],
)
async def test_a_body_that_came_compressed_unasked_is_unpacked(
    transport: PooledTransport, encoding: str, packed: bytes
) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    async with server(answering(head + packed[:30], packed[30:])) as url:
        assert await exchange(transport, url) == (200, b"hello" * 1000)


async def test_a_body_that_unfolds_to_very_much_comes_in_pieces(transport: PooledTransport) -> None:
    packed = gzip.compress(bytes(50_000_000))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with server(answering(head + packed)) as url:
        response = await transport.handle_async_request(post(url))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        sizes = [len(piece) async for piece in response.stream]
        await response.stream.aclose()
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= PIECE_BYTES


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [("gzip", gzip.compress(b"hello" * 1000)[:-9]), ("br", b"hello"), ("gzip, br", b"hello")],
    ids=["torn gzip", "br", "both"],
)
async def test_a_body_that_can_not_be_unpacked(transport: PooledTransport, encoding: str, packed: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    async with server(answering(head + packed)) as url:
        with pytest.raises(httpx.RemoteProtocolError, match="unreadable"):
            await exchange(transport, url)


CHUNKED_GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"


def in_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize(
    "after", [b"garbage", gzip.compress(b"more"), bytes(3_000_000), gzip.compress(b"") * 100_000], ids=len
)
async def test_the_end_of_what_was_compressed_is_the_end_of_the_body(transport: PooledTransport, after: bytes) -> None:
    """Whatever follows, and although the body itself goes on without an end."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(CHUNKED_GZIP + in_chunk(gzip.compress(b"hello")))
        while True:
            writer.write(in_chunk(after))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with server(talk) as url, asyncio.timeout(PATIENCE_S):
        assert await exchange(transport, url) == (200, b"hello")


async def test_a_connection_serves_again_after_a_compressed_body(transport: PooledTransport) -> None:
    clients = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal clients
        clients += 1
        while True:
            await head(reader)
            writer.write(CHUNKED_GZIP + in_chunk(gzip.compress(b"hello")))
            await asyncio.sleep(0.01)
            writer.write(b"0\r\n\r\n")

    async with server(talk) as url, asyncio.timeout(PATIENCE_S):
        for _ in range(3):
            assert await exchange(transport, url) == (200, b"hello")
    assert clients == 1


@pytest.mark.parametrize(
    ("encoding", "endless"),
    [
        ("deflate", zlib.compress(b"")[:2] + b"\x00\x00\x00\xff\xff" * (BARREN_BYTES // 4)),
        ("gzip", b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xff" + b"n" * (2 * BARREN_BYTES)),
    ],
    ids=["empty blocks", "a name without an end"],
)
async def test_a_body_that_unfolds_to_nothing_is_given_up(
    transport: PooledTransport, encoding: str, endless: bytes
) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n\r\n".encode()
    async with server(answering(head + endless)) as url, asyncio.timeout(PATIENCE_S):
        with pytest.raises(httpx.RemoteProtocolError, match="decompress to nothing"):
            await exchange(transport, url)


async def test_what_unfolds_to_very_much_leaves_the_loop_to_others(transport: PooledTransport) -> None:
    packed = gzip.compress(bytes(50_000_000))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with server(answering(head + packed)) as url:
        task = asyncio.create_task(others())
        pieces = 50_000_000 // PIECE_BYTES
        before = turns
        await exchange(transport, url)
        task.cancel()
    assert turns - before >= pieces


async def test_a_body_without_a_length_ends_with_its_connection(transport: PooledTransport) -> None:
    async with server(answering(b"HTTP/1.0 200 OK\r\n\r\nhi ", b"there")) as url:
        assert await exchange(transport, url) == (200, b"hi there")


@pytest.mark.parametrize(
    "field", [b"Content-Length: 2\r\n\r\nhi", b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"]
)
async def test_trailers_are_read_and_dropped(transport: PooledTransport, field: bytes) -> None:
    """Of the answer to the next request on that connection they are no part."""
    trailer = b"X-Trailer: 1\r\n\r\n" if b"chunked" in field else b""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n" + field + trailer)

    async with server(talk) as url:
        for _ in range(2):
            response = await transport.handle_async_request(post(url))
            assert "x-trailer" not in response.headers
            assert isinstance(response.stream, httpx.AsyncByteStream)
            assert [chunk async for chunk in response.stream] == [b"hi"]
            await response.stream.aclose()


@pytest.mark.parametrize(
    "begun", [b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"]
)
async def test_headers_and_trailers_without_end_are_given_up(transport: PooledTransport, begun: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(begun)
        while True:
            writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
            await writer.drain()

    async with server(talk) as url:
        with pytest.raises(httpx.RemoteProtocolError, match="headers of more than"):
            async with asyncio.timeout(PATIENCE_S):
                await exchange(transport, url)


async def test_interim_answers_are_skipped(transport: PooledTransport) -> None:
    async with server(answering(b"HTTP/1.1 103 Early Hints\r\n\r\n", OK)) as url:
        assert await exchange(transport, url) == (200, b"hi")


@pytest.mark.parametrize("url", ["gopher://x.test/", "http:///nohost"])
async def test_an_address_that_is_none(transport: PooledTransport, url: str) -> None:
    with pytest.raises(httpx.UnsupportedProtocol):
        await exchange(transport, url)


@pytest.mark.parametrize("noticed", [False, True], ids=["by the system", "by the loop"])
@pytest.mark.parametrize("end", ["closed", "reset", "unasked bytes"])
async def test_a_kept_connection_that_has_ended_is_found_out_before_anything_is_sent_on_it(
    transport: PooledTransport, end: str, noticed: bool
) -> None:
    """Nothing is awaited between the end and the next request, unless the loop shall notice."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        first = asyncio.create_task(exchange(transport, url))
        old, _ = await loop.sock_accept(listening)
        await loop.sock_recv(old, 65536)
        old.sendall(OK)
        assert await first == (200, b"hi")
        if end == "unasked bytes":
            old.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        elif end == "reset":
            old.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if end != "unasked bytes":
            old.close()
        if noticed:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(exchange(transport, url))
        new, _ = await loop.sock_accept(listening)
        assert b"POST" in await loop.sock_recv(new, 65536)
        new.sendall(OK)
        assert await second == (200, b"hi")
        if end == "unasked bytes":
            with contextlib.suppress(ConnectionError):
                assert await loop.sock_recv(old, 65536) == b""  # nothing was sent on it
        old.close()
        new.close()


async def test_a_kept_connection_that_ends_once_the_request_was_read_is_a_failure(transport: PooledTransport) -> None:
    """Its server may have worked on it, and been paid."""
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await head(reader)
        writer.write(OK)
        await head(reader)

    async with server(talk) as url:
        assert await exchange(transport, url) == (200, b"hi")
        with pytest.raises(httpx.RemoteProtocolError, match="closed without a response"):
            await exchange(transport, url)
    assert connections == 1


@pytest.mark.parametrize(
    "framing",
    [
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        (b"Content-Length: 99999", b"Transfer-Encoding: Chunked"),
    ],
)
async def test_a_length_beside_chunks_does_not_count_and_ends_the_connection(
    transport: PooledTransport, framing: tuple[bytes, ...]
) -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await head(reader):
            writer.write(b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(framing) + b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n")

    async with server(talk) as url:
        assert await exchange(transport, url) == (200, b"hi")
        assert await exchange(transport, url) == (200, b"hi")
    assert connections == 2


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"HTTP/1.1 20", 0),
        (b"SSH-2.0-OpenSSH\r\n\r\n", 0),
        (b"HTTP/1.1 200 OK\r\nContent-", 200),
        (b"HTTP/1.1 503 Busy\r\n", 503),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", 103),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nhi!", 200),
    ],
)
@pytest.mark.parametrize("rude", [False, True], ids=["closed", "reset"])
async def test_an_answer_that_breaks_off_in_its_head_says_so_with_its_status(
    transport: PooledTransport, begun: bytes, status: int, rude: bool
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(begun)
        await asyncio.sleep(0.01)
        if rude:
            writer.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            writer.transport.abort()

    async with server(talk) as url:
        with pytest.raises(BrokenResponse) as caught:
            await exchange(transport, url)
    assert caught.value.status == status


async def test_a_new_connection_that_the_server_closes_is_not_replaced(transport: PooledTransport) -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await head(reader)

    async with server(talk) as url:
        with pytest.raises(httpx.RemoteProtocolError):
            await exchange(transport, url)
    assert connections == 1


async def test_a_wait_for_bytes_may_be_given_up_and_taken_up_again(transport: PooledTransport) -> None:
    go_on = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhi")
        await go_on.wait()
        writer.write(b"ho")

    async with server(talk) as url:
        response = await transport.handle_async_request(post(url))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        chunks = aiter(response.stream)
        assert await anext(chunks) == b"hi"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(chunks)
        go_on.set()
        assert await anext(chunks) == b"ho"
        await response.stream.aclose()


async def test_a_connection_serves_again_once_its_answer_was_read(transport: PooledTransport) -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(3):
            await head(reader)
            writer.write(OK)

    async with server(talk) as url:
        for _ in range(3):
            assert await exchange(transport, url) == (200, b"hi")
    assert connections == 1


async def connections_for(transport: PooledTransport, exchanges: int, *parts: bytes) -> int:
    """How many connections so many exchanges take with a server that answers like this."""
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await head(reader)
            for part in parts:
                writer.write(part)
                await writer.drain()

    async with server(talk) as url:
        for _ in range(exchanges):
            assert await exchange(transport, url) == (200, b"hi")
    return connections


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmore",
        OK + b"and more",
    ],
    ids=["close", "http 1.0", "an answer too many", "garbage after it"],
)
async def test_a_connection_that_can_not_be_trusted_to_serve_again_is_closed(
    transport: PooledTransport, answer: bytes
) -> None:
    assert await connections_for(transport, 3, answer) == 3


async def test_what_comes_while_nothing_was_asked_is_never_taken_for_an_answer(transport: PooledTransport) -> None:
    came = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(OK)
        await came.wait()
        writer.write(OK.replace(b"hi", b"no"))
        await reader.read()

    async with server(talk) as url:
        assert await exchange(transport, url) == (200, b"hi")
        (place,) = transport._host_pools.values()
        (connection,) = place.connections
        came.set()
        async with asyncio.timeout(PATIENCE_S):
            await connection.closed


async def test_a_connection_that_was_idle_too_long_is_closed(
    transport: PooledTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbstr.transport.pool.KEEPALIVE_S", 0.01)
    closed = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(OK)
        assert await reader.read() == b""
        closed.set()

    async with server(talk) as url:
        assert await exchange(transport, url) == (200, b"hi")
        async with asyncio.timeout(PATIENCE_S):
            await closed.wait()


async def test_an_answer_that_came_before_the_request_was_sent_ends_the_connection(transport: PooledTransport) -> None:
    """The rest of that request would be taken for the next one."""
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await ended.wait()
        writer.transport.abort()  # from Python 3.12 on a server waits for its connections

    async with server(talk) as url:
        big = httpx.Request("POST", url, content=bytes(64 * 1024 * 1024))
        response = await transport.handle_async_request(big)
        assert response.status_code == 413
        (place,) = transport._host_pools.values()
        (connection,) = place.connections
        async with asyncio.timeout(PATIENCE_S):
            await connection.closed
        ended.set()


async def test_a_body_that_nobody_reads_is_not_read_from_the_socket(transport: PooledTransport) -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(100):
            writer.write(bytes(1_000_000))
            await writer.drain()
            sent += 1_000_000

    async with server(talk) as url:
        response = await transport.handle_async_request(post(url))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        await until(lambda: isinstance(response.stream, ResponseStream) and response.stream.body_bytes > HELD_BYTES)
        assert sent < 50_000_000  # what the sockets hold on both sides, and little more
        assert sum([len(chunk) async for chunk in response.stream]) == 100_000_000
        await response.stream.aclose()


async def test_an_answer_that_is_read_late_leaves_the_next_one_on_its_connection_alone(
    transport: PooledTransport,
) -> None:
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(big)
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(100):
            writer.write(bytes(1_000_000))
            await writer.drain()

    async with server(talk) as url:
        first = await transport.handle_async_request(post(url))
        (place,) = transport._host_pools.values()
        (connection,) = place.connections
        await until(lambda: connection in place._idle)
        second = await transport.handle_async_request(post(url))
        assert isinstance(first.stream, httpx.AsyncByteStream)
        assert isinstance(second.stream, ResponseStream)
        await until(lambda: connection._paused)
        assert sum([len(chunk) async for chunk in first.stream]) == 200_000
        assert connection._paused
        await second.stream.aclose()


CERTIFICATE = DATA / "tls" / "localhost.pem"  # of nobody: its key is public


@asynccontextmanager
async def tls_server(*parts: bytes) -> AsyncIterator[str]:
    """One that answers over TLS; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await answering(*parts)(reader, writer)
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listening:
        yield f"https://localhost:{listening.sockets[0].getsockname()[1]}/v1"


async def test_a_certificate_that_nobody_vouches_for_ends_the_attempt(transport: PooledTransport) -> None:
    async with tls_server(OK) as url:
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await exchange(transport, url)


async def test_tls(transport: PooledTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    monkeypatch.setattr("arbstr.transport.pool.tls_context", lambda: trusting)
    async with tls_server(OK) as url:
        assert await exchange(transport, url) == (200, b"hi")
        with pytest.raises(httpx.ConnectError, match="certificate"):  # it is not that host's
            await exchange(transport, url.replace("localhost", "127.0.0.1"))


async def test_a_handshake_that_is_never_completed_is_given_up_and_holds_up_nobody(transport: PooledTransport) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(silent) as stuck, server(answering(OK)) as good:
        requests = [post(stuck.replace("http", "https"), connect_s=0.3) for _ in range(20)]
        waiting = [asyncio.ensure_future(transport.handle_async_request(request)) for request in requests]
        assert await exchange(transport, good) == (200, b"hi")
        assert not any(task.done() for task in waiting)
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, httpx.ConnectTimeout)


async def test_its_repr_says_how_many_connections_there_are(transport: PooledTransport) -> None:
    assert repr(transport) == "<PooledTransport without connections>"
    async with server(answering(OK)) as url:
        await exchange(transport, url)
        [pool] = transport._host_pools.values()
        assert repr(transport) == f"<PooledTransport <{httpx.URL(url).netloc.decode()}: 1 of 1 idle>>"
        assert [repr(connection) for connection in pool.connections] == ["<Connection idle>"]
