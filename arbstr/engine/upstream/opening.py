"""The beginning of the response to a stream request, read until it is known what it is."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable

from arbstr.config.schema import Timeouts
from arbstr.engine.upstream import verdict
from arbstr.engine.upstream.deadline import Deadline
from arbstr.engine.upstream.sse import BYTE_ORDER_MARK, MAX_HELD, looks_like_events
from arbstr.engine.upstream.stream_observer import StreamObserver
from arbstr.errors import AttemptError

MAX_OPENING_BYTES = 256 * 1024  # of a stream's beginning without content
HOLD_S = 0.5  # how long events without content are held back, so that another provider can still be tried


class PendingCall:
    """The time limits of a call in progress: for the first byte, then from one event to the next, in seconds.

    Comments and events without content are no progress: a provider that sends nothing else times out.
    """

    def __init__(self, timeouts: Timeouts, deadline: Deadline) -> None:
        self.begun = False
        self.first_byte_s: float = timeouts.first_byte
        self.idle_s: float = timeouts.idle
        self._deadline = deadline

    @property
    def limit_s(self) -> float:
        """The limit that applies now, in seconds."""
        return self.idle_s if self.begun else self.first_byte_s

    def go_on(self) -> None:
        """Restart the limit: the stream has made progress."""
        self.begun = True
        self._deadline.within(self.idle_s)


class Opening:
    """A body that has begun. `first` was read to tell what it is, `out` is what the client gets first.

    Nothing of it has been sent to the client yet. It is read up to the first event with content, so that another
    provider can be tried if there is none; but no longer than `keepalive_s`, and a beginning without content no longer
    than `HOLD_S`.
    """

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        observer: StreamObserver,
        call: PendingCall,
        silence: Deadline,
        keepalive_s: float,
    ) -> None:
        self.chunks = chunks
        self.observer = observer
        self.call = call
        self.silence = silence
        self.first = b""
        self.out = b""
        self._patient_until = silence.loop.time() + keepalive_s
        self._ended = False

    async def is_stream(self, *, labelled: bool) -> bool:
        """Return whether it is an event stream, by its first bytes; its content type decides if they do not tell."""
        is_one: bool | None = None
        try:
            with self.silence.within(self._left_s() if labelled else math.inf):
                while is_one is None and (chunk := await anext(self.chunks, None)) is not None:
                    self.first += chunk
                    is_one = _is_stream(self.first, labelled=labelled)
        except TimeoutError:
            return True
        return labelled if is_one is None else is_one

    async def read(self, mask: Callable[[str], str]) -> None:
        """Read a stream until it has content, or until the client should wait no longer.

        Raises `AttemptError` if it turns out to be no answer; `mask` hides keys in the message.
        """
        if self.first:
            self._take(self.first)
        try:
            while not self._is_decided():
                with self.silence.within(self._left_s()):
                    chunk = await anext(self.chunks, None)
                self._take(chunk)
        except TimeoutError:
            return
        if (fault := self._fault(mask)) is not None:
            raise AttemptError("bad_response", f"HTTP 200 {fault}", status=200)

    def _fault(self, mask: Callable[[str], str]) -> str | None:
        """Return why the stream is no answer; None if it is one."""
        observer = self.observer
        if observer.answered:
            return None
        if observer.error is not None:
            return f"whose stream holds an error: {verdict.error_summary(observer.error, mask)}"
        how = "ended without any content" if self._ended or observer.ended else "has no content so far"
        return f"whose stream {how}"

    def _take(self, chunk: bytes | None) -> None:
        """Feed the observer a chunk, None at the end."""
        observer = self.observer
        before = observer.events
        if chunk is None:
            self._ended = True
            self.out += observer.end()
            return
        self.out += observer.feed(chunk)
        if observer.events > before or not self.call.begun:
            self.call.go_on()
        if observer.events and not before:
            self._patient_until = min(self._patient_until, self.silence.loop.time() + HOLD_S)

    def _is_decided(self) -> bool:
        observer = self.observer
        return (
            observer.answered
            or observer.ended
            or self._ended
            or observer.error is not None
            or len(self.out) > MAX_OPENING_BYTES
        )

    def _left_s(self) -> float:
        return self._patient_until - self.silence.loop.time()


def _is_stream(start: bytes, *, labelled: bool) -> bool | None:
    """Return whether a body with this beginning is an event stream; None while more bytes are needed."""
    if start.removeprefix(BYTE_ORDER_MARK).lstrip().startswith((b"{", b"[")):
        return False
    looks = looks_like_events(start)
    return None if looks is None and len(start) <= MAX_HELD else bool(looks) or labelled
