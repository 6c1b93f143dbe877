"""Sending of answers, as a fake provider's behavior has it: whole, in halves, in pieces, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import orjson
from aiohttp import web

from arbstr.mock import failures
from arbstr.mock.behaviors import Behavior
from arbstr.mock.stream_script import After, Script
from arbstr.types import JsonObject

_TICK_S = 0.03  # between writes of a stream: a fast one sends several events in each


def json_response(document: JsonObject, status: int = 200) -> web.Response:
    """Return a document as a response."""
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")


async def send_whole(
    request: web.Request,
    behavior: Behavior,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> web.StreamResponse:
    """Answer in one piece."""
    match behavior:
        case Behavior.BAD_JSON:
            return web.Response(body=b'{"id": "chatcmpl-mock", "choices": [', content_type="application/json")
        case Behavior.EMPTY | Behavior.EMPTY_STREAM:
            return web.Response(body=b"", content_type="application/json")
        case Behavior.ERROR_EVENT | Behavior.LATE_ERROR:
            return json_response(failures.failure("this").body)
        case Behavior.DROP | Behavior.STALL:
            return await _send_half(request, body, "abort" if behavior is Behavior.DROP else "hang")
    return web.Response(body=body, content_type=content_type, headers=headers)


async def send_stream(request: web.Request, script: Script, per_second: float) -> web.StreamResponse:
    """Send a stream at `per_second` events a second (0: at once)."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for batch in _batches(script.paced, per_second):
        await response.write(b"".join(batch))
        await asyncio.sleep(len(batch) / per_second if per_second else 0)
    if script.rest:
        await response.write(script.rest)
    return await _end(request, response, script.after)


def hang_up(request: web.Request) -> web.Response:
    """Close the connection at once; the response returned is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _send_half(request: web.Request, body: bytes, after: After) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return await _end(request, response, after)


def _batches(events: list[bytes], per_second: float) -> Sequence[list[bytes]]:
    """Return the events of each write: those due in a tick, at least one."""
    size = max(1, round(per_second * _TICK_S)) if per_second else max(1, len(events))
    return [events[start : start + size] for start in range(0, len(events), size)]


async def _end(request: web.Request, response: web.StreamResponse, after: After) -> web.StreamResponse:
    match after:
        case "abort":
            hang_up(request)
        case "hang":
            await asyncio.Event().wait()
    return response
