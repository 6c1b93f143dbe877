"""The client's end of a chat request, on aiohttp."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache

import orjson
from aiohttp import web

from arbstr.engine.upstream import HeaderList
from arbstr.errors import ApiError, ClientGone, RequestTooLarge, UnsupportedMediaType
from arbstr.proxy.answers import REQUEST_ID, error_response

logger = logging.getLogger(__name__)

# Between hops, about this connection or its encoding, or a credential or a trace meant for arbstr: never sent up.
_NOT_UP = frozenset(
    {
        "accept-encoding",
        "api-key",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "origin",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "referer",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-api-key",
        "x-cashu",
        "x-real-ip",
    }
)
_NOT_UP_PREFIXES = ("x-arbstr-", "x-forwarded-", "sec-")


class ClientConnection:
    """Implements `engine.pipeline.Client` for one aiohttp request; `finished` becomes the complete response."""

    def __init__(self, request: web.BaseRequest, request_id: str, received_at_ms: int) -> None:
        self.request_id = request_id
        self.received_at_ms = received_at_ms
        self.policy = request.headers.get("X-Arbstr-Policy", "").strip() or None
        self.headers = fit_to_go_up(request.headers.items(), request.headers.get("Connection", ""))
        self.finished: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()
        self._request = request
        self._stream: web.StreamResponse | None = None
        self._left = False
        self._on_gone: Callable[[], None] | None = None

    @property
    def gone(self) -> bool:
        """Whether the client has closed its connection."""
        transport = self._request.transport
        return self._left or transport is None or transport.is_closing()

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call back once when the client closes its connection, at once if it has."""
        if self._left:
            callback()
        else:
            self._on_gone = callback

    def leave(self) -> None:
        """The client has closed its connection."""
        self._left = True
        callback, self._on_gone = self._on_gone, None
        if callback is not None:
            callback()

    async def body(self) -> bytes:
        """The request's body. Raises `RequestTooLarge`, `UnsupportedMediaType`, `ClientGone`."""
        return await read_json(self._request)

    async def answer(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Give the whole answer."""
        self._finish(web.Response(status=status, headers=[*headers, (REQUEST_ID, self.request_id)], body=body))

    async def refuse(self, error: ApiError, headers: HeaderList) -> None:
        """Give an error: as the answer, or as the last event of a stream that has begun."""
        if self._stream is not None:
            await self.end(b"data: %b\n\n" % orjson.dumps(error.body()))
            return
        response = error_response(error)
        response.headers.extend([*headers, (REQUEST_ID, self.request_id)])
        self._finish(response)

    async def start(self, headers: HeaderList) -> None:
        """Begin a stream of events, status 200."""
        stream = _Stream(headers=[*headers, (REQUEST_ID, self.request_id)])
        if "event-stream" not in stream.headers.get("Content-Type", ""):
            stream.headers["Content-Type"] = "text/event-stream; charset=utf-8"
        stream.headers.setdefault("Cache-Control", "no-cache")
        self._stream = stream
        if not self.gone:
            await self._tolerantly(stream.prepare(self._request))

    async def write(self, data: bytes) -> None:
        """Go on with the stream; waits while the client is slow to read."""
        if data and self._stream is not None and not self.gone:
            await self._tolerantly(self._stream.write(data))

    async def end(self, data: bytes) -> None:
        """End the stream with these bytes."""
        if self._stream is not None:
            if not self.gone:
                await self._tolerantly(self._stream.write_eof(data))
            self._finish(self._stream)

    def abandoned(self, engine_task: asyncio.Task[None]) -> None:
        """The engine has nothing more to say; if it said nothing, the connection is to be closed."""
        if not self.finished.done():
            self.finished.cancel()
        if not engine_task.cancelled() and (fault := engine_task.exception()) is not None:
            logger.error("request %s was not recorded as it should", self.request_id, exc_info=fault)

    async def _tolerantly(self, writing: Awaitable[object]) -> None:
        try:
            await writing
        except ConnectionError:
            self.leave()

    def _finish(self, response: web.StreamResponse) -> None:
        if not self.finished.done():
            self.finished.set_result(response)


class _Stream(web.StreamResponse):
    """A response whose head goes out with its first bytes: one packet less."""

    _send_headers_immediately = False


async def read_json(request: web.BaseRequest) -> bytes:
    """A request's body, labelled as JSON. Raises `RequestTooLarge`, `UnsupportedMediaType`, `ClientGone`."""
    if not is_json(request.content_type):
        told = "Send the request as JSON, with the header 'Content-Type: application/json'."
        raise UnsupportedMediaType(told)
    most = request.client_max_size
    try:
        if (request.content_length or 0) > most:
            raise _too_large(most)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await _say_continue(request)
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large(most) from error
    except (web.RequestPayloadError, ConnectionError) as error:
        if request.transport is None or request.transport.is_closing():
            raise ClientGone("left while sending its request") from error
        raise UnsupportedMediaType("The request's body can't be read as its headers describe it.") from error


async def _say_continue(request: web.BaseRequest) -> None:
    """Tell a client that waits for it that its body is wanted; the answer itself has not begun by that."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0


def fit_to_go_up(headers: Iterable[tuple[str, str]], connection: str) -> HeaderList:
    """The client's headers that a provider may see; `connection` is the `Connection` header, which may name more."""
    named = {name.strip().lower() for name in connection.split(",")}
    # Bytes that are no text stand as surrogates here, which can't be sent again.
    return [
        (name, value if value.isascii() else value.encode(errors="replace").decode())
        for name, value in headers
        if _goes_up(name) and name.lower() not in named
    ]


@lru_cache(maxsize=1024)
def _goes_up(name: str) -> bool:
    lower = name.lower()
    return lower not in _NOT_UP and not lower.startswith(_NOT_UP_PREFIXES)


def is_json(content_type: str) -> bool:
    """Whether a media type is JSON."""
    return content_type == "application/json" or (
        content_type.startswith("application/") and content_type.endswith("+json")
    )


def _too_large(most: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request is larger than {most:,} bytes, the most that server.max_request_mb allows.")
