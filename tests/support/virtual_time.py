"""An event loop whose clock jumps to the next timer: hours pass in no time, in the order of their timers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The clock stands still while anything is ready to run. Nothing on it may wait for a socket or a thread."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # asyncio's own
        if not self._ready:  # type: ignore[attr-defined]  # asyncio's own
            due = min((timer.when() for timer in timers if not timer.cancelled()), default=self._now)
            self._now = max(self._now, due)
        super()._run_once()  # type: ignore[misc]  # asyncio's own


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from second 0 of a clock of its own."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
