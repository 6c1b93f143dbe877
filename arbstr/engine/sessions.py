"""The session (conversation) that a request belongs to: as its client names it, else by how it opens.

Stored as a hash, since names may identify people, and prompts even more.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from typing import Any

from arbstr.types import ClientHeaders, HeaderList, JsonObject

_HEADERS = ("x-session-id", "x-claude-code-session-id", "session_id")
_NAMING = frozenset({"prompt_cache_key", "metadata"})  # fields
_LENGTHS = frozenset(map(len, _HEADERS))
_BYTES = 8  # of the hash; 16 digits
_REMEMBERED = 256  # names and openings, with their hashes
_LONGEST_REMEMBERED = 4096  # characters
_CONVERSING = frozenset({"chat", "responses", "messages"})  # dialects whose requests repeat what was said before
_BEFORE_AN_ANSWER = ("user", "system", "developer")
_MOST_MESSAGES = 32  # looked at
_MOST_TEXTS = 8  # of an opening
_ENDS = 256  # characters at a text's beginning, and at its end: an opening may be a book


class Sessions:
    """Hashes a client's session to 16 hex digits, keyed by the ledger; without a key there are no sessions."""

    def __init__(self, key: bytes = b"") -> None:
        self.key = key

    def of(
        self, headers: HeaderList, document: JsonObject, dialect: str = "chat", client: str | None = None
    ) -> str | None:
        """Return the session of a request: from the first header or field that names one, else from its opening.

        What another client calls alike is another session.
        """
        if not self.key:
            return None
        name = _named_in(headers)
        if not name and not _NAMING.isdisjoint(document):
            name = _text(document.get("prompt_cache_key")) or _user_id(document.get("metadata"))
        name = name or (_opening(document) if dialect in _CONVERSING else "")
        if not name:
            return None
        if client is not None:
            name = f"{client}\0{name}"
        return (_hashed if len(name) <= _LONGEST_REMEMBERED else _hashed.__wrapped__)(self.key, name)


@lru_cache(maxsize=_REMEMBERED)  # all requests of a conversation have the same name
def _hashed(key: bytes, name: str) -> str:
    return hmac.digest(key, name.encode("utf-8", "replace"), "sha256")[:_BYTES].hex()


def _named_in(headers: HeaderList) -> str:
    if not isinstance(headers, ClientHeaders):
        return _in_headers(headers)
    name: str | None = headers.memo.get(_HEADERS)
    if name is None:
        name = headers.memo[_HEADERS] = _in_headers(headers)
    return name


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


def _opening(document: JsonObject) -> str:
    """Return what all requests of a conversation begin with: instructions, and what the user said before any answer.

    Tools and settings don't count, for they may change on the way.
    """
    above = document.get("system") or document.get("instructions")
    texts = _texts(above) if above else []
    said = document.get("messages") or document.get("input")
    if isinstance(said, str):
        texts.append(said)
    heard = False  # the user
    for message in said[:_MOST_MESSAGES] if isinstance(said, list) else ():
        role = message.get("role") if isinstance(message, dict) else None
        if role in _BEFORE_AN_ANSWER:
            heard = heard or role == "user"
            content = message.get("content")
            if isinstance(content, str):  # nearly always
                texts.append(content)
            else:
                texts += _texts(content)
        elif heard:
            break  # else it is a greeting that the client made up
    return "\0".join([text if len(text) <= 2 * _ENDS else _brief(text) for text in texts[:_MOST_TEXTS]])


def _texts(content: Any) -> list[str]:
    """Return the texts of some content: a string, or parts of which some have one."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    parts = [part for part in content[:_MOST_TEXTS] if isinstance(part, dict)]
    return [_text(part.get("text")) or _text(part.get("type")) for part in parts]


def _brief(text: str) -> str:
    return f"{text[:_ENDS]}{len(text)}{text[-_ENDS:]}"
