"""TOML: rendered, and merged line by line so that comments stay."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from arbstr.connect.merging import Settings, Unmergeable, lines_of, merge, present

_HEADER = re.compile(r"\s*\[")
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = r"""(?:"[^"\\]*"|'[^']*')"""


def render(settings: Settings) -> str:
    """Return settings as TOML; all their values are texts."""
    blocks = [
        "\n".join([*([_header(path)] if path else []), *(f"{_key(name)} = {_value(value)}" for name, value in pairs)])
        for path, pairs in _tables(present(settings))
    ]
    return "\n\n".join(blocks) + "\n"


def merged(text: str, settings: Settings) -> str:
    """Return a file's text with the settings in it. Raises `Unmergeable`."""
    before = _parse(text)
    wanted = merge(before, settings)
    if wanted == before:
        return text
    lines = lines_of(text)
    for path, pairs in _tables(settings):
        lines = _with_table(lines, path, dict(pairs))
    after = "\n".join(lines) + "\n"
    if _parse(after) != wanted:  # it is written in a way that takes more than lines to change
        raise Unmergeable("its TOML is written in a way that can't be changed line by line")
    return after


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        raise Unmergeable("it is not valid TOML") from None


def _tables(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Yield each table's path and the values that are not tables themselves."""
    pairs = [(name, value) for name, value in table.items() if not isinstance(value, Mapping)]
    if pairs:
        yield path, pairs
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _tables(value, (*path, name))


def _with_table(lines: list[str], path: tuple[str, ...], values: Mapping[str, str | None]) -> list[str]:
    """Return the lines with the values in that table, which is added at the end if it is not there."""
    headers = [index for index, line in enumerate(lines) if _HEADER.match(line)]
    start = 0
    if path:
        start = next((index + 1 for index in headers if _names(lines[index], path)), 0)
        if not start:
            gap = [""] if lines and lines[-1].strip() else []
            lines, start = [*lines, *gap, _header(path)], len(lines) + len(gap) + 1
    end = next((index for index in headers if index >= start), len(lines))
    body = lines[start:end]
    for name, value in values.items():
        body = _with_value(body, name, value)
    gap = [""] if body and end < len(lines) and body[-1].strip() and not lines[start:end] else []
    return [*lines[:start], *body, *gap, *lines[end:]]


def _with_value(body: list[str], name: str, value: str | None) -> list[str]:
    """Return a table's lines with this value, in place of an old one or after the last."""
    line = re.compile(rf"""(\s*["']?{re.escape(name)}["']?\s*=\s*){_STRING}(\s*(?:\#.*)?)""")
    for index, old in enumerate(body):
        if found := line.fullmatch(old):
            new = [] if value is None else [f"{found[1]}{_value(value)}{found[2]}"]
            return [*body[:index], *new, *body[index + 1 :]]
    if value is None:
        return body
    last = max(
        (index + 1 for index, old in enumerate(body) if old.strip() and not old.lstrip().startswith("#")), default=0
    )
    return [*body[:last], f"{_key(name)} = {_value(value)}", *body[last:]]


def _names(line: str, path: tuple[str, ...]) -> bool:
    parts = r"\s*\.\s*".join(rf"""["']?{re.escape(part)}["']?""" for part in path)
    return re.fullmatch(rf"\s*\[\s*{parts}\s*\]\s*(?:\#.*)?", line) is not None


def _header(path: tuple[str, ...]) -> str:
    return f"[{'.'.join(map(_key, path))}]"


def _key(name: str) -> str:
    return name if _KEY.fullmatch(name) else _value(name)


def _value(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # printable text is written alike in TOML's strings
