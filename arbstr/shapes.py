"""The JSON bodies that arbstr writes, one TypedDict each: what types the code that builds them also makes
`/openapi.json`.

They cost nothing at run time: bodies are plain dict literals, and only the API's description imports this module. Sats
have at most three decimals, instants are ISO 8601 in UTC, durations milliseconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from arbstr.types import BalanceState, BreakerState, FailureKind, PriceSource

Count = Annotated[int, Field(ge=0)]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
HealthVerdict = Literal["ok", "degraded", "unhealthy"]

_open = with_config(ConfigDict(extra="allow"))  # other fields may follow


class ErrorFields(TypedDict):
    """What went wrong; `code` is a stable word, `param` the field at fault."""

    message: str
    type: str
    param: str | None
    code: str


class Error(TypedDict):
    """An error in OpenAI's shape."""

    error: ErrorFields


class MessagesErrorFields(TypedDict):
    """What went wrong; `type` is one of Anthropic's words."""

    type: str
    message: str


class MessagesError(TypedDict):
    """An error in Anthropic's shape."""

    type: Literal["error"]
    error: MessagesErrorFields


class Welcome(TypedDict):
    """What arbstr is and how to point a client at it."""

    name: str
    what: str
    base_url: str
    how: str
    endpoints: Annotated[dict[str, str], Field(description="What each path is for.")]


class ModelOffers(TypedDict):
    """Who sells a model; `cheapest` is by a typical request."""

    providers: list[str]
    cheapest: str
    alias_of: NotRequired[Annotated[str, Field(description="The model that this name stands for.")]]


class ModelEntry(TypedDict):
    """A model that a provider lists."""

    id: str
    object: Literal["model"]
    created: Annotated[Count, Field(description="When arbstr started, in seconds since 1970.")]
    owned_by: Literal["routstr"]
    arbstr: ModelOffers


class ModelList(TypedDict):
    """The available models, each once."""

    object: Literal["list"]
    data: list[ModelEntry]


class ProviderState(TypedDict):
    """A provider's circuit breaker, and what was seen of it lately."""

    state: BreakerState
    failure_count: Count
    in_rotation: Annotated[bool, Field(description="Whether requests may go there.")]
    in_flight: Count
    success_rate: Annotated[float | None, Field(description="0 to 1, over recent attempts.")]
    latency_ms: Annotated[float | None, Field(description="The learned time to first byte.")]
    last_error: str | None
    open_until_ms: Annotated[Count | None, Field(description="When its breaker lets a probe through, since 1970.")]


class Instance(TypedDict):
    """One of the arbstrs that share a ledger."""

    name: Annotated[str, Field(description="Its machine and port.")]
    this: Annotated[bool, Field(description="It is the one that answers.")]
    version: str
    started_at: str
    in_flight: Annotated[int, Field(description="Requests under way.")]
    requests: Annotated[int, Field(description="Requests since it started.")]
    heard_at: Annotated[str | None, Field(description="When it last gave a sign of life; null for this one.")]
    stale: Annotated[bool, Field(description="That was long ago: its figures are old, and it may have died.")]


class Health(TypedDict):
    """Whether arbstr can serve requests."""

    status: HealthVerdict
    version: str
    uptime_s: float
    providers: dict[str, ProviderState]
    instances: NotRequired[
        Annotated[list[Instance], Field(description="Those that share the ledger, if it is shared.")]
    ]
    ledger: NotRequired[
        Annotated[str, Field(description="What budgets admit while a shared ledger can't be reached; else absent.")]
    ]


class ProviderRates(TypedDict):
    """What a provider asks."""

    input_rate_sats_per_1k: float
    output_rate_sats_per_1k: float
    base_fee_sats: Annotated[float, Field(description="Sats per request.")]


class ProviderSettings(TypedDict):
    """A provider as configured. A rate is null where a Routstr node's list says what each model costs."""

    name: str
    url: str
    input_rate_sats_per_1k: float | None
    output_rate_sats_per_1k: float | None
    base_fee_sats: Annotated[float | None, Field(description="Sats per request.")]
    models: Annotated[list[str], Field(description="Empty: it has not said which.")]
    model_rates: NotRequired[Annotated[dict[str, ProviderRates], Field(description="Of models with their own rates.")]]
    api_key: Annotated[str | None, Field(description="Masked.")]
    key_source: str


class ProviderBalance(TypedDict):
    """What a Routstr node says the key holds; null is unknown."""

    state: Annotated[BalanceState, Field(description="Whether the key can be used, as far as is known.")]
    free_sats: Annotated[float | None, Field(description="What can be spent.")]
    reserved_sats: Annotated[float | None, Field(description="Set aside for requests under way, not part of the free.")]
    spent_sats: Annotated[float | None, Field(description="All that the key has spent.")]
    runway_hours: Annotated[float | None, Field(description="How long the free sats last at the last hour's rate.")]
    read_at: Instant | None
    node_version: str | None


class ProviderEntry(ProviderSettings):
    """A provider as configured, its health, and what the key there holds."""

    health: ProviderState
    charged_ratio: Annotated[float | None, Field(description="What it charged over the cost by its rates, as learned.")]
    charged_ratios: Annotated[dict[str, float], Field(description="The same by model, where it is known.")]
    balance: Annotated[ProviderBalance | None, Field(description="Of providers of kind routstr with a key.")]
    list_age_s: Annotated[float | None, Field(description="Since its list was read; null: it never was.")]
    list_stale: Annotated[bool, Field(description="Whether that is so long ago that its prices are doubted.")]


class ProviderList(TypedDict):
    """The configured providers, in the configuration's order."""

    providers: list[ProviderEntry]


class CandidatePrice(ProviderRates):
    """What a provider asked for the model at that moment, and where that was known from."""

    source: PriceSource
    age_s: Annotated[Count | None, Field(description="Since it was read from the provider; null: it was not.")]


class CandidateEntry(TypedDict):
    """A provider that may serve the request; `weight_sats` is what it was ranked by."""

    provider: str
    expected_cost_sats: float
    weight_sats: float
    cached_tokens: Annotated[Count, Field(description="Of the prompt, expected to be read from its cache.")]
    reason: str
    price: Annotated[CandidatePrice | None, Field(description="Null in rows of earlier versions.")]


class ExclusionEntry(TypedDict):
    """A provider of the model that was left out, and why."""

    provider: str
    reason: str


class ReuseEntry(TypedDict):
    """What a prompt's conversation is expected to become: how likely a next request comes within five minutes.

    `previous_provider` had the conversation's last request; its cache was expected to save `previous_saves_sats`.
    """

    likelihood: float
    previous_provider: str | None
    previous_saves_sats: float


class RoutingEntry(TypedDict):
    """Where a request goes, and why: candidates in the order they are tried."""

    model: str
    policy: str | None
    policy_reason: str | None
    strategy: str
    expected_input_tokens: Count
    expected_output_tokens: Count
    candidates: list[CandidateEntry]
    excluded: list[ExclusionEntry]
    reuse: Annotated[ReuseEntry | None, Field(description="Null where prompt caches can't matter.")]


class AttemptEntry(TypedDict):
    """One try at one provider; `failure` is null for the one that answered."""

    provider: str
    started_ms: Annotated[Count, Field(description="Since the request arrived.")]
    duration_ms: Count
    failure: FailureKind | None
    status: Count | None
    message: str


class CostFigures(TypedDict):
    """What a stream cost; null is unknown."""

    request_id: str
    provider: str | None
    cost_sats: float | None
    latency_ms: Annotated[Count, Field(description="The whole stream's.")]
    input_tokens: Count | None
    cached_tokens: Count | None
    output_tokens: Count | None


class CostEvent(TypedDict):
    """arbstr's own event at the end of a stream: a chunk that strict clients accept."""

    id: str
    object: Literal["chat.completion.chunk", "text_completion"]
    created: Count
    model: str
    choices: list[Any]
    arbstr: CostFigures


# What clients send and providers answer, as far as arbstr reads it.


@_open
class ChatMessage(TypedDict):
    """A message."""

    role: str


@_open
class ChatRequest(TypedDict):
    """A chat request; it reaches the provider with all its fields."""

    model: Annotated[str, Field(min_length=1)]
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: NotRequired[bool]
    max_tokens: NotRequired[Count]


@_open
class CountRequest(TypedDict):
    """The prompt of a message."""

    model: Annotated[str, Field(min_length=1)]
    messages: Annotated[list[ChatMessage], Field(min_length=1)]


class TokenCount(TypedDict):
    """An estimate, by what was learned of the model."""

    input_tokens: Count
    estimate: Literal[True]


@_open
class ResponsesRequest(TypedDict):
    """A Responses request."""

    model: Annotated[str, Field(min_length=1)]
    input: NotRequired[str | list[dict[str, Any]]]
    stream: NotRequired[bool]
    max_output_tokens: NotRequired[Count]


@_open
class MessagesRequest(TypedDict):
    """A request for a message of Anthropic's API."""

    model: Annotated[str, Field(min_length=1)]
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: NotRequired[bool]
    max_tokens: NotRequired[Count]


@_open
class EmbeddingsRequest(TypedDict):
    """A request for embeddings."""

    model: Annotated[str, Field(min_length=1)]
    input: str | Annotated[list[Any], Field(min_length=1)]


@_open
class CompletionsRequest(TypedDict):
    """A request for a text completion."""

    model: Annotated[str, Field(min_length=1)]
    prompt: str | Annotated[list[Any], Field(min_length=1)]
    stream: NotRequired[bool]
    max_tokens: NotRequired[Count]


@_open
class EventQuery(TypedDict):
    """A question about the ledger or the providers' offers, with its arguments."""

    ask: Literal["stats", "page", "slice", "count", "request", "known", "entries", "offers"]


class EventAnswer(TypedDict):
    """The answer to a question: amounts in msats, instants in ms."""

    answer: Any


@_open
class ProviderAnswer(TypedDict):
    """The provider's own JSON."""


@_open
class Description(TypedDict):
    """This description: OpenAPI 3.1."""
