"""JSON: rendered, and merged with what is there, in its order and indentation."""

from __future__ import annotations

import json
import re
from typing import Any

from arbstr.connect.merging import Settings, Unmergeable, merge, present

_INDENT = re.compile(r"\{\s*?\n([ \t]+)")


def render(settings: Settings) -> str:
    """Return settings as JSON."""
    return json.dumps(present(settings), indent=2, ensure_ascii=False) + "\n"


def merged(text: str, settings: Settings) -> str:
    """Return a file's text with the settings in it. Raises `Unmergeable`, for one if there are comments in it."""
    before = _parse(text)
    wanted = merge(before, settings)
    if wanted == before:
        return text
    found = _INDENT.search(text)
    return json.dumps(wanted, indent=found[1] if found else 2, ensure_ascii=False) + "\n"


def _parse(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text, object_pairs_hook=_once) if text.strip() else {}
    except (ValueError, RecursionError):
        raise Unmergeable("it is not plain JSON (are there comments in it?)") from None
    if not isinstance(document, dict):
        raise Unmergeable("it is no JSON object")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise Unmergeable("it has a key twice")
    return table
