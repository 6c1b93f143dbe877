"""The edge that every request and every answer crosses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from random import getrandbits

from aiohttp import web

from arbstr.errors import ApiError, ClientGone, InternalError
from arbstr.proxy.answers import REQUEST_ID, SERVER, error_response
from arbstr.proxy.door import Door
from arbstr.proxy.request import Request
from arbstr.proxy.routes import Routes

logger = logging.getLogger(__name__)

_ALIKE = 1024  # ids in a row that begin alike


class Edge:
    """Gives every request an id, turns strangers away, and every error into an answer in OpenAI's shape."""

    def __init__(self, door: Door, routes: Routes) -> None:
        self._door = door
        self._routes = routes

    async def serve(self, request: Request) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        request.id = new_id()
        request.every_answer = [(REQUEST_ID, request.id), *self._door.cors_headers(request)]
        response: web.StreamResponse
        try:
            self._door.check(request)
            if self._door.is_preflight(request):
                response = web.Response(status=204)
            else:
                response = await self._routes.find(request)(request)
        except ApiError as error:
            response = error_response(error)
        except ClientGone:
            response = web.Response(status=499)  # for nobody
        except Exception:
            logger.exception("request %s met a fault of arbstr's own", request.id)
            response = error_response(InternalError(f"arbstr failed on request {request.id}; its log says why."))
        if not response.prepared:
            response.headers.update([*request.every_answer, ("Server", SERVER)])
        return response


def _ids() -> Iterator[str]:
    """UUIDs v4 of pseudo-random bits: an id is no secret, and the system's randomness costs a call for each.

    Many in a row begin alike, by chance's word as well. So the ledger's index of them, a sorted tree, takes neighbours
    at its leaves: else each row of a large ledger would have a page of its own written for it.
    """
    while True:
        start = f"{getrandbits(32):08x}-{getrandbits(16):04x}"
        for _ in range(_ALIKE):
            end = f"{getrandbits(62) | 1 << 63:016x}"  # the variant's bits are 10
            yield f"{start}-4{getrandbits(12):03x}-{end[:4]}-{end[4:]}"


new_id: Callable[[], str] = _ids().__next__
