"""What a provider's answer says about itself: tokens used, sats charged. Never trusts a type."""

from __future__ import annotations

import re
from typing import Any

from arbstr.types import Usage

# What is beyond these is no count and no charge but a fault, and so unknown: neither rows nor budgets shall believe it.
_MOST_TOKENS = 10**9
_MOST_MSATS = 10**12
_DIGITS = re.compile("[0-9]{1,15}")


def usage_of(document: Any) -> Usage | None:
    """The tokens of a completion or chunk (OpenAI's `usage` object), None if it has no such object."""
    usage = document.get("usage") if isinstance(document, dict) else None
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Usage(
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=cached or 0,
    )


def charged_msats(document: Any) -> int | None:
    """What the provider says it charged, in msats; None where it does not say.

    Routstr nodes give a total in three places (`usage.cost`, `cost`, `metadata.routstr.cost`); their fields in whole
    sats are floored and not to be used.
    """
    for path in (("usage", "cost"), ("cost",), ("metadata", "routstr", "cost")):
        total = _count(_dig(document, *path, "total_msats"), _MOST_MSATS)
        if total is not None:
            return total
    return None


def charged_header_msats(value: str | None) -> int | None:
    """The same from the header `x-routstr-cost-msats`."""
    return _count(int(value), _MOST_MSATS) if value is not None and _DIGITS.fullmatch(value) else None


def _dig(document: Any, *path: str) -> Any:
    for name in path:
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def _count(value: Any, most: int = _MOST_TOKENS) -> int | None:
    """A whole number from 0 to `most`, or None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        return None
    return value
