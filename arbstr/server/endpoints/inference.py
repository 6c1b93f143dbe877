"""The endpoints that ask for inference, one for each dialect, and the requests in flight."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from aiohttp import web

from arbstr.clock import wall_ms
from arbstr.engine.body_memory import BodyMemory
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.dialects.passthrough import Passthrough, is_path
from arbstr.engine.dialects.registry import DIALECTS
from arbstr.engine.pipeline import Engine
from arbstr.errors import NotFound
from arbstr.sanitize import sanitize
from arbstr.server.client import ClientConnection
from arbstr.server.request import Request
from arbstr.server.router import NamedRoute, Route
from arbstr.types import CLIENT_CLOSED

logger = logging.getLogger(__name__)


class InFlightTasks:
    """The tasks of connections, each with one request in flight."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._finished = asyncio.Event()  # all of them, while draining
        self.add = self._tasks.add

    def discard(self, task: asyncio.Task[Any]) -> None:
        """Note that a task's request has ended."""
        self._tasks.discard(task)
        if not self._tasks:
            self._finished.set()

    async def drain(self, grace_s: float, force: asyncio.Event) -> None:
        """Wait for the requests in flight, at most `grace_s` seconds or until `force` is set; then cancel the rest."""
        if not self._tasks:
            return
        self._finished.clear()
        waits = [asyncio.create_task(event.wait()) for event in (force, self._finished)]
        await asyncio.wait(waits, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        ending = [*waits, *self._tasks]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


class InferenceEndpoints:
    """Endpoints whose requests are served to their end, also when their clients have left."""

    def __init__(
        self, engine: Engine, memory: BodyMemory, in_flight: InFlightTasks, passthrough: Iterable[str] = ()
    ) -> None:
        self._passthrough = tuple(passthrough)
        self._engine = engine
        self._memory = memory
        self._in_flight = in_flight

    def routes(self) -> list[Route | NamedRoute]:
        """Return the routes."""
        routes: list[Route | NamedRoute] = []
        for path in self._passthrough:
            prefix = path.removesuffix("*")
            if prefix != path:
                routes.append(NamedRoute("POST", f"/v1/{prefix}", partial(self._pass, prefix), for_clients=True))
        exact = [*DIALECTS, *(Passthrough(path) for path in self._passthrough if not path.endswith("*"))]
        serving = [Route("POST", f"/v1/{each.path}", partial(self._serve, each), for_clients=True) for each in exact]
        return [*serving, *routes]

    async def _pass(self, prefix: str, request: Request, rest: str) -> web.StreamResponse:
        """Serve a request below a path that is passed through. Raises `NotFound` for what can't be a path."""
        path = prefix + rest
        if not is_path(path):
            raise NotFound(f"There is no endpoint /v1/{sanitize(path)}.")
        return await self._serve(Passthrough(path), request)

    async def _serve(self, dialect: Dialect, request: Request) -> web.StreamResponse:
        """Serve one request."""
        task = request.task
        client = ClientConnection(request, dialect, self._memory, wall_ms())
        self._in_flight.add(task)
        request.on_disconnect = client.disconnected
        try:
            await self._engine.handle(client)
        except Exception:
            if client.response is None:
                raise
            logger.exception("could not fully record request %s", client.request_id)
            client.abort()
        finally:
            self._in_flight.discard(task)
            client.close()
            request.on_disconnect = None  # a cycle, which would keep body and answer until the collector comes by
        return client.response or web.Response(status=CLIENT_CLOSED)  # never sent: its client has left
