"""httpx's transport interface over a lean pool of HTTP/1.1 connections, with an exact error map.

httpx's own pool costs ten times the CPU of the rest of a request, and aiohttp's client twice that of these connections;
published bridges map errors so that a request that was sent looks safe to retry. Here every failure is the httpx
exception that says what happened:

==============================================  ==========================
no connection (refused, DNS, TLS)               `ConnectError`
no connection in time, lookup included          `ConnectTimeout`
a proxy that does not connect                   `ProxyError`
closed before a byte of the answer              `RemoteProtocolError`
reset before a byte of the answer               `ReadError`
closed or reset within the answer, or not HTTP  `http1.BrokenResponse`
a body that can't be decoded                    `RemoteProtocolError`
an address that is none                         `UnsupportedProtocol`
==============================================  ==========================
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import cache, cached_property
from typing import Any

import httpx

from arbstr.transport.connector import AddressCheck, Connector, Proxy, ProxyRefused, any_address, proxy_headers
from arbstr.transport.decoding import ENCODINGS, Decoder
from arbstr.transport.http11 import Connection, ResponseStream
from arbstr.transport.resolver import Resolver

KEEPALIVE_S = 60.0  # how long an idle connection is kept
TAIL_S = 1.0  # how long a compressed body may take to end after its compressed data has
TAIL_BYTES = 64 * 1024  # how much may follow then

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PROXY_WANTS_CREDENTIALS = 407

ProxyFor = Callable[[str, Any], Proxy | None]


def _as_asked(url: str, proxy: Any) -> Proxy | None:
    return proxy  # type: ignore[no-any-return]  # it is the caller's


class PooledTransport(httpx.AsyncBaseTransport):
    """An `httpx.AsyncBaseTransport` with a connection pool; to be created on the running loop.

    Redirects are not followed, cookies not kept. Of the request's `timeout` extension only `connect` applies, in
    seconds, from name lookup to the end of the TLS handshake; the caller limits waiting for bytes. `proxy_for` gets the
    request's URL and its extension `proxy`, and returns the proxy to use, None for a direct connection; it raises
    ValueError with the reason if there can be none. An extension `memo`, a dictionary shared by requests that differ in
    their bodies only, caches what the transport computes for them. The response's extension `response` is its
    `ResponseStream`: `complete` once the whole body has arrived, read or not, with the raw headers. `allows` is
    asked of each IP address of a host, after its lookup, before a connection to it.
    """

    def __init__(
        self,
        proxy_for: ProxyFor = _as_asked,
        resolver: Resolver | None = None,
        *,
        allows: AddressCheck = any_address,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._proxy_for = proxy_for
        self._resolver = resolver or Resolver()
        self._allows = allows
        self._host_pools: dict[tuple[httpx.URL, Proxy | None], _HostPool] = {}

    def __repr__(self) -> str:
        hosts = ", ".join(map(repr, self._host_pools.values()))
        return f"<PooledTransport {hosts or 'without connections'}>"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and return its response, body unread.

        An idle connection that its server has closed is detected before anything is sent on it, and replaced. One that
        is closed afterwards is a failure: its server may have processed the request. Raises the `httpx.TransportError`
        that says what happened.
        """
        memo = request.extensions.get("memo")
        prepared = None if memo is None else memo.get(self)
        if prepared is None:
            pool = self._host_pool(request)
            prepared = pool, _head(request, pool)
            if memo is not None:
                memo[self] = prepared
        pool, head = prepared
        connection = pool.idle(self._loop.time()) or await self._connect(pool, request)
        stream = request.stream  # its taking says that it goes out now; `aread` is slower
        content = b"".join(stream) if isinstance(stream, httpx.ByteStream) else await request.aread()
        answer = connection.send(b"%b%d\r\n\r\n" % (head, len(content)), content, request)
        try:
            while not answer.has_head:
                await answer.progress()
        except BaseException:
            connection.abort()
            raise
        response = _Response(answer, answer if not answer.encoding else _Decoded(answer, request))
        if pool.asks_proxy and response.status_code == _PROXY_WANTS_CREDENTIALS:
            await response.aclose()
            raise httpx.ProxyError(f"{pool}: the proxy requires other credentials", request=request)
        return response

    async def _connect(self, pool: _HostPool, request: httpx.Request) -> Connection:
        timeout_s = request.extensions.get("timeout", {}).get("connect")
        try:
            async with asyncio.timeout(timeout_s):
                return await pool.connect(self._loop)
        except TimeoutError:
            raise httpx.ConnectTimeout(f"{pool} did not connect within {timeout_s:g} s", request=request) from None
        except ProxyRefused as error:
            raise httpx.ProxyError(f"{pool}: {error}", request=request) from error
        except (OSError, ValueError) as error:
            raise httpx.ConnectError(f"{pool}: {error or type(error).__name__}", request=request) from error

    def _host_pool(self, request: httpx.Request) -> _HostPool:
        """Return the pool for the request's URL and proxy. Raises `httpx.UnsupportedProtocol`."""
        proxy = request.extensions.get("proxy")
        pool = self._host_pools.get((request.url, proxy))
        if pool is None:
            pool = _HostPool(request.url, self._proxy(request), self._resolver, self._allows)
            self._host_pools[request.url, proxy] = pool
        return pool

    def _proxy(self, request: httpx.Request) -> Proxy | None:
        """Return the proxy to use, None for a direct connection. Raises `httpx.UnsupportedProtocol`."""
        url = request.url
        if url.scheme not in _DEFAULT_PORTS or not url.host:
            raise httpx.UnsupportedProtocol(f"not a usable address: {url}", request=request)
        try:
            return self._proxy_for(str(url), request.extensions.get("proxy"))
        except ValueError as error:
            raise httpx.UnsupportedProtocol(str(error), request=request) from error

    async def aclose(self) -> None:
        """Close every connection."""
        connections = [connection for pool in self._host_pools.values() for connection in pool.connections]
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(connection.closed for connection in connections))


class _HostPool:
    """The connections to one URL, and what requests to it have in common."""

    def __init__(self, url: httpx.URL, proxy: Proxy | None, resolver: Resolver, allows: AddressCheck) -> None:
        self.authority = url.netloc
        self.connections: set[Connection] = set()
        self._host = url.raw_host.decode("ascii")
        self._port = url.port or _DEFAULT_PORTS[url.scheme]
        self._tls = url.scheme == "https"
        self.asks_proxy = proxy is not None and not proxy.is_socks and not self._tls
        self.path = b"http://%b%b" % (url.netloc, url.raw_path) if self.asks_proxy else url.raw_path
        self.proxy_headers = [line.encode() for line in proxy_headers(proxy)] if proxy and self.asks_proxy else []
        self._connector = Connector(resolver, self._host, self._port, proxy, tunnels=self._tls, allows=allows)
        self._idle: deque[Connection] = deque()  # most recently used last
        self._sweeping: asyncio.TimerHandle | None = None

    def __str__(self) -> str:
        return f"{self._host}:{self._port}"

    def __repr__(self) -> str:
        return f"<{self}: {len(self._idle)} of {len(self.connections)} idle>"

    def idle(self, now_s: float) -> Connection | None:
        """Return the most recently used idle connection; None if none is usable."""
        while self._idle:
            connection = self._idle.pop()
            if now_s - connection.idle_since_s < KEEPALIVE_S and connection.is_idle():
                return connection
            connection.abort()
        return None

    async def connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        """Open a connection. Raises OSError, or ValueError for an invalid host name."""
        opened = await self._connector.open()
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls = tls_context() if self._tls else None
            _, connection = await loop.create_connection(
                lambda: Connection(self._free), sock=opened, ssl=tls, server_hostname=self._host if tls else None
            )
        except BaseException:
            opened.close()
            raise
        self.connections.add(connection)
        connection.closed.add_done_callback(lambda _: self.connections.discard(connection))
        return connection

    def _free(self, connection: Connection) -> None:
        connection.idle_since_s = connection.loop.time()
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweeping = connection.loop.call_later(KEEPALIVE_S, self._sweep, connection.loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close connections idle for too long; schedule the next sweep."""
        self._sweeping = None
        now_s = loop.time()
        while self._idle and (not self._idle[0].is_open or now_s - self._idle[0].idle_since_s >= KEEPALIVE_S):
            self._idle.popleft().abort()
        if self._idle:
            due_s = self._idle[0].idle_since_s + KEEPALIVE_S
            self._sweeping = loop.call_at(due_s, self._sweep, loop)


class _Response(httpx.Response):
    """A response that builds httpx's headers only when they are read, which arbstr never does."""

    def __init__(self, response: ResponseStream, stream: httpx.AsyncByteStream) -> None:
        self.__dict__.update(_NEW_RESPONSE)
        self.status_code = response.status
        self.stream = stream
        self.extensions = {"response": response}

    @cached_property
    def headers(self) -> httpx.Headers:  # type: ignore[override]  # it can be set as well
        """Return the headers as httpx's type."""
        return httpx.Headers(self.extensions["response"].headers)


_NEW_RESPONSE = {
    name: value for name, value in vars(httpx.Response(0, stream=httpx.ByteStream(b""))).items() if name != "headers"
}


class _Decoded(httpx.AsyncByteStream):
    """The body of a response that is compressed although not requested so, decompressed piece by piece."""

    def __init__(self, response: ResponseStream, request: httpx.Request) -> None:
        self._response = response
        self._request = request
        self._decoder: Decoder | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        decoder = self._decoder
        if decoder is None:
            decoder = self._decoder = self._begin()
        while not decoder.ended:
            if decoder.has_more:
                await asyncio.sleep(0)  # little can unfold to very much: others have their turn
            else:
                decoder.feed(await self._next_packed())
            try:
                piece = decoder.piece()
            except ValueError as error:
                raise self._broken(str(error)) from error
            if piece:
                return piece
        await self._read_tail()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the response."""
        await self._response.aclose()

    async def _next_packed(self) -> bytes:
        try:
            return await anext(self._response)
        except StopAsyncIteration:
            if self._decoder is not None and self._decoder.begun:
                raise self._broken("it ends early") from None
            raise

    async def _read_tail(self) -> None:
        """Read to the end of the body, so that its connection can be reused; but not for long."""
        size = 0
        with suppress(TimeoutError, StopAsyncIteration, httpx.TransportError):
            async with asyncio.timeout(TAIL_S):
                while size <= TAIL_BYTES:
                    size += len(await anext(self._response))

    def _begin(self) -> Decoder:
        encoding = self._response.encoding.decode(errors="replace")
        if encoding not in ENCODINGS:
            raise self._broken("that encoding was not requested")
        return Decoder(encoding)

    def _broken(self, reason: str) -> httpx.RemoteProtocolError:
        encoding = self._response.encoding.decode(errors="replace")
        return httpx.RemoteProtocolError(f"an unreadable {encoding} body: {reason}", request=self._request)


def _head(request: httpx.Request, pool: _HostPool) -> bytes:
    """Return the request's head up to its content length."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), pool.path), b"Host: " + pool.authority]
    lines += pool.proxy_headers
    lines += [
        name + b": " + value for name, value in request.headers.raw if name.lower() not in (b"host", b"content-length")
    ]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise httpx.LocalProtocolError("a line break in a header")
    return b"\r\n".join([*lines, b"Content-Length: "])


@cache
def tls_context() -> ssl.SSLContext:
    """Return the context for connections to hosts: the system's certificates, HTTP/1.1."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
