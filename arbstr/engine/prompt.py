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
        *("model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "stop", "seed"),
        *("temperature", "top_p", "top_k", "min_p", "top_a", "logit_bias", "logprobs", "top_logprobs"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "parallel_tool_calls", "modalities", "audio"),
        *("reasoning", "reasoning_effort", "include_reasoning", "verbosity", "service_tier", "store", "usage"),
        *("user", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_retention"),
        *("provider", "models", "route", "transforms"),
        *("max_output_tokens", "max_tool_calls", "include", "truncation", "background", "previous_response_id"),
        *("stop_sequences", "thinking", "context_management", "cache_control"),
        *("best_of", "echo", "encoding_format", "dimensions"),
    )
)
_BESIDE = {prompt: _SETTINGS | {prompt} for prompt in ("messages", "input", "prompt")}
_IMAGES = frozenset(("image_url", "input_image", "image", "computer_screenshot"))
_OF_IMAGE = frozenset(("type", "image_url", "image", "source", "file_id", "detail", "cache_control"))
_TEXTS = frozenset(("text", "input_text", "output_text"))
_NOT_OF_TEXT = frozenset(("type", "cache_control"))
_RESULTS = ("content", "output")  # where the result of a tool call stands, which may hold images
_CHARS_PER_TOKEN = 4  # of prompts that are sent as tokens
_OF_MESSAGE = frozenset(("role", "content"))


def count_prompt(document: JsonObject, prompt: str = "messages") -> tuple[int, int]:
    """Return the numbers of characters and images of a request whose prompt is in the field `prompt`."""
    chars, images = _count(document.get(prompt))
    if not document.keys() <= _BESIDE[prompt]:
        chars += sum(_chars(value) for name, value in document.items() if name not in _BESIDE[prompt])
    return chars, images


def _count(prompt: Any) -> tuple[int, int]:
    """Count a text, or a list of messages, texts and tokens."""
    if not isinstance(prompt, list):
        return _chars(prompt), 0
    chars = images = 0
    for message in prompt:
        if not isinstance(message, dict):
            chars += _chars_of_tokens(message)
            continue
        content = message.get("content")
        if isinstance(content, str):
            chars += len(content)
        elif isinstance(content, list):
            more, shown = _count_parts(content)
            chars += more
            images += shown
        else:
            chars += _chars(content)
        if len(message) > 2 or "content" not in message:
            more, shown = _count_rest(message)
            chars += more
            images += shown
    return chars, images


def _count_rest(message: JsonObject) -> tuple[int, int]:
    """Count the other fields of a message, or those of an item that is none, such as a tool call's result."""
    chars = images = 0
    for name, value in message.items():
        if name == "output" and isinstance(value, list | dict):
            more, shown = _count_parts(value if isinstance(value, list) else [value])
            chars += more
            images += shown
        elif name not in _OF_MESSAGE:
            chars += _chars(value)
    return chars, images


def _count_parts(parts: list[Any]) -> tuple[int, int]:
    chars = images = 0
    for part in parts:
        more, shown = _count_part(part)
        chars += more
        images += shown
    return chars, images


def _count_part(part: Any) -> tuple[int, int]:
    """Return the numbers of characters and images of a part of a multimodal message."""
    if not isinstance(part, dict):
        return _chars(part), 0
    kind = part.get("type")
    if not isinstance(kind, str):
        return _chars(part), 0
    if kind in _TEXTS:
        return sum(_chars(value) for name, value in part.items() if name not in _NOT_OF_TEXT), 0
    if kind in _IMAGES:
        return sum(_chars(value) for name, value in part.items() if name not in _OF_IMAGE), 1
    for name in _RESULTS:
        if isinstance(part.get(name), list):
            rest = {key: value for key, value in part.items() if key != name}
            chars, images = _count_parts(part[name])
            return chars + _chars(rest), images
    return _chars(part), 0


def _chars_of_tokens(value: Any) -> int:
    """Return the characters of a text, or as many as the tokens in its place may be."""
    if isinstance(value, int):
        return _CHARS_PER_TOKEN
    if isinstance(value, list):
        return sum(map(_chars_of_tokens, value))
    return _chars(value)


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
