"""The demo's hours, of a few minutes: a budget by the hour can be seen to be spent and to reset."""

from __future__ import annotations

from arbstr.clock import MINUTE_MS
from arbstr.engine.caps import Period, bounds_ms

HOUR_MS = 4 * MINUTE_MS


def short_bounds_ms(period: Period, now_ms: int) -> tuple[int, int]:
    """Return the start and end of the period that contains an instant, where an hour lasts four minutes."""
    if period != "hour":
        return bounds_ms(period, now_ms)
    start_ms = now_ms - now_ms % HOUR_MS
    return start_ms, start_ms + HOUR_MS
