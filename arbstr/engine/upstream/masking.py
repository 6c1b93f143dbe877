"""Mask keys in responses, everywhere except in the model's own words, in every shape of response.

The model's words are never altered: a short key may be an ordinary word in them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Set
from typing import Any

import orjson

from arbstr.engine import lenient_json
from arbstr.engine.upstream.sse import data_of, events
from arbstr.redaction import Redactor

_SPEAKS = frozenset({"message", "delta"})  # of a choice: what holds words, and other things
_WORDS = frozenset(
    {
        "content",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "thinking",
        "refusal",
        "tool_calls",
        "function_call",
        "audio",
        "text",
        "logprobs",
    }
)
_PARTS = _WORDS | {"function", "custom", "name", "data", "transcript", "token", "top_logprobs", "summary"}
_PARTS |= {"output", "partial_json", "signature", "embedding"}
_ARGUMENTS = frozenset({"arguments", "input"})  # of a call: the model's, whatever is in them


def mask_answer(body: bytes, redactor: Redactor, words_in: Set[str]) -> bytes:
    """Return a JSON response with keys masked outside the model's words; the same object if there are none.

    `words_in` are the fields that hold those words.
    """
    masked = redactor.data(body)
    if masked is body:
        return body
    try:
        document = lenient_json.loads(body)
    except orjson.JSONDecodeError:
        return masked
    if not isinstance(document, dict) or not any(map(document.get, words_in)):
        return masked
    shown = _masked(document, redactor.text, words_in)
    return body if shown == document else json.dumps(shown, ensure_ascii=False).encode(errors="surrogatepass")


def mask_events(block: bytes, redactor: Redactor, words_in: Set[str]) -> bytes:
    """Return complete events with keys masked outside the model's words."""
    if redactor.data(block) is block:
        return block
    return b"".join(_mask_event(raw, redactor, words_in) for raw, _ in events(block))


class PieceMasker:
    """Masks the pieces of an event too long to be held back; a key may be split between them.

    `redactor` applies to the whole event, the model's words included, so it must not contain keys that may be words.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """Add a piece; return what may be sent now."""
        data = self._held + piece
        place = max(0, len(data) - self._redactor.reach + 1)
        if place:
            place = self._redactor.straddles(data, place)
        self._held = data[place:]
        return self._redactor.data(data[:place])

    def flush(self) -> bytes:
        """Return what was held back; the event has ended."""
        held, self._held = self._held, b""
        return self._redactor.data(held)


def _mask_event(raw: bytes, redactor: Redactor, words_in: Set[str]) -> bytes:
    data = data_of(raw)
    if data is None or raw.count(data) != 1:
        return redactor.data(raw)
    before, after = raw.split(data)
    return redactor.data(before) + mask_answer(data, redactor, words_in) + redactor.data(after)


def _masked(document: dict[str, Any], mask: Callable[[str], str], words_in: Set[str]) -> dict[str, Any]:
    """Return the document with everything masked except the model's words."""
    return {
        mask(name): _said_in(name, value, mask) if name in words_in else _all_masked(value, mask)
        for name, value in document.items()
    }


def _said_in(field: str, value: Any, mask: Callable[[str], str]) -> Any:
    return _choices(value, mask) if field == "choices" else _spoken(value, mask)


def _choices(choices: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(choices, list):
        return [_choices(choice, mask) for choice in choices]
    if not isinstance(choices, dict):
        return _all_masked(choices, mask)
    return {mask(name): _said(name, value, mask) for name, value in choices.items()}


def _said(name: str, value: Any, mask: Callable[[str], str]) -> Any:
    """Mask a choice's field: the model's words, an object with words, or anything else."""
    if name in _WORDS:
        return _spoken(value, mask)
    if name in _SPEAKS and isinstance(value, dict):
        return {
            mask(inner): _spoken(held, mask) if inner in _WORDS else _all_masked(held, mask)
            for inner, held in value.items()
        }
    return _all_masked(value, mask)


def _spoken(value: Any, mask: Callable[[str], str]) -> Any:
    """Mask a value in the place of words: text stays, of objects (tool calls, parts) only the fields with words."""
    if isinstance(value, list):
        return [_spoken(part, mask) for part in value]
    if isinstance(value, dict):
        return {mask(name): _part(name, held, mask) for name, held in value.items()}
    return value


def _part(name: str, value: Any, mask: Callable[[str], str]) -> Any:
    if name in _ARGUMENTS:
        return value
    return _spoken(value, mask) if name in _PARTS else _all_masked(value, mask)


def _all_masked(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_all_masked(inner, mask) for inner in value]
    if isinstance(value, dict):
        return {mask(name): _all_masked(inner, mask) for name, inner in value.items()}
    return value
