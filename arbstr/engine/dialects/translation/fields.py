"""Reading a client's document: a value that can't be used is refused by the path that leads to it."""

from __future__ import annotations

import json
from typing import Any

import orjson

from arbstr.errors import InvalidJson, InvalidParameter, UnsupportedParameter
from arbstr.sanitize import sanitize
from arbstr.types import JsonObject

_LONGEST_QUOTE = 60


def unsupported(path: str, found: Any = None, *, advice: str = "") -> UnsupportedParameter:
    """Return the refusal of a field that chat completions lack; `found` is its value where the value is at fault."""
    fault = "has" if found is None else f"is {quote(found)}, which has"
    where = "in chat completions, the only API that the providers of this model speak"
    text = f"The field '{path}' {fault} no equivalent {where}{'; ' if advice else ''}{advice}."
    return UnsupportedParameter(text, param=path)


def wrong(path: str, wanted: str) -> InvalidParameter:
    """Return the refusal of a value of the wrong type."""
    return InvalidParameter(f"The field '{path}' must be {wanted}.", param=path)


def quote(value: Any) -> str:
    """Return a value of the client's for a message, on one line and short."""
    return repr(sanitize(value if isinstance(value, str) else str(type(value).__name__), _LONGEST_QUOTE))


def objects(value: Any, path: str) -> list[JsonObject]:
    """Return a list of objects, empty if absent."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(path, "a list")
    for index, element in enumerate(value):
        if not isinstance(element, dict):
            raise wrong(f"{path}[{index}]", "an object")
    return value


def table(value: Any, path: str) -> JsonObject:
    """Return an object, empty if absent."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(path, "an object")
    return value


def text(value: Any, path: str) -> str:
    """Return a text that has to be there."""
    if not isinstance(value, str):
        raise wrong(path, "a string")
    return value


def optional_text(value: Any, path: str) -> str | None:
    """Return a text, None if absent."""
    return None if value is None else text(value, path)


def copied(document: JsonObject, names: tuple[str, ...], chat: JsonObject) -> None:
    """Copy the fields that have the same name and meaning in both APIs; null counts as absent."""
    for name in names:
        value = document.get(name)
        if value is not None:
            chat[name] = value


def dumps(value: Any) -> bytes:
    """Return JSON of anything that was read from JSON, lone surrogates and integers of any size included.

    Raises `InvalidJson` if it is nested too deeply.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        try:
            return json.dumps(value, separators=(",", ":")).encode()
        except RecursionError:
            raise InvalidJson("The request body is nested too deeply.") from None


def dumps_text(value: Any) -> str:
    """Return JSON as text, as tool arguments are sent."""
    return dumps(value).decode()
