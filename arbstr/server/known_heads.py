"""The heads of requests that were parsed before: a client's next request differs in its body, and little else.

Parsing a head costs several times as much as finding its bytes among those already parsed. Only aiohttp's parser
parses: what it makes of a head is remembered, so that the same bytes mean the same every time.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDict, CIMultiDictProxy

from arbstr.types import ClientHeaders

if TYPE_CHECKING:
    from arbstr.engine.clients import KnownClient
    from arbstr.server.router import Handler

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,15})\r\n")
_MOST_KNOWN = 256
_LONGEST_KNOWN = 8192  # bytes


class Head:
    """A request's head, with what follows from it alone: found out once for all requests that have the same.

    `endpoint` serves them, once one of them was let in, `client` is whose key it has; `content_type` is None until
    somebody has asked.
    """

    def __init__(self, message: RawRequestMessage) -> None:
        self.message = message
        self.content_type: str | None = None
        self.endpoint: Handler | None = None
        self.client: KnownClient | None = None

    @cached_property
    def is_plain_json(self) -> bool:
        """Whether the body is said to be JSON, and not compressed."""
        return is_json(self.content_type or "") and "Content-Encoding" not in self.message.headers

    @cached_property
    def headers(self) -> ClientHeaders:
        """The headers, in order."""
        return ClientHeaders(self.message.headers.items())

    @cached_property
    def policy(self) -> str:
        """The policy that a header names, empty for none."""
        return self.message.headers.get("X-Arbstr-Policy", "").strip()


class ArrivedBody(StreamReader):
    """A request's body that arrived in whole, with its head: no part of it need be waited for."""

    def __init__(self, head: Head, body: bytes) -> None:  # without what a stream needs to grow
        self.head = head
        self._body = body

    @property
    def size(self) -> int:
        """How many bytes have not been read."""
        return len(self._body)

    def is_eof(self) -> bool:
        """Return True: nothing more comes."""
        return True

    def read_nowait(self, n: int = -1) -> bytes:
        """Return the whole body, once."""
        body, self._body = self._body, b""
        return body

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Drop the body: the request has ended, or its client has left."""
        self._body = b""


class KnownHeads:
    """Heads as they were parsed, by their bytes without the digits of the body's length, which varies."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def forget(self) -> None:
        """Forget all heads, and with them what was let in."""
        self._known.clear()

    def request(self, data: bytes) -> tuple[RawRequestMessage, ArrivedBody] | None:
        """Return the request that `data` is; None unless it is a single one, in whole, with a known head."""
        begin = data.find(_END) + len(_END)
        length = _LENGTH.search(data, 0, begin)
        if length is None or int(length[1]) != len(data) - begin:
            return None
        head = self._known.get(_unvarying(data, begin, length))
        return None if head is None else (head.message, ArrivedBody(head, data[begin:]))

    def learn(self, data: bytes, message: RawRequestMessage) -> int | None:
        """Remember the head at the beginning of `data`, parsed as `message`.

        Return how many bytes of the body are still to come; None if `data` is not a single request, or its body has no
        length.
        """
        begin = data.find(_END) + len(_END)
        head = data[:begin]
        if message.chunked or message.upgrade or begin < len(_END) or head.count(b"\n") != head.count(b"\r\n"):
            return None
        length = _LENGTH.search(head)
        missing = begin + (0 if length is None else int(length[1])) - len(data)
        if length is not None and begin <= _LONGEST_KNOWN:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[_unvarying(data, begin, length)] = Head(_without_length(message))
        return missing if missing >= 0 else None


def _unvarying(data: bytes, begin: int, length: re.Match[bytes]) -> bytes:
    """Return a head without the digits of its length."""
    return data[: length.start(1)] + data[length.end(1) : begin]


def _without_length(message: RawRequestMessage) -> RawRequestMessage:
    headers = CIMultiDict(message.headers)
    headers.popall("Content-Length")
    return message._replace(headers=CIMultiDictProxy(headers))


def is_json(media_type: str) -> bool:
    """Return whether a media type is JSON."""
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
