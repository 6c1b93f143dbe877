"""How answers look on the wire: JSON bodies, errors in OpenAI's shape, whole answers in one piece."""

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

from arbstr.errors import ApiError
from arbstr.server.ids import new_id
from arbstr.types import HeaderList

_COPIED_BYTES = 128 * 1024

REQUEST_ID = "X-Arbstr-Request-Id"
SERVER = "arbstr"  # and no version: that is for those who may ask /health


class WholeResponse(web.StreamResponse):
    """An answer all of which is there, written in one piece.

    aiohttp's own response would also know cookies, compression and payloads of other kinds, for three times the CPU.
    """

    def __init__(self, status: int, headers: HeaderList, body: bytes) -> None:
        super().__init__(status=status)
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
            head = self._head(request)
            request.writer.output_size = len(head) + len(self._content)
            if len(self._content) > _COPIED_BYTES:  # no second copy of what is large, one packet for what is small
                request.transport.write(head)
                request.transport.write(self._content)
            else:
                request.transport.write(head + self._content)
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""

    def _head(self, request: web.BaseRequest) -> bytes:
        lines = [f"HTTP/1.{int(request.version >= HttpVersion11)} {_status_line(self.status)}"]
        lines += [f"{name}: {value}" for name, value in self._given]
        lines.append(f"Content-Length: {len(self._content)}\r\nDate: {_http_date(int(time()))}\r\nServer: {SERVER}")
        if not self.keep_alive:
            lines.append("Connection: close")
        elif request.version < HttpVersion11:
            lines.append("Connection: keep-alive")
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) + 1:
            raise ValueError("a line break in a header")
        return head.encode(errors="replace") + b"\r\n\r\n"


def json_response(document: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    try:
        body = orjson.dumps(document)
    except TypeError:  # what somebody else wrote into the ledger: half a surrogate pair, an integer beyond 64 bits
        body = json.dumps(document).encode()
    return web.Response(status=status, body=body, content_type="application/json")


def error_response(error: ApiError) -> web.Response:
    """The answer for an error."""
    return web.Response(status=error.status, headers=error_headers(error), body=orjson.dumps(error.body()))


def error_headers(error: ApiError) -> HeaderList:
    """Its headers, with `Retry-After` in whole seconds and `Allow` where they say more."""
    headers = [("Content-Type", "application/json")]
    if error.retry_after_s is not None:
        headers.append(("Retry-After", str(max(1, math.ceil(error.retry_after_s)))))
    if error.allowed:
        headers.append(("Allow", ", ".join(error.allowed)))
    return headers


def bare_answer(error: ApiError) -> bytes:
    """All that whoever is to be hung up on gets, head and body."""
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
