"""When a node is asked for a balance next: soon after something has happened there, rarely while nothing does."""

from __future__ import annotations

import math
from collections.abc import Callable

ACTIVE_S = 10.0  # while requests are charged, or the node holds a reservation
SOON_S = 1.0  # when something waits for it
APART_S = 2.0  # nothing makes two readings come closer
JITTER = 0.2  # up to this share earlier: several arbstrs do not ask at once


class PollSchedule:
    """The next reading of one balance, `due_s` by a monotonic clock; at most `longest_s` after the one before.

    `random` returns numbers from 0 to 1.
    """

    def __init__(self, longest_s: float, random: Callable[[], float]) -> None:
        self.due_s = 0.0
        self._random = random
        self._longest_s = longest_s
        self._active_s = min(ACTIVE_S, longest_s)
        self._soon_s = min(SOON_S, longest_s)
        self._apart_s = min(APART_S, longest_s)
        self._pause_s = self._active_s
        self._last_s = 0.0
        self._wanted_s = -math.inf  # when something made the next reading come earlier

    def polled(self, now_s: float, *, quiet: bool) -> None:
        """Set when to read again; `quiet`: nothing has changed since the reading before, or it failed."""
        self._last_s = now_s
        self._pause_s = min(2 * self._pause_s, self._longest_s) if quiet else self._active_s
        self.due_s = now_s + self._pause_s * (1 - JITTER * self._random())

    def heard(self, now_s: float, age_s: float, *, quiet: bool) -> None:
        """Set when to read again after another arbstr's reading; what is wanted since then comes first."""
        if self._wanted_s < now_s - age_s:
            self.polled(now_s, quiet=quiet)

    def active(self, now_s: float) -> bool:
        """Note that something happens there; return whether the next reading is due earlier now."""
        self._wanted_s = now_s
        return self._bring_forward(now_s + self._active_s)

    def urgent(self, now_s: float) -> bool:
        """Note that something waits for the balance; return whether the next reading is due earlier now."""
        self._wanted_s = now_s
        return self._bring_forward(max(now_s + self._soon_s, self._last_s + self._apart_s))

    def _bring_forward(self, due_s: float) -> bool:
        self._pause_s = self._active_s
        is_earlier = due_s < self.due_s
        self.due_s = min(self.due_s, due_s)
        return is_earlier
