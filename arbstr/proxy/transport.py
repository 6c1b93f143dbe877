"""The way to providers: httpx's transport seam over aiohttp's connection pool, with a true error map.

httpx's own pool costs ten times the CPU; published bridges map errors so that a request which was sent looks safe to
repeat. Here every failure becomes the httpx exception that says what happened:

==============================================  ==========================
no connection (refused, DNS, TLS)               `ConnectError`
no connection in time                           `ConnectTimeout`
no answer, or no more of it, in time            `ReadTimeout`
closed or reset before an answer                `RemoteProtocolError`, `ReadError`
not HTTP, or a body that breaks off             `RemoteProtocolError`
an address that is none                         `UnsupportedProtocol`
==============================================  ==========================
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from functools import lru_cache
from typing import Any
from weakref import WeakSet

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

MAX_HEADER_BYTES = 64 * 1024

_reused: ContextVar[bool] = ContextVar("reused", default=False)
_url = lru_cache(maxsize=1024)(URL)


class PooledConnector(aiohttp.TCPConnector):
    """aiohttp's pool, which also tells the caller's context whether a connection was used before."""

    def __init__(self) -> None:
        super().__init__(limit=0, keepalive_timeout=60, ttl_dns_cache=60)
        self._seen: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the overridden method's name
    ) -> Connection:
        """A connection for the request, from the pool or new."""
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        _reused.set(protocol in self._seen)
        if protocol is not None:
            self._seen.add(protocol)
        return connection


class AiohttpTransport(httpx.AsyncBaseTransport):
    """An `httpx.AsyncBaseTransport` over one `aiohttp.ClientSession`; to be made on the running loop.

    Redirects are not followed, cookies not kept, the environment's proxies not used. Of the request's `timeout`
    extension `connect` holds, in seconds; waiting for bytes is bounded by the caller.
    """

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=PooledConnector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            read_bufsize=2**17,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and return its response, body unread.

        A kept connection that turns out dead before it answered a byte is replaced once: the provider had closed it.
        Raises the `httpx.TransportError` that says what happened.
        """
        content = await request.aread()
        _reused.set(False)
        try:
            try:
                answer = await self._send(request, content)
            except (aiohttp.ServerDisconnectedError, ConnectionResetError) as error:
                if not _reused.get() or _has_begun(error):
                    raise
                answer = await self._send(request, content)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _translated(error, request) from error
        return httpx.Response(
            answer.status,
            headers=list(answer.raw_headers),
            stream=_Body(answer, request),
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def _send(self, request: httpx.Request, content: bytes) -> aiohttp.ClientResponse:
        return await self._session.request(
            request.method,
            _url(str(request.url)),
            data=content or None,
            headers=_headers(tuple(request.headers.raw)),
            allow_redirects=False,
            timeout=_timeout(request.extensions.get("timeout", {}).get("connect")),
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


class _Body(httpx.AsyncByteStream):
    """A response's bytes as they are read from the socket. A wait for more may be cancelled and tried again."""

    def __init__(self, answer: aiohttp.ClientResponse, request: httpx.Request) -> None:
        self._answer = answer
        self._request = request

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await self._answer.content.readany()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _translated(error, self._request) from error
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Give the connection back to the pool, or close it if the answer was not read to its end."""
        self._answer.release()


@lru_cache(maxsize=256)
def _headers(raw: tuple[tuple[bytes, bytes], ...]) -> CIMultiDictProxy[str]:
    """The headers as aiohttp wants them. A client sends the same ones again and again, so they are made once."""
    return CIMultiDictProxy(CIMultiDict([(name.decode(), value.decode()) for name, value in raw]))


@lru_cache(maxsize=256)
def _timeout(connect_s: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_s)


def _has_begun(error: Exception) -> bool:
    """Whether part of an answer had arrived when the connection closed."""
    return isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)


# The first row that fits, so subclasses before their bases.
_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (asyncio.TimeoutError, httpx.ReadTimeout),
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
