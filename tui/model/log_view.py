"""arbstr's own log lines as the dashboard reads them, filtered by level and text."""

from __future__ import annotations

import logging
import re
from collections import deque

from arbstr.logs.ring import LogLine, LogRing
from tui.format import shown

KEPT = 5000
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


class LogView:
    """The lines that pass the filter, newest last, and the scroll position.

    `top` is the first line shown, None when it follows the newest.
    """

    def __init__(self, ring: LogRing) -> None:
        self._ring = ring
        self._seq = 0
        self._all: deque[LogLine] = deque(maxlen=KEPT)
        self.least_level = logging.INFO
        self.text = ""
        self.lines: list[LogLine] = []
        self.top: int | None = None

    def catch_up(self) -> bool:
        """Read new lines; return whether there were any."""
        new = self._ring.since(self._seq)
        if not new:
            return False
        self._seq = new[-1].seq
        clean = [
            LogLine(line.seq, line.at_ms, line.level, shown(line.logger, 40), shown(line.text, 2000)) for line in new
        ]
        dropped = max(len(self._all) + len(clean) - KEPT, 0)
        self._all.extend(clean)
        self.lines += [line for line in clean if self._passes(line)]
        if dropped and self._all:
            self._forget(self._all[0].seq)
        return True

    def set_level(self, level: int) -> None:
        """Show lines from a level on."""
        self.least_level = level
        self._filter()

    def request_ids(self, page: int) -> list[str]:
        """Return the ids of the requests in the lines in sight and above, the lowest line's first."""
        below = len(self.lines) if self.top is None else self.top + page
        ids = (found[0] for line in reversed(self.lines[:below]) if (found := _UUID.search(line.text)))
        return [*dict.fromkeys(ids)]

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

    def window(self, page: int) -> list[LogLine]:
        """Return the lines to show."""
        top = max(len(self.lines) - page, 0) if self.top is None else self.top
        return self.lines[top : top + page]

    def _passes(self, line: LogLine) -> bool:
        text = self.text
        return line.level >= self.least_level and (not text or text in line.text.lower() or text in line.logger.lower())

    def _filter(self) -> None:
        self.lines = [line for line in self._all if self._passes(line)]
        self.top = None

    def _forget(self, first_kept: int) -> None:
        """Drop lines that are no longer kept; the position stays as long as it can."""
        gone = next((index for index, line in enumerate(self.lines) if line.seq >= first_kept), len(self.lines))
        del self.lines[:gone]
        if self.top is not None:
            self.top = max(self.top - gone, 0)
