"""arbstr's own log lines as the dashboard reads them, filtered by level and text."""

from __future__ import annotations

import logging
import re
from collections import deque
from functools import lru_cache

from arbstr.logs.ring import LogLine, LogRing
from tui.format import shown

KEPT = 5000
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
OWN = "arbstr."  # what the names of arbstr's own loggers begin with
LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


class LogView:
    """The lines that pass the filter, newest last, the scroll position and the selected line.

    `top` is the first line shown, None when it follows the newest; `name_width` the longest logger's name. `lines` are
    as they were logged: `window` and `loggers` make harmless what is shown, for thousands at once would hold the proxy
    up for 20 ms.
    """

    def __init__(self, ring: LogRing) -> None:
        self._ring = ring
        self._seq = 0
        self._all: deque[LogLine] = deque(maxlen=KEPT)
        self.least_level = logging.INFO
        self.text = ""
        self.lines: list[LogLine] = []
        self.top: int | None = None
        self.selected: int | None = None
        self.name_width = 0

    def catch_up(self) -> bool:
        """Read new lines; return whether there were any."""
        new = self._ring.since(self._seq)
        if not new:
            return False
        self._seq = new[-1].seq
        dropped = max(len(self._all) + len(new) - KEPT, 0)
        self._all.extend(new)
        names = {line.logger for line in new}
        self.name_width = max(self.name_width, *(len(_logger(name).removeprefix(OWN)) for name in names))
        self.lines += [line for line in new if self._passes(line)]
        if dropped and self._all:
            self._forget(self._all[0].seq)
        return True

    def set_level(self, level: int) -> None:
        """Show lines from a level on."""
        self.least_level = level
        self._filter()

    def requests(self, page: int) -> tuple[list[str], int]:
        """Return the ids of the requests that lines are about, newest first, and the place of the one to open.

        That is the selected line's, without a selection the lowest line's in sight; -1 if there is none.
        """
        below = len(self.lines) if self.top is None else self.top + page
        sight = range(min(below, len(self.lines)) - 1, -1, -1) if self.selected is None else (self.selected,)
        ids = [*dict.fromkeys(found for line in reversed(self.lines) if (found := _request_id(line)))]
        meant = next((found for place in sight if (found := _request_id(self.lines[place]))), None)
        return ids, -1 if meant is None else ids.index(meant)

    def next_level(self) -> None:
        """Show lines from the next level on, and after the last level from the first."""
        place = LEVELS.index(self.least_level)
        self.least_level = LEVELS[(place + 1) % len(LEVELS)]
        self._filter()

    def narrow(self, text: str) -> None:
        """Show only lines that contain the text."""
        self.text = text.lower().strip()
        self._filter()

    def scroll(self, by: int, page: int) -> None:
        """Scroll by lines; at the end it follows again."""
        last = max(len(self.lines) - page, 0)
        top = (last if self.top is None else self.top) + by
        self.top = None if top >= last else max(top, 0)

    def move(self, by: int, page: int) -> None:
        """Move the selection and keep it in sight; the first move selects the lowest line, one past the end follows."""
        last = len(self.lines) - 1
        if self.selected is None:
            below = last if self.top is None else min(self.top + page - 1, last)
            self.select(below if abs(by) == 1 else below + by, page)
        elif self.selected == last and by > 0:
            self.follow()
        else:
            self.select(self.selected + by, page)

    def select(self, index: int, page: int) -> None:
        """Select the line at that index, or the nearest one."""
        if not self.lines:
            return
        self.selected = min(max(index, 0), len(self.lines) - 1)
        top = max(len(self.lines) - page, 0) if self.top is None else self.top
        self.top = min(max(top, self.selected - page + 1), self.selected)

    def select_warning(self, by: int, page: int) -> bool:
        """Select the next warning or error below, or above; the first time the newest; return whether there is one."""
        last = len(self.lines) - 1
        if self.selected is None:
            places = range(last, -1, -1)
        else:
            places = range(self.selected + by, last + 1 if by > 0 else -1, by)
        found = next((place for place in places if self.lines[place].level >= logging.WARNING), None)
        if found is not None:
            self.select(found, page)
        return found is not None

    def follow(self) -> None:
        """Follow the newest lines, with nothing selected."""
        self.top = self.selected = None

    def window(self, page: int) -> list[LogLine]:
        """Return the lines to show, made harmless."""
        top = max(len(self.lines) - page, 0) if self.top is None else self.top
        return [_harmless(line) for line in self.lines[top : top + page]]

    def loggers(self) -> list[str]:
        """Return the names of the lines' loggers, in order, made harmless."""
        return sorted({_logger(name) for name in {line.logger for line in self.lines}})

    def _passes(self, line: LogLine) -> bool:
        text = self.text
        return line.level >= self.least_level and (not text or text in line.text.lower() or text in line.logger.lower())

    def _filter(self) -> None:
        self.lines = [line for line in self._all if self._passes(line)]
        self.follow()

    def _forget(self, first_kept: int) -> None:
        """Drop lines that are no longer kept; the position stays as long as it can."""
        gone = next((index for index, line in enumerate(self.lines) if line.seq >= first_kept), len(self.lines))
        del self.lines[:gone]
        if self.top is not None:
            self.top = max(self.top - gone, 0)
        if self.selected is not None:
            self.selected = self.selected - gone if self.selected >= gone else None


@lru_cache(512)  # a line is in sight in many frames
def _harmless(line: LogLine) -> LogLine:
    return line._replace(logger=_logger(line.logger), text=shown(line.text, 2000))


@lru_cache(256)  # there are few, and each logs many lines
def _logger(name: str) -> str:
    return shown(name, 40)


def _request_id(line: LogLine) -> str | None:
    found = _UUID.search(line.text)
    return None if found is None else found[0]
