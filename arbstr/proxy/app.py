"""The server: every path, and the edge that each request and answer crosses."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from arbstr.engine.pipeline import Engine
from arbstr.errors import ApiError, InternalError
from arbstr.proxy.answers import ID, REQUEST_ID, api_error, error_response
from arbstr.proxy.client import ClientConnection
from arbstr.proxy.door import Door

logger = logging.getLogger(__name__)

_ID_BITS = 0xFFFFFFFF_FFFF_0FFF_3FFF_FFFFFFFFFFFF  # of a UUID those that chance decides
_VERSION_4 = 0x00000000_0000_4000_8000_000000000000


class Chats:
    """`POST /v1/chat/completions`: each request lives in a task of its own, which outlives a client that leaves."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tasks: set[asyncio.Task[None]] = set()

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Serve one chat request."""
        client = ClientConnection(request, request[ID], time.time_ns() // 1_000_000)
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


def build_app(door: Door, routes: Iterable[web.RouteDef], max_request_bytes: int) -> web.Application:
    """The application: its routes behind the edge."""
    app = web.Application(middlewares=[_edge(door)], client_max_size=max_request_bytes)
    app.router.add_routes(routes)
    return app


def _edge(door: Door) -> Middleware:
    """Gives every request an id, turns strangers away, and every error into an answer in OpenAI's shape."""

    @web.middleware
    async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = request[ID] = _new_id()
        response: web.StreamResponse
        try:
            door.check(request)
            response = await handler(request)
        except ApiError as error:
            response = error_response(error)
        except web.HTTPException as error:
            response = error_response(api_error(error, request.path))
            if isinstance(error, web.HTTPMethodNotAllowed):
                response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        except Exception:
            logger.exception("request %s met a fault of arbstr's own", request_id)
            response = error_response(InternalError(f"arbstr failed on request {request_id}; its log says why."))
        if not response.prepared:
            response.headers[REQUEST_ID] = request_id
            response.headers.update(door.cors_headers(request))
        return response

    return edge


def _new_id() -> str:
    """A UUID v4, of pseudo-random bits: an id is no secret, and the system's randomness costs a call for each."""
    digits = f"{random.getrandbits(128) & _ID_BITS | _VERSION_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
