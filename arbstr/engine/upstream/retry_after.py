"""When a provider wants to be asked again, from headers and bodies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from arbstr.types import JsonObject

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{0,15})?")
_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,15})?)s")  # as Google's protocol buffers are written in JSON
_LONGEST_S = 366 * 86_400.0  # longer waits are ignored


def retry_after_s(
    header: str | None, error: JsonObject, *, milliseconds: str | None = None, now: datetime | None = None
) -> float | None:
    """Return the seconds that a provider asks to wait, None where it does not say or the value is invalid.

    The first valid one of `milliseconds` (from `retry-after-ms` or `x-ms-retry-after-ms`), the `Retry-After` header
    (seconds or a date, counted from `now`) and the fields of the error in the body.
    """
    waits = (
        _scaled(milliseconds, 0.001),
        _scaled(header, 1.0),
        _until(header, now or datetime.now(UTC)),
        *_in_body(error),
    )
    return next((wait_s for wait_s in waits if wait_s is not None and wait_s <= _LONGEST_S), None)


def _scaled(text: str | None, unit_s: float) -> float | None:
    return float(text.strip()) * unit_s if text is not None and _NUMBER.fullmatch(text.strip()) else None


def _until(text: str | None, now: datetime) -> float | None:
    """Return the seconds until a date, 0 if it has passed; None if it is no date, or out of range."""
    try:
        moment = parsedate_to_datetime((text or "").strip())
        if moment.tzinfo is None:  # so the standard library reads the zone -0000
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - now).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _in_body(error: JsonObject) -> Iterator[float | None]:
    """Yield the waits in an error object: Routstr's fields, Google's `RetryInfo`, and other spellings."""
    details = error.get("details")
    for part in (*(details if isinstance(details, list) else [details]), error):
        if isinstance(part, dict):
            yield _number(part.get("retry_after_ms"), 0.001)
            yield _number(part.get("retry_after_seconds"), 1.0)
            yield _number(part.get("retry_after"), 1.0)
            yield _duration(part.get("retryDelay"))


def _number(value: Any, unit_s: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST_S / unit_s:
        return None
    return float(value) * unit_s


def _duration(value: Any) -> float | None:
    """Return the seconds of `"34.5s"`, or of an object with `seconds`."""
    if isinstance(value, dict):
        return _number(value.get("seconds"), 1.0)
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return None if found is None else float(found[1])
