"""A request's bytes: read once, sent as they came unless a field must change."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import orjson

from arbstr.engine import lenient_json
from arbstr.engine.dialects.fields import kind_of
from arbstr.engine.dialects.multipart import is_multipart, with_form_field
from arbstr.errors import InvalidJson
from arbstr.types import InferenceRequest, JsonObject

_MODEL_KEY = b'"model"'
_MODEL = re.compile(_MODEL_KEY + rb'\s*:\s*("(?:[^"\\]|\\.)*")')
_CAP = b'"max_completion_tokens"'
_CAP_FIELDS = {"chat": "max_tokens", "completions": "max_tokens", "responses": "max_output_tokens"}
_ESCAPED_LETTER = b"\\u00"  # as a key's letters may be written


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
        raise InvalidJson(f"The request body must be a JSON object, but it is {kind_of(document)}.")
    return document


def for_model(request: InferenceRequest, model: str) -> InferenceRequest:
    """Return the request for another model, all else equal."""
    plain = None if request.plain_body is None else with_model(request.plain_body, model)
    return replace(request, model=model, body=with_model(request.body, model), plain_body=plain)


def with_max_tokens(request: InferenceRequest) -> InferenceRequest:
    """Return the request with `max_tokens` beside a chat's `max_completion_tokens`: nodes reserve by that alone."""
    body, plain = request.body, request.plain_body
    if request.dialect != "chat" or request.max_tokens is None or _CAP not in body or b'"max_tokens"' in body:
        return request
    cap = b'{"max_tokens":%d,' % request.max_tokens
    return replace(
        request,
        body=body.replace(b"{", cap, 1),
        plain_body=None if plain is None else plain.replace(b"{", cap, 1),
    )


def with_default_cap(request: InferenceRequest, tokens: int) -> InferenceRequest:
    """Return a request that has no cap on its output with one, if its dialect has a field for it."""
    field = _CAP_FIELDS.get(request.dialect)
    if field is None:
        return request
    name, document, added = field.encode(), request.document, b""
    if b'"%b"' % name in request.body:  # as null, say
        body, plain = (each if each is None else with_fields(each, **{field: tokens}) for each in _bodies(request))
    else:
        added = b'"%b":%d,' % (name, tokens)
        body, plain = (each if each is None else each.replace(b"{", b"{" + added, 1) for each in _bodies(request))
    return replace(
        request,
        max_tokens=tokens,
        loosest_cap=tokens,
        body=body or b"",
        plain_body=plain,
        document=None if document is None else {**document, field: tokens},
        added_cap=added,
    )


def without_added_cap(request: InferenceRequest) -> InferenceRequest:
    """Return the request without the cap that its policy has added to the body."""
    body, plain = (each if each is None else each.replace(request.added_cap, b"", 1) for each in _bodies(request))
    return replace(request, body=body or b"", plain_body=plain, added_cap=b"")


def _bodies(request: InferenceRequest) -> tuple[bytes | None, bytes | None]:
    return request.body, request.plain_body


def with_model(body: bytes, model: str) -> bytes:
    """Return the body with another model in it, all else equal: byte by byte unless its keys are hard to read."""
    if is_multipart(body):
        return with_form_field(body, "model", model)
    place = _place_of_model(body)
    if place is None:
        return with_fields(body, model=model)
    return b"%b%b%b" % (body[: place[0]], json.dumps(model).encode(), body[place[1] :])


def _place_of_model(body: bytes) -> tuple[int, int] | None:
    """Return where the model's name stands in the body, None if that takes a parser to tell."""
    if body.count(_MODEL_KEY) != 1 or _ESCAPED_LETTER in body:
        return None
    found = _MODEL.search(body)
    return None if found is None else found.span(1)


def with_fields(body: bytes, **fields: Any) -> bytes:
    """Return the body with fields replaced; the standard library keeps integers of any size and lone surrogates.

    Raises `InvalidJson`.
    """
    try:
        return json.dumps({**json.loads(body), **fields}, separators=(",", ":")).encode()
    except RecursionError:  # its limit is below that of the reader before
        raise InvalidJson("The request body is nested too deeply.") from None
