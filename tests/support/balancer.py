"""A balancer as small as it can be: connections go to its backends in turn, past those that take none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from threading import Thread
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")


class Balancer:
    """One address in front of several, in a thread of its own; `backends` are URLs and may change while it runs."""

    def __init__(self) -> None:
        self.backends: list[str] = []
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.close()
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in self.backends:
            self._turn += 1
            backend = urlsplit(self.backends[self._turn % len(self.backends)])
            with contextlib.suppress(OSError):
                there_reader, there_writer = await asyncio.open_connection(backend.hostname, backend.port)
                for way in ((reader, there_writer), (there_reader, writer)):
                    task = asyncio.create_task(_pump(*way))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                return
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
