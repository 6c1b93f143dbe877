"""A provider's response: a whole body, or a stream that has begun."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import field
from typing import ParamSpec

import httpx

from arbstr.engine.body_memory import MemoryShare
from arbstr.engine.upstream.opening import Opening
from arbstr.errors import AttemptError
from arbstr.types import HeaderList, Usage, value_object

logger = logging.getLogger(__name__)

P = ParamSpec("P")

TAIL_S = 1.0  # how long a finished stream may take to end its body, or to say what it cost


@value_object
class UpstreamResponse:
    """A complete response. `client_error` is set for one about the request itself (a 4xx), which is passed through."""

    status: int
    headers: HeaderList
    body: bytes = field(repr=False)
    usage: Usage | None = None
    charged_msats: int | None = None
    client_error: str | None = None
    is_flat: bool = False  # without usage it costs the base fee
    # Its body memory, until the client has it all.
    share: MemoryShare | None = field(default=None, repr=False, compare=False)


class UpstreamStream:
    """A stream that has begun: `prefix` goes to the client first, then what `read` returns."""

    def __init__(self, response: httpx.Response, headers: HeaderList, opening: Opening) -> None:
        self._response = response
        self._chunks = opening.chunks
        self._deadline = opening.silence
        self._call = opening.call
        self.headers = headers
        self.observer = opening.observer
        self.prefix = opening.out
        self.progressed = False  # by the last read

    @property
    def begun(self) -> bool:
        """Whether anything has arrived."""
        return self._call.begun

    @property
    def limit_s(self) -> float:
        """How long its provider may make no progress, in seconds."""
        return TAIL_S if self.observer.ended else self._call.limit_s

    async def read(self, patience_s: float) -> bytes | None:
        """Return the next bytes for the client (possibly none yet), None at the provider's end of stream.

        Raises TimeoutError when no byte arrives for `patience_s` seconds (reading may continue), `AttemptError` when
        the connection breaks or the bytes can't be read.
        """
        try:
            with self._deadline.within(patience_s):
                chunk = await anext(self._chunks, None)
        except httpx.TransportError as error:
            raise AttemptError("bad_response", "the connection broke", status=200) from error
        if chunk is None:
            self.observer.body_ended()
            return None
        return self._watched(chunk)

    def end(self) -> bytes:
        """Return what is left for the client when nothing more arrives."""
        with suppress(AttemptError):
            return self._observed(self.observer.end)
        return b""

    def _watched(self, chunk: bytes) -> bytes:
        observer = self.observer
        before = observer.events
        out = self._observed(observer.feed, chunk)
        came = observer.events != before and not observer.in_doubt
        self.progressed = came or not observer.between_events or not self.begun
        self._call.begun = True
        return out

    def _observed(self, step: Callable[P, bytes], *args: P.args, **kwargs: P.kwargs) -> bytes:
        """Call the observer. Raises `AttemptError` for any exception: the bytes are the provider's."""
        try:
            return step(*args, **kwargs)
        except Exception as error:
            logger.exception("could not read a stream")
            raise AttemptError("bad_response", f"it is unreadable ({type(error).__name__})", status=200) from error

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come that is wanted: after `[DONE]`, or after the last event and all of the body."""
        if self.observer.done or not self.observer.ended:
            return self.observer.done
        stream = self._response.extensions.get("response")
        return stream is not None and stream.is_read and not stream.encoding

    @property
    def body_complete(self) -> bool:
        """Whether its whole body has arrived, as far as the transport knows: then there is nothing to close."""
        stream = self._response.extensions.get("response")
        return stream is not None and stream.complete

    def release(self) -> None:
        """Release the deadline: nothing more will be read."""
        self._deadline.close()

    async def close(self) -> None:
        """Return the connection to its pool, or close it if the stream does not end by itself."""
        try:
            if self.observer.ended:
                await self._read_tail()
        finally:
            await close(self._response)

    async def _read_tail(self) -> None:
        """Read on after `[DONE]` to the end of the body, but not for long."""
        with suppress(TimeoutError, httpx.TransportError):
            async with asyncio.timeout(TAIL_S):
                while await anext(self._chunks, None) is not None:
                    pass


def arrived_body(response: httpx.Response, most: int) -> bytes | None:
    """Return a body of at most `most` bytes that came with its head, as most do; None for any other."""
    stream = response.extensions.get("response")
    if stream is None or not stream.complete or stream.encoding or stream.body_bytes > most:
        return None
    body: bytes = stream.take()
    return body


def chunks_of(response: httpx.Response) -> AsyncIterator[bytes]:
    """Return an iterator of the body's bytes as they arrive."""
    return aiter(response.stream)  # type: ignore[arg-type]  # transports give asynchronous streams


async def close(response: httpx.Response) -> None:
    """Close a response; its connection is kept if the body was read to its end."""
    await response.stream.aclose()  # type: ignore[union-attr]  # transports give asynchronous streams
