"""The port that arbstr listens on, and how many clients may be connected to it at a time."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import cast
from weakref import WeakSet

import orjson
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from arbstr.errors import AddressInUse, ArbstrError, InvalidParameter, Overloaded
from arbstr.proxy.answers import REQUEST_ID, error_response
from arbstr.proxy.edge import new_id
from arbstr.proxy.port import Port
from arbstr.proxy.request import Request
from arbstr.proxy.routes import Handler
from arbstr.text import plain

logger = logging.getLogger(__name__)

_TOLD_CHARS = 200  # of the parser's words


async def listen(
    stack: AsyncExitStack, handler: Handler, host: str, port: int, *, most_clients: int, max_request_bytes: int
) -> str:
    """Open the port, until the stack unwinds; returns the URL. Raises `AddressInUse`, `ArbstrError`."""
    server = _Server(handler, max_request_bytes)
    runner = web.ServerRunner(server, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    shown = f"[{host}]" if ":" in host else host
    try:
        opened = await Port.open(host, port, _at_most(most_clients, server))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            remedy = "stop the program that listens there, or choose another address with --listen"
            raise AddressInUse(f"{shown}:{port} is already in use; {remedy}") from error
        raise ArbstrError(f"can't listen on {shown}:{port}: {_why(error)}") from error
    stack.push_async_callback(opened.close)
    return f"http://{shown}:{opened.number}"


def _why(error: OSError) -> str:
    """The system's words, without what Python adds; a name that is not found has words of its own."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    return os.strerror(error.errno)


class _Server(web.Server):
    """aiohttp's server below its applications: one handler for all requests, which does its own routing."""

    def __init__(self, handler: Handler, max_request_bytes: int) -> None:
        super().__init__(handler, request_factory=self._request)  # type: ignore[arg-type]  # it gets what that makes
        self._event_loop = asyncio.get_running_loop()
        self._max_request_bytes = max_request_bytes
        # Also those whose connection is still being set up, as it is for a whole crowd at a time.
        self.clients: WeakSet[_Protocol] = WeakSet()

    def __call__(self) -> web.RequestHandler:
        """The protocol of a new connection."""
        protocol = _Protocol(self, loop=self._event_loop, access_log=None)  # type: ignore[arg-type]  # no log
        self.clients.add(protocol)
        return protocol

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> Request:
        loop, size = self._event_loop, self._max_request_bytes
        return Request(message, payload, protocol, writer, task, loop, client_max_size=size)


class _Protocol(web.RequestHandler):
    """aiohttp's side of a connection, but for clients that leave, and for what becomes of bytes that are no HTTP."""

    def data_received(self, data: bytes) -> None:
        """Take in what came. If a body turns into garbage on the way, whoever waits for the rest of it must know.

        aiohttp keeps the parser's complaint for the time when the request is answered, which then never comes.
        """
        super().data_received(data)
        request = self._current_request
        if request is None or not self._messages or isinstance(self._messages[-1][0], RawRequestMessage):
            return
        if not request.content.is_eof():
            self._messages.pop()
            request.content.set_exception(web.RequestPayloadError("a body that turned into something else"))

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the request under way that its client has left: aiohttp could only cancel it."""
        request = self._current_request
        server = self._manager
        super().connection_lost(exc)
        if isinstance(server, _Server):
            server.clients.discard(self)
        if isinstance(request, Request) and request.on_leave is not None:
            request.on_leave()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What the parser refuses is the client's fault: an answer in OpenAI's shape, a line in the log, no more."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        # After a colon the parser quotes what the client sent: its token, perhaps.
        told = plain((message or "it can't be read").partition(":")[0], _TOLD_CHARS)
        logger.info("refused what %s sent, it is no HTTP: %s", request.remote, told)
        response = error_response(InvalidParameter(f"The request is not HTTP as it should be: {told}"))
        response.headers[REQUEST_ID] = new_id()
        response.force_close()
        return response


def _at_most(most: int, server: _Server) -> Callable[[], asyncio.BaseProtocol]:
    """Makes the protocol of each new connection: aiohttp's, or the refusal where that would be one too many.

    Connections that never finish a request, or never begin one, would otherwise take every file the system grants,
    and leave none for the way to the providers.
    """
    crowded = _Refusal(most)
    return lambda: server() if len(server.clients) < most else crowded


class _Refusal(asyncio.Protocol):
    """Tells whoever connects that there are too many, and hangs up. It remembers nothing, so one serves all."""

    def __init__(self, most: int) -> None:
        error = Overloaded(f"{most} clients are connected, the most that arbstr takes.")
        body = orjson.dumps(error.body())
        self._answer = (
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n%b: %%b\r\n\r\n%b" % (len(body), REQUEST_ID.encode(), body)
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer before anything was asked."""
        going = cast("asyncio.Transport", transport)
        going.write(self._answer % new_id().encode())
        going.close()
