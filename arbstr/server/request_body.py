"""Request bodies: JSON, limited in size, in total memory and in the time they may take to arrive."""

from __future__ import annotations

import asyncio

from aiohttp import web

from arbstr.engine.body_memory import FREE_BYTES, BodyMemory
from arbstr.errors import ClientGone, RequestTimeout, RequestTooLarge, UnsupportedMediaType
from arbstr.sanitize import quoted
from arbstr.server.known_heads import ArrivedBody, is_json
from arbstr.transport.decoding import ENCODINGS, Decoder

SILENCE_S = 30.0  # how long a client may send nothing while its body is not complete
SLOWEST_BYTES_PER_S = 1024  # from the beginning on, `SILENCE_S` not counted


class RequestBody:
    """One request's body, and the memory it holds until released; JSON unless it may be of `any_type`."""

    def __init__(self, request: web.BaseRequest, memory: BodyMemory, *, any_type: bool = False) -> None:
        self._any_type = any_type
        self._request = request
        self._memory = memory
        self._acquired_bytes = 0  # of the room

    async def read(self) -> bytes:
        """Return the whole body.

        Raises `UnsupportedMediaType`, `RequestTooLarge`, `RequestTimeout`, `Overloaded`, `ClientGone`.
        """
        request = self._request
        if not self._any_type and not is_json(request.content_type):
            message = "Send the request as JSON, with the header 'Content-Type: application/json'."
            raise UnsupportedMediaType(message)
        encoding = _encoding(request)
        try:
            body = self._all_here() if request.content.is_eof() else await self._await_rest()
        except (web.RequestPayloadError, ConnectionError) as error:
            if request.transport is None or request.transport.is_closing():
                raise ClientGone("left while sending its request") from error
            request.content.feed_eof()  # there is no rest that aiohttp could read past
            request.protocol.close()  # once this is answered
            raise UnsupportedMediaType("The request body does not match its headers.") from error
        return await self._unpacked(body, encoding) if encoding else body

    def release(self) -> None:
        """Release the body's memory."""
        self._memory.release(self._acquired_bytes)
        self._acquired_bytes = 0

    def _check_length(self, size: int) -> None:
        """Check the announced length; memory is acquired only as bytes arrive."""
        self._limit(size)
        if size > FREE_BYTES:
            self._memory.check(size - FREE_BYTES)

    def _on_data(self, size: int, compressed_bytes: int = 0) -> None:
        """Acquire memory for `size` bytes, and for the compressed bytes that they came from."""
        self._limit(size)
        needed = size + compressed_bytes - FREE_BYTES
        if needed > self._acquired_bytes:
            self._memory.acquire(needed - self._acquired_bytes)
            self._acquired_bytes = needed

    def _limit(self, size: int) -> None:
        most = self._request.client_max_size
        if size > most:
            message = f"The request is larger than {most:,} bytes, the limit set by server.max_request_mb."
            raise RequestTooLarge(message)

    async def _unpacked(self, compressed: bytes, encoding: str) -> bytes:
        """Return the decompressed body."""
        decoder, body = Decoder(encoding), bytearray()
        decoder.feed(compressed)
        try:
            while decoder.has_more:
                body += decoder.piece()
                self._on_data(len(body), len(compressed))
                await asyncio.sleep(0)  # little can unfold to very much: others have their turn
        except ValueError as error:
            raise UnsupportedMediaType(f"The request body is not valid {encoding}.") from error
        if not decoder.ended:
            raise UnsupportedMediaType(f"The request body ends before its {encoding} data is complete.")
        return bytes(body)

    async def _await_rest(self) -> bytes:
        """Read a body that is still arriving; sends `100 Continue` if the client expects it."""
        request = self._request
        self._check_length(request.content_length or 0)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the answer itself has not begun by that
        try:
            return await self._read()
        except TimeoutError:
            message = f"too little of it came in the last {SILENCE_S:g} s."
            raise RequestTimeout(f"Timed out waiting for the rest of the request body: {message}") from None

    def _all_here(self) -> bytes:
        """Return a body that has fully arrived: most have, and need no timer."""
        body = self._request.content.read_nowait()
        self._on_data(len(body))
        return body

    async def _read(self) -> bytes:
        """Read to the end. Raises TimeoutError if nothing arrives for `SILENCE_S`, or far too little."""
        content = self._request.content
        body: bytes | bytearray = b""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while not content.at_eof():
            patience_s = SILENCE_S + len(body) / SLOWEST_BYTES_PER_S
            async with asyncio.timeout_at(min(began_s + patience_s, loop.time() + SILENCE_S)):
                part = await content.readany()
            if not body:
                body = part
            elif isinstance(body, bytearray):
                body += part
            else:
                body = bytearray(body) + part
            self._on_data(len(body))
        return bytes(body)


def arrived_body(request: web.BaseRequest) -> bytes | None:
    """Return a body that has fully arrived and is small, as most are: it takes no timer and no memory that counts."""
    content = request.content
    if type(content) is not ArrivedBody or content.size > min(FREE_BYTES, request.client_max_size):
        return None
    return content.read_nowait()


def _encoding(request: web.BaseRequest) -> str:
    """Return the body's encoding, "" if it has none. Raises `UnsupportedMediaType` for unsupported ones."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return ""
    if encoding not in ENCODINGS:
        message = f"The request body is compressed as {quoted(encoding, 40)}, which is not supported."
        raise UnsupportedMediaType(f"{message} Send it uncompressed, or as gzip or deflate.")
    return encoding
