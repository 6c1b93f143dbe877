"""Every endpoint in one table: what `/openapi.json` and the welcome page say of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from arbstr import shapes
from arbstr.ledger import shapes as ledger_shapes
from arbstr.ledger.params import LISTING, STATS
from arbstr.server.access import METRICS_PATH

_UNSERVED = (402, 429, 502, 503, 504)  # how inference may fail
_UNREADABLE = (400, 404, 413, 415)  # what may be wrong with a body


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint. `name` is its operation id; `answer` (`str` is plain text) and `body` are shapes.

    `query` are its parameters; `errors` may come besides those that any endpoint has, in the shape `error`; `streams`:
    the answer may be a stream of events, `streams_only`: it is nothing else. `also` are statuses other than 200 with
    which the same shape comes, and what they mean; a `public` one takes no token, a `passed` one takes and answers
    whatever a provider does.
    """

    name: str
    method: str
    path: str
    summary: str
    answer: type
    body: type | None = None
    query: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    error: type = shapes.Error
    streams: bool = False
    streams_only: bool = False
    passed: bool = False
    also: tuple[tuple[int, str], ...] = ()
    public: bool = False


def _inference(
    name: str, path: str, summary: str, body: type, error: type = shapes.Error, *, streams: bool = True
) -> Endpoint:
    """Describe an endpoint whose requests are bought from a provider."""
    answer, errors = shapes.ProviderAnswer, (*_UNREADABLE, *_UNSERVED)
    return Endpoint(name, "POST", path, summary, answer, body, errors=errors, error=error, streams=streams)


def _get(name: str, path: str, summary: str, answer: type, query: tuple[str, ...] = (), *errors: int) -> Endpoint:
    return Endpoint(name, "GET", path, summary, answer, query=query, errors=errors)


_HEALTH = "Whether arbstr can serve requests."
_DOWN = ((503, "No provider is available."),)
_MESSAGES = "The same as Anthropic's Messages."
_COST = "What a request of any dialect would cost, and where; nothing is sent."
_PASSED = "Passed on to a provider as it is."
_WATCH = "What happens, as server-sent events: a snapshot, then each event."
_COUNT = "An estimate of a prompt's tokens; nothing is sent."

ENDPOINTS = (
    _inference("chat", "/v1/chat/completions", "A chat completion, bought as the policy says.", shapes.ChatRequest),
    _inference("responses", "/v1/responses", "The same as OpenAI's Responses.", shapes.ResponsesRequest),
    _inference("messages", "/v1/messages", _MESSAGES, shapes.MessagesRequest, shapes.MessagesError),
    _inference("embeddings", "/v1/embeddings", "Embeddings.", shapes.EmbeddingsRequest, streams=False),
    _inference("completions", "/v1/completions", "A text completion.", shapes.CompletionsRequest),
    Endpoint(
        "count_tokens",
        "POST",
        "/v1/messages/count_tokens",
        _COUNT,
        shapes.TokenCount,
        shapes.CountRequest,
        errors=_UNREADABLE,
        error=shapes.MessagesError,
    ),
    Endpoint("cost", "POST", "/v1/cost", _COST, shapes.RoutingEntry, shapes.ChatRequest, errors=(*_UNREADABLE, 503)),
    _get("models", "/v1/models", "The available models.", shapes.ModelList),
    _get("model", "/v1/models/{model}", "One model.", shapes.ModelEntry, (), 404),
    _get("stats", "/v1/stats", "Spending, tokens and latency in a window.", ledger_shapes.StatsReport, STATS, 400, 404),
    _get("requests", "/v1/requests", "The requests in a window.", ledger_shapes.RequestPage, LISTING, 400, 404),
    _get("request", "/v1/requests/{request_id}", "One request in full.", ledger_shapes.RequestDetail, (), 400, 404),
    _get("providers", "/providers", "The configured providers and their health.", shapes.ProviderList),
    Endpoint("events", "GET", "/v1/events", _WATCH, str, errors=(503,), streams_only=True),
    Endpoint(
        "query",
        "POST",
        "/v1/events/query",
        "What dashboards elsewhere ask.",
        shapes.EventAnswer,
        shapes.EventQuery,
        errors=(*_UNREADABLE, 503),
        streams=True,
    ),
    _get("metrics", METRICS_PATH, "Counters and gauges, as Prometheus reads them.", str),
    Endpoint("health", "GET", "/health", _HEALTH, shapes.Health, also=_DOWN, public=True),
    _get("description", "/openapi.json", "This description.", shapes.Description),
    Endpoint("welcome", "GET", "/", "What arbstr is and how to use it.", shapes.Welcome, public=True),
)


def endpoints(passthrough: Iterable[str]) -> tuple[Endpoint, ...]:
    """Return all endpoints, also those of the paths that pass through; `images/*` are all below `images/`."""
    return (*ENDPOINTS, *map(_passed, passthrough))


def _passed(path: str) -> Endpoint:
    name = path.replace("/*", "").replace("/", "_")
    shown = f"/v1/{path.replace('*', '{path}')}"
    errors = (*_UNREADABLE, *_UNSERVED)
    return Endpoint(name, "POST", shown, _PASSED, shapes.ProviderAnswer, errors=errors, passed=True)
