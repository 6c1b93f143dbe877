"""Completion of the word before a filter's cursor: field names and values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tui.model.feed import Feed
from tui.model.filter_language import FIELDS, VALUES
from tui.model.view_model import DashboardView

Names = Mapping[str, Sequence[str]]  # known names by field, best first; "" has the words of a filter without fields
_WORD = re.compile(r'-?(?:[^\s":]+:)?(?:"[^"]*|[^\s"]*)$')


def completions(typed: str, names: Names) -> list[str]:
    """Return completions of `typed`, the text up to the cursor, best first, without `typed` itself."""
    match = _WORD.search(typed)
    start = match.start() if match else len(typed)
    before, word = typed[:start], typed[start:]
    minus, word = ("-", word[1:]) if word.startswith("-") else ("", word)
    field, colon, part = word.partition(":")
    if not any(name for name in names):  # a filter without fields
        words = _best(names.get("", ()), word)
    elif colon:
        words = [f"{field}:{_quoted(value)}" for value in _best(_values(field.lower(), names), part.strip('"'))]
    else:
        words = [f"{each}:" for each in FIELDS if each.startswith(word.lower())]
        words = words or [f"{each}:{_quoted(name)}" for each in names for name in _best(names[each], word)]
    return [found for each in words if (found := f"{before}{minus}{each}") != typed]


def names_in_sight(view: DashboardView, feed: Feed) -> dict[str, list[str]]:
    """Return the names in the configuration and the latest requests."""
    rows, statuses = feed.rows(), [each.status for each in view.providers]
    return {
        "model": [*dict.fromkeys([model for each in statuses for model in each.models] + [row.model for row in rows])],
        "provider": [*dict.fromkeys([each.name for each in statuses] + [name for row in rows for name in row.path])],
        "policy": [*dict.fromkeys(row.policy for row in rows if row.policy)],
        "client": [*dict.fromkeys(row.client for row in rows if row.client)],
        "session": [*dict.fromkeys(row.session for row in rows if row.session)],
        "dialect": [*dict.fromkeys(row.dialect for row in rows if row.dialect)],
    }


def _values(field: str, names: Names) -> Sequence[str]:
    return VALUES.get(field) or names.get(field, ())


def _best(names: Sequence[str], part: str) -> list[str]:
    """Return the names that contain the part, those that begin with it first."""
    lower = part.lower()
    found = [name for name in names if lower in name.lower()]
    return sorted(found, key=lambda name: not name.lower().startswith(lower))


def _quoted(value: str) -> str:
    return f'"{value}"' if re.search(r"[\s,|*]", value) and '"' not in value else value
