"""Log lines, newest at the bottom."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import tzinfo
from functools import lru_cache

from rich.cells import chop_cells

from arbstr.logs.ring import LogLine
from tui.format import clock
from tui.model.log_view import LogView
from tui.render.layout import Line, Role, framed
from tui.widgets.panel import Panel
from tui.widgets.scroll_panel import thumb

_LEVELS: tuple[tuple[int, str, Role], ...] = (
    (logging.ERROR, "✗ error", "bad"),
    (logging.WARNING, "▲ warn", "warn"),
    (logging.INFO, "· info", "muted"),
    (0, "  debug", "faint"),
)
# The last digits of an id are its own; the first are those of many that came about the same time.
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}([0-9a-f]{8})\b")
_HEAD = 8 + 2 + 7 + 2
_NAME = 9  # cells: most loggers' names, so that what they say begins in one column


@lru_cache(512)  # a line is drawn again in every frame in which it has moved up
def log_lines(line: LogLine, width: int, zone: tzinfo | None, *, wrap: bool) -> tuple[Line, ...]:
    """Return a log line as one line with shortened ids, or wrapped."""
    word, role = next((word, role) for least, word, role in _LEVELS if line.level >= least)
    name = line.logger.removeprefix("arbstr.").ljust(_NAME)
    room = max(width - _HEAD - len(name) - 2, 10)
    pieces = chop_cells(line.text, room) if wrap and line.text else [_UUID.sub(r"…\1", line.text)]
    first: Line = (
        (f"{clock(line.at_ms, zone)}  ", "muted"),
        (f"{word:<7}  ", role),
        (f"{name}  ", "muted"),
        (pieces[0], "text"),
    )
    return (first, *(((" " * (width - room) + piece, "text"),) for piece in pieces[1:]))


class LogPanel(Panel):
    """The visible lines of a `LogView`."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._log: LogView | None = None
        self._zone: tzinfo | None = None
        self.wraps = False

    @property
    def page(self) -> int:
        """The number of lines that fit."""
        return max(self.size.height - 2, 1)

    def show(self, log: LogView, zone: tzinfo | None) -> None:
        """Show what is in sight now."""
        self._log, self._zone = log, zone
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw the lines in a box."""
        log = self._log
        if log is None:
            return []
        page = height - 2
        body = [piece for line in log.window(page) for piece in self._pieces(line, width - 4)]
        body = body[-page:] if log.top is None else body[:page]
        if not body:
            body = [(("no line passes the filter" if log.text else "nothing has been logged at this level", "muted"),)]
        top = max(len(log.lines) - page, 0) if log.top is None else log.top
        note: Line = (("following", "muted"),) if log.top is None else (("scrolled, Esc follows", "warn"),)
        level = logging.getLevelName(log.least_level).lower()
        title: Line = (("Log", "title"), (f"  {len(log.lines):,} lines, {level} and above", "muted"))
        return framed(body, width, height, title=title, note=note, thumb=thumb(top, page, len(log.lines)))

    def _pieces(self, line: LogLine, width: int) -> tuple[Line, ...]:
        return log_lines(line, width, self._zone, wrap=self.wraps)
