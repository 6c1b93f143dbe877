"""The listening port, and aiohttp's server behind it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.streams import StreamReader

from arbstr.errors import AddressInUse, ArbstrError
from arbstr.server.acceptor import Acceptor
from arbstr.server.connections import ConnectionLimit
from arbstr.server.known_heads import KnownHeads
from arbstr.server.protocol import Protocol
from arbstr.server.request import Request
from arbstr.server.router import Handler


class Listener:
    """The open port. `url` is where clients find it."""

    def __init__(self, url: str, server: _Server, clients: ConnectionLimit, acceptor: Acceptor) -> None:
        self.url = url
        self._server = server
        self._clients = clients
        self._acceptor = acceptor

    def serve(self, handler: Handler, *, max_connections: int, max_request_bytes: int) -> None:
        """Have requests from now on served by another handler, within these limits; connections stay open."""
        self._server.handler, self._server.max_request_bytes = handler, max_request_bytes
        self._server.heads.forget()
        self._clients.limit(max_connections)

    async def end(self) -> None:
        """Take no more connections, and close those that are open as soon as they have no request.

        Another process may listen at the port from now on, and who balances requests sees at once that this one
        takes none.
        """
        await self._acceptor.close()
        self._clients.end()


async def listen(
    stack: AsyncExitStack,
    handler: Handler,
    host: str,
    port: int,
    *,
    max_connections: int,
    max_request_bytes: int,
    sockets: Sequence[socket.socket] = (),
) -> Listener:
    """Open the port, until the stack unwinds, unless `sockets` are open already.

    Raises `AddressInUse`, `ArbstrError`.
    """
    server = _Server(handler, max_request_bytes)
    runner = web.ServerRunner(server, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    clients = ConnectionLimit(max_connections, server)
    stack.callback(clients.close)
    shown = f"[{host}]" if ":" in host else host
    try:
        given = Acceptor(list(sockets), clients.new_protocol) if sockets else None
        acceptor = given or await Acceptor.open(host, port, clients.new_protocol)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            remedy = "stop the program that listens there, or choose another address with --listen"
            raise AddressInUse(f"{shown}:{port} is already in use; {remedy}") from error
        raise ArbstrError(f"can't listen on {shown}:{port}: {_why(error)}; {_remedy(error)}") from error
    stack.push_async_callback(acceptor.close)
    return Listener(f"http://{shown}:{acceptor.number}", server, clients, acceptor)


def _why(error: OSError) -> str:
    """Return the system's error message, without what Python adds; name lookups have their own."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _remedy(error: OSError) -> str:
    if error.errno == errno.EACCES:
        return "ports below 1024 are the system's: choose a higher one with --listen, or have systemd open it"
    return "choose an address of this machine with --listen"


class _Server(web.Server):
    """aiohttp's server below its applications: one handler for all requests, which does its own routing."""

    def __init__(self, handler: Handler, max_request_bytes: int) -> None:
        super().__init__(self._serve, request_factory=self._request)  # type: ignore[arg-type]  # it gets what that makes
        self._event_loop = asyncio.get_running_loop()
        self.handler = handler
        self.max_request_bytes = max_request_bytes
        self.heads = KnownHeads()

    def __call__(self) -> Protocol:
        """Return the protocol for a new connection."""
        return Protocol(self, self._event_loop, self.heads)

    def _serve(self, request: Request) -> Awaitable[web.StreamResponse]:
        """Serve a request by today's handler: connections keep what they were given, and outlive it."""
        return self.handler(request)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> Request:
        loop, size = self._event_loop, self.max_request_bytes
        if message.method == "UNKNOWN":  # what could not be parsed; it is answered in the language that arbstr speaks
            message = message._replace(version=HttpVersion11)
        return Request(message, payload, protocol, writer, task, loop, client_max_size=size)
