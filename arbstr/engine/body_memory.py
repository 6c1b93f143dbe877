"""Memory for the bodies of all requests and answers together: each is within its limit, but they may be many."""

from __future__ import annotations

import asyncio
from collections import deque

from arbstr.errors import Overloaded

FREE_BYTES = 64 * 1024  # of each body that need no room: who sends large ones can't keep the usual ones out
WAIT_S = 5.0  # until one answer at a time is read on although there is no room for it

_RETRY_AFTER_S = 1.0


class BodyMemory:
    """`most_bytes` for all. Requests that find no room are refused; answers have been paid for: their providers wait.

    Answers get half of it at most, or one of them what it needs, so that those which are read slowly leave some for
    requests. Several that have come half may wait for each other: after `WAIT_S` one is read on all the same.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._response_bytes = 0  # of those taken
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._over_limit: MemoryShare | None = None

    def check(self, size: int) -> None:
        """See whether so many bytes would find room now. Raises `Overloaded`."""
        if self._used_bytes + size > self._max_bytes:
            message = f"Request bodies in flight already use {self._used_bytes:,} bytes; retry later."
            raise Overloaded(message, retry_after_s=_RETRY_AFTER_S)

    def acquire(self, size: int) -> None:
        """Take so many bytes of it for a request, to be given back. Raises `Overloaded`."""
        self.check(size)
        self._used_bytes += size

    def release(self, size: int) -> None:
        """Bytes that were taken are free again."""
        if size:
            self._used_bytes -= size
            self._wake()

    def share(self) -> MemoryShare:
        """What one answer takes of it."""
        return MemoryShare(self)

    async def acquire_for(self, share: MemoryShare, size: int) -> None:
        """Take so many more bytes for an answer, once there is room."""
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
        """An answer's bytes are free again."""
        if self._over_limit is share:
            self._over_limit = None
        self._response_bytes -= size
        self.release(size)

    def _wake(self) -> None:
        """Let those who wait see again."""
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


class MemoryShare:
    """What one answer takes of the room, until it is `dropped`."""

    __slots__ = ("_memory", "size")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self.size = 0

    async def grow(self, size: int) -> None:
        """There are so many bytes now; waits until there is room for them."""
        needed = size - FREE_BYTES - self.size
        if needed > 0:
            await self._memory.acquire_for(self, needed)
            self.size += needed

    def release(self) -> None:
        """They are needed no longer."""
        size, self.size = self.size, 0
        if size:
            self._memory.release_share(self, size)
