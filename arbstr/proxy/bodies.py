"""The bodies of requests: JSON, no larger than allowed, not too many at a time, and not for ever on their way."""

from __future__ import annotations

import asyncio

from aiohttp import web

from arbstr.errors import ClientGone, Overloaded, RequestTimeout, RequestTooLarge, UnsupportedMediaType

_RETRY_AFTER_S = 1.0
_FREE_BYTES = 64 * 1024  # of each body that need no room: who sends large ones can't keep the usual ones out
SILENCE_S = 30.0  # how long a client may send nothing while its body is not complete


class Room:
    """Memory for the bodies of all requests together, in bytes: each of them within its limit, they may be many."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._taken_bytes = 0

    def look(self, size: int) -> None:
        """See whether so many bytes would find room now. Raises `Overloaded`."""
        if self._taken_bytes + size > self._most_bytes:
            told = f"The requests under way hold {self._taken_bytes:,} bytes; there is no room for this one now."
            raise Overloaded(told, retry_after_s=_RETRY_AFTER_S)

    def take(self, size: int) -> None:
        """Take so many bytes of it, to be given back. Raises `Overloaded`."""
        self.look(size)
        self._taken_bytes += size

    def give_back(self, size: int) -> None:
        """Bytes that were taken are free again."""
        self._taken_bytes -= size


class Body:
    """One request's body, and the room that it takes until it is `dropped`."""

    def __init__(self, request: web.BaseRequest, room: Room) -> None:
        self._request = request
        self._room = room
        self._size = 0  # of the room

    async def read(self) -> bytes:
        """All of it.

        Raises `UnsupportedMediaType`, `RequestTooLarge`, `RequestTimeout`, `Overloaded`, `ClientGone`.
        """
        request = self._request
        if not is_json(request.content_type):
            told = "Send the request as JSON, with the header 'Content-Type: application/json'."
            raise UnsupportedMediaType(told)
        self._announced(request.content_length or 0)
        try:
            return self._all_here() if request.content.is_eof() else await self._await_rest()
        except (web.RequestPayloadError, ConnectionError) as error:
            if request.transport is None or request.transport.is_closing():
                raise ClientGone("left while sending its request") from error
            request.content.feed_eof()  # there is no rest that aiohttp could read past
            request.protocol.close()  # once this is answered
            raise UnsupportedMediaType("The request's body can't be read as its headers describe it.") from error

    def dropped(self) -> None:
        """It is needed no longer."""
        self._room.give_back(self._size)
        self._size = 0

    def _announced(self, size: int) -> None:
        """Turn away at once what will not do; bytes take no room before they come."""
        self._limit(size)
        if size > _FREE_BYTES:
            self._room.look(size - _FREE_BYTES)

    def _came(self, size: int) -> None:
        """So many bytes are here now."""
        self._limit(size)
        needed = size - _FREE_BYTES
        if needed > self._size:
            self._room.take(needed - self._size)
            self._size = needed

    def _limit(self, size: int) -> None:
        most = self._request.client_max_size
        if size > most:
            told = f"The request is larger than {most:,} bytes, the most that server.max_request_mb allows."
            raise RequestTooLarge(told)

    async def _await_rest(self) -> bytes:
        """The body of a client that is still sending it, and perhaps waits to be told that it is wanted."""
        request = self._request
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the answer itself has not begun by that
        try:
            return await self._read(SILENCE_S)
        except TimeoutError:
            told = f"Nothing came for {SILENCE_S:g} seconds, and the request's body is not complete."
            raise RequestTimeout(told) from None

    def _all_here(self) -> bytes:
        """A body that came with its head or is complete meanwhile: most are, and need no clock."""
        body = self._request.content.read_nowait()
        self._came(len(body))
        return body

    async def _read(self, silence_s: float) -> bytes:
        """Read to the end. Raises TimeoutError when nothing comes for so long."""
        content = self._request.content
        body: bytes | bytearray = b""
        while not content.at_eof():
            async with asyncio.timeout(silence_s):
                part = await content.readany()
            if not body:
                body = part
            elif isinstance(body, bytearray):
                body += part
            else:
                body = bytearray(body) + part
            self._came(len(body))
        return bytes(body)


def is_json(media_type: str) -> bool:
    """Whether a media type is JSON."""
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
