"""Foreign text made harmless: model names, errors and headers are the client's and the provider's words."""

from __future__ import annotations

import json
import re
from typing import Any

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_PHRASE_CHARS = 300
MARK = "\N{REPLACEMENT CHARACTER}"


def sanitize(text: str, most: int = 200) -> str:
    """One line of at most `most` characters, in which control and bidi characters show as a mark."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return _CONTROL.sub(MARK, cut)


def json_or_none(text: Any) -> Any:
    """The value of a JSON text that a database holds; None if it is none, or no text at all."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None


def sanitize_clause(text: str) -> str:
    """Foreign words fit to stand within a sentence of ours: plain, short, and without a full stop of their own."""
    return sanitize(text.strip(), _PHRASE_CHARS).rstrip(" .")
