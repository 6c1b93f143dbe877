"""YAML, as far as settings need it: texts and booleans at the top level, and a list of such tables. Comments stay."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from arbstr.connect.merging import Unmergeable, lines_of

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./:@-]*[A-Za-z0-9]|[A-Za-z]")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_BEYOND_LINES = re.compile(r"(?:---|\.\.\.|%|[\[{])")

Values = Mapping[str, str | bool | None]


def render(settings: Values) -> str:
    """Return settings as YAML."""
    return "".join(f"{line}\n" for line in _lines(settings))


def render_list(items: Sequence[Values]) -> str:
    """Return a list of tables as YAML."""
    return "".join(f"{line}\n" for item in items for line in _item(item))


def merged(text: str, settings: Values) -> str:
    """Return a file's text with the settings in it. Raises `Unmergeable`."""
    lines = _checked(text)
    for name, value in settings.items():
        at = [index for index, line in enumerate(lines) if re.match(rf"""["']?{re.escape(name)}["']?\s*:""", line)]
        new = [] if value is None else [f"{name}: {_value(value)}"]
        if len(at) > 1 or (at and _goes_on(lines, at[0])):
            raise Unmergeable(f"its {name} is written in a way that can't be changed by the line")
        lines = [*lines[: at[0]], *new, *lines[at[0] + 1 :]] if at else [*lines, *new]
    return "".join(f"{line}\n" for line in lines)


def merged_list(text: str, items: Sequence[Values], key: str) -> str:
    """Return the text of a file that is a list with these items in it, distinguished by `key`. Raises `Unmergeable`."""
    lines = _checked(text)
    if any(line.strip() and not line.startswith(("- ", " ", "#")) for line in lines):
        raise Unmergeable("it is no list, or its items are indented")
    for item in items:
        opening = f"- {key}: {_value(item[key] or '')}"
        start = next((index for index, line in enumerate(lines) if line.rstrip() == opening), len(lines))
        end = next((index for index in range(start + 1, len(lines)) if not lines[index].startswith(" ")), len(lines))
        lines = [*lines[:start], *_item(item), *lines[end:]]
    return "".join(f"{line}\n" for line in lines)


def _checked(text: str) -> list[str]:
    lines = lines_of(text)
    if any(_BEYOND_LINES.match(line) for line in lines):
        raise Unmergeable("its YAML is written in a way that can't be changed by the line")
    return lines


def _goes_on(lines: Sequence[str], index: int) -> bool:
    """Return whether a value takes more than its line."""
    following = lines[index + 1] if index + 1 < len(lines) else ""
    return following.startswith((" ", "\t", "- "))


def _item(item: Values) -> list[str]:
    return [f"{'  ' if index else '- '}{line}" for index, line in enumerate(_lines(item))]


def _lines(settings: Values) -> list[str]:
    return [f"{name}: {_value(value)}" for name, value in settings.items() if value is not None]


def _value(value: str | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quoted_if_needed(value)


def _quoted_if_needed(text: str) -> str:
    is_plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS
    return text if is_plain else json.dumps(text, ensure_ascii=False)
