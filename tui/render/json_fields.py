"""Fields of JSON that was kept in the ledger: rows of earlier versions may hold anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui.format import sats, shown

Json = Mapping[str, Any]


def text_of(value: Json, name: str) -> str:
    """Return a text, empty without one."""
    return shown(str(value.get(name) or ""))


def objects_in(value: Json, name: str) -> list[Json]:
    """Return the objects in a list."""
    listed = value.get(name)
    return [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []


def number_of(value: object) -> float | None:
    """Return a number, None for what is none."""
    return value if isinstance(value, int | float) else None


def whole_of(value: object) -> int | None:
    """Return a whole number, None for what is none."""
    return value if isinstance(value, int) else None


def sats_of(value: float | None) -> str:
    """Format sats."""
    return sats(None if value is None else round(value * 1000))
