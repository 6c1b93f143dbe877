"""The frame rate: smooth while frames are cheap, and never more than a fixed share of the loop's time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter

from tui.timings import NORMAL, Timings

BUDGET = 0.01  # of the loop's time


class FrameBudget:
    """Measures the cost of frames and decides when the next is due.

    A frame's cost is what building its lines took and what Textual took to compose and write them. `holds` are the
    latest stretches for which painting held the loop, in seconds.
    """

    def __init__(
        self, clock: Callable[[], float] = perf_counter, budget: float = BUDGET, timings: Timings = NORMAL
    ) -> None:
        self._clock = clock
        self._budget = budget
        self._timings = timings
        self._cost = 0.0
        self._composing_since: float | None = None
        self._due = 0.0
        self.holds: deque[float] = deque(maxlen=20_000)

    def composing(self) -> None:
        """Note that Textual composes: call it for the first panel of a frame; further calls do nothing."""
        if self._composing_since is None:
            self._composing_since = self._clock()

    def displayed(self) -> None:
        """Note that Textual has written the frame."""
        if self._composing_since is not None:
            self.spent(self._clock() - self._composing_since)
            self._composing_since = None

    def spent(self, seconds: float) -> None:
        """Add seconds of the loop's time to the frame's cost."""
        self._cost += seconds
        self.holds.append(seconds)

    def painted(self) -> None:
        """Note that a frame is complete; the next is due when its cost is within the budget."""
        wait = min(max(self._cost / self._budget, self._timings.fastest_frame_s), self._timings.slowest_frame_s)
        self._due = self._clock() + wait
        self._cost = 0.0

    @property
    def due(self) -> bool:
        """Check whether the next frame may be painted."""
        return self._clock() >= self._due
