"""How values travel to dashboards in other processes: as JSON, field by field, amounts in msats, instants in ms.

An event's name is its class's, in small letters: `RequestFinished` travels as `request_finished`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, get_args

import orjson

from arbstr.bus import EVENTS
from arbstr.monitoring.updates import Update

FORMAT = 1  # raised when a dashboard of an older version could misread what is sent

_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
NAMES: dict[type, str] = {kind: _WORDS.sub("_", kind.__name__).lower() for kind in (*EVENTS, *get_args(Update))}


def encode(value: Any) -> bytes:
    """Return a value as JSON; what no JSON can have (half a surrogate pair) is replaced."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        text = json.dumps(_whole(value), default=_plain, ensure_ascii=False)
        return text.encode("utf-8", "replace")


def _plain(value: Any) -> Any:
    """Return a named tuple as an object, another sequence as a tuple. Raises TypeError for what is no value of ours."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, Sequence) and not isinstance(value, tuple):
        return tuple(value)
    raise TypeError(type(value).__name__)


def _whole(value: Any) -> Any:
    """Return a value as dictionaries and lists: what `json` can write."""
    if is_dataclass(value) and not isinstance(value, type):
        return _whole(asdict(value))
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _whole(value._asdict())
    if isinstance(value, dict):
        return {str(key): _whole(each) for key, each in value.items()}
    return [_whole(each) for each in value] if isinstance(value, list | tuple) else value
