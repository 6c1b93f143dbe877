"""Posts to receivers whose answers tell nothing but whether they took it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx

from arbstr import __version__
from arbstr.engine.upstream.response import chunks_of, close
from arbstr.redaction import Redactor
from arbstr.sanitize import sanitize_clause

REST_S = 1.0  # for the rest of an answer
_MOST_BYTES = 64 * 1024  # of that


async def post(
    transport: httpx.AsyncBaseTransport,
    redactor: Redactor,
    url: str,
    body: bytes,
    headers: dict[str, str],
    *,
    within_s: float,
) -> str | None:
    """Post a body; return what went wrong, None if it was taken. Never raises.

    It was taken once a status of 2xx has come, however long the answer goes on.
    """
    given = {**headers, "Accept-Encoding": "identity", "User-Agent": f"arbstr/{__version__}"}
    try:
        request = httpx.Request("POST", url, content=body, headers=given, extensions={"timeout": {"connect": within_s}})
        async with asyncio.timeout(within_s):
            response = await transport.handle_async_request(request)
    except TimeoutError:
        return f"no answer within {within_s:g} s"
    except httpx.TransportError as error:
        return sanitize_clause(redactor.text(str(error) or type(error).__name__))
    except Exception as error:
        return type(error).__name__  # its text might quote the URL
    await _read_off(response)
    return None if 200 <= response.status_code < 300 else f"HTTP {response.status_code}"


async def _read_off(response: httpx.Response) -> None:
    """Read a short answer to its end, so that its connection can be used again; break off any other."""
    size = 0
    try:
        with suppress(TimeoutError, httpx.TransportError):
            async with asyncio.timeout(REST_S):
                async for chunk in chunks_of(response):
                    size += len(chunk)
                    if size > _MOST_BYTES:
                        break
    finally:
        await close(response)
