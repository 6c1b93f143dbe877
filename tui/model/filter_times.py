"""Times in filters: days, hours, minutes and seconds in UTC, each a period with a beginning and an end."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from arbstr.clock import DAY_MS, HOUR_MS, MINUTE_MS, to_ms

_TIME = re.compile(r"(?P<day>\d{4}-\d\d-\d\d)(?:[t ](?P<clock>\d\d(?::\d\d(?::\d\d)?)?)z?)?", re.ASCII | re.IGNORECASE)
_LENGTHS = {0: DAY_MS, 2: HOUR_MS, 5: MINUTE_MS, 8: 1000}  # ms, by how much of the clock is named


def period_of(text: str) -> tuple[int, int] | None:
    """Return when the period that a text names begins and ends, in epoch ms, end exclusive; None if it names none.

    `2025-03-14` is a day, `2025-03-14T13` an hour, `2025-03-14T13:05` a minute; a `Z` may follow.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    clock = match["clock"] or ""
    try:
        began = datetime.fromisoformat(f"{match['day']}T{clock or '00'}").replace(tzinfo=UTC)
    except ValueError:  # no such day or time
        return None
    began_ms = to_ms(began)
    return began_ms, began_ms + _LENGTHS[len(clock)]


def since(at_ms: int) -> str:
    """Return the term of a filter for requests received from then on, to the second."""
    return f"since:{_second(at_ms)}"


def until(at_ms: int) -> str:
    """Return the term of a filter for requests received up to then, to the second."""
    return f"until:{_second(at_ms)}"


def within(began_ms: int, length_ms: int) -> str:
    """Return the terms of a filter for requests received in a day or an hour."""
    whole = "%Y-%m-%d" if length_ms == DAY_MS else "%Y-%m-%dT%H"
    period = f"{datetime.fromtimestamp(began_ms / 1000, UTC):{whole}}"
    return f"since:{period} until:{period}"


def _second(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}"
