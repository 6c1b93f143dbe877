"""What arbstr says of itself: the welcome document at `/`, the description of its API at `/openapi.json`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from arbstr.server.responses import json_response
from arbstr.server.router import Route

if TYPE_CHECKING:
    from arbstr import shapes


def routes() -> list[Route]:
    """Return the routes."""
    return [Route("GET", "/", _welcome), Route("GET", "/openapi.json", _description)]


async def _welcome(request: web.BaseRequest) -> web.Response:
    from arbstr.server.api import ENDPOINTS  # noqa: PLC0415 - no start needs it

    base = f"http://{request.host}/v1"
    document: shapes.Welcome = {
        "name": "arbstr",
        "what": "An OpenAI-compatible proxy: each request goes to the provider that will be cheapest for it.",
        "base_url": base,
        "how": f"Point your client at it: OPENAI_BASE_URL={base}, and as OPENAI_API_KEY the token that arbstr's "
        "configuration sets, or any text if it sets none.",
        "endpoints": {f"{endpoint.method} {endpoint.path}": endpoint.summary for endpoint in ENDPOINTS},
    }
    return json_response(document)


async def _description(request: web.BaseRequest) -> web.Response:
    return web.Response(body=_openapi(), content_type="application/json")


@cache
def _openapi() -> bytes:
    from arbstr.server.openapi import describe  # noqa: PLC0415 - no start needs it, and it takes 50 ms

    return orjson.dumps(describe())
