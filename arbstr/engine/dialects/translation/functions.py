"""What chat completions ask of functions and schemas that the other dialects do not."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from arbstr.types import JsonObject

NO_PARAMETERS: JsonObject = {"type": "object", "properties": {}}

_LONGEST_NAME = 64
_NOT_IN_NAMES = re.compile("[^a-zA-Z0-9_-]")
_DIGITS = 8


def function_name(name: str) -> str:
    """Return a tool's name as chat completions take it: a long one is cut and keeps apart by its hash."""
    if len(name) <= _LONGEST_NAME and _NOT_IN_NAMES.search(name) is None:
        return name
    digits = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{_NOT_IN_NAMES.sub('_', name)[: _LONGEST_NAME - _DIGITS - 1]}_{digits}"


def is_strict(schema: Any) -> bool:
    """Return whether OpenAI takes a schema as strict: no object in it has optional or additional properties."""
    ahead = [schema]
    while ahead:
        value = ahead.pop()
        if isinstance(value, list):
            ahead += value
        elif isinstance(value, dict):
            if not _has_fixed_properties(value):
                return False
            ahead += value.values()
    return True


def _has_fixed_properties(schema: JsonObject) -> bool:
    properties = schema.get("properties")
    if schema.get("type") != "object" and not isinstance(properties, dict):
        return True
    required = schema.get("required")
    names = properties if isinstance(properties, dict) else {}
    all_required = all(name in required for name in names) if isinstance(required, list) else not names
    return all_required and schema.get("additionalProperties") is False
