"""The API description at `/openapi.json`, OpenAPI 3.1: the endpoints of `server.api`, and the schemas of their shapes.

Loaded and built at the first request for it: pydantic's schemas take longer than all else that starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from arbstr import __version__, shapes
from arbstr.ledger.model import GroupBy, Order, Sort
from arbstr.ledger.params import DEFAULT_PER_PAGE, DEFAULT_RANGE, MOST_PER_PAGE, RANGES
from arbstr.server.api import ENDPOINTS, Endpoint, endpoints
from arbstr.types import JsonObject

_SCHEMA_OF = "#/components/schemas/"
_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_EITHER = {"enum": ["true", "false"]}
_PASSED_BODY: JsonObject = {"application/json": {"schema": {}}, "multipart/form-data": {"schema": {"type": "object"}}}
_PLAIN: JsonObject = {"text/plain": {"schema": _TEXT}}
_FROM_ONE = {"type": "integer", "minimum": 1}

_OF_ALL = (401, 403, 500)  # errors of any endpoint
_ERRORS = {
    400: "A field or parameter is missing, unknown, or has a wrong type or value.",
    401: "A key is needed (`auth_token` is set, or a client configured), and is missing, wrong or expired.",
    402: "A budget is spent.",
    403: "The `Host` or `Origin` is not allowed, or a client's key is not enough.",
    404: "Not found.",
    413: "The body is too large.",
    415: "The body is not labelled as JSON.",
    429: "Too many requests.",
    500: "An internal error.",
    502: "Every provider that was tried failed.",
    503: "No provider is available, or arbstr is at capacity or shutting down.",
    504: "Every attempt timed out.",
}
_PARAMETERS: dict[str, tuple[str, JsonObject]] = {
    "range": (
        "The length of the window up to now, or up to `until`.",
        {"enum": list(RANGES), "default": DEFAULT_RANGE},
    ),
    "since": ("Start of the window (inclusive); ISO 8601 with an offset or Z.", _TIME),
    "until": ("End of the window (inclusive); ISO 8601 with an offset or Z.", _TIME),
    "model": ("Only this model, ignoring case.", _TEXT),
    "provider": ("Only this provider, ignoring case.", _TEXT),
    "policy": ("Only this policy, ignoring case.", _TEXT),
    "client": ("Only this client, ignoring case.", _TEXT),
    "session": ("Only this session.", _TEXT),
    "dialect": ("Only this dialect, ignoring case.", _TEXT),
    "success": ("Only successful requests, or only failed ones.", _EITHER),
    "streaming": ("Only streams, or only non-streaming requests.", _EITHER),
    "group_by": ("Adds aggregates by group.", {"enum": list(get_args(GroupBy))}),
    "page": ("The page number, from 1.", {**_FROM_ONE, "default": 1}),
    "per_page": (
        f"Entries per page, at most {MOST_PER_PAGE}; larger values mean {MOST_PER_PAGE}.",
        {**_FROM_ONE, "default": DEFAULT_PER_PAGE},
    ),
    "sort": ("The sort key.", {"enum": list(get_args(Sort)), "default": "timestamp"}),
    "order": ("The sort order.", {"enum": list(get_args(Order)), "default": "desc"}),
}
_POLICY_HEADER = {
    "name": "X-Arbstr-Policy",
    "in": "header",
    "description": "The policy rule to apply; default: the first one whose keywords match.",
    "schema": _TEXT,
}


def describe(passthrough: Iterable[str] = ()) -> JsonObject:
    """Return the whole description, with the paths that pass through."""
    paths: dict[str, JsonObject] = {}
    for endpoint in endpoints(passthrough):
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "arbstr",
            "version": __version__,
            "description": "A local OpenAI-compatible proxy that buys each request from the cheapest provider. "
            "All money is in sats, all times are UTC.",
        },
        "security": [{}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(_shapes()),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def schemas(of: Iterable[type]) -> JsonObject:
    """Return the JSON schemas of shapes, and of the shapes in them, by name."""
    adapters: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (shape.__name__, "validation", TypeAdapter(shape)) for shape in of
    ]
    _, together = TypeAdapter.json_schemas(
        adapters, ref_template=_SCHEMA_OF + "{model}", schema_generator=_ShapeSchemas
    )
    definitions: JsonObject = together["$defs"]
    return definitions


class _ShapeSchemas(GenerateJsonSchema):
    """Schemas without titles, which repeat the names; objects have no further fields unless their shape is open."""

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        described = {"additionalProperties": False, **super().typed_dict_schema(schema)}
        described.pop("title", None)
        return described

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _shapes() -> list[type]:
    """Return the shapes that the description refers to, each once."""
    of_each = [(endpoint.answer, endpoint.body, endpoint.error) for endpoint in ENDPOINTS]
    named = [shape for shapes_of_one in of_each for shape in shapes_of_one if shape not in (None, str)]
    return list(dict.fromkeys([shapes.Error, shapes.CostEvent, *named]))


def _operation(endpoint: Endpoint) -> JsonObject:
    errors = {status: _body(endpoint.error, _ERRORS[status]) for status in sorted({*endpoint.errors, *_OF_ALL})}
    also = {status: _body(endpoint.answer, says) for status, says in endpoint.also}
    responses = {200: _success(endpoint), **errors, **also}
    return {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint),
        **_request_body(endpoint),
        "responses": {str(status): responses[status] for status in sorted(responses)},
        **({"security": [{}]} if endpoint.public else {}),
    }


def _request_body(endpoint: Endpoint) -> JsonObject:
    if endpoint.passed:
        return {"requestBody": {"content": _PASSED_BODY}}
    return {} if endpoint.body is None else {"requestBody": {"required": True, "content": _json(endpoint.body)}}


def _success(endpoint: Endpoint) -> JsonObject:
    if endpoint.passed:
        return {"description": "The provider's answer.", "content": {"*/*": {}}}
    if endpoint.streams_only:
        return {"description": "A stream of events.", "content": {"text/event-stream": {}}}
    if not endpoint.streams:
        return _body(endpoint.answer, "The answer.")
    says = f"The answer, whole or as a stream of events, the last of them arbstr's own (`{shapes.CostEvent.__name__}`)."
    return {"description": says, "content": {"text/event-stream": {}, **_json(endpoint.answer)}}


def _parameters(endpoint: Endpoint) -> list[JsonObject]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)\}", endpoint.path)
    ]
    in_query = [
        {"name": name, "in": "query", "description": _PARAMETERS[name][0], "schema": _PARAMETERS[name][1]}
        for name in endpoint.query
    ]
    return [*in_path, *in_query, *([_POLICY_HEADER] if endpoint.body or endpoint.passed else [])]


def _body(shape: type, says: str) -> JsonObject:
    return {"description": says, "content": _PLAIN if shape is str else _json(shape)}


def _json(shape: type) -> JsonObject:
    return {"application/json": {"schema": {"$ref": _SCHEMA_OF + shape.__name__}}}
