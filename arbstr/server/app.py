"""The server application, which every request and response passes through."""

from __future__ import annotations

import logging
import time

from aiohttp import web

from arbstr.engine.dialects.registry import dialect_at
from arbstr.errors import ApiError, ClientGone, InternalError
from arbstr.sanitize import sanitize
from arbstr.server.access import AccessControl
from arbstr.server.ids import new_id
from arbstr.server.request import Request
from arbstr.server.responses import REQUEST_ID, SERVER, error_response
from arbstr.server.router import EndpointRouter, Handler
from arbstr.types import CLIENT_CLOSED

logger = logging.getLogger(__name__)

_LINES_A_MINUTE = 100
_MINUTE_S = 60.0


class App:
    """Gives every request an id, checks access, and turns every error into a response, in its path's dialect."""

    def __init__(self, access: AccessControl, routes: EndpointRouter) -> None:
        self._access = access
        self._router = routes
        self._refusals = _Refusals()

    async def serve(self, request: Request) -> web.StreamResponse:
        """Return a response to a request, whatever happens."""
        request.id = new_id()
        known = request.head.endpoint
        cors = [] if known is not None else self._access.cors_headers(request)
        request.common_headers = [(REQUEST_ID, request.id), *cors]
        response: web.StreamResponse
        try:
            response = await (known or self._endpoint(request))(request)
        except ApiError as error:
            self._refusals.log(request, error)
            response = error_response(error, dialect_at(request.raw_path))
        except ClientGone:
            response = web.Response(status=CLIENT_CLOSED)  # never sent
        except Exception:
            logger.exception("unhandled exception in request %s", request.id)
            fault = InternalError(f"Internal error (request {request.id}); see arbstr's log.")
            response = error_response(fault, dialect_at(request.raw_path))
        if not hasattr(response, "is_sent"):
            response.headers.update([*request.common_headers, ("Server", SERVER)])
        return response

    def _endpoint(self, request: Request) -> Handler:
        """Return who serves a request. Raises an `ApiError` if it is not allowed, or nobody does.

        Remembered with its head, unless the answer depends on more: on the page or the policy it is from, or on the
        time, because its key expires.
        """
        client = request.head.client = self._access.check(request)
        if self._access.is_preflight(request):
            return _preflight
        endpoint = self._router.find(request)
        expires = client is not None and client.expires_ms is not None
        if request.path_policy is None and "Origin" not in request.headers and not expires:
            request.head.endpoint = endpoint
        return endpoint


async def _preflight(request: Request) -> web.StreamResponse:
    return web.Response(status=204)


class _Refusals:
    """Logs refused requests, which have no row, at a limited rate."""

    def __init__(self) -> None:
        self._since_s = 0.0
        self._logged = 0

    def log(self, request: Request, error: ApiError) -> None:
        """Log a refusal: `_LINES_A_MINUTE` lines at most, then only how many more."""
        now_s = time.monotonic()
        if now_s - self._since_s >= _MINUTE_S:
            if self._logged > _LINES_A_MINUTE:
                logger.info("refused %d more requests", self._logged - _LINES_A_MINUTE)
            self._since_s, self._logged = now_s, 0
        self._logged += 1
        if self._logged <= _LINES_A_MINUTE:
            target, reason = sanitize(f"{request.method} {request.path}"), sanitize(error.message.partition(". ")[0])
            logger.info("refused %s from %s: %d %s: %s", target, request.remote, error.status, error.code, reason)
