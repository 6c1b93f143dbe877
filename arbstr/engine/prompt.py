"""Prompt size: every character that a provider will read and charge for, not only the messages.

Counted are the texts of messages, and, as JSON, everything else in them (tool calls, files, audio) and every other
field that is not a known setting. Images are counted separately.
"""

from __future__ import annotations

from typing import Any

import orjson

from arbstr.types import JsonObject

# Settings: they steer the response or the provider and are not read by the model. Unknown fields are counted.
_SETTINGS = frozenset(
    (
        *("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "stop", "seed"),
        *("temperature", "top_p", "top_k", "min_p", "top_a", "logit_bias", "logprobs", "top_logprobs"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "parallel_tool_calls", "modalities", "audio"),
        *("reasoning", "reasoning_effort", "include_reasoning", "verbosity", "service_tier", "store", "usage"),
        *("user", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_retention"),
        *("provider", "models", "route", "transforms"),
    )
)
_IMAGES = frozenset(("image_url", "input_image", "image"))
_OF_IMAGE = frozenset(("type", "image_url", "image", "source", "file_id", "detail", "cache_control"))


def count_prompt(document: JsonObject) -> tuple[int, int]:
    """Return the numbers of characters and images of a request whose messages are a list of objects."""
    chars = images = 0
    for message in document["messages"]:
        content = message.get("content")
        if isinstance(content, str):
            chars += len(content)
        elif isinstance(content, list):
            for part in content:
                more, shown = _count_part(part)
                chars += more
                images += shown
        else:
            chars += _chars(content)
        if len(message) > 2 or "content" not in message:
            chars += sum(_chars(value) for name, value in message.items() if name not in ("role", "content"))
    if not document.keys() <= _SETTINGS:
        chars += sum(_chars(value) for name, value in document.items() if name not in _SETTINGS)
    return chars, images


def _count_part(part: Any) -> tuple[int, int]:
    """Return the numbers of characters and images of a part of a multimodal message."""
    if not isinstance(part, dict):
        return _chars(part), 0
    kind = part.get("type")
    if kind == "text":
        return sum(_chars(value) for name, value in part.items() if name not in ("type", "cache_control")), 0
    if isinstance(kind, str) and kind in _IMAGES:
        return sum(_chars(value) for name, value in part.items() if name not in _OF_IMAGE), 1
    return _chars(part), 0


def _chars(value: Any) -> int:
    """Return the characters of a text, or of an object's or list's JSON; other values count as none."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, dict | list):
        return 0
    try:
        text = orjson.dumps(value)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits, or nested too deeply
        return _walked_chars(value)
    return len(text) if text.isascii() else len(text.decode())


def _walked_chars(value: Any) -> int:
    """Return an estimate of the characters of a value that can't be serialized."""
    chars, ahead = 0, [value]
    while ahead:
        inner = ahead.pop()
        if isinstance(inner, str):
            chars += len(inner) + 2
        elif isinstance(inner, list):
            chars += len(inner) + 1
            ahead += inner
        elif isinstance(inner, dict):
            chars += sum(len(name) + 4 for name in inner) + 1
            ahead += inner.values()
    return chars
