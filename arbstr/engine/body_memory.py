"""A memory limit for the bodies of all requests and responses together: each has a limit, but there may be many."""

from __future__ import annotations

import asyncio
from collections import deque

from arbstr.errors import Overloaded

FREE_BYTES = 64 * 1024  # of each body that are not counted: large bodies can't keep ordinary ones out
WAIT_S = 5.0  # until one response at a time is read on although it exceeds the limit

_RETRY_AFTER_S = 1.0


class BodyMemory:
    """`max_bytes` for all bodies. Requests beyond it are refused; responses, which are paid for, wait.

    Responses get at most half of it, or one response what it needs, so that slow readers leave some for requests.
    Several half-read responses may wait for each other: after `WAIT_S` one is read on all the same.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._response_bytes = 0  # part of `_used_bytes`
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._over_limit: MemoryShare | None = None

    def limit(self, max_bytes: int) -> None:
        """Set how much all bodies may use."""
        self._max_bytes = max_bytes
        self._wake()

    def check(self, size: int) -> None:
        """Check whether `size` bytes are available now. Raises `Overloaded`."""
        if self._used_bytes + size > self._max_bytes:
            message = f"Request bodies in flight already use {self._used_bytes:,} bytes; retry later."
            raise Overloaded(message, retry_after_s=_RETRY_AFTER_S)

    def acquire(self, size: int) -> None:
        """Acquire `size` bytes for a request, to be released later. Raises `Overloaded`."""
        self.check(size)
        self._used_bytes += size

    def release(self, size: int) -> None:
        """Release `size` bytes."""
        if size:
            self._used_bytes -= size
            self._wake()

    def share(self) -> MemoryShare:
        """Return an empty share for one response."""
        return MemoryShare(self)

    async def acquire_for(self, share: MemoryShare, size: int) -> None:
        """Acquire `size` more bytes for a response, waiting until they are available."""
        while not self._fits(share, size) and self._over_limit is not share:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                async with asyncio.timeout(WAIT_S):
                    await waiter
            except TimeoutError:
                self._over_limit = self._over_limit or share
        self._used_bytes += size
        self._response_bytes += size

    def _fits(self, share: MemoryShare, size: int) -> bool:
        if self._response_bytes == share.size:  # no other takes any
            return True
        return self._used_bytes + size <= self._max_bytes and self._response_bytes + size <= self._max_bytes // 2

    def release_share(self, share: MemoryShare, size: int) -> None:
        """Release all `size` bytes of a response."""
        if self._over_limit is share:
            self._over_limit = None
        self._response_bytes -= size
        self.release(size)

    def _wake(self) -> None:
        """Let the waiting responses check again."""
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


class MemoryShare:
    """The memory of one response's body, until it is released."""

    __slots__ = ("_memory", "size")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self.size = 0

    async def grow(self, size: int) -> None:
        """Grow the share to a body of `size` bytes, waiting until they are available."""
        needed = size - FREE_BYTES - self.size
        if needed > 0:
            await self._memory.acquire_for(self, needed)
            self.size += needed

    def release(self) -> None:
        """Release the memory; later calls do nothing."""
        size, self.size = self.size, 0
        if size:
            self._memory.release_share(self, size)
