"""The way to providers: httpx's transport seam over aiohttp's connection pool, with a true error map.

httpx's own pool costs ten times the CPU; published bridges map errors so that a request which was sent looks safe to
repeat. Here every failure becomes the httpx exception that says what happened:

==============================================  ==========================
no connection (refused, DNS, TLS)               `ConnectError`
no connection in time                           `ConnectTimeout`
closed or reset before an answer                `RemoteProtocolError`, `ReadError`
not HTTP, or a body that breaks off             `RemoteProtocolError`
an address that is none                         `UnsupportedProtocol`
==============================================  ==========================

Connections, TLS, name look-up and the parser are aiohttp's. The request itself is written here, in one piece: aiohttp's
session, request, payload and response objects around it cost as much CPU as all the rest of a request's way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import lru_cache, partial
from weakref import WeakKeyDictionary

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from yarl import URL

KEEPALIVE_S = 60.0  # how long an idle connection is kept
MAX_HEADER_BYTES = 64 * 1024
READ_BUFFER_BYTES = 128 * 1024

_FAILURES = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """An `httpx.AsyncBaseTransport` over one aiohttp pool; to be made on the running loop.

    Redirects are not followed, cookies not kept, the environment's proxies not used. Of the request's `timeout`
    extension `connect` holds, in seconds; waiting for bytes is bounded by the caller. An extension `place` names the
    URL for short, the same name always for the same one: for every look-up httpx puts a URL's text together anew.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pool = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=60)
        self._reading: WeakKeyDictionary[ResponseHandler, StreamReader | None] = WeakKeyDictionary()  # by connection
        self._places: dict[httpx.URL | str, _Place] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and return its response, body unread.

        A kept connection that turns out dead before it answered a byte is replaced once: the provider had closed it.
        Raises the `httpx.TransportError` that says what happened.
        """
        try:
            place = self._place(request)
            data = _head(request.method, place, tuple(request.headers.raw)) + await _body(request)
            timeout = _timeout(request.extensions.get("timeout", {}).get("connect"))
            connection = await self._pool.connect(place.asked, [], timeout)
            used = connection.protocol in self._reading
            try:
                return await self._exchange(request, connection, data)
            except (aiohttp.ServerDisconnectedError, ConnectionError) as error:
                if not used or _has_begun(error):
                    raise
            return await self._exchange(request, await self._pool.connect(place.asked, [], timeout), data)
        except _FAILURES as error:
            raise _translated(error, request) from error

    async def _exchange(self, request: httpx.Request, connection: Connection, data: bytes) -> httpx.Response:
        """Write the request on a connection and wait for the answer's head; interim answers are skipped."""
        protocol = connection.protocol
        if protocol is None or protocol.transport is None:
            raise aiohttp.ServerDisconnectedError
        self._watch(protocol)
        try:
            protocol.set_response_params(
                read_until_eof=True,
                auto_decompress=True,
                read_bufsize=READ_BUFFER_BYTES,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
            )
            protocol.transport.write(data)
            message, payload = await protocol.read()
            while message.code < 200 and message.code != 101:
                message, payload = await protocol.read()
        except BaseException:
            connection.close()
            raise
        self._reading[protocol] = payload
        return httpx.Response(
            message.code, headers=list(message.raw_headers), stream=_Body(connection, payload, request)
        )

    def _watch(self, protocol: ResponseHandler) -> None:
        """See to it that a body ends with its connection.

        aiohttp closes a connection whose bytes are no HTTP, but whoever reads a body from it would wait for ever.
        """
        if protocol not in self._reading and protocol.closed is not None:
            protocol.closed.add_done_callback(partial(self._closed, protocol))
        self._reading[protocol] = None

    def _closed(self, protocol: ResponseHandler, how: asyncio.Future[None]) -> None:
        how.exception()  # it is told elsewhere; asyncio would complain that nobody looked at it
        payload = self._reading.get(protocol)
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(aiohttp.ClientPayloadError("closed within its body, or what came is not HTTP"))

    def _place(self, request: httpx.Request) -> _Place:
        """Where the URL leads, worked out once. Raises `aiohttp.InvalidURL`."""
        key = request.extensions.get("place", request.url)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place(request.url, self._loop)
        return place

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.close()


class _Place:
    """A URL as the pool and the request line want it."""

    def __init__(self, url: httpx.URL, loop: asyncio.AbstractEventLoop) -> None:
        target = URL(str(url))
        if target.scheme not in ("http", "https"):
            raise aiohttp.NonHttpUrlClientError(str(url))
        if not target.raw_host:
            raise aiohttp.InvalidURL(str(url))
        self.path = target.raw_path_qs.encode()
        self.host = target.host_port_subcomponent or ""
        # What the pool reads to find or make a connection; the same for every request to this place.
        self.asked = aiohttp.ClientRequest("POST", target, loop=loop)


class _Body(httpx.AsyncByteStream):
    """A response's bytes as they are read from the socket. A wait for more may be cancelled and tried again."""

    def __init__(self, connection: Connection, payload: StreamReader, request: httpx.Request) -> None:
        self._connection = connection
        self._payload = payload
        self._request = request

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await self._payload.readany()
        except _FAILURES as error:
            self._connection.close()
            raise _translated(error, self._request) from error
        if self._payload.at_eof():
            self._connection.release()
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Give the connection back to the pool, which closes it if the answer was not read to its end."""
        self._connection.release()


@lru_cache(maxsize=256)
def _head(method: str, place: _Place, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The request's head but for its length. A client sends the same headers again and again: they are made once."""
    lines = [b"%b %b HTTP/1.1" % (method.encode(), place.path), b"Host: " + place.host.encode()]
    lines += [name + b": " + value for name, value in headers if name.lower() not in (b"host", b"content-length")]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise ValueError("a line break in a header")
    return b"\r\n".join(lines)


async def _body(request: httpx.Request) -> bytes:
    """The rest of the request: its length, the empty line, its body."""
    stream = request.stream  # bytes that are all there are taken as they are: `aread` would step through them
    content = b"".join(stream) if isinstance(stream, httpx.ByteStream) else await request.aread()
    return b"\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)


@lru_cache(maxsize=256)
def _timeout(connect_s: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s)


def _has_begun(error: Exception) -> bool:
    """Whether part of an answer had arrived when the connection closed."""
    return isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)


# The first row that fits, so subclasses before their bases.
_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (asyncio.TimeoutError, httpx.ConnectTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ServerFingerprintMismatch, httpx.ConnectError),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (OSError, httpx.ReadError),
    (Exception, httpx.RemoteProtocolError),
)


def _translated(error: Exception, request: httpx.Request) -> httpx.TransportError:
    """The httpx exception for an aiohttp or socket one."""
    text = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ServerDisconnectedError):
        text = "closed without an answer"  # its own text may quote the parser's state
    kind = next(to for source, to in _ERRORS if isinstance(error, source))
    return kind(text, request=request)
