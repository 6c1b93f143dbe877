"""The latest lines of arbstr's log, in memory: what the dashboard shows instead of stderr."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import NamedTuple

RING_LINES = 5000


class LogLine(NamedTuple):
    """A line as the dashboard shows it. `seq` counts from 1 without gaps; `level` is a number of `logging`."""

    seq: int
    at_ms: int
    level: int
    logger: str
    text: str


class LogRing:
    """The latest lines, in memory; safe to use from any thread."""

    def __init__(self, capacity: int = RING_LINES) -> None:
        self._lines: deque[LogLine] = deque(maxlen=capacity)
        self._lock = threading.Lock()
        self._last = 0

    def add(self, at_ms: int, level: int, logger: str, text: str) -> None:
        """Keep a line; the oldest is dropped when there are too many."""
        with self._lock:
            self._last += 1
            self._lines.append(LogLine(self._last, at_ms, level, logger, text))

    def since(self, seq: int = 0) -> list[LogLine]:
        """Return the lines after the one numbered `seq`, oldest first; after a gap where older ones are gone."""
        with self._lock:
            new = min(self._last - seq, len(self._lines))
            return list(islice(reversed(self._lines), max(new, 0)))[::-1]
