"""The client's end of a request for inference, on aiohttp."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web

from arbstr.engine.body_memory import BodyMemory
from arbstr.engine.dialects.dialect import Dialect
from arbstr.errors import ApiError
from arbstr.server.request import Request
from arbstr.server.request_body import RequestBody, arrived_body
from arbstr.server.responses import EventStream, WholeResponse, error_headers
from arbstr.types import HeaderList


class ClientConnection:
    """Implements `engine.ports.Client` for one aiohttp request. `response` is what it has got, None for nothing."""

    def __init__(self, request: Request, dialect: Dialect, memory: BodyMemory, received_at_ms: int) -> None:
        self.request_id = request.id
        self.received_at_ms = received_at_ms
        self.dialect = dialect
        self.content_type = request.content_type
        self.query: Mapping[str, str] = request.query if dialect.query or dialect.takes_anything else {}
        self.identity = request.client
        self.policy = request.policy
        self.headers: HeaderList = request.head.headers
        self.response: web.StreamResponse | None = None
        self._request = request
        self._protocol = request.protocol
        self._memory = memory
        self._body: RequestBody | None = None
        self._stream: EventStream | None = None
        self._left = False
        self._on_gone: Callable[[], None] | None = None

    @property
    def gone(self) -> bool:
        """Whether the client has closed its connection."""
        transport = self._protocol.transport
        return self._left or transport is None or transport.is_closing()

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Call back once when the client closes its connection, at once if it has."""
        if self._left:
            callback()
        else:
            self._on_gone = callback

    def disconnected(self) -> None:
        """The client has closed its connection."""
        self._left = True
        callback, self._on_gone = self._on_gone, None
        if callback is not None:
            callback()

    @property
    def sent(self) -> bool:
        """Whether the whole body has arrived, so that `body` does not wait."""
        return self._request.content.is_eof()

    async def body(self) -> bytes:
        """Return the request's body. Raises what `RequestBody.read` raises."""
        request = self._request
        if request.head.is_plain_json and (arrived := arrived_body(request)) is not None:
            return arrived
        self._body = RequestBody(request, self._memory, any_type=self.dialect.takes_anything)
        return await self._body.read()

    async def answer(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Send a whole response to a client that is there; waits while it is slow to read."""
        if self.gone:
            return
        response = WholeResponse(status, [*headers, *self._request.common_headers], body)
        try:
            response.write_to(self._request)
            if self._protocol.writing_paused:
                await self._request.writer.drain()
        except ConnectionError:
            self.disconnected()
        self.response = response

    async def refuse(self, error: ApiError, headers: HeaderList) -> None:
        """Send an error: as the response, or as the last event of a stream that has begun."""
        if self._stream is None:
            body = orjson.dumps(self.dialect.error_body(error))
            await self.answer(error.status, [*error_headers(error), *headers], body)
        else:
            await self.end(self.dialect.error_event(error))

    async def start(self, headers: HeaderList) -> None:
        """Start an event stream, status 200."""
        self._stream = self.response = EventStream([*headers, *self._request.common_headers])
        if not self.gone:
            self._stream.begin(self._request)

    async def write(self, data: bytes) -> None:
        """Write to the stream; waits while the client is slow to read."""
        if data and self._stream is not None and not self.gone:
            await self._best_effort(self._stream.write(data))

    async def end(self, data: bytes) -> None:
        """End the stream with these bytes."""
        if self._stream is not None and not self.gone:
            await self._best_effort(self._stream.write_eof(data))

    def close(self) -> None:
        """Release the request's body memory."""
        if self._body is not None:
            self._body.release()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def _best_effort(self, writing: Awaitable[object]) -> None:
        try:
            await writing
        except ConnectionError:
            self.disconnected()
