"""A JSON parser for what clients and providers send, including what only a lenient parser accepts.

The number of values is limited: small values cost twenty bytes of memory for each byte received, and seconds of the
event loop's time.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import orjson

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some clients write it before UTF-8
MOST_VALUES = 1_000_000

_PIECE_BYTES = 1024 * 1024
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\{')
_EMBEDDING = re.compile(rb'"embedding"\s*:\s*\[')
_ANSWERS = {name: re.compile(rb'"%b"\s*:\s*\[\s*\{' % name.encode()) for name in ("output", "content")}
_LENIENT = ("surrogate", "infinity")
_LONGEST_USAGE = 64 * 1024


class TooManyValues(orjson.JSONDecodeError):
    """JSON with more than `MOST_VALUES` values."""


def loads(data: bytes) -> Any:
    """Return the JSON value of these bytes.

    Raises `TooManyValues`, or `orjson.JSONDecodeError`, a ValueError with line and column.
    """
    data = data.removeprefix(BYTE_ORDER_MARK)
    if len(data) > MOST_VALUES and has_too_many_values(data):
        raise TooManyValues(f"it has more than {MOST_VALUES:,} values", "", 0)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return _read_leniently(data, error)


def loads_or_none(data: bytes) -> Any:
    """Return the JSON value of these bytes, None if invalid; what `skim` finds if it has too many values."""
    try:
        return loads(data)
    except TooManyValues:
        return skim(data)
    except orjson.JSONDecodeError:
        return None


def skim(data: bytes) -> dict[str, Any]:
    """Return what matters of a response with too many values: that it has an answer in a dialect, and the last usage.

    It has been paid for, so its client gets it and its row gets the tokens.
    """
    document: dict[str, Any] = {}
    if _CHOICES.search(data) is not None:
        document["choices"] = [{"message": {"role": "assistant", "content": "…"}, "finish_reason": "stop"}]
    if _EMBEDDING.search(data) is not None:
        document["data"] = [{"embedding": [0]}]
    for name, begins in _ANSWERS.items():
        if begins.search(data) is not None:
            document[name] = [{"type": "…"}]
    if (usage := _last_usage(data)) is not None:
        document["usage"] = usage
    return document


def has_too_many_values(data: bytes) -> bool:
    """Return whether JSON has more than `MOST_VALUES` values: each follows a comma or a bracket.

    Strings are only excluded if the count would otherwise be too high.
    """
    return _marks(data) > MOST_VALUES and _marks_outside_texts(data) > MOST_VALUES


def _marks(data: bytes) -> int:
    return data.count(b",") + data.count(b"{") + data.count(b"[")


def _marks_outside_texts(data: bytes) -> int:
    """Count the commas and brackets outside strings; stops soon after `MOST_VALUES`."""
    count = start = in_text = 0
    while start < len(data) and count <= MOST_VALUES:
        end = start + _PIECE_BYTES
        while data[end - 1 : end] == b"\\":  # keep an escape in one piece
            end += 1
        piece = data[start:end]
        start = end
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        count += sum(_marks(part) for part in parts[in_text::2] if part)
        in_text ^= len(parts) - 1 & 1
    return count


def _last_usage(data: bytes) -> Any:
    at = data.rfind(b'"usage"')
    found = _USAGE.match(data, at) if at >= 0 else None
    if found is None:
        return None
    text = data[found.end() : found.end() + _LONGEST_USAGE].decode(errors="replace")
    try:
        return json.JSONDecoder(parse_float=_finite).raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


def _read_leniently(data: bytes, error: orjson.JSONDecodeError) -> Any:
    """Parse lone surrogates, which are valid JSON (an emoji cut in two), and integers beyond the range of floats.

    What is nested too deeply for orjson is refused, whatever this parser's own limit is: that differs between Pythons.
    """
    if not any(lenient in error.msg for lenient in _LENIENT) or "UTF-8" in error.msg:
        raise error  # the slower parser would refuse it too
    _refuse_depth(data, error)
    try:
        return json.loads(data.decode(), parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise error from None


def _refuse_depth(data: bytes, error: orjson.JSONDecodeError) -> None:
    """Raise the error if the only problem besides lone surrogates is the depth."""
    try:
        orjson.loads(data.replace(rb"\ud", rb"\u0").replace(rb"\uD", rb"\u0"))
    except orjson.JSONDecodeError as whole:
        if "depth" in whole.msg:
            raise error from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """Return a float. Raises ValueError for infinity, which JSON can't represent."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is beyond all floats")
    return number
