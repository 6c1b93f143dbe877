"""How fast a balance is spent, by what its key has spent within the last hour."""

from __future__ import annotations

from collections import deque

from arbstr.clock import HOUR_MS, MINUTE_MS

WINDOW_MS = HOUR_MS
LEAST_MS = 10 * MINUTE_MS  # a first request is no rate: before it, nothing was spent that long
_APART_MS = MINUTE_MS // 2  # closer readings are not kept


class BurnRate:
    """The sums that a key had spent at the readings of the last hour, in msats."""

    def __init__(self) -> None:
        self._spent: deque[tuple[int, int]] = deque()

    def add(self, at_ms: int, spent_msats: int) -> None:
        """Note what had been spent at an instant. Where that or the clock goes back, what was noted before is void."""
        spent = self._spent
        if spent and (spent_msats < spent[-1][1] or at_ms < spent[-1][0]):
            spent.clear()
        if len(spent) > 1 and spent[-1][0] - spent[-2][0] < _APART_MS:
            spent.pop()
        spent.append((at_ms, spent_msats))
        while len(spent) > 1 and spent[1][0] <= at_ms - WINDOW_MS:
            spent.popleft()

    @property
    def msats_per_hour(self) -> int:
        """What is spent in an hour, at the rate of the last one."""
        if not self._spent:
            return 0
        (since_ms, before), (until_ms, after) = self._spent[0], self._spent[-1]
        return (after - before) * HOUR_MS // max(until_ms - since_ms, LEAST_MS)
