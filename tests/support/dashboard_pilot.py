"""The dashboard without a terminal, driven by keys and read as text."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC

from rich.console import RenderableType
from textual._compositor import Compositor
from textual._context import active_app, visible_screen_stack
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet
from textual.css.types import CSSLocation
from textual.pilot import Pilot
from textual.screen import Screen

from arbstr.events import RequestFinished
from arbstr.logs.ring import LogRing
from tests.support.dashboard_fakes import FakeSource, Traffic
from tests.support.patience import PATIENCE_S
from tui.app import Dashboard
from tui.model.options import Options
from tui.timings import Timings

os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")  # the same colours wherever the tests run

SHORT = Timings(  # as often as tests can wait for
    busy_beat_s=0.01,
    calm_beat_s=0.01,
    slice_gap_s=0.001,
    fastest_frame_s=0.01,
    slowest_frame_s=0.05,
    least_query_wait_s=0.03,
    query_share=0.5,  # what a busy machine takes for a query is not to be waited for fifty times over
    typing_pause_s=0.001,
)
ROUNDS, ROUND_S = 4, 0.005


async def settle(*_: float) -> None:
    """Let everything that is due happen, some times over.

    It takes the place of Textual's own pause, to which a process that gets no processor seems to have come to rest.
    """
    for _round in range(ROUNDS):
        await asyncio.sleep(ROUND_S)


for module in ("textual.app", "textual.pilot"):
    vars(sys.modules[module])["wait_for_idle"] = settle


def _parsed_once(parse: Callable[..., list[RuleSet]]) -> Callable[..., list[RuleSet]]:
    """Parse each sheet with the same variables once for all dashboards: it is a quarter of what their start takes."""
    known: dict[object, list[RuleSet]] = {}

    def parsed(sheet: Stylesheet, css: str, read_from: CSSLocation, *args: object, **named: object) -> list[RuleSet]:
        key = (css, read_from, args, *named.items(), *sheet._variables.items())
        if key not in known:
            known[key] = parse(sheet, css, read_from, *args, **named)
        return known[key]

    return parsed


Stylesheet._parse_rules = _parsed_once(Stylesheet._parse_rules)  # type: ignore[method-assign]  # no hook of Textual's does


def _not_to_nowhere(render: Callable[..., RenderableType | None]) -> Callable[..., RenderableType | None]:
    """Render no frame for the terminal that is not there: it is a quarter of what a dashboard takes.

    What tests read is rendered as they read it, and pictures are made of whole screens.
    """

    def rendered(
        compositor: Compositor, full: bool = False, screen_stack: list[Screen[object]] | None = None, **how: bool
    ) -> RenderableType | None:
        if full or not active_app.get().is_headless:
            return render(compositor, full, screen_stack, **how)
        visible_screen_stack.set(screen_stack or [])
        compositor._dirty_regions.clear()
        return None

    return rendered


Compositor.render_update = _not_to_nowhere(Compositor.render_update)  # type: ignore[method-assign]  # likewise


class DashboardPilot:
    """A running dashboard and its source."""

    def __init__(self, source: FakeSource, log: LogRing, app: Dashboard, pilot: Pilot[None]) -> None:
        self.source = source
        self.log = log
        self.app = app
        self.pilot = pilot

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    @property
    def _front(self) -> Screen[object] | None:
        """The screen that keys go to, None once there is none."""
        stack = self.app.screen_stack
        return stack[-1] if stack else None

    async def begin(self) -> None:
        """Wait until the first screen is there, with the ledger's figures."""
        dashboard = self.app.dashboard
        await self.until(lambda: self.app.current_mode == "live" and self.app.screen.is_mounted)
        await self.until(lambda: dashboard.figures.window is not None and dashboard.board_is_current)
        self.app.repaint()

    async def press(self, *keys: str) -> None:
        """Press keys, each on the screen that the one before has led to."""
        for key in keys:
            before = self._front
            await self.pilot.press(key)
            if self._front is not before:
                await self.until(lambda: self._front is None or self._front.is_mounted)
                self.app.repaint()

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


@asynccontextmanager
async def dashboard_pilot(
    source: FakeSource,
    *,
    size: tuple[int, int] = (120, 36),
    timings: Timings = SHORT,
    options: Options | None = None,
) -> AsyncIterator[DashboardPilot]:
    """A dashboard over the source, on its first screen with the ledger's figures there."""
    log = LogRing()
    app = Dashboard(source, log=log, now_ms=source.clock, zone=UTC, timings=timings, options=options)
    async with app.run_test(size=size, notifications=True) as pilot:
        each = DashboardPilot(source, log, app, pilot)
        await each.begin()
        yield each


def happen(source: FakeSource, count: int, seed: int = 99) -> list[RequestFinished]:
    """Let so many requests come in and end."""
    traffic, ends = Traffic(seed), []
    for number in range(count):
        events, end = traffic.request(source.now_ms + number)
        for event in (*events, end):
            source.publish(event)
        ends.append(end)
    return ends
