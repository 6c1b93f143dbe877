"""aiohttp's protocol for a client's connection, extended for clients that are slow, silent or do not speak HTTP."""

from __future__ import annotations

import asyncio
import logging
from array import array
from contextlib import suppress
from typing import Literal, NamedTuple, cast

from aiohttp import web
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import ERROR

from arbstr.errors import ApiError, HeadersTooLarge, InvalidParameter, RequestTimeout
from arbstr.sanitize import sanitize
from arbstr.server.ids import new_id
from arbstr.server.known_heads import ArrivedBody, KnownHeads
from arbstr.server.request import Request
from arbstr.server.responses import REQUEST_ID, SERVER, bare_response, error_response

try:
    import fcntl
    import termios
except ImportError:  # not on every system
    _TIOCOUTQ = 0
else:
    _TIOCOUTQ = getattr(termios, "TIOCOUTQ", 0)

logger = logging.getLogger(__name__)

LONGEST_HEADER = 64 * 1024  # bytes; tokens of single sign-on take more than aiohttp's 8 KB
LONGEST_ADDRESS = 32 * 1024
LONGEST_HEAD = 256 * 1024

_MESSAGE_CHARS = 200  # of the parser's words
_OVER = web.PayloadAccessError("the request has ended")


class Awaited(NamedTuple):
    """What a client is waited for, and its progress: unchanged, nothing has moved."""

    what: Literal["first request", "head", "next request", "reading"]
    so_far: int


class Protocol(web.RequestHandler):
    """aiohttp's protocol, with its own handling of clients that leave or stall, and of bytes that are not HTTP."""

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop, heads: KnownHeads) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # no log
            max_line_size=LONGEST_ADDRESS,
            max_field_size=LONGEST_HEADER,
            auto_decompress=False,
            keepalive_timeout=0,  # without a timer
        )
        self.on_lost = _ignore
        self._wire: asyncio.Transport | None = None  # aiohttp forgets its own before all that was written has gone out
        self._ends = False  # with the request that is being answered
        self._heads = heads
        self._head_bytes = 0  # of a head that is not complete
        self._due: int | None = 0  # bytes of a body that have yet to come, None if there is no telling
        self._answered: Request | None = None  # the request that is being answered, or the last that was

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, to know what is still unsent."""
        self._wire = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, unless they are a request whose head is known. If a body is malformed, fail its reader.

        aiohttp keeps the parser's complaint for the time when the request is answered, which then never comes.
        """
        if self._due == 0 and not self._messages and self._take_known(data):
            return
        queued = len(self._messages)
        super().data_received(data)
        if data:
            self._due = self._still_due(data, queued)
        waiter, request = self._waiter, self._current_request
        if self._request_count and (waiter is None or waiter.done()):
            self._head_bytes = 0
        else:
            self._head_bytes += len(data)
            if self._head_bytes > LONGEST_HEAD:
                self._refuse(HeadersTooLarge(f"The request headers are longer than {LONGEST_HEAD:,} bytes in total."))
        if request is None or not self._messages or isinstance(self._messages[-1][0], RawRequestMessage):
            return
        if not request.content.is_eof():
            self._messages.pop()
            request.content.set_exception(web.RequestPayloadError("a body that turned into something else"))

    async def start(self) -> None:
        """Serve the requests on this connection, one after the other.

        aiohttp's own loop makes a task of each, and keeps a timer that `ConnectionLimit` makes needless.
        """
        goes_on = True
        while goes_on and not self._force_close:
            if not self._messages:
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter  # cancelled when the connection closes
                finally:
                    self._waiter = None
                continue
            try:
                goes_on = await self._serve()
            except ConnectionError:
                goes_on = False
            except Exception:
                logger.exception("unhandled exception on a client's connection")
                self.force_close()
            except BaseException:
                self.force_close()
                raise
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _serve(self) -> bool:
        """Serve the next request; return whether another may follow."""
        message, payload = self._messages.popleft()
        if type(payload) is not ArrivedBody and self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        assert self._request_factory is not None
        assert self._task_handler is not None
        writer = StreamWriter(self, self._loop)
        if isinstance(message, RawRequestMessage):
            request = self._request_factory(message, payload, self, writer, self._task_handler)
            response, has_left = await self._answer(request)
        else:
            request = self._request_factory(ERROR, payload, self, writer, self._task_handler)
            response, has_left = await self._handle_request(request, None, self._make_error_handler(message))
        if not has_left and not payload.is_eof():
            await self._skip_rest(payload)
        payload.set_exception(_OVER)
        self._keepalive = bool(response.keep_alive)
        return self._keepalive and not has_left and not self._close and not self._ends

    async def _answer(self, request: web.BaseRequest) -> tuple[web.StreamResponse, bool]:
        """Serve a request, as aiohttp does; return what `finish_response` does."""
        assert self._request_handler is not None
        self._request_in_progress, self._current_request = True, request
        try:
            try:
                response = await self._request_handler(request)
            except Exception as error:
                response = self.handle_error(request, 500, error)
            self._current_request = None
            if getattr(response, "is_sent", False) and not self._upgraded:
                return response, False
            return await self.finish_response(request, response, None)
        finally:
            self._current_request = None
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)

    async def _skip_rest(self, payload: StreamReader) -> None:
        """Read past a body that nobody has read, for its sender to read the answer; close if it takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lingering_time):
                while not payload.is_eof() and not self._force_close:
                    await payload.readany()
        if not payload.is_eof():
            self.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Notify the request in flight that its client has disconnected: aiohttp could only cancel it."""
        request = self._current_request
        super().connection_lost(exc)
        self._wire = self._answered = None
        self.on_lost(self)
        if isinstance(request, Request) and request.on_disconnect is not None:
            request.on_disconnect()

    @property
    def is_idle(self) -> bool:
        """Whether no request is in flight or waiting."""
        return self._wire is not None and not self._request_in_progress and not self._messages

    @property
    def has_asked(self) -> bool:
        """Whether any request has arrived."""
        return self._request_count > 0

    def awaited(self) -> Awaited | None:
        """Return what the client is waited for now; None if nothing. Its body has a deadline of its own."""
        if self._wire is None:
            return None
        if waiting := self._wire.get_write_buffer_size():
            if isinstance(self._current_request, Request):
                self._answered = self._current_request
            return Awaited("reading", self._written_bytes() - waiting - _unsent_bytes(self._wire))
        self._answered = None
        if not self.is_idle:
            return None
        if self._head_bytes:
            return Awaited("head", self._request_count)
        return Awaited("next request" if self.has_asked else "first request", self._request_count)

    def time_out(self, awaited: Awaited) -> None:
        """Close the connection: what was awaited from the client has not arrived in time."""
        if awaited.what == "head":
            self._refuse(RequestTimeout("Timed out waiting for the rest of the request headers."))
            return
        if awaited.what == "reading":
            logger.info("closed the connection of a client that stopped reading")
        self.abort()

    def end(self) -> None:
        """Close the connection once its request is answered; at once if it waits for another after the first."""
        self._ends = True
        if self.is_idle and self.has_asked and not self._head_bytes:
            self.abort()

    def abort(self) -> None:
        """Close the connection, at once if what was written does not go out."""
        transport = self._wire
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()
        else:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser refuses in OpenAI's shape, and log a line: it is the client's fault."""
        if status >= 500:
            response = super().handle_error(request, status, exc, message)
        else:
            response = error_response(_refusal(request, exc, message))
            response.headers[REQUEST_ID] = new_id()
            response.force_close()
        response.headers["Server"] = SERVER
        return response

    def _take_known(self, data: bytes) -> bool:
        """Queue the request that `data` is, if its head is known; the parser, which is between requests, is spared."""
        known = None if self._close or self._force_close else self._heads.request(data)
        if known is None:
            return False
        self._request_count += 1
        self._messages.append(known)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return True

    def _still_due(self, data: bytes, queued: int) -> int | None:
        """Return how many bytes of a body are due after `data`, before which `queued` requests waited."""
        if self._due is None:
            return None
        if self._due:
            return self._due - len(data) if len(data) <= self._due else None
        message = self._messages[-1][0] if len(self._messages) == queued + 1 else None
        return self._heads.learn(data, message) if isinstance(message, RawRequestMessage) else None

    def _written_bytes(self) -> int:
        """Return how many bytes were written for the current or last request."""
        return 0 if self._answered is None else self._answered.writer.output_size

    def _refuse(self, error: ApiError) -> None:
        """Send an error for an incomplete request, and close."""
        transport = self._wire
        if transport is not None and not transport.is_closing():
            transport.write(bare_response(error))
        self.force_close()


def _ignore(protocol: Protocol) -> None:
    """Do nothing."""


def _unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how many of a connection's bytes the system has buffered, as far as it tells: it takes by the MB."""
    left = array("i", [0])
    if _TIOCOUTQ:
        with suppress(OSError, ValueError):
            fcntl.ioctl(transport.get_extra_info("socket").fileno(), _TIOCOUTQ, left)
    return left[0]


def _refusal(request: web.BaseRequest, exc: BaseException | None, message: str | None) -> ApiError:
    # After a colon the parser quotes what the client sent: its token, perhaps.
    message = sanitize((message or "it can't be read").partition(":")[0], _MESSAGE_CHARS)
    logger.info("rejected malformed HTTP from %s: %s", request.remote, message)
    if isinstance(exc, LineTooLong) and exc.args[1] == LONGEST_HEADER:
        return HeadersTooLarge(f"A request header is longer than {LONGEST_HEADER:,} bytes.")
    return InvalidParameter(f"The request is malformed HTTP: {message}")
