"""The port that arbstr listens on, and how many clients may be connected to it at a time."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import cast

import orjson
from aiohttp import web

from arbstr.errors import AddressInUse, ArbstrError, Overloaded

_BACKLOG = 1024  # connections that the system keeps until they are taken up


async def listen(stack: AsyncExitStack, app: web.Application, host: str, port: int, *, most_clients: int) -> str:
    """Open the port, until the stack unwinds; returns the URL. Raises `AddressInUse`, `ArbstrError`."""
    # Without handler_cancellation no handler learns that its client has left.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0, handle_signals=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    shown = f"[{host}]" if ":" in host else host
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(_at_most(most_clients, runner), host, port, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            told = f"{shown}:{port} is taken by another program; stop it, or choose another address with --listen"
            raise AddressInUse(told) from error
        raise ArbstrError(f"can't listen on {shown}:{port}: {error.strerror or error}") from error
    stack.callback(server.close)
    return f"http://{shown}:{server.sockets[0].getsockname()[1]}"


def _at_most(most: int, runner: web.AppRunner) -> Callable[[], asyncio.BaseProtocol]:
    """Makes the protocol of each new connection: aiohttp's, or the refusal where that would be one too many.

    Connections that never finish a request, or never begin one, would otherwise take every file the system grants,
    and leave none for the way to the providers.
    """
    server = runner.server
    assert server is not None
    crowded = _Refusal(most)
    return lambda: server() if len(server.connections) < most else crowded


class _Refusal(asyncio.Protocol):
    """Tells whoever connects that there are too many, and hangs up. It remembers nothing, so one serves all."""

    def __init__(self, most: int) -> None:
        error = Overloaded(f"{most} clients are connected, the most that arbstr takes.")
        body = orjson.dumps(error.body())
        self._answer = (
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer before anything was asked."""
        going = cast("asyncio.Transport", transport)
        going.write(self._answer)
        going.close()
