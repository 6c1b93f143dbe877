"""The counters of Live, since arbstr started or since they were reset."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from arbstr.monitoring.source import Totals


@dataclass(frozen=True, slots=True)
class Reset:
    """When the counters were reset, in ms, and what had been counted by then."""

    at_ms: int
    counted: Totals


def counted_since(reset: Reset, totals: Totals) -> Totals:
    """Return what of the sums came after the reset."""
    return Totals(
        **{each.name: _more(getattr(totals, each.name), getattr(reset.counted, each.name)) for each in fields(Totals)}
    )


def _more(now: Any, then: Any) -> Any:
    """Return by how much a sum has grown; of sums by key those that have."""
    if isinstance(now, int):
        return now - then
    return {key: grown for key, many in now.items() if (grown := many - then.get(key, 0))}
