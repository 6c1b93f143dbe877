"""The welcome document at `/`: what arbstr is and how to use it."""

from __future__ import annotations

from aiohttp import web

from arbstr.server.responses import json_response
from arbstr.server.router import Route

_ENDPOINTS = {
    "POST /v1/chat/completions": "a chat request",
    "GET /v1/models": "the available models",
    "GET /v1/stats": "spending and latency",
    "GET /v1/requests": "individual requests",
    "POST /v1/cost": "what a chat request would cost, and where",
    "GET /providers": "the providers and their health",
    "GET /health": "whether arbstr can serve",
    "GET /openapi.json": "the API description",
}


def routes() -> list[Route]:
    """Return the route."""
    return [Route("GET", "/", _welcome)]


async def _welcome(request: web.BaseRequest) -> web.Response:
    base = f"http://{request.host}/v1"
    document = {
        "name": "arbstr",
        "what": "An OpenAI-compatible proxy: each request goes to the provider that will be cheapest for it.",
        "base_url": base,
        "how": f"Point your client at it: OPENAI_BASE_URL={base}, and as OPENAI_API_KEY the token that arbstr's "
        "configuration sets, or any text if it sets none.",
        "endpoints": _ENDPOINTS,
    }
    return json_response(document)
