"""Events of the Nostr protocol (NIP-01): read, and checked to be their author's."""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple, TypeGuard

import orjson

_HEX_32 = re.compile(r"[0-9a-f]{64}")
_HEX_64 = re.compile(r"[0-9a-f]{128}")
_MOST_TAGS = 2000
_LATEST_S = 2**40  # no time of an event


class Event(NamedTuple):
    """A genuine event; `created_at` is in seconds since the epoch, by its author's word."""

    id: str
    author: str
    created_at: int
    kind: int
    tags: tuple[tuple[str, ...], ...]
    content: str

    def values(self, tag: str) -> list[str]:
        """Return the first value of each tag of that name."""
        return [each[1] for each in self.tags if len(each) > 1 and each[0] == tag]

    def value(self, tag: str) -> str:
        """Return the value of the first tag of that name; empty if there is none."""
        return next(iter(self.values(tag)), "")


def genuine(document: Any) -> Event | None:
    """Return the event in a JSON document; None if it is not one, or its id or signature are not right."""
    event = _event(document)
    if event is None or not isinstance(document["sig"], str) or not _HEX_64.fullmatch(document["sig"]):
        return None
    digest = _digest(event)
    if digest is None or digest.hex() != event.id or not _is_signed(event.author, digest, document["sig"]):
        return None
    return event


def _event(document: Any) -> Event | None:
    try:
        event = Event(*(document[key] for key in ("id", "pubkey", "created_at", "kind", "tags", "content")))
        document["sig"]
    except (KeyError, TypeError, IndexError):
        return None
    fits = _is_hex(event.id) and _is_hex(event.author) and _is_number(event.created_at, _LATEST_S)
    if not (fits and _is_number(event.kind, 65_535) and isinstance(event.content, str) and _are_tags(event.tags)):
        return None
    return event._replace(tags=tuple(map(tuple, event.tags)))


def _is_hex(value: Any) -> bool:
    return isinstance(value, str) and _HEX_32.fullmatch(value) is not None


def _is_number(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _are_tags(value: Any) -> TypeGuard[list[list[str]]]:
    return (
        isinstance(value, list)
        and len(value) <= _MOST_TAGS
        and all(isinstance(tag, list) and all(isinstance(text, str) for text in tag) for tag in value)
    )


def _digest(event: Event) -> bytes | None:
    """Return the hash that is an event's id; None for text that can't be written."""
    try:
        text = orjson.dumps([0, event.author, event.created_at, event.kind, event.tags, event.content])
    except TypeError:  # a lone surrogate
        return None
    return hashlib.sha256(text).digest()


def _is_signed(author: str, digest: bytes, signature: str) -> bool:
    from coincurve import PublicKeyXOnly  # noqa: PLC0415 - nothing but discovery needs it

    try:
        return PublicKeyXOnly(bytes.fromhex(author)).verify(bytes.fromhex(signature), digest)
    except ValueError:  # the author is no point of the curve
        return False
