"""Settings merged into a file's own, whatever its format: what is there stays, what is ours is set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arbstr.errors import ArbstrError

Settings = Mapping[str, Any]  # tables within tables; None where a setting has to go


class Unmergeable(ArbstrError):
    """A file can't be changed without risking what is in it; the text says why."""


def merge(table: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return a table with the settings in it. Raises `Unmergeable` where a table would take the place of a value."""
    merged = dict(table)
    for name, value in settings.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            inner = merged.get(name, {})
            if not isinstance(inner, dict):
                raise Unmergeable(f"{name} is no table there")
            merged[name] = merge(inner, value)
        else:
            merged[name] = value
    return merged


def lines_of(text: str) -> list[str]:
    """Return a text's lines, as what ends with a line feed; nothing else parts them in TOML or YAML."""
    return text.removesuffix("\n").split("\n") if text else []


def present(settings: Settings) -> dict[str, Any]:
    """Return the settings without those that have to go."""
    return merge({}, settings)
