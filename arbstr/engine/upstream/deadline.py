"""Waiting no longer than is allowed, again and again, at next to no cost."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Self


class DeadlineTimer:
    """The one timer behind the deadlines of all tasks; to be made on the loop's thread.

    A timer for every wait would cost more than what most waits are for. This one is set to the nearest deadline, and
    left alone when that is moved or let go of: should it fire for nothing, it looks who is next.
    """

    __slots__ = ("_deadlines", "_fires_at", "_timer")

    def __init__(self) -> None:
        self._deadlines: set[Deadline] = set()
        self._fires_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def register(self, deadline: Deadline) -> None:
        """Keep an eye on it from now on; to be said again when it is nearer than before."""
        self._deadlines.add(deadline)
        if deadline.due < self._fires_at:
            self._set(deadline.due, deadline.loop)

    def unregister(self, deadline: Deadline) -> None:
        """It no longer matters."""
        self._deadlines.discard(deadline)

    def _set(self, due: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = due
        self._timer = loop.call_at(due, self._fire, loop)

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        """The timer has fired: for somebody, or for nothing. Between waits nobody is late."""
        self._timer = None
        self._fires_at = math.inf
        now = loop.time()
        waiting = [deadline for deadline in self._deadlines if deadline.waiting]
        for deadline in waiting:
            if deadline.due <= now:
                deadline.expire()
        nearest = min((deadline.due for deadline in waiting if deadline.due > now), default=math.inf)
        if nearest < math.inf:
            self._set(nearest, loop)


class Deadline:
    """Bounds the waits of the task that made it: `with deadline.within(seconds): await …` raises TimeoutError.

    Cheap enough for every chunk of a stream. Whoever made it must `close` it.
    """

    __slots__ = ("_cancelling", "_expired", "_task", "_timer", "due", "loop", "waiting")

    def __init__(self, timer: DeadlineTimer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.loop = task.get_loop()
        self.due = math.inf  # on the loop's clock
        self.waiting = False
        self._task = task
        self._timer = timer
        self._expired = False
        self._cancelling = 0

    def within(self, seconds: float) -> Self:
        """So many seconds from now; may be said again while waiting. Infinity is no bound."""
        self.due = self.loop.time() + seconds
        self._timer.register(self)
        return self

    def expire(self) -> None:
        """Time is up: end the wait. Said again before the task had its turn, it would count as somebody else's word."""
        if not self._expired:
            self._expired = True
            self._task.cancel()

    def close(self) -> None:
        """No more waits."""
        self._timer.unregister(self)

    def __enter__(self) -> Self:
        self.waiting = True
        self._cancelling = self._task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.waiting = False
        if self._expired:
            self._expired = False
            # If somebody else has cancelled the task as well, that is what counts.
            if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise TimeoutError from error
