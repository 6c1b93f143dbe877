"""Cashu tokens as text. What they are worth only their mint knows."""

from __future__ import annotations

import hashlib
import re

_TOKEN = re.compile(r"cashu[A-Za-z][A-Za-z0-9_+/=-]{4,}")
_PREFIXES = ("web+cashu://", "cashu://", "cashu:")


def clean(text: str) -> str:
    """Return the token in a text: without line breaks, blanks and a URI's prefix. Raises ValueError if it is none."""
    token = "".join(text.split())
    for prefix in _PREFIXES:
        token = token.removeprefix(prefix)
    if _TOKEN.fullmatch(token) is None:
        raise ValueError("it does not begin with cashuA or cashuB, or has characters that no token has")
    return token


def key_of(token: str) -> str:
    """Return the key that a node makes of a token."""
    return f"sk-{hashlib.sha256(token.encode()).hexdigest()}"
