"""Parse a client's chat request: once, and only the fields arbstr acts on. Everything else passes unread."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import orjson

from arbstr.engine import lenient_json
from arbstr.engine.duplicate_keys import refuse_duplicates
from arbstr.engine.prompt import count_prompt
from arbstr.errors import InvalidJson, InvalidMessages, InvalidParameter, MissingModel
from arbstr.sanitize import sanitize
from arbstr.types import ChatRequest, JsonObject

_INCLUDE_USAGE = b'"stream_options":{"include_usage":true}'
_LONGEST_MODEL = 300
_MODEL_KEY = b'"model"'
_MODEL = re.compile(_MODEL_KEY + rb'\s*:\s*("(?:[^"\\]|\\.)*")')
_ESCAPED_LETTER = b"\\u00"  # as a key's letters may be written
_CAPS = ("max_tokens", "max_completion_tokens")
_LARGEST_CAP = 2**53  # in effect none; JSON's integers may be larger than any float
_MOST_CHOICES = 128  # as at OpenAI


def decode(body: bytes) -> JsonObject:
    """Return the body's JSON object. Raises `InvalidJson`, which says where parsing failed."""
    try:
        document = lenient_json.loads(body)
    except lenient_json.TooManyValues as error:
        raise InvalidJson(f"The request body is too complex: {error.msg}.") from error
    except orjson.JSONDecodeError as error:
        where = f" (line {error.lineno}, column {error.colno})" if body.strip() else ": it is empty"
        raise InvalidJson(f"The request body is not valid JSON{where}.") from error
    if not isinstance(document, dict):
        raise InvalidJson(f"The request body must be a JSON object, but it is {_kind(document)}.")
    return document


def named_model(document: JsonObject) -> str:
    """Return the requested model for the row, cut at `_LONGEST_MODEL` characters; empty if it can't be read."""
    model = document.get("model")
    if not isinstance(model, str):
        return ""
    model = model[:_LONGEST_MODEL]
    return model if model.isascii() else model.encode(errors="replace").decode()


def parse(document: JsonObject, body: bytes, *, request_id: str, policy: str | None) -> ChatRequest:
    """Return a validated request. Raises a subclass of `InvalidRequest` that names the field and the problem."""
    refuse_duplicates(body, document)
    model = _model(document)
    messages = _messages(document)
    stream = _boolean(document, "stream")
    options = _stream_options(document)
    prompt_chars, prompt_images = count_prompt(document)
    adds_usage = stream and options.get("include_usage") is not True
    body = body.removeprefix(lenient_json.BYTE_ORDER_MARK)  # not part of the JSON, and not every provider skips it
    return ChatRequest(
        request_id=request_id,
        model=model,
        stream=stream,
        wants_usage=options.get("include_usage") is True,
        max_tokens=_max_tokens(document),
        choices=_choices(document),
        prompt_chars=prompt_chars,
        prompt_images=prompt_images,
        last_user_text=_last_user_text(messages),
        policy=policy,
        body=_with_usage(document, options, body) if adds_usage else body,
        plain_body=body if adds_usage else None,
    )


def for_model(request: ChatRequest, model: str) -> ChatRequest:
    """Return the request for another model, all else equal."""
    plain = None if request.plain_body is None else with_model(request.plain_body, model)
    return replace(request, model=model, body=with_model(request.body, model), plain_body=plain)


def with_model(body: bytes, model: str) -> bytes:
    """Return the body with another model in it, all else equal: byte by byte unless its keys are hard to read."""
    place = _place_of_model(body)
    if place is None:
        return _changed(body, model=model)
    return b"%b%b%b" % (body[: place[0]], json.dumps(model).encode(), body[place[1] :])


def _place_of_model(body: bytes) -> tuple[int, int] | None:
    """Return where the model's name stands in the body, None if that takes a parser to tell."""
    if body.count(_MODEL_KEY) != 1 or _ESCAPED_LETTER in body:
        return None
    found = _MODEL.search(body)
    return None if found is None else found.span(1)


def _model(document: JsonObject) -> str:
    model = document.get("model")
    if model is None or model == "":
        raise MissingModel("The field 'model' is missing: name the model to use.", param="model")
    if not isinstance(model, str):
        raise InvalidParameter(f"The field 'model' must be a string, not {_kind(model)}.", param="model")
    if len(model) > _LONGEST_MODEL or not model.isprintable():
        raise InvalidParameter(
            f"The field 'model' must be a name of at most {_LONGEST_MODEL} printable characters.", param="model"
        )
    return model


def _messages(document: JsonObject) -> list[JsonObject]:
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        fault = "is missing" if messages is None else f"must be a list of at least one message, not {_kind(messages)}"
        raise InvalidMessages(f"The field 'messages' {fault}.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidMessages(
                f"messages[{index}] must be an object with 'role' and 'content', not {_kind(message)}.",
                param=f"messages[{index}]",
            )
        if not isinstance(message.get("role"), str):
            raise InvalidMessages(
                f"messages[{index}].role must be a string such as 'user'.", param=f"messages[{index}].role"
            )
    return messages


def _boolean(document: JsonObject, name: str) -> bool:
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidParameter(f"The field '{name}' must be true or false, not {_kind(value)}.", param=name)
    return bool(value)


def _stream_options(document: JsonObject) -> JsonObject:
    options = document.get("stream_options")
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise InvalidParameter(
            f"The field 'stream_options' must be an object, not {_kind(options)}.", param="stream_options"
        )
    wanted = options.get("include_usage")
    if wanted is not None and not isinstance(wanted, bool):
        raise InvalidParameter(
            f"The field 'stream_options.include_usage' must be true or false, not {_kind(wanted)}.",
            param="stream_options.include_usage",
        )
    return options


def _max_tokens(document: JsonObject) -> int | None:
    """Return the request's cap on output tokens; the tighter one if both fields are present."""
    caps = [cap for name in _CAPS if (cap := _whole(document, name)) is not None]
    return min(*caps, _LARGEST_CAP) if caps else None


def _choices(document: JsonObject) -> int:
    """Return how many choices are requested."""
    return _whole(document, "n", _MOST_CHOICES) or 1


def _whole(document: JsonObject, name: str, most: int | None = None) -> int | None:
    """Return a whole number from 1 to `most`, None if the field is absent; in JSON 100.0 is a whole number too."""
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= (most or value):
        found = sanitize(repr(value), 40) if isinstance(value, int | float) else _kind(value)
        wanted = "of at least 1" if most is None else f"from 1 to {most}"
        raise InvalidParameter(f"The field '{name}' must be a whole number {wanted}, not {found}.", param=name)
    return value


def _texts(message: JsonObject) -> list[str]:
    """Return the texts of a message: its content, or the text parts of a multimodal one."""
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    return [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]


def _last_user_text(messages: list[JsonObject]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            return "\n".join(_texts(message))
    return ""


def _with_usage(document: JsonObject, options: JsonObject, body: bytes) -> bytes:
    """Return a body that makes the provider report usage at the stream's end, in the client's bytes where possible."""
    if "stream_options" not in document:
        start = body.index(b"{") + 1
        return b"%b%b,%b" % (body[:start], _INCLUDE_USAGE, body[start:])
    return _changed(body, stream_options={**options, "include_usage": True})


def _changed(body: bytes, **fields: Any) -> bytes:
    """Return the body with fields replaced; the standard library keeps integers of any size and lone surrogates."""
    try:
        return json.dumps({**json.loads(body), **fields}, separators=(",", ":")).encode()
    except RecursionError:  # its limit is below that of the reader before
        raise InvalidJson("The request body is nested too deeply.") from None


def _kind(value: Any) -> str:
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
