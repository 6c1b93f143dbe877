"""The bodies of requests: JSON, no larger than allowed, and not for ever on their way."""

from __future__ import annotations

from contextlib import nullcontext

from aiohttp import web

from arbstr.engine.deadline import Deadline
from arbstr.errors import ClientGone, RequestTimeout, RequestTooLarge, UnsupportedMediaType

SILENCE_S = 30.0  # how long a client may send nothing while its body is not complete


async def read_json(request: web.BaseRequest) -> bytes:
    """The request's body. Raises `UnsupportedMediaType`, `RequestTooLarge`, `RequestTimeout`, `ClientGone`."""
    if not is_json(request.content_type):
        told = "Send the request as JSON, with the header 'Content-Type: application/json'."
        raise UnsupportedMediaType(told)
    if (request.content_length or 0) > request.client_max_size:
        raise _too_large(request)
    try:
        if request.content.is_eof():
            return await _read(request, None)
        return await _await_rest(request)
    except (web.RequestPayloadError, ConnectionError) as error:
        if request.transport is None or request.transport.is_closing():
            raise ClientGone("left while sending its request") from error
        _give_up_rest(request)
        raise UnsupportedMediaType("The request's body can't be read as its headers describe it.") from error


def _give_up_rest(request: web.BaseRequest) -> None:
    """Nothing more of this body is read, not even to keep the connection: aiohttp would stumble over it again."""
    request.content.feed_eof()
    request.protocol.close()  # once the request is answered


def is_json(media_type: str) -> bool:
    """Whether a media type is JSON."""
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


async def _await_rest(request: web.BaseRequest) -> bytes:
    """The body of a client that is still sending it, and perhaps waits to be told that it is wanted."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun by that
    deadline = Deadline()
    try:
        return await _read(request, deadline)
    except TimeoutError:
        told = f"Nothing came for {SILENCE_S:g} seconds, and the request's body is not complete."
        raise RequestTimeout(told) from None
    finally:
        deadline.close()


async def _read(request: web.BaseRequest, deadline: Deadline | None) -> bytes:
    """Read to the end of the body. Raises `RequestTooLarge`, TimeoutError when the deadline is given."""
    content, most = request.content, request.client_max_size
    parts: list[bytes] = []
    size = 0
    while not content.at_eof():
        with nullcontext() if deadline is None else deadline.within(SILENCE_S):
            part = await content.readany()
        parts.append(part)
        size += len(part)
        if size > most:
            raise _too_large(request)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(request: web.BaseRequest) -> RequestTooLarge:
    most = request.client_max_size
    return RequestTooLarge(f"The request is larger than {most:,} bytes, the most that server.max_request_mb allows.")
