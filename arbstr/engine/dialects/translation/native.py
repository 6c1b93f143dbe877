"""Requests that go on to a provider of their own dialect after an earlier answer of their conversation was translated.

What arbstr made up for such an answer means nothing to that provider, and some refuse it: its ids, and the marks on
reasoning.
"""

from __future__ import annotations

from typing import Any

from arbstr.engine.dialects.translation.conversation import REASONING_FIELDS, marked_field, reasoning_mark
from arbstr.engine.dialects.translation.response_history import ResponseHistory
from arbstr.types import JsonObject

_MARKED = f'"{reasoning_mark(REASONING_FIELDS[-1])}'.encode()  # the shorter field's, which begins the other's too


def for_native(
    document: JsonObject, body: bytes, history: ResponseHistory, client: str | None = None
) -> JsonObject | None:
    """Return a client's request that its own dialect's provider understands; None if it is one as it stands."""
    if history.knows(document, client):
        return _without_marks(history.resolved(document, client))
    return _without_marks(document) if _MARKED in body else None


def _without_marks(document: JsonObject) -> JsonObject:
    """Return the request without reasoning that came from a provider of chat completions."""
    changed = dict(document)
    for name in ("input", "messages"):
        elements = document.get(name)
        if isinstance(elements, list):
            changed[name] = [_without_marked_blocks(element) for element in elements if not _is_marked(element)]
    return changed


def _without_marked_blocks(message: Any) -> Any:
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list) or not any(map(_is_marked, content)):
        return message
    return {**message, "content": [block for block in content if not _is_marked(block)]}


def _is_marked(element: Any) -> bool:
    if not isinstance(element, dict):
        return False
    kind = element.get("type")
    if kind == "reasoning":
        return marked_field(element.get("encrypted_content")) is not None
    return kind == "thinking" and marked_field(element.get("signature")) is not None
