"""Posts traces to a collector, in batches, from a bounded queue; nothing waits for it, or is tried again."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import httpx

from arbstr import __version__
from arbstr.bus import Subscription
from arbstr.config.schema import Provider
from arbstr.events import Event, RequestFinished
from arbstr.market.posting import post
from arbstr.monitoring.otlp import encode
from arbstr.monitoring.traces import spans_of
from arbstr.redaction import Redactor

logger = logging.getLogger(__name__)

MOST_WAITING = 2048  # requests; the oldest make room
BATCH = 256  # requests in a body
EVERY_S = 1.0
PATIENCE_S = 5.0  # for an answer
LAST_S = 1.0  # for that to the last batch


class TraceExport:
    """Posts the spans of the requests that `finished` receives, with the addresses of `providers`."""

    def __init__(
        self,
        url: str,
        finished: Subscription,
        providers: Iterable[Provider],
        transport: httpx.AsyncBaseTransport,
        redactor: Redactor,
    ) -> None:
        self.url = url
        self.finished = finished
        self._addresses = {provider.name: urlsplit(provider.url) for provider in providers}
        self._transport = transport
        self._redactor = redactor
        self._failing = False

    async def run(self) -> None:
        """Post a batch each second, while there are any; the owner cancels it."""
        while True:
            await self.finished.wait()
            await asyncio.sleep(EVERY_S)
            await self._export(PATIENCE_S)

    async def flush(self) -> None:
        """Post what waits, within a second."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await self._export(LAST_S)

    async def _export(self, patience_s: float) -> None:
        events, missed = self.finished.drain()
        if missed:
            logger.warning("traces: %d requests were dropped, more than the collector takes", missed)
        for start in range(0, len(events), BATCH):
            body = await asyncio.to_thread(self._body, events[start : start + BATCH])
            self._tell(None if body is None else await self._post(body, patience_s))

    def _body(self, events: Sequence[Event]) -> bytes | None:
        """Return the batch as the collector reads it; None if it holds no trace that is wanted."""
        records = [event.record for event in events if isinstance(event, RequestFinished)]
        spans = [span for record in records for span in spans_of(record, self._addresses, _new_id)]
        resource = {"service.name": "arbstr", "service.version": __version__}
        return encode(resource, spans, __version__) if spans else None

    async def _post(self, body: bytes, patience_s: float) -> str | None:
        headers = {"Content-Type": "application/x-protobuf"}
        return await post(self._transport, self._redactor, self.url, body, headers, within_s=patience_s)

    def _tell(self, problem: str | None) -> None:
        """Log the first failure of a row of them, and its end."""
        if problem is not None and not self._failing:
            logger.warning("traces: dropped, since the collector at %s does not take them: %s", self.url, problem)
        elif problem is None and self._failing:
            logger.warning("traces: the collector takes them again")
        self._failing = problem is not None


def _new_id() -> bytes:
    return os.urandom(8)
