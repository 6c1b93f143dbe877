"""JSON documents that are read from strangers: bounded in bytes and time, by the transport that all requests take."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any, Literal, NamedTuple

import httpx

from arbstr import __version__
from arbstr.engine import lenient_json
from arbstr.engine.upstream.response import chunks_of, close
from arbstr.redaction import Secret
from arbstr.transport.connector import Proxy

MAX_BYTES = 4 * 1024 * 1024  # more than any list of models; parsing that much stops the loop for some 30 ms

Failure = Literal["name", "tls", "timeout", "proxy", "connection", "size", "url", "status", "content"]


class FetchFailed(Exception):
    """No whole answer came. `kind` says what failed: the look-up of the name, TLS, a time limit, the proxy, …"""

    def __init__(self, kind: Failure, message: str) -> None:
        super().__init__(message)
        self.kind = kind


NO_HEADERS = httpx.Headers()


class Fetched(NamedTuple):
    """A whole answer: its status, its body as JSON (None where it is none), its headers."""

    status: int
    document: Any
    headers: httpx.Headers = NO_HEADERS

    def content(self) -> Any:
        """Return the document of a 200. Raises `FetchFailed` for any other status."""
        if self.status != httpx.codes.OK:
            raise FetchFailed("status", f"HTTP {self.status}")
        return self.document


def get_request(
    url: str, *, key: Secret | None = None, proxy: Proxy | None = None, connect_s: float = 5.0
) -> httpx.Request:
    """Return a request for a JSON document; without a key it carries no secret."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"arbstr/{__version__}"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key.reveal()}"
    return httpx.Request("GET", url, headers=headers, extensions={"timeout": {"connect": connect_s}, "proxy": proxy})


async def fetch(
    transport: httpx.AsyncBaseTransport, request: httpx.Request, *, within_s: float, most_bytes: int = MAX_BYTES
) -> Fetched:
    """Return the answer to a request. Raises `FetchFailed`, whose text may quote the server."""
    try:
        async with asyncio.timeout(within_s):
            status, headers, body = await _read(transport, request, most_bytes)
    except TimeoutError:
        raise FetchFailed("timeout", f"no whole answer within {within_s:g} s") from None
    except httpx.TransportError as error:
        raise FetchFailed(_kind(error), str(error) or type(error).__name__) from error
    return Fetched(status, lenient_json.loads_or_none(body), headers)


async def _read(
    transport: httpx.AsyncBaseTransport, request: httpx.Request, most_bytes: int
) -> tuple[int, httpx.Headers, bytes]:
    response = await transport.handle_async_request(request)
    try:
        body = bytearray()
        async for chunk in chunks_of(response):
            body += chunk
            if len(body) > most_bytes:
                raise FetchFailed("size", f"an answer of more than {most_bytes:,} bytes")
        return response.status_code, response.headers, bytes(body)
    finally:
        await close(response)


def _kind(error: httpx.TransportError) -> Failure:
    """Return what failed, by the error beneath."""
    kinds: tuple[tuple[type[Exception], Failure], ...] = (
        (httpx.UnsupportedProtocol, "url"),
        (httpx.TimeoutException, "timeout"),
        (httpx.ProxyError, "proxy"),
    )
    for known, kind in kinds:
        if isinstance(error, known):
            return kind
    cause = error.__cause__
    if isinstance(cause, socket.gaierror):
        return "name"
    return "tls" if isinstance(cause, ssl.SSLError) else "connection"
