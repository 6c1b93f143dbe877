"""Responses on the wire: JSON bodies, errors in OpenAI's shape, whole responses in one piece."""

from __future__ import annotations

import json
import math
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Any

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.dialect import Dialect
from arbstr.errors import ApiError
from arbstr.server.ids import new_id
from arbstr.types import HeaderList

_OK = 200
_COPIED_BYTES = 128 * 1024

REQUEST_ID = "X-Arbstr-Request-Id"
SERVER = "arbstr"  # and no version: that is for those who may ask /health


class OwnResponse(web.StreamResponse):
    """A response that writes itself. `is_sent`, which others have not: all of it is written.

    Ask for that rather than for the class: aiohttp's are abstract, so that `isinstance` is Python's, and slow.
    """

    is_sent = False


class WholeResponse(OwnResponse):
    """A complete response, written in one piece.

    aiohttp's own response would also know cookies, compression and payloads of other kinds, for three times the CPU.
    """

    def __init__(self, status: int, headers: HeaderList, body: bytes) -> None:
        # Not aiohttp's: its headers and state are for responses that are prepared by it.
        self._status = status
        self._given = headers
        self._content = body

    @property
    def prepared(self) -> bool:
        """Whether it has been written."""
        return self.is_sent

    def write_to(self, request: web.BaseRequest) -> None:
        """Write it, once. Raises ConnectionError."""
        self.is_sent = True
        keep_alive = self._keep_alive = request.keep_alive
        transport, content = request.transport, self._content
        if transport is None:
            raise ConnectionResetError("the client has left")
        head = _head(
            request, self._status, [*self._given, ("Content-Length", str(len(content)))], keep_alive=keep_alive
        )
        request.writer.output_size = len(head) + len(content)
        if len(content) > _COPIED_BYTES:  # no second copy of what is large, one packet for what is small
            transport.write(head)
            transport.write(content)
        else:
            transport.write(head + content)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write it, once, and wait until the system has taken in most of it. Raises ConnectionError."""
        if not self.is_sent:
            self.write_to(request)
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: all has been written."""


class EventStream(OwnResponse):
    """A stream of events whose head is sent with its first bytes: one packet less.

    It ends with its last chunk, or before HTTP/1.1 with its connection. aiohttp's own would take twice the CPU.
    """

    def __init__(self, headers: HeaderList) -> None:
        # Not aiohttp's, as above.
        self._status = _OK
        self._given = _of_a_stream(headers)
        self._request: web.BaseRequest | None = None
        self._unsent = b""  # its head

    @property
    def prepared(self) -> bool:
        """Whether it has begun."""
        return self._request is not None

    def begin(self, request: web.BaseRequest) -> None:
        """Begin the response, once."""
        if self._request is None:
            self._request = request
            self._chunked = request.version >= HttpVersion11
            self._keep_alive = self._chunked and request.keep_alive
            framing = [("Transfer-Encoding", "chunked")] if self._chunked else []
            self._unsent = _head(request, self._status, [*self._given, *framing], keep_alive=self._keep_alive)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Begin the response, once."""
        self.begin(request)
        return request.writer

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write data; wait while too much is unsent. Raises ConnectionError."""
        await self._send(self._coded(data))

    async def write_eof(self, data: bytes = b"") -> None:
        """End it, once, and wait until the system has taken in most of it. Raises ConnectionError."""
        if not self.is_sent:
            self.is_sent = True
            await self._send((self._coded(data) if data else b"") + (b"0\r\n\r\n" if self._chunked else b""))

    async def _send(self, coded: bytes) -> None:
        assert self._request is not None
        if self._unsent:
            coded, self._unsent = self._unsent + coded, b""
        writer, protocol = self._request.writer, self._request.protocol
        if protocol.transport is None or protocol.transport.is_closing():
            raise ConnectionResetError("the client has left")
        writer.output_size += len(coded)
        protocol.transport.write(coded)
        if protocol.writing_paused:
            await writer.drain()

    def _coded(self, data: bytes | bytearray | memoryview) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), bytes(data)) if self._chunked else bytes(data)


def _of_a_stream(headers: HeaderList) -> HeaderList:
    """Return the headers of a stream of events, whatever the provider calls it."""
    given = {name.lower(): value for name, value in reversed(headers)}
    if "event-stream" not in given.get("content-type", ""):
        headers = [pair for pair in headers if pair[0].lower() != "content-type"]
        headers.append(("Content-Type", "text/event-stream; charset=utf-8"))
    kept = [] if "cache-control" in given else [("Cache-Control", "no-cache")]
    return [*headers, *kept, ("X-Accel-Buffering", "no")]  # nginx before arbstr would gather events otherwise


def _head(request: web.BaseRequest, status: int, headers: HeaderList, *, keep_alive: bool) -> bytes:
    """Return a response's head with its empty line. Raises ValueError if a header would break it."""
    lines = [f"HTTP/1.{int(request.version >= HttpVersion11)} {_status_line(status)}"]
    lines += map(": ".join, headers)
    lines.append(_end(int(time())))
    if not keep_alive:
        lines.append("Connection: close")
    elif request.version < HttpVersion11:
        lines.append("Connection: keep-alive")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines):
        raise ValueError("a line break in a header")
    return head.encode(errors="replace") + b"\r\n\r\n"


@lru_cache(maxsize=1)
def _end(epoch_s: int) -> str:
    """Return two headers that all responses have."""
    return f"Date: {formatdate(epoch_s, usegmt=True)}\r\nServer: {SERVER}"


def json_response(document: Any, status: int = 200) -> web.Response:
    """Return a JSON response."""
    try:
        body = orjson.dumps(document)
    except TypeError:  # what somebody else wrote into the ledger: half a surrogate pair, an integer beyond 64 bits
        body = json.dumps(document).encode()
    return web.Response(status=status, body=body, content_type="application/json")


def error_response(error: ApiError, dialect: Dialect = CHAT) -> web.Response:
    """Return the response for an error."""
    body = orjson.dumps(dialect.error_body(error))
    return web.Response(status=error.status, headers=error_headers(error), body=body)


def error_headers(error: ApiError) -> HeaderList:
    """Return an error's headers, with `Retry-After` in whole seconds and `Allow` where known."""
    headers = [("Content-Type", "application/json")]
    if error.retry_after_s is not None:
        headers.append(("Retry-After", str(max(1, math.ceil(error.retry_after_s)))))
    if error.allowed:
        headers.append(("Allow", ", ".join(error.allowed)))
    return headers


def bare_response(error: ApiError) -> bytes:
    """Return a complete response, head and body, for a connection that is about to be closed."""
    body = orjson.dumps(error.body())
    headers = [*error_headers(error), (REQUEST_ID, new_id()), ("Server", SERVER), ("Content-Length", str(len(body)))]
    lines = [f"HTTP/1.1 {_status_line(error.status)}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "Connection: close\r\n\r\n"]).encode() + body


@lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} "
