"""When a provider wants to be asked again, in its own words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from arbstr.types import JsonObject

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{0,15})?")
_LONGEST_S = 10**15  # no wait that anyone means


def retry_after_s(header: str | None, error: JsonObject) -> float | None:
    """Seconds to wait: the `Retry-After` header (seconds or a date), or Routstr's field in the error; else None."""
    wait_s = None if header is None else _seconds(header.strip())
    return _field_s(error) if wait_s is None else wait_s


def _field_s(error: JsonObject) -> float | None:
    details = error.get("details")
    seconds = details.get("retry_after_seconds") if isinstance(details, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return float(min(max(0, seconds), _LONGEST_S))


def _seconds(text: str) -> float | None:
    """Seconds from now, given as a number or as a date; None if it is neither."""
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:  # so the standard library reads the zone -0000
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
