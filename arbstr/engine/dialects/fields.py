"""Read the fields of a client's JSON; what is wrong is an `ApiError` that names the field and the problem."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from arbstr.errors import InvalidMessages, InvalidParameter, MissingModel
from arbstr.sanitize import sanitize
from arbstr.types import JsonObject

_LONGEST_MODEL = 300
MOST_CHOICES = 128  # as at OpenAI
_LARGEST_CAP = 2**53  # in effect none; JSON's integers may be larger than any float


def named_model(document: JsonObject) -> str:
    """Return the requested model for the row, cut at `_LONGEST_MODEL` characters; empty if it can't be read."""
    model = document.get("model")
    if not isinstance(model, str):
        return ""
    model = model[:_LONGEST_MODEL]
    return model if model.isascii() else model.encode(errors="replace").decode()


def model_of(document: JsonObject) -> str:
    """Return the requested model. Raises `MissingModel` or `InvalidParameter`."""
    model = document.get("model")
    if model is None or model == "":
        raise MissingModel("The field 'model' is missing: name the model to use.", param="model")
    if not isinstance(model, str):
        raise InvalidParameter(f"The field 'model' must be a string, not {kind_of(model)}.", param="model")
    if len(model) > _LONGEST_MODEL or not model.isprintable():
        raise InvalidParameter(
            f"The field 'model' must be a name of at most {_LONGEST_MODEL} printable characters.", param="model"
        )
    return model


def messages_of(document: JsonObject) -> list[JsonObject]:
    """Return `messages`. Raises `InvalidMessages` unless it is a list of objects with a role."""
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        fault = "is missing" if messages is None else f"must be a list of at least one message, not {kind_of(messages)}"
        raise InvalidMessages(f"The field 'messages' {fault}.", param="messages")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _wrong_message(messages.index(message), message)
    return messages


def _wrong_message(index: int, message: Any) -> InvalidMessages:
    if isinstance(message, dict):
        text, field = f"messages[{index}].role must be a string such as 'user'.", f"messages[{index}].role"
    else:
        text = f"messages[{index}] must be an object with 'role' and 'content', not {kind_of(message)}."
        field = f"messages[{index}]"
    return InvalidMessages(text, param=field)


def texts_of(content: Any) -> list[str]:
    """Return the texts of a message's content: itself, or those of its parts."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    return [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]


def has_objects(value: Any) -> bool:
    """Return whether a value is a list with an object in it that says anything."""
    return isinstance(value, list) and any(isinstance(each, dict) and each for each in value)


def boolean(document: JsonObject, name: str) -> bool:
    """Return a field that is true or false, false if it is absent. Raises `InvalidParameter`."""
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidParameter(f"The field '{name}' must be true or false, not {kind_of(value)}.", param=name)
    return bool(value)


def whole(document: JsonObject, name: str, most: int | None = None) -> int | None:
    """Return a whole number from 1 to `most`, None if the field is absent; in JSON 100.0 is a whole number too.

    Raises `InvalidParameter`.
    """
    value = document.get(name)
    if value is None or (type(value) is int and 1 <= value <= (most or value)):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= (most or value):
        found = sanitize(repr(value), 40) if isinstance(value, int | float) else kind_of(value)
        wanted = "of at least 1" if most is None else f"from 1 to {most}"
        raise InvalidParameter(f"The field '{name}' must be a whole number {wanted}, not {found}.", param=name)
    return value


def caps_on_output(document: JsonObject, names: Iterable[str]) -> tuple[int | None, int | None]:
    """Return the tightest and the loosest of a request's caps on output tokens, if several of the fields are present.

    Raises `InvalidParameter`.
    """
    caps = [cap for name in names if (cap := whole(document, name)) is not None]
    if not caps:
        return None, None
    return min(*caps, _LARGEST_CAP), min(max(caps), _LARGEST_CAP)


def kind_of(value: Any) -> str:
    """Return the name of a JSON value's type, as used in a sentence."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object" if isinstance(value, dict) else "a number"
