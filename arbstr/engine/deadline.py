"""Waiting no longer than is allowed, again and again, at next to no cost."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Self


class Deadline:
    """Bounds the waits of the task that made it: `with deadline.within(seconds): await …` raises TimeoutError.

    One timer serves all waits. A later deadline leaves it alone: when it fires too early it looks at the clock and goes
    on. A stream waits for every chunk; `asyncio.timeout` would make and cancel a timer each time, which costs more than
    passing the chunk on. Whoever made it must `close` it.
    """

    __slots__ = ("_cancelling", "_due", "_expired", "_fires_at", "_loop", "_task", "_timer", "_waiting")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._loop = task.get_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = math.inf
        self._due = math.inf
        self._waiting = self._expired = False
        self._cancelling = 0

    def within(self, seconds: float) -> Self:
        """So many seconds from now; may be said again while waiting. Infinity is no bound."""
        self._due = self._loop.time() + seconds
        if self._due < self._fires_at:
            self._set_timer()
        return self

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._fires_at = math.inf

    def __enter__(self) -> Self:
        self._waiting = True
        self._cancelling = self._task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._waiting = False
        if self._expired:
            self._expired = False
            # If somebody else has cancelled the task as well, that is what counts.
            if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def _set_timer(self) -> None:
        self.close()
        self._fires_at = self._due
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        """The timer has fired: for nothing, too early, or because time is up."""
        self._timer = None
        self._fires_at = math.inf
        if not self._waiting:
            return
        if self._loop.time() < self._due:
            self._set_timer()
        else:
            self._expired = True
            self._task.cancel()
