"""The refresh loop: applies events, and paints when something has changed and the frame budget allows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from time import perf_counter

from tui.model.dashboard import DashboardModel
from tui.refresh.frame_budget import FrameBudget


class RefreshLoop:
    """Runs for ever. `paint` returns the visible screen's painting, piece by piece; `may_paint` is False while the
    terminal does not read."""

    def __init__(
        self,
        dashboard: DashboardModel,
        frame_budget: FrameBudget,
        paint: Callable[[], Iterator[None]],
        may_paint: Callable[[], bool],
    ) -> None:
        self._dashboard = dashboard
        self._timings = dashboard.timings
        self._frame_budget = frame_budget
        self._paint = paint
        self._may_paint = may_paint
        self._changed = True
        self._last_second = 0

    def request_frame(self) -> None:
        """Request a frame for a change that is not an event."""
        self._changed = True

    async def run(self) -> None:
        """Apply events and paint, for ever; the owner cancels it."""
        while True:
            busy = self._dashboard.catch_up()
            self._changed = self._changed or busy or self._time_passed()
            if self._changed and self._frame_budget.due and self._may_paint():
                self._changed = False
                await self._frame()
            await asyncio.sleep(self._timings.busy_beat_s if busy else self._timings.calm_beat_s)

    def _time_passed(self) -> bool:
        """Check whether time alone needs a new frame: each second while something moves, else each minute."""
        now = self._dashboard.now_ms()
        beat = now // 1000 if self._dashboard.moving() else now // 60_000 * 60
        passed, self._last_second = beat != self._last_second, beat
        return passed

    async def _frame(self) -> None:
        """Paint, a piece at a time."""
        began = perf_counter()
        for _ in self._paint():
            self._frame_budget.spent(perf_counter() - began)
            await asyncio.sleep(self._timings.slice_gap_s)
            began = perf_counter()
        self._frame_budget.painted()
