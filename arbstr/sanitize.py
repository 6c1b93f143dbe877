"""Make untrusted text harmless: model names, errors and headers come from clients and providers."""

from __future__ import annotations

import json
import re
from typing import Any

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_PHRASE_CHARS = 300
MARK = "\N{REPLACEMENT CHARACTER}"


def sanitize(text: str, most: int = 200) -> str:
    """Return one line of at most `most` characters, with control and bidi characters replaced by a mark."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return _CONTROL.sub(MARK, cut)


def json_or_none(text: Any) -> Any:
    """Return the value of a JSON text from a database; None if it is invalid or no text."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None


def quoted(text: str, most: int = 60, mark: str = '"') -> str:
    """Return untrusted text in quotes, sanitized, fit to be repeated in a sentence."""
    return f"{mark}{sanitize(text, most)}{mark}"


def sanitize_clause(text: str) -> str:
    """Return untrusted text fit to stand within a sentence: sanitized, short, without a full stop at its end."""
    return sanitize(text.strip(), _PHRASE_CHARS).rstrip(" .")
