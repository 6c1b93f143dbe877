"""JSON that clients and providers wrote, read in full: also what only a lenient reader takes."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import orjson

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some write it before a text in UTF-8

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def read(data: bytes) -> Any:
    """The JSON value of these bytes. Raises `orjson.JSONDecodeError`, a ValueError that knows line and column."""
    data = data.removeprefix(BYTE_ORDER_MARK)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return _read_leniently(data, error)


def read_or_none(data: bytes) -> Any:
    """The JSON value of these bytes, None if they are none."""
    try:
        return read(data)
    except orjson.JSONDecodeError:
        return None


def _read_leniently(data: bytes, error: orjson.JSONDecodeError) -> Any:
    """Half of a surrogate pair is valid JSON, if no valid text; whoever cuts an emoji in two sends it.

    What is nested too deeply for the strict reader is refused, however deep this one goes: that differs from one Python
    to the next.
    """
    _refuse_depth(data, error)
    try:
        return json.loads(data.decode(), parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise error from None


def _refuse_depth(data: bytes, error: orjson.JSONDecodeError) -> None:
    """Raise the error if, but for halves of surrogate pairs, what is wrong is the depth."""
    try:
        orjson.loads(_SURROGATE.sub(rb"\\ufffd", data))
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
