"""`GET /metrics`, for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from arbstr.errors import NotFound
from arbstr.monitoring.gauges import Gauges
from arbstr.monitoring.request_counters import RequestCounters, RequestCounts
from arbstr.server.access import METRICS_PATH
from arbstr.server.request import Request
from arbstr.server.router import Route

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsEndpoint:
    """Writes the counters and the state, which `gauges` returns, at each scrape."""

    def __init__(self, counters: RequestCounters, gauges: Callable[[], Gauges]) -> None:
        self._counters = counters
        self._gauges = gauges

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route("GET", METRICS_PATH, self._metrics)]

    async def _metrics(self, request: Request) -> web.Response:
        """Return all metrics, written in a thread: thousands of lines would hold up every stream."""
        if request.path_policy is not None:  # its token opens one path
            raise NotFound(f"Metrics are at {METRICS_PATH} alone, of all policies.")
        text = await asyncio.to_thread(_write, self._counters.counts(), self._gauges())
        return web.Response(body=text, headers={"Content-Type": _CONTENT_TYPE})


def _write(counts: RequestCounts, gauges: Gauges) -> bytes:
    from arbstr.server.metrics_text import write  # noqa: PLC0415 - no start needs it, and it takes 50 ms

    return write(counts, gauges)
