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

_COPIED_BYTES = 128 * 1024

REQUEST_ID = "X-Arbstr-Request-Id"
SERVER = "arbstr"  # and no version: that is for those who may ask /health


class WholeResponse(web.StreamResponse):
    """A complete response, written in one piece.

    aiohttp's own response would also know cookies, compression and payloads of other kinds, for three times the CPU.
    """

    def __init__(self, status: int, headers: HeaderList, body: bytes) -> None:
        # Not aiohttp's: its headers and state are for responses that are prepared by it.
        self._status = status
        self._given = headers
        self._content = body
        self._written = False

    @property
    def prepared(self) -> bool:
        """Whether it has been written."""
        return self._written

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write it, once, and wait until the system has taken in most of it. Raises ConnectionError."""
        if not self._written:
            self._written = True
            self._keep_alive = request.keep_alive
            if request.transport is None:
                raise ConnectionResetError("the client has left")
            sized = ("Content-Length", str(len(self._content)))
            head = _head(request, self.status, [*self._given, sized], keep_alive=self._keep_alive)
            request.writer.output_size = len(head) + len(self._content)
            if len(self._content) > _COPIED_BYTES:  # no second copy of what is large, one packet for what is small
                request.transport.write(head)
                request.transport.write(self._content)
            else:
                request.transport.write(head + self._content)
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: all has been written."""


class EventStream(web.StreamResponse):
    """A stream of events whose head is sent with its first bytes: one packet less.

    It ends with its last chunk, or before HTTP/1.1 with its connection. aiohttp's own would take twice the CPU.
    """

    def __init__(self, headers: HeaderList) -> None:
        super().__init__()
        self._given = _of_a_stream(headers)
        self._writer: AbstractStreamWriter | None = None
        self._unsent = b""  # its head
        self._ended = False

    @property
    def prepared(self) -> bool:
        """Whether it has begun."""
        return self._writer is not None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Begin the response, once."""
        if self._writer is None:
            self._writer = request.writer
            self._chunked = request.version >= HttpVersion11
            self._keep_alive = self._chunked and request.keep_alive
            framing = [("Transfer-Encoding", "chunked")] if self._chunked else []
            self._unsent = _head(request, self.status, [*self._given, *framing], keep_alive=self._keep_alive)
        return self._writer

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write data; wait while too much is unsent. Raises ConnectionError."""
        assert self._writer is not None
        await self._writer.write(self._taken_head() + self._coded(data))

    async def write_eof(self, data: bytes = b"") -> None:
        """End it, once, and wait until the system has taken in most of it. Raises ConnectionError."""
        if self._ended:
            return
        self._ended = True
        assert self._writer is not None
        last = b"0\r\n\r\n" if self._chunked else b""
        await self._writer.write(self._taken_head() + (self._coded(data) if data else b"") + last)
        await self._writer.drain()

    def _taken_head(self) -> bytes:
        head, self._unsent = self._unsent, b""
        return head

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
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append(f"Date: {_http_date(int(time()))}\r\nServer: {SERVER}")
    if not keep_alive:
        lines.append("Connection: close")
    elif request.version < HttpVersion11:
        lines.append("Connection: keep-alive")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines):
        raise ValueError("a line break in a header")
    return head.encode(errors="replace") + b"\r\n\r\n"


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


@lru_cache(maxsize=1)
def _http_date(epoch_s: int) -> str:
    return formatdate(epoch_s, usegmt=True)
