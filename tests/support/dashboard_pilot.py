"""The dashboard without a terminal, driven by keys and read as text."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC

from textual.pilot import Pilot

from tests.support.dashboard_fakes import FakeLog, FakeSource
from tui.app import Dashboard
from tui.model import ledger_stats
from tui.refresh import frame_budget, loop
from tui.screens import requests

os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")  # the same colours wherever the tests run

PATIENCE_S = 20.0  # generous: a machine may be busy with other tests


class DashboardPilot:
    """A running dashboard and its source."""

    def __init__(self, source: FakeSource, log: FakeLog, app: Dashboard, pilot: Pilot[None]) -> None:
        self.source = source
        self.log = log
        self.app = app
        self.pilot = pilot

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        await self.pilot.press(*("space" if character == " " else character for character in text))

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until it is so."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not true():
                    await self.pilot.pause(0.01)
        except TimeoutError:
            raise AssertionError(f"it did not come true; the screen:\n{self.text}") from None

    async def shows(self, *texts: str) -> None:
        """Wait until all the texts are on the screen."""
        await self.until(lambda: all(text in self.text for text in texts))

    async def hides(self, text: str) -> None:
        """Wait until the text is on the screen no more."""
        await self.until(lambda: text not in self.text)


def shorten_intervals(set_: Callable[[object, str, float], None] = setattr) -> None:
    """Beat, paint and ask the ledger as often as tests can wait for; `monkeypatch.setattr` undoes it afterwards."""
    for module, name, seconds in (
        (ledger_stats, "LEAST_WAIT_S", 0.03),
        (requests, "LEAST_WAIT_S", 0.03),
        (requests, "TYPING_PAUSE_S", 0.001),
        (loop, "SLICE_GAP_S", 0.001),
        (loop, "BUSY_BEAT_S", 0.01),
        (loop, "CALM_BEAT_S", 0.01),
        (frame_budget, "FASTEST_S", 0.01),
        (frame_budget, "SLOWEST_S", 0.05),
    ):
        set_(module, name, seconds)


@asynccontextmanager
async def dashboard_pilot(source: FakeSource, *, size: tuple[int, int] = (120, 36)) -> AsyncIterator[DashboardPilot]:
    """A dashboard over the source, on its first screen with the ledger's figures there."""
    log = FakeLog()
    app = Dashboard(source, log=log, now_ms=source.clock, zone=UTC)
    async with app.run_test(size=size, notifications=True) as pilot:
        each = DashboardPilot(source, log, app, pilot)
        await each.until(lambda: app.dashboard.figures.window is not None and app.screen.is_mounted)
        yield each
