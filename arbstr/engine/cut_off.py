"""Ends the work on a request from outside: as `asyncio.timeout`, at a quarter of the cost where it is not needed."""

from __future__ import annotations

import asyncio


class CutOff:
    """Cancels the task that created it, on this loop, once, when `after` says; that task must `end` it.

    `fired`: it has cancelled the task.
    """

    __slots__ = ("_before", "_ended", "_task", "_timer", "fired")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        task = asyncio.current_task(loop)
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False
        self.fired = False

    def after(self, seconds: float) -> None:
        """Cancel the task after so many seconds; to be called once."""
        self._timer = self._task.get_loop().call_later(seconds, self._fire)

    def end(self) -> bool:
        """Cancel nothing from now on; return whether the task was cancelled by this alone, the first time."""
        if self._ended:
            return False
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        return self.fired and self._task.uncancel() <= self._before

    def _fire(self) -> None:
        self.fired = True
        self._task.cancel()
