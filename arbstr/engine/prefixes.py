"""The places up to which a provider's cache may know a prompt: the ends of its messages, and blocks of long ones.

In the order in which providers cache: tools, instructions, messages; the dialect knows where these are. Marks that a
client moves from message to message (`cache_control`) are no part of a prompt.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from arbstr.types import JsonObject, Prefix

_BLOCK = 4096  # bytes
_LONG = 2 * _BLOCK
_CONTROL = b'"cache_control"'
_CONTROLS = re.compile(rb',?"cache_control":(?:\{[^{}]*\}|null)')
_IMAGE = b"base64"
_IMAGE_SIZE = 4000  # of a message with an image, whatever its bytes: as many as the tokens it is counted for


def prefix_of(document: JsonObject, fields: tuple[str, ...]) -> Prefix | None:
    """Return the places of a request's prompt, which is in these fields; None if it has none, or can't be read."""
    hashes: list[int] = []
    ends: list[int] = []
    running = size = 0
    try:
        for part in _parts(document, fields):
            raw = orjson.dumps(part)
            if _CONTROL in raw:
                raw = _CONTROLS.sub(b"", raw)
            length = len(raw)
            if length > _LONG:
                if _IMAGE in raw:
                    length = _IMAGE_SIZE
                else:
                    for start in range(0, length - _BLOCK, _BLOCK):
                        running = hash((running, raw[start : start + _BLOCK]))
                        hashes.append(running)
                        ends.append(size + start + _BLOCK)
            running = hash((running, raw))
            size += length
            hashes.append(running)
            ends.append(size)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits, or nested too deeply
        return None
    return Prefix(tuple(hashes), tuple(ends), size) if hashes else None


def _parts(document: JsonObject, fields: tuple[str, ...]) -> list[Any]:
    """Return what stands before the messages, field by field, then each message."""
    parts = [value for name in fields[:-1] if (value := document.get(name)) is not None]
    messages = document.get(fields[-1]) if fields else None
    return parts + (messages if isinstance(messages, list) else [messages] if messages is not None else [])
