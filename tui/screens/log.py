"""Log: arbstr's own log lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.widget import Widget

from tui.keymap import key
from tui.model.completion import Names
from tui.model.dashboard import DashboardModel
from tui.screens.base import DashboardScreen
from tui.screens.detail import DetailScreen, Opened
from tui.widgets.log import LogPanel
from tui.widgets.panel import Panel

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warnings": logging.WARNING, "errors": logging.ERROR}
_WARNINGS = "The next warning or error, the one before"
_LEVELS = "Lines from debug, info, warnings, errors on"


class LogScreen(DashboardScreen):
    """arbstr's log: follows the latest lines until scrolled up."""

    RANGED = False
    FILTER_EXAMPLE = "text to find in lines and loggers' names"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("open", "open", "The request that the selected or lowest line is about", "request"),
        key("level", "level", "The next least level that is shown", "level"),
        *(key(name, f"level({level})", f"Lines from {name} on", group=_LEVELS) for name, level in LEVELS.items()),
        key("next_warning", "warning(1)", "The next warning, the one before", "warning", group=_WARNINGS),
        key("previous_warning", "warning(-1)", "The warning before", group=_WARNINGS),
        key("wrap", "wrap", "Wrap long lines, or cut them", "wrap"),
    ]

    def __init__(self, dashboard: DashboardModel) -> None:
        super().__init__(dashboard, "log")
        self._panel = LogPanel(id="log")

    def pieces(self) -> Sequence[Widget]:
        """Return the lines' panel."""
        return (self._panel,)

    def paint_body(self) -> Iterator[None]:
        """Read what is new, unless frozen, and paint."""
        if not self.dashboard.model.frozen:
            self.dashboard.log.catch_up()
        self._panel.show(self.dashboard.log, self.dashboard.zone)
        yield

    def words(self) -> Mapping[str, str]:
        """Say the level, and what would be done to long lines."""
        level = logging.getLevelName(self.dashboard.log.least_level).lower()
        return {"level": level, "wrap": "cut" if self._panel.wraps else "wrap"}

    def narrow(self, typed: str) -> None:
        """Show only lines with the text."""
        self.dashboard.log.narrow(typed)

    def names(self) -> Names:
        """Return the loggers' names."""
        return {"": self.dashboard.log.loggers()}

    def action_level(self, level: int | None = None) -> None:
        """Show lines from a level on, or from the next one."""
        if level is None:
            self.dashboard.log.next_level()
        else:
            self.dashboard.log.set_level(level)
        self.repaint()

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        self._panel.wraps = not self._panel.wraps
        self.repaint()

    def action_warning(self, by: int) -> None:
        """Select the next warning or error, or the one before."""
        if not self.dashboard.log.select_warning(by, self._panel.page):
            self.notify("No warning further down" if by > 0 else "No warning further up", markup=False)
        self.repaint()

    def action_open(self) -> None:
        """Open the request of the selected line, or of the lowest in sight; from there those of other lines."""
        log = self.dashboard.log
        ids, place = log.requests(self._panel.page)

        async def step(by: int) -> Opened | None:
            nonlocal place
            place = min(max(place + by, 0), len(ids) - 1)
            return Opened(ids[place])

        if place >= 0:
            self.app.push_screen(DetailScreen(self.dashboard, Opened(ids[place]), step))
        else:
            which = "No line in sight is" if log.selected is None else "This line is not"
            self.notify(f"{which} about a request", markup=False)

    def action_move(self, by: int) -> None:
        """Select another line."""
        self.dashboard.log.move(by, self._panel.page)
        self.repaint()

    def action_page(self, by: int) -> None:
        """Move by pages."""
        self.action_move(by * self._panel.page)

    def action_ends(self, last: bool) -> None:
        """Follow the newest lines, or select the oldest."""
        if last:
            self.dashboard.log.follow()
        else:
            self.dashboard.log.select(0, self._panel.page)
        self.repaint()

    def step_back(self) -> bool:
        """Follow again; return whether it was scrolled up."""
        scrolled = self.dashboard.log.top is not None
        self.dashboard.log.follow()
        return scrolled

    @on(Panel.Picked, "#log")
    def _picked(self, event: Panel.Picked) -> None:
        if (index := self._panel.line_at(event.index)) is not None:
            self.dashboard.log.select(index, self._panel.page)
            if event.twice:
                self.action_open()
        self.repaint()

    @on(Panel.Wheeled, "#log")
    def _wheeled(self, event: Panel.Wheeled) -> None:
        self.dashboard.log.scroll(event.by, self._panel.page)
        self.repaint()
