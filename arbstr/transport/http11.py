"""One HTTP/1.1 connection to a provider: an asyncio protocol around the httptools parser.

A connection carries one request at a time. Its `ResponseStream` completes or fails by what arrives from the network
alone, whether or not it is read. So a connection is free for the next request the moment its response ends.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator, Callable
from typing import cast

import httptools
import httpx

MAX_HEADER_BYTES = 64 * 1024  # that bring no byte of a body: a head, interim answers, trailers
HELD_BYTES = 128 * 1024  # of an unread body: beyond, the socket is not read either

_FRAMING_LENGTHS = frozenset(map(len, ("content-length", "transfer-encoding", "content-encoding")))

Failure = type[httpx.TransportError]


class BrokenResponse(httpx.RemoteProtocolError):
    """Raised when a response broke off or is not HTTP: its server has worked on the request.

    `status` is the one it had, 0 if it broke off before.
    """

    status = 0


class ResponseStream(httpx.AsyncByteStream):
    """A response as it arrives: `progress` waits for more until it `has_head`, iterating yields the body's bytes.

    A wait may be cancelled and taken up again. Raises the `httpx.TransportError` that says how the exchange failed.
    """

    def __init__(self, connection: Connection, request: httpx.Request) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False
        self.framed = False  # the head tells where the body ends; else the end of the connection does
        self.framed_twice = False  # by a length and in chunks: what follows the chunks is anybody's guess
        self.encoding = b""
        self.complete = False
        self.body_bytes = 0  # so far, read or not
        self._connection = connection
        self._request = request
        self._failure: httpx.TransportError | None = None
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_read(self) -> bool:
        """Whether the whole body has arrived and has been read."""
        return self.complete and not self._parts

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self.complete:
                raise StopAsyncIteration
            await self.progress()
        return self.take()

    def take(self) -> bytes:
        """Return what has arrived of the body and is not read yet."""
        data = b"".join(self._parts)
        self._parts.clear()
        if self._held_bytes > HELD_BYTES and not self.complete:  # then the connection is another answer's
            self._connection.resume()
        self._held_bytes = 0
        return data

    async def aclose(self) -> None:
        """Close it: an incomplete response ends its connection, as nothing else would stop it."""
        if not self.complete:
            self._connection.abort()

    def begin_body(self) -> None:
        """Note that status and headers are complete."""
        self.has_head = True
        has_length = chunked = False
        for name, value in self.headers:
            if len(name) not in _FRAMING_LENGTHS:  # most names need no other look
                continue
            match name.lower():
                case b"content-length":
                    has_length = True
                case b"transfer-encoding":
                    chunked = value.lower().endswith(b"chunked")
                case b"content-encoding":
                    self.encoding = value.strip().lower().removeprefix(b"identity")
        self.framed = has_length or chunked
        self.framed_twice = has_length and chunked

    def add(self, parts: list[bytes]) -> None:
        """Add bytes of the body."""
        self._parts += parts
        size = sum(map(len, parts))
        self.body_bytes += size
        before, self._held_bytes = self._held_bytes, self._held_bytes + size
        if before <= HELD_BYTES < self._held_bytes:
            self._connection.pause()

    def fail(self, kind: Failure, reason: str) -> None:
        """Fail the response; the first reason given stands."""
        if not self.complete and self._failure is None:
            self._failure = kind(reason, request=self._request)
            self.wake()

    def break_off(self, reason: str) -> None:
        """Fail a response that has begun."""
        self.fail(BrokenResponse, reason)
        if isinstance(self._failure, BrokenResponse):
            self._failure.status = self.status

    def wake(self) -> None:
        """Wake the reader: something has changed."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def progress(self) -> asyncio.Future[None]:
        """Wait until something has arrived, or will not. Raises why it will not."""
        if self._failure is not None:
            raise self._failure
        self._waiter = self._connection.loop.create_future()
        return self._waiter


class Connection(asyncio.Protocol):
    """A connection; `free` is called when it can carry the next exchange. To be created on the running loop."""

    def __init__(self, free: Callable[[Connection], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self.nothing_received = True  # nothing has come back in this exchange
        self.idle_since_s = 0.0  # on the loop's clock
        self._free = free
        self._transport: asyncio.Transport | None = None
        self._socket: select.poll | None = None  # asked before a kept connection is used again
        self._response: ResponseStream | None = None
        self._header_bytes = 0
        self._paused = False
        self._keep_alive = False  # the connection, after this answer
        self._arrived: list[bytes] = []  # of a body, by the bytes that are being parsed
        self.on_body = self._arrived.append  # the parser's, once for each chunk of a stream: it has to be cheap
        self._parser = httptools.HttpResponseParser(self)
        # What servers in the wild get wrong, and readers agree about.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_chunked_length=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )

    def __repr__(self) -> str:
        state = "closed" if not self.is_open else "idle" if self._response is None else "in use"
        return f"<Connection {state}{', paused' if self._paused else ''}>"

    @property
    def is_open(self) -> bool:
        """Whether it can be written to, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    def is_idle(self) -> bool:
        """Check that nothing unread has arrived, such as the end of the connection."""
        if self._socket is None:
            return self.is_open
        return self.is_open and not self._socket.poll(0)

    def send(self, head: bytes, content: bytes, request: httpx.Request) -> ResponseStream:
        """Send a request, head and body; its answer is to be waited for."""
        assert self._transport is not None
        response = self._response = ResponseStream(self, request)
        self.nothing_received = True
        self._header_bytes = 0
        if len(content) > HELD_BYTES:  # no second copy of what is large, one packet for what is small
            self._transport.write(head)
            self._transport.write(content)
        else:
            self._transport.write(head + content)
        return response

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Read no more from the socket for now."""
        if self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read from the socket again."""
        if self._transport is not None and self._paused:
            self._paused = False
            self._transport.resume_reading()

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; unexpected ones, and what is not HTTP, end the connection."""
        response = self._response
        if response is None:
            self.abort()
            return
        self.nothing_received = False
        failure = self._parse(data)
        progressed = bool(self._arrived)
        if progressed:
            response.add(self._arrived)
            self._arrived.clear()
        if failure is not None:
            response.break_off(f"not HTTP: {failure}")
            self.abort()
        elif response.complete:
            self._end(response)
        elif progressed:
            self._header_bytes = 0
        else:
            self._limit(response, len(data))
        response.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the response that the connection carried, if any."""
        response, self._response = self._response, None
        if response is not None:
            reason = "" if exc is None else str(exc) or type(exc).__name__
            if self.nothing_received and reason:
                response.fail(httpx.ReadError, reason)
            elif self.nothing_received:
                response.fail(httpx.RemoteProtocolError, "closed without a response")
            elif reason or not response.has_head or response.framed:
                response.break_off(reason or "closed before the end of its response")
            else:
                response.complete = True
            response.wake()
        self._transport = None
        self.closed.set_result(None)

    def _parse(self, data: bytes) -> Exception | None:
        """Feed the parser, which calls the methods below; return why it can't continue, if so."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            return error
        return None

    def _end(self, response: ResponseStream) -> None:
        """End the response, and free the connection if it can carry another."""
        self._response = None
        sent = self._transport is not None and not self._transport.get_write_buffer_size()
        if self._keep_alive and sent:
            self.resume()
            self._watch_socket()
            self._free(self)
        else:
            self.abort()

    def _watch_socket(self) -> None:
        """Let `is_idle` ask the socket, where the system can tell."""
        if self._socket is None and self._transport is not None and hasattr(select, "poll"):
            self._socket = select.poll()
            self._socket.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)

    def _limit(self, response: ResponseStream, size: int) -> None:
        """Limit what the parser collects outside of bodies."""
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            response.break_off(f"headers of more than {MAX_HEADER_BYTES:,} bytes")
            self.abort()

    # The parser calls these.

    def on_message_begin(self) -> None:
        """Begin a response, final or interim. Raises ValueError if none was requested."""
        if self._response is None or self._response.complete:
            raise ValueError("an unsolicited response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; trailers, after the body, are ignored."""
        response = self._response
        if response is not None and not response.has_head:
            response.headers.append((name, value))

    def on_status(self, status: bytes) -> None:
        """Set the status."""
        cast("ResponseStream", self._response).status = self._parser.get_status_code()

    def on_headers_complete(self) -> None:
        """Note that the head is complete; interim responses (1xx) are skipped."""
        response = cast("ResponseStream", self._response)
        response.status = self._parser.get_status_code()
        if response.status < 200:
            response.headers.clear()
            return
        response.begin_body()

    def on_message_complete(self) -> None:
        """End a response, final or interim."""
        response = cast("ResponseStream", self._response)
        response.complete = response.has_head
        self._keep_alive = response.framed and not response.framed_twice and self._parser.should_keep_alive()
