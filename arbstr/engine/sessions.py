"""The session (conversation) a request belongs to, if its client says so; hashed, since names may identify people."""

from __future__ import annotations

import hmac
from typing import Any

from arbstr.types import HeaderList, JsonObject

_HEADERS = ("x-session-id", "x-claude-code-session-id", "session_id")
_LENGTHS = frozenset(map(len, _HEADERS))
_BYTES = 8  # of the hash; 16 digits


class Sessions:
    """Hashes a client's session name to 16 hex digits, keyed by the ledger; without a key there are no sessions."""

    def __init__(self, key: bytes = b"") -> None:
        self.key = key

    def of(self, headers: HeaderList, document: JsonObject) -> str | None:
        """Return the session of a request, from the first header or field that names one, else None."""
        if not self.key:
            return None
        name = _in_headers(headers) or _text(document.get("prompt_cache_key")) or _user_id(document.get("metadata"))
        if not name:
            return None
        return hmac.digest(self.key, name.encode("utf-8", "replace"), "sha256")[:_BYTES].hex()


def _in_headers(headers: HeaderList) -> str:
    found = {
        known: value.strip() for name, value in headers if len(name) in _LENGTHS and (known := name.lower()) in _HEADERS
    }
    if not found:
        return ""
    return next((found[name] for name in _HEADERS if found.get(name)), "")


def _user_id(metadata: Any) -> str:
    return _text(metadata.get("user_id")) if isinstance(metadata, dict) else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
