"""A proxy in front of a server's socket that can stall (connections stay open, and nothing flows) and cut."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Literal, Self

Way = Literal["up", "down"]


class StallingProxy:
    """Forwards from a port of its own to a socket; in a network that loses nothing until it is asked to."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._flows: dict[Way, asyncio.Event] = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.held = asyncio.Event()  # something has come that is not passed on
        self.resume()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *raised: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def stall(self, way: Way) -> None:
        """Pass nothing on any more, to the server or from it."""
        self.held.clear()
        self._flows[way].clear()

    def resume(self) -> None:
        """Pass everything on, also what has come meanwhile."""
        for flow in self._flows.values():
            flow.set()

    def cut(self) -> None:
        """End all connections at once, without a word."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection(self._socket)
        self._writers |= {writer, there_writer}
        for pump in (self._pump(reader, there_writer, "up"), self._pump(there_reader, writer, "down")):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if not self._flows[way].is_set():
                    self.held.set()
                await self._flows[way].wait()
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()
