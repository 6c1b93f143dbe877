"""The edge that every request and every answer crosses."""

from __future__ import annotations

import logging
import random

from aiohttp import web

from arbstr.errors import ApiError, ClientGone, InternalError
from arbstr.proxy.answers import EVERY_ANSWER, ID, REQUEST_ID, SERVER, error_response
from arbstr.proxy.door import Door
from arbstr.proxy.routes import Routes

logger = logging.getLogger(__name__)

_ID_BITS = 0xFFFFFFFF_FFFF_0FFF_3FFF_FFFFFFFFFFFF  # of a UUID those that chance decides
_VERSION_4 = 0x00000000_0000_4000_8000_000000000000


class Edge:
    """Gives every request an id, turns strangers away, and every error into an answer in OpenAI's shape."""

    def __init__(self, door: Door, routes: Routes) -> None:
        self._door = door
        self._routes = routes

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        request_id = request[ID] = new_id()
        request[EVERY_ANSWER] = [(REQUEST_ID, request_id), *self._door.cors_headers(request)]
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
            logger.exception("request %s met a fault of arbstr's own", request_id)
            response = error_response(InternalError(f"arbstr failed on request {request_id}; its log says why."))
        if not response.prepared:
            response.headers.update([*request[EVERY_ANSWER], ("Server", SERVER)])
        return response


def new_id() -> str:
    """A UUID v4, of pseudo-random bits: an id is no secret, and the system's randomness costs a call for each."""
    digits = f"{random.getrandbits(128) & _ID_BITS | _VERSION_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
