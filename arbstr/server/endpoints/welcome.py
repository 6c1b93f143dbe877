"""What arbstr says of itself: the welcome page at `/`, the description of its API at `/openapi.json`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson
from aiohttp import web

from arbstr.server.request import Request
from arbstr.server.router import Route

if TYPE_CHECKING:
    from arbstr import shapes


class WelcomeEndpoints:
    """The two pages; `passthrough` are the paths below `/v1` that pass through."""

    def __init__(self, passthrough: Iterable[str]) -> None:
        self._passthrough = tuple(passthrough)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/", self._welcome, for_clients=True),
            Route("GET", "/openapi.json", self._description, for_clients=True),
        ]

    async def _welcome(self, request: Request) -> web.Response:
        """Return what arbstr is and how to use it: JSON, but text to who would rather have that, browsers for one."""
        accepted = request.headers.get("Accept", "")
        document = self._document(_base_url(request))
        if "json" in accepted or "text/" not in accepted:
            return web.Response(
                body=orjson.dumps(document, option=orjson.OPT_INDENT_2), content_type="application/json"
            )
        return web.Response(text=_page(document), content_type="text/plain")

    def _document(self, base: str) -> shapes.Welcome:
        from arbstr.server.api import endpoints  # noqa: PLC0415 - no start needs it

        document: shapes.Welcome = {
            "name": "arbstr",
            "what": "An OpenAI-compatible proxy: each request goes to the provider that will be cheapest for it.",
            "base_url": base,
            "how": f"Point your client at it: OPENAI_BASE_URL={base}, and as OPENAI_API_KEY the token that arbstr's "
            "configuration sets, or any text if it sets none. 'arbstr connect' prints the settings of many clients.",
            "endpoints": {f"{each.method} {each.path}": each.summary for each in endpoints(self._passthrough)},
        }
        return document

    async def _description(self, request: web.BaseRequest) -> web.Response:
        return web.Response(body=_openapi(self._passthrough), content_type="application/json")


def _base_url(request: Request) -> str:
    policy = "" if request.path_policy is None else f"/policy/{quote(request.path_policy, safe='')}"
    return f"http://{request.host}{policy}/v1"


def _page(document: shapes.Welcome) -> str:
    endpoints = document["endpoints"].items()
    width = max(len(endpoint) for endpoint, _ in endpoints)
    lines = [f"  {endpoint:{width}}  {summary}" for endpoint, summary in endpoints]
    return "\n".join([f"arbstr. {document['what']}", "", document["how"], "", *lines, ""])


@lru_cache(maxsize=1)
def _openapi(passthrough: tuple[str, ...]) -> bytes:
    from arbstr.server.openapi import describe  # noqa: PLC0415 - no start needs it, and it takes 50 ms

    return orjson.dumps(describe(passthrough))
