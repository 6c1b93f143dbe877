"""The chat requests under way."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from aiohttp import web

from arbstr.engine.pipeline import Engine
from arbstr.proxy.client import ClientConnection


class Chats:
    """`POST /v1/chat/completions`: each request lives in a task of its own, which outlives a client that leaves."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tasks: set[asyncio.Task[None]] = set()

    async def complete(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one chat request."""
        client = ClientConnection(request, time.time_ns() // 1_000_000)
        task = asyncio.get_running_loop().create_task(self._engine.handle(client))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, client))
        try:
            return await client.finished
        except asyncio.CancelledError:
            client.leave()
            raise

    def _ended(self, client: ClientConnection, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        client.abandoned(task)

    async def finish(self, grace_s: float, insisted: asyncio.Event) -> None:
        """Wait for the requests under way, at most so long or until someone insists, then end those that are left."""
        impatience: asyncio.Future[Any] = asyncio.create_task(insisted.wait())
        everyone: asyncio.Future[Any] = asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.wait([impatience, everyone], timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        impatience.cancel()
        everyone.cancel()
        await asyncio.gather(impatience, everyone, return_exceptions=True)
