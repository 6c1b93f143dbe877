"""Instants: milliseconds since the Unix epoch, UTC, and how they are written."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MILLISECOND = timedelta(milliseconds=1)


def wall_ms() -> int:
    """Return the present instant by the wall clock, which may be set while arbstr runs."""
    return time.time_ns() // 1_000_000


def to_ms(moment: datetime) -> int:
    """Return an instant that has an offset in milliseconds; fractions of these are cut off."""
    return (moment - _EPOCH) // _MILLISECOND


def format_ms(at_ms: int) -> str:
    """Return an instant of the years 1 to 9999 as `YYYY-MM-DDTHH:MM:SS.mmmZ`. Raises OverflowError."""
    return f"{_format_s(at_ms // 1000)}.{at_ms % 1000:03d}Z"


@lru_cache(maxsize=64)
def _format_s(at_s: int) -> str:
    """Many rows and log lines are of the same second."""
    return (_EPOCH + at_s * _SECOND).isoformat()[:-6]
