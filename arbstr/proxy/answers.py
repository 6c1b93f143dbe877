"""How answers look on the wire: JSON bodies, and errors in OpenAI's shape."""

from __future__ import annotations

import math
from typing import Any

import orjson
from aiohttp import web

from arbstr.errors import ApiError

REQUEST_ID = "X-Arbstr-Request-Id"
ID = web.RequestKey("id", str)  # the same, with the request while arbstr works on it


def json_response(document: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")


def error_response(error: ApiError) -> web.Response:
    """The answer for an error, with `Retry-After` in whole seconds and `Allow` where they say more."""
    response = json_response(error.body(), error.status)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.allowed:
        response.headers["Allow"] = ", ".join(error.allowed)
    return response
