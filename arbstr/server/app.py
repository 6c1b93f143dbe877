"""The edge that every request and every answer crosses."""

from __future__ import annotations

import logging
import time

from aiohttp import web

from arbstr.errors import ApiError, ClientGone, InternalError
from arbstr.sanitize import sanitize
from arbstr.server.access import AccessControl
from arbstr.server.ids import new_id
from arbstr.server.request import Request
from arbstr.server.responses import REQUEST_ID, SERVER, error_response
from arbstr.server.router import EndpointRouter

logger = logging.getLogger(__name__)

_LINES_A_MINUTE = 100
_MINUTE_S = 60.0


class App:
    """Gives every request an id, turns strangers away, and every error into an answer in OpenAI's shape."""

    def __init__(self, access: AccessControl, routes: EndpointRouter) -> None:
        self._access = access
        self._router = routes
        self._refusals = _Refusals()

    async def serve(self, request: Request) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        request.id = new_id()
        request.common_headers = [(REQUEST_ID, request.id), *self._access.cors_headers(request)]
        response: web.StreamResponse
        try:
            self._access.check(request)
            if self._access.is_preflight(request):
                response = web.Response(status=204)
            else:
                response = await self._router.find(request)(request)
        except ApiError as error:
            self._refusals.log(request, error)
            response = error_response(error)
        except ClientGone:
            response = web.Response(status=499)  # for nobody
        except Exception:
            logger.exception("unhandled exception in request %s", request.id)
            response = error_response(InternalError(f"Internal error (request {request.id}); see arbstr's log."))
        if not response.prepared:
            response.headers.update([*request.common_headers, ("Server", SERVER)])
        return response


class _Refusals:
    """Log lines about requests that no row tells of: not more of them than somebody could read."""

    def __init__(self) -> None:
        self._since_s = 0.0
        self._logged = 0

    def log(self, request: Request, error: ApiError) -> None:
        """One line, of which there are `_LINES_A_MINUTE`; then only that there are more."""
        now_s = time.monotonic()
        if now_s - self._since_s >= _MINUTE_S:
            if self._logged > _LINES_A_MINUTE:
                logger.info("refused %d more requests", self._logged - _LINES_A_MINUTE)
            self._since_s, self._logged = now_s, 0
        self._logged += 1
        if self._logged <= _LINES_A_MINUTE:
            target, reason = sanitize(f"{request.method} {request.path}"), sanitize(error.message.partition(". ")[0])
            logger.info("refused %s from %s: %d %s: %s", target, request.remote, error.status, error.code, reason)
