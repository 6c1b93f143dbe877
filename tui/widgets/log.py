"""Log lines, newest at the bottom."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import tzinfo
from functools import lru_cache

from rich.cells import chop_cells

from arbstr.logs.ring import LogLine
from tui.format import clock, moment
from tui.model.log_view import OWN, LogView
from tui.render.layout import Line, Role, fit, framed, under_cursor
from tui.render.widths import cell_len
from tui.widgets.panel import Panel
from tui.widgets.scroll_panel import thumb

_LEVELS: tuple[tuple[int, str, Role], ...] = (
    (logging.ERROR, "✗ error", "bad"),
    (logging.WARNING, "▲ warn", "warn"),
    (logging.INFO, "· info", "muted"),
    (0, "  debug", "muted"),
)
# The last digits of an id are its own; the first are those of many that came about the same time.
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}([0-9a-f]{8})\b")
_HEAD = 8 + 2 + 7 + 2
_NAME = 9  # cells: most loggers' names; more are taken where there is room
_MOST_NAMES = ((180, 24), (100, 12), (72, _NAME), (0, 0))  # from a width in cells on


@lru_cache(512)  # a line is drawn again in every frame in which it has moved up
def log_lines(
    line: LogLine, width: int, zone: tzinfo | None, *, wrap: bool, name_width: int = _NAME
) -> tuple[Line, ...]:
    """Return a log line as one line with shortened ids, or wrapped; its text begins in the same column as others'."""
    word, role = next((word, role) for least, word, role in _LEVELS if line.level >= least)
    name = f"{_name(line.logger, name_width)}  " if name_width else ""
    room = max(width - _HEAD - len(name), 10)
    pieces = chop_cells(line.text, room) if wrap and line.text else [_UUID.sub(r"…\1", line.text)]
    first: Line = (
        (f"{clock(line.at_ms, zone)}  ", "muted"),
        (f"{word:<7}  ", role),
        (name, "muted"),
        (pieces[0], "text"),
    )
    return (first, *(((" " * (width - room) + piece, "text"),) for piece in pieces[1:]))


def _name(logger: str, width: int) -> str:
    """Return a logger's name; of one that is too long the last part, which tells it from others."""
    name = logger.removeprefix(OWN)
    return fit(name if cell_len(name) <= width else name.rpartition(".")[2], width)


class LogPanel(Panel):
    """The visible lines of a `LogView`."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._log: LogView | None = None
        self._zone: tzinfo | None = None
        self._owners: list[int] = []  # the index of the log line of each line in sight
        self.wraps = False

    @property
    def page(self) -> int:
        """The number of lines that fit."""
        return max(self.size.height - 2, 1)

    def show(self, log: LogView, zone: tzinfo | None) -> None:
        """Show what is in sight now."""
        self._log, self._zone = log, zone
        self.redraw()

    def line_at(self, y: int) -> int | None:
        """Return the index of the log line on a line of the panel."""
        return self._owners[y - 1] if 0 < y <= len(self._owners) else None

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw the lines in a box."""
        log = self._log
        if log is None:
            return []
        page = height - 2
        top = max(len(log.lines) - page, 0) if log.top is None else log.top
        body = self._body(log, top, width - 4, page)
        self._owners = [index for index, _ in body]
        lines = [piece for _, piece in body]
        if not lines:
            lines = [(("no line passes the filter" if log.text else "nothing has been logged at this level", "muted"),)]
        note: Line = (("following", "muted"),) if log.top is None else (("scrolled, Esc follows", "warn"),)
        level = logging.getLevelName(log.least_level).lower()
        newest = moment(log.lines[-1].at_ms if log.lines else 0, self._zone)
        said = f"  {len(log.lines):,} lines, {level} and above, {newest.tzname()}"
        title: Line = (("Log", "title"), (said, "muted"))
        return framed(lines, width, height, title=title, note=note, thumb=thumb(top, page, len(log.lines)))

    def _body(self, log: LogView, top: int, width: int, page: int) -> list[tuple[int, Line]]:
        """Return the lines in sight, each with its log line's index: the last ones, or those with the selected one."""
        names = min(max(log.name_width, _NAME), next(most for least, most in _MOST_NAMES if width >= least))
        body = [
            (index, under_cursor(piece) if index == log.selected else piece)
            for index, line in enumerate(log.window(page), top)
            for piece in log_lines(line, width, self._zone, wrap=self.wraps, name_width=names)
        ]
        if log.top is None:
            return body[-page:]
        end = max((place for place, (index, _) in enumerate(body, 1) if index == log.selected), default=0)
        return body[max(end - page, 0) :][:page]
