"""`GET /v1/events`, which dashboards in other processes watch, and `POST /v1/events/query`, where they ask."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from aiohttp import web

from arbstr.engine.body_memory import BodyMemory
from arbstr.engine.dialects.body import decode
from arbstr.engine.upstream.sse import encode_event
from arbstr.errors import InternalError, InvalidParameter, LedgerUnavailable
from arbstr.ledger.model import Entry
from arbstr.monitoring.event_feed import EventFeed
from arbstr.monitoring.source import Source
from arbstr.monitoring.wire_format import encode
from arbstr.server.request import Request
from arbstr.server.request_body import RequestBody
from arbstr.server.responses import EventStream
from arbstr.server.router import Route

logger = logging.getLogger(__name__)

EVENTS_PATH = "/v1/events"
QUERY_PATH = "/v1/events/query"
BATCH = 500  # entries sent at a time


class EventEndpoints:
    """Sends events and answers questions. `memory` is what bodies may take."""

    def __init__(self, feed: EventFeed, source: Source, memory: BodyMemory) -> None:
        self._feed = feed
        self._source = source
        self._memory = memory

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("GET", EVENTS_PATH, self._events), Route("POST", QUERY_PATH, self._query)]

    async def _events(self, request: Request) -> web.StreamResponse:
        """Send a snapshot and what follows, until the watcher leaves or arbstr stops."""
        if request.method == "HEAD":
            return web.Response(content_type="text/event-stream")
        watcher = self._feed.watch(request.headers.get("Last-Event-ID"))
        request.on_disconnect = watcher.end
        try:
            return await _sent(request, _chunks(watcher.next))
        finally:
            request.on_disconnect = None
            watcher.end()

    async def _query(self, request: Request) -> web.StreamResponse:
        """Answer a question about the ledger or the providers' offers, exactly as the dashboard here would get it."""
        from arbstr.monitoring.questions import ENTRIES, BadQuestion, read_question  # noqa: PLC0415 - no start needs it

        body = RequestBody(request, self._memory)
        try:
            name, arguments = read_question(decode(await body.read()))
        except BadQuestion as bad:
            raise InvalidParameter(str(bad), param="ask") from bad
        finally:
            body.release()
        try:
            if name == ENTRIES:
                return await _sent(request, _batches(self._source.ledger.entries(**arguments)))
            asked = self._source if name == "offers" else self._source.ledger
            answer = await getattr(asked, name)(**arguments)
        except OverflowError as error:
            raise InvalidParameter("A number in it is too large.") from error
        except LedgerUnavailable as error:
            logger.warning("a dashboard's question could not be answered: %s", error)
            raise InternalError("The ledger cannot be read right now; see arbstr's log.") from error
        return web.Response(body=b'{"answer":%b}' % encode(answer), content_type="application/json")


async def _sent(request: Request, chunks: AsyncGenerator[bytes, None]) -> EventStream:
    """Send a stream of events, as long as somebody reads it. Raises LedgerUnavailable as long as nothing was sent."""
    stream = EventStream([("Cache-Control", "no-store"), *request.common_headers])
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                await stream.prepare(request)
                await stream.write(chunk)
        await stream.prepare(request)
        await stream.write_eof()
    except ConnectionError:
        pass
    except LedgerUnavailable:
        if not stream.prepared:
            raise
        logger.warning("an export broke off: the ledger cannot be read", exc_info=True)
        if request.transport is not None:
            request.transport.abort()
    return stream


async def _chunks(following: Callable[[], Awaitable[bytes]]) -> AsyncGenerator[bytes, None]:
    while chunk := await following():
        yield chunk


async def _batches(entries: AsyncIterator[Entry]) -> AsyncGenerator[bytes, None]:
    """Yield entries, so many at a time, and at last an event that says that these were all."""
    batch = list[Entry]()
    async for entry in entries:
        batch.append(entry)
        if len(batch) == BATCH:
            yield encode_event(encode(batch))
            batch.clear()
    yield encode_event(encode(batch))
    yield encode_event(b"{}", name=b"end")
