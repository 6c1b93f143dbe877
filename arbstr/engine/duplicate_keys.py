"""Duplicate keys in a request's JSON objects: one parser takes the first, another the last, and both are right.

Where such a key decides what is bought or what it costs, arbstr and a provider must not read different ones.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from typing import Any

import orjson

from arbstr.engine import lenient_json
from arbstr.errors import InvalidJson
from arbstr.types import JsonObject

DECIDING = (
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stream",
    "stream_options",
    "tools",
    "functions",
    "response_format",
    "prompt",
    "input",
    "instructions",
    "system",
    "max_output_tokens",
)

_OF_MESSAGES = ("role", "content", "tool_calls")
_OF_PARTS = ("text", "image_url")
_USAGE = "include_usage"
_QUOTED = {key: f'"{key}"'.encode() for key in (*DECIDING, *_OF_MESSAGES, *_OF_PARTS, _USAGE)}
# How letters and the underscore may be escaped, although encoders write them plainly.
_LETTER = re.compile(rb"\\u00(?:5[fF]|6[1-9a-fA-F]|7[0-9aA])")
_ESCAPES = [
    (spelling.encode(), letter.encode())
    for letter in sorted(set("".join(_QUOTED)))
    for spelling in sorted({f"\\u{ord(letter):04x}", f"\\u{ord(letter):04X}"})
]
_QUOTE = rb"\u0022"
_BACKSLASH = (rb"\\", rb"\u005c")  # so that an escaped backslash begins no escape

_Objects = list[JsonObject]


def refuse_duplicates(body: bytes, document: JsonObject) -> int:
    """Raise `InvalidJson` that names a deciding key which `body`, parsed as `document`, has twice.

    Return how many characters other duplicates hide, within a tool's schema for one: a provider may read them all.
    Most clients write JSON exactly as it would be serialized again, so that nothing can be missing. Otherwise the key's
    occurrences in the body are counted, and only if there are too many are the objects themselves parsed again.
    """
    written = _written(document)
    if written == body:
        return 0
    hidden = _hidden_chars(body, document, written)
    body = _unescaped(body)
    for key in [key for key in DECIDING if key in document]:
        if body.count(_QUOTED[key]) > 1:
            _refuse(key, body, written, _itself, "The request body")
    if "stream_options" in document and body.count(_QUOTED[_USAGE]) > 1:
        _refuse(_USAGE, body, written, _options, "stream_options")
    _refuse_within_messages(body, written, _messages(document))
    return hidden


def _hidden_chars(body: bytes, document: JsonObject, written: bytes) -> int:
    """Return the length of what the document lacks, 0 if it lacks nothing: a key that is missing had quotes."""
    try:
        written = written or json.dumps(document, separators=(",", ":")).encode()
    except RecursionError:
        return 0  # too deep to have been written by a client
    if body.count(b'"') + body.count(_QUOTE) <= written.count(b'"'):
        return 0
    return max(len(body) - len(written), 0)


def _refuse_within_messages(body: bytes, written: bytes, messages: _Objects) -> None:
    for key in _OF_MESSAGES:
        expected = sum([key in message for message in messages])
        if expected and body.count(_QUOTED[key]) > expected:
            _refuse(key, body, written, _messages, "A message")
    parts = _parts(messages)
    for key in _OF_PARTS if parts else ():
        expected = sum([(key in part) + (part.get("type") == key) for part in parts])
        if expected and body.count(_QUOTED[key]) > expected:
            _refuse(key, body, written, lambda read: _parts(_messages(read)), "A content part")


def _unescaped(body: bytes) -> bytes:
    """Return the body with escaped letters of keys written plainly."""
    if body.find(b"\\") >= 0 and body.find(b"\\u00") >= 0 and _LETTER.search(body) is not None:
        for spelling, letter in (_BACKSLASH, *_ESCAPES):  # by plain searches: a body may be long
            body = body.replace(spelling, letter)
    return body


def _written(document: JsonObject) -> bytes:
    """Return the document serialized again; empty where orjson can't."""
    try:
        return orjson.dumps(document)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits, or nested too deeply
        return b""


def _itself(document: JsonObject) -> _Objects:
    return [document]


def _messages(document: JsonObject) -> _Objects:
    return _objects(document.get("messages")) or _objects(document.get("input"))


def _parts(messages: _Objects) -> _Objects:
    listed = [content for message in messages if isinstance(content := message.get("content"), list)]
    return [part for content in listed for part in _objects(content)]


def _options(document: JsonObject) -> _Objects:
    return _objects([document.get("stream_options")])


def _objects(value: Any) -> _Objects:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _refuse(key: str, body: bytes, written: bytes, objects_of: Callable[[JsonObject], _Objects], where: str) -> None:
    """Raise `InvalidJson` if one of these objects has the key more than once; then `written` has fewer of it."""
    quoted = _QUOTED[key]
    if body.count(quoted) > written.count(quoted) and _is_twice(quoted, body, objects_of):
        raise InvalidJson(
            f"{where} has the key '{key}' more than once, and providers differ in which one they use. Send it once."
        )


def _is_twice(quoted: bytes, body: bytes, objects_of: Callable[[JsonObject], _Objects]) -> bool:
    """Return whether one of these objects has this key more than once.

    The body is parsed again with every occurrence numbered, so that none replaces another. The same letters in nested
    objects, values or texts are changed too, which does not matter here.
    """
    mark = secrets.token_hex(8)  # unpredictable for clients
    first, *others = body.split(quoted)
    numbered = (b'"%b %d"%b' % (mark.encode(), number, other) for number, other in enumerate(others))
    read: JsonObject = lenient_json.loads(b"".join((first, *numbered)))
    return any(sum(name.startswith(mark) for name in each) > 1 for each in objects_of(read))
