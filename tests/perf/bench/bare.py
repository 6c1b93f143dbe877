"""The baseline: aiohttp's server before aiohttp's client and nothing between, what Python itself costs."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

from tests.perf.bench import wire

_SESSION = web.AppKey("session", aiohttp.ClientSession)
_UPSTREAM = web.AppKey("upstream", str)


async def forward(request: web.Request) -> web.StreamResponse:
    """Pass the request up and the answer down; streams chunk by chunk as they are read."""
    body = await request.read()
    async with request.app[_SESSION].post(
        request.app[_UPSTREAM], data=body, headers={"Content-Type": "application/json"}
    ) as answer:
        if answer.content_type != "text/event-stream":
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)
        response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
        await response.prepare(request)
        async for data in answer.content.iter_any():
            await response.write(data)
        await response.write_eof()
        return response


async def _session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        app[_SESSION] = session
        yield


async def serve(upstream: str) -> web.Application:
    """The application in front of `upstream`, a URL."""
    app = web.Application()
    app[_UPSTREAM] = upstream
    app.cleanup_ctx.append(_session)
    app.router.add_post(wire.PATH, forward)
    return app


if __name__ == "__main__":
    port, upstream_url = int(sys.argv[1]), sys.argv[2]
    uvloop.install()
    web.run_app(serve(upstream_url), host="127.0.0.1", port=port, access_log=None, print=None)
