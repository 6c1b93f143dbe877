"""JSON that clients and providers wrote, read in full: also what only a lenient reader takes.

How much is read at once is bounded by how many values it holds: twenty bytes of memory for each byte that came, and
seconds of the loop's time, is what small values cost.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import orjson

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some write it before a text in UTF-8
MOST_VALUES = 1_000_000

_PIECE_BYTES = 1024 * 1024
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\{')
_LENIENT = ("surrogate", "infinity")
_LONGEST_USAGE = 64 * 1024


class TooManyValues(orjson.JSONDecodeError):
    """JSON with more than `MOST_VALUES` values."""


def loads(data: bytes) -> Any:
    """The JSON value of these bytes.

    Raises `TooManyValues`, `orjson.JSONDecodeError`, a ValueError that knows line and column.
    """
    data = data.removeprefix(BYTE_ORDER_MARK)
    if len(data) > MOST_VALUES and has_too_many_values(data):
        raise TooManyValues(f"it has more than {MOST_VALUES:,} values", "", 0)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return _read_leniently(data, error)


def loads_or_none(data: bytes) -> Any:
    """The JSON value of these bytes, None if they are none; of one with too many values what `skim` finds."""
    try:
        return loads(data)
    except TooManyValues:
        return skim(data)
    except orjson.JSONDecodeError:
        return None


def skim(data: bytes) -> dict[str, Any]:
    """What is read of an answer that has too many values: that there are choices, and the last usage.

    It has been paid for, so that its client gets it and its row the tokens.
    """
    document: dict[str, Any] = {}
    if _CHOICES.search(data) is not None:
        document["choices"] = [{"message": {"role": "assistant", "content": "…"}, "finish_reason": "stop"}]
    if (usage := _last_usage(data)) is not None:
        document["usage"] = usage
    return document


def has_too_many_values(data: bytes) -> bool:
    """Whether it would be JSON with more than `MOST_VALUES` values: each comes after a comma or a bracket.

    First counted as if no text held any; only if those would be too many texts are told from the rest.
    """
    return _marks(data) > MOST_VALUES and _marks_outside_texts(data) > MOST_VALUES


def _marks(data: bytes) -> int:
    return data.count(b",") + data.count(b"{") + data.count(b"[")


def _marks_outside_texts(data: bytes) -> int:
    """The commas and brackets that are no part of a text; of some more than `MOST_VALUES` not all are counted."""
    count = start = in_text = 0
    while start < len(data) and count <= MOST_VALUES:
        end = start + _PIECE_BYTES
        while data[end - 1 : end] == b"\\":  # what it escapes belongs to the same piece
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
    """Half of a surrogate pair is valid JSON, if no valid text; whoever cuts an emoji in two sends it. So is a whole
    number beyond all floats.

    What is nested too deeply for the strict reader is refused, however deep this one goes: that differs from one Python
    to the next.
    """
    if not any(lenient in error.msg for lenient in _LENIENT) or "UTF-8" in error.msg:
        raise error  # the slower reader would say the same
    _refuse_depth(data, error)
    try:
        return json.loads(data.decode(), parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise error from None


def _refuse_depth(data: bytes, error: orjson.JSONDecodeError) -> None:
    """Raise the error if, but for halves of surrogate pairs, what is wrong is the depth."""
    try:
        orjson.loads(data.replace(rb"\ud", rb"\u0").replace(rb"\uD", rb"\u0"))
    except orjson.JSONDecodeError as whole:
        if "depth" in whole.msg:
            raise error from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """A number beyond all floats would be written again as one that JSON lacks."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is beyond all floats")
    return number
