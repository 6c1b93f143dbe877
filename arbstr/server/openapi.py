"""arbstr's endpoints described in OpenAPI 3.1, served at `/openapi.json`.

Bodies that pass through arbstr untouched (chat requests and their answers) are described only as far as arbstr reads
them.
"""

from __future__ import annotations

from typing import Any, get_args

from aiohttp import web

from arbstr import __version__
from arbstr.ledger.model import GroupBy
from arbstr.ledger.params import LISTING, MOST_PER_PAGE, RANGES, STATS
from arbstr.server.responses import json_response
from arbstr.server.router import Route
from arbstr.types import JsonObject

_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_WHOLE = {"type": "integer", "minimum": 0}
_WHOLE_OR_NULL = {"type": ["integer", "null"], "minimum": 0}
_NUMBER = {"type": "number"}
_NUMBER_OR_NULL = {"type": ["number", "null"]}
_TRUTH = {"type": "boolean"}
_TIME = {"type": "string", "format": "date-time"}

_ERRORS = {
    400: "A field or parameter is missing, unknown, or has a wrong type or value.",
    401: "`auth_token` is set, and the bearer token is missing or wrong.",
    402: "A budget is spent.",
    403: "The `Host` or `Origin` is not allowed.",
    404: "Not found.",
    405: "The path does not support this method.",
    413: "The body is too large.",
    415: "The body is not labelled as JSON.",
    429: "Too many requests.",
    500: "An internal error.",
    502: "Every provider that was tried failed.",
    503: "No provider is available, or arbstr is at capacity or shutting down.",
    504: "Every attempt timed out.",
}


def routes() -> list[Route]:
    """Where the description lives."""
    document = describe()

    async def answer(request: web.BaseRequest) -> web.Response:
        return json_response(document)

    return [Route("GET", "/openapi.json", answer)]


def describe() -> JsonObject:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "arbstr",
            "version": __version__,
            "description": "A local OpenAI-compatible proxy that buys each request from the cheapest provider. "
            "All money is in sats, all times are UTC.",
        },
        "security": [{}, {"bearer": []}],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> JsonObject:
    return {
        "/v1/chat/completions": {"post": _chat()},
        "/v1/cost": {"post": _cost()},
        "/v1/models": {"get": _get("models", "The available models.", "Models")},
        "/v1/models/{model}": {"get": _get("model", "One model.", "Model", [_in_path("model")], errors=(404,))},
        "/health": {"get": _health()},
        "/providers": {"get": _get("providers", "The configured providers and their health.", "Providers")},
        "/v1/stats": {
            "get": _get("stats", "Aggregates of the requests in a window.", "Stats", _parameters(STATS), (400, 404))
        },
        "/v1/requests": {
            "get": _get("requests", "The requests in a window.", "RequestPage", _parameters(LISTING), (400, 404))
        },
        "/v1/requests/{request_id}": {
            "get": _get("request", "One request in full.", "RequestDetail", [_in_path("request_id")], (400, 404))
        },
        "/": {"get": _operation("welcome", "What arbstr is and how to use it.", {200: _body({"type": "object"})})},
        "/openapi.json": {"get": _operation("description", "This description.", {200: _body({"type": "object"})})},
    }


def _chat() -> JsonObject:
    stream = {"description": "The response, whole or as a stream of events.", "content": {"text/event-stream": {}}}
    stream["content"] |= _content(_ref("Answer"))  # type: ignore[operator]  # a dict by construction
    return {
        **_operation(
            "chat",
            "A chat completion, bought from the provider that the policy prefers.",
            {200: stream},
            (400, 402, 404, 413, 415, 429, 502, 503, 504),
        ),
        "parameters": [_policy_header()],
        "requestBody": _request_body("ChatRequest"),
    }


def _cost() -> JsonObject:
    answers = {200: _body(_ref("Routing"))}
    return {
        **_operation(
            "cost", "What a request would cost, and where; nothing is sent.", answers, (400, 404, 413, 415, 503)
        ),
        "parameters": [_policy_header()],
        "requestBody": _request_body("ChatRequest"),
    }


def _health() -> JsonObject:
    answers = {200: _body(_ref("Health")), 503: _body(_ref("Health"), "No provider is available.")}
    return {**_operation("health", "Whether arbstr can serve requests.", answers), "security": [{}]}


def _get(
    name: str, says: str, schema: str, parameters: list[JsonObject] | None = None, errors: tuple[int, ...] = ()
) -> JsonObject:
    return {**_operation(name, says, {200: _body(_ref(schema))}, errors), "parameters": parameters or []}


def _operation(name: str, says: str, answers: dict[int, JsonObject], errors: tuple[int, ...] = ()) -> JsonObject:
    responses = {status: _body(_ref("Error"), _ERRORS[status]) for status in (*errors, 401, 403, 500)} | answers
    return {
        "operationId": name,
        "summary": says,
        "responses": {str(status): response for status, response in sorted(responses.items())},
    }


def _body(schema: JsonObject, says: str = "The answer.") -> JsonObject:
    return {"description": says, "content": _content(schema)}


def _content(schema: JsonObject) -> JsonObject:
    return {"application/json": {"schema": schema}}


def _request_body(schema: str) -> JsonObject:
    return {"required": True, "content": _content(_ref(schema))}


def _policy_header() -> JsonObject:
    says = "The policy rule to apply; default: the first one whose keywords match."
    return {"name": "X-Arbstr-Policy", "in": "header", "description": says, "schema": _TEXT}


def _in_path(name: str) -> JsonObject:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


_PARAMETERS: dict[str, tuple[str, JsonObject]] = {
    "range": ("The length of the window up to now, or up to `until`.", {"enum": list(RANGES), "default": "last_7d"}),
    "since": ("Start of the window (inclusive); ISO 8601 with an offset or Z.", _TIME),
    "until": ("End of the window (inclusive); ISO 8601 with an offset or Z.", _TIME),
    "model": ("Only this model, ignoring case.", _TEXT),
    "provider": ("Only this provider, ignoring case.", _TEXT),
    "policy": ("Only this policy, ignoring case.", _TEXT),
    "client": ("Only this client, ignoring case.", _TEXT),
    "session": ("Only this session.", _TEXT),
    "dialect": ("Only this dialect, ignoring case.", _TEXT),
    "success": ("Only successful requests, or only failed ones.", {"enum": ["true", "false"]}),
    "streaming": ("Only streams, or only non-streaming requests.", {"enum": ["true", "false"]}),
    "group_by": ("Adds aggregates by group.", {"enum": list(get_args(GroupBy))}),
    "page": ("The page number, from 1.", {"type": "integer", "minimum": 1, "default": 1}),
    "per_page": (
        f"Entries per page, at most {MOST_PER_PAGE}; larger values mean {MOST_PER_PAGE}.",
        {"type": "integer", "minimum": 1, "default": 20},
    ),
    "sort": ("The sort key.", {"enum": ["timestamp", "cost_sats", "latency_ms"], "default": "timestamp"}),
    "order": ("The sort order.", {"enum": ["desc", "asc"], "default": "desc"}),
}


def _parameters(names: tuple[str, ...]) -> list[JsonObject]:
    return [
        {"name": name, "in": "query", "description": _PARAMETERS[name][0], "schema": _PARAMETERS[name][1]}
        for name in names
    ]


def _ref(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(optional: tuple[str, ...] = (), /, **properties: Any) -> JsonObject:
    """An object with these properties and no others, all required but the optional ones."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _list(schema: JsonObject) -> JsonObject:
    return {"type": "array", "items": schema}


def _by_name(schema: JsonObject) -> JsonObject:
    return {"type": "object", "additionalProperties": schema}


def _schemas() -> JsonObject:
    return {**_proxy_schemas(), **_provider_schemas(), **_stats_schemas(), **_request_schemas()}


def _proxy_schemas() -> JsonObject:
    error = _object(message=_TEXT, type=_TEXT, param=_TEXT_OR_NULL, code=_TEXT)
    message = {"type": "object", "properties": {"role": _TEXT}, "required": ["role"]}
    candidate = _object(provider=_TEXT, expected_cost_sats=_NUMBER, weight_sats=_NUMBER, reason=_TEXT)
    return {
        "Error": _object(error=error),
        "ChatRequest": {
            "type": "object",
            "properties": {
                "model": {"type": "string", "minLength": 1},
                "messages": {"type": "array", "items": message, "minItems": 1},
                "stream": _TRUTH,
                "max_tokens": _WHOLE,
            },
            "required": ["model", "messages"],
        },
        "Answer": {"type": "object", "description": "The provider's own JSON."},
        "Routing": _object(
            model=_TEXT,
            policy=_TEXT_OR_NULL,
            policy_reason=_TEXT_OR_NULL,
            strategy=_TEXT,
            expected_input_tokens=_WHOLE,
            expected_output_tokens=_WHOLE,
            candidates=_list(candidate),
            excluded=_list(_object(provider=_TEXT, reason=_TEXT)),
        ),
    }


def _provider_schemas() -> JsonObject:
    health = _object(
        state={"enum": ["closed", "open", "half_open"]},
        failure_count=_WHOLE,
        in_rotation=_TRUTH,
        in_flight=_WHOLE,
        success_rate=_NUMBER_OR_NULL,
        latency_ms=_NUMBER_OR_NULL,
        last_error=_TEXT_OR_NULL,
        open_until_ms=_WHOLE_OR_NULL,
    )
    provider = _object(
        ("model_rates",),
        name=_TEXT,
        url=_TEXT,
        models=_list(_TEXT),
        input_rate_sats_per_1k=_NUMBER,
        output_rate_sats_per_1k=_NUMBER,
        base_fee_sats=_NUMBER,
        model_rates=_by_name(
            _object(input_rate_sats_per_1k=_NUMBER, output_rate_sats_per_1k=_NUMBER, base_fee_sats=_NUMBER)
        ),
        api_key=_TEXT_OR_NULL,
        key_source=_TEXT,
        health=_ref("ProviderHealth"),
        charged_ratio=_NUMBER_OR_NULL,
    )
    model = _object(
        id=_TEXT,
        object={"const": "model"},
        created=_WHOLE,
        owned_by={"const": "routstr"},
        arbstr=_object(providers=_list(_TEXT), cheapest=_TEXT),
    )
    return {
        "Model": model,
        "Models": _object(object={"const": "list"}, data=_list(_ref("Model"))),
        "ProviderHealth": health,
        "Providers": _object(providers=_list(provider)),
        "Health": _object(
            status={"enum": ["ok", "degraded", "unhealthy"]},
            version=_TEXT,
            uptime_s=_NUMBER,
            providers=_by_name(_ref("ProviderHealth")),
        ),
    }


def _stats_schemas() -> JsonObject:
    figures = {
        "counts": _object(total=_WHOLE, success=_WHOLE, error=_WHOLE, streaming=_WHOLE),
        "costs": _object(total_cost_sats=_NUMBER, total_input_tokens=_WHOLE, total_output_tokens=_WHOLE),
        "performance": _object(
            avg_latency_ms=_NUMBER, p50_latency_ms=_WHOLE, p95_latency_ms=_WHOLE, p99_latency_ms=_WHOLE
        ),
        "saved_sats": _object(vs_dearest=_NUMBER, vs_median=_NUMBER),
    }
    groups = ("models", "providers", "policies", "clients", "sessions", "dialects")
    optional = ("empty", "message", "series", *groups)
    return {
        "Figures": _object(**figures),
        "Stats": _object(
            optional,
            since=_TIME,
            until=_TIME,
            **figures,
            empty={"const": True},
            message=_TEXT,
            series=_list(_object(start=_TIME, **figures)),
            **{name: _by_name(_ref("Figures")) for name in groups},
        ),
    }


def _request_schemas() -> JsonObject:
    entry = {
        "id": {"type": "integer"},
        "request_id": _TEXT,
        "timestamp": _TIME,
        "model": _TEXT,
        "provider": _TEXT_OR_NULL,
        "policy": _TEXT_OR_NULL,
        "streaming": _TRUTH,
        "success": _TRUTH,
        "served_model": _TEXT_OR_NULL,
        "dialect": _TEXT_OR_NULL,
        "session": _TEXT_OR_NULL,
        "client": _TEXT_OR_NULL,
        "tokens": _object(
            input=_WHOLE_OR_NULL, cached=_WHOLE_OR_NULL, cache_write=_WHOLE_OR_NULL, output=_WHOLE_OR_NULL
        ),
        "cost": _object(sats=_NUMBER_OR_NULL, provider_sats=_NUMBER_OR_NULL, list_sats=_NUMBER_OR_NULL),
        "timing": _object(latency_ms=_WHOLE, stream_duration_ms=_WHOLE_OR_NULL),
        "implausible": _list({"enum": ["charge", "tokens"]}),
        "error": _object(status=_WHOLE_OR_NULL, message=_TEXT_OR_NULL),
    }
    optional = ("implausible", "error")
    attempt = _object(
        provider=_TEXT,
        started_ms=_WHOLE,
        duration_ms=_WHOLE,
        failure=_TEXT_OR_NULL,
        status=_WHOLE_OR_NULL,
        message=_TEXT,
    )
    detail = {
        "attempts": {"anyOf": [_list(attempt), {"type": "null"}]},
        "routing": {"anyOf": [_ref("Routing"), {"type": "null"}]},
    }
    return {
        "RequestPage": _object(
            data=_list(_object(optional, **entry)),
            page=_WHOLE,
            per_page=_WHOLE,
            total=_WHOLE,
            total_pages=_WHOLE,
            since=_TIME,
            until=_TIME,
        ),
        "RequestDetail": _object(optional, **entry, **detail),
    }
