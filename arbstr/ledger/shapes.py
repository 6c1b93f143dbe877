"""The JSON bodies of the ledger's answers, as `arbstr.shapes` has the others: statistics and requests."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from arbstr.shapes import AttemptEntry, Count, Instant, RoutingEntry

Claim = Literal["charge", "tokens"]


class Counts(TypedDict):
    """Numbers of requests."""

    total: Count
    success: Count
    error: Count
    streaming: Count


class Costs(TypedDict):
    """Sums of what requests cost, and of their tokens; unknown ones add nothing."""

    total_cost_sats: float
    total_input_tokens: Count
    total_output_tokens: Count
    unexplained_sats: NotRequired[Annotated[float, Field(description="Part of the total that no request explains.")]]


class Performance(TypedDict):
    """Latencies of all requests, failed ones too; percentiles are good to 2 %."""

    avg_latency_ms: float
    p50_latency_ms: Count
    p95_latency_ms: Count
    p99_latency_ms: Count


class Savings(TypedDict):
    """What the most expensive and the median candidate would have cost, less what was paid."""

    vs_dearest: float
    vs_median: float


class CacheFigures(TypedDict):
    """What prompt caches had of the input, and saved by the rates.

    `switching_sats` more were expected to be saved where the conversation had been before.
    """

    cached_tokens: Count
    cached_share: float
    saved_sats: float
    switching_sats: float


class Figures(TypedDict):
    """Aggregates of a set of requests."""

    counts: Counts
    costs: Costs
    performance: Performance
    saved_sats: Savings
    list_cost_sats: Annotated[float, Field(description="The cost by the rates; beside it stands what was charged.")]
    cache: CacheFigures


class Bucket(Figures):
    """The aggregates of an hour or a day."""

    start: Instant


class Window(TypedDict):
    """A span of time, both ends inclusive."""

    since: Instant
    until: Instant


class StatsReport(Window, Figures):
    """The aggregates of a window, and by group if asked."""

    empty: NotRequired[Literal[True]]
    message: NotRequired[str]
    series: NotRequired[Annotated[list[Bucket], Field(description="By hour or day, oldest first, no gaps.")]]
    models: NotRequired[dict[str, Figures]]
    providers: NotRequired[dict[str, Figures]]
    policies: NotRequired[dict[str, Figures]]
    clients: NotRequired[dict[str, Figures]]
    sessions: NotRequired[Annotated[dict[str, Figures], Field(description="The 1,000 that cost most, and the rest.")]]
    dialects: NotRequired[dict[str, Figures]]


class EntryTokens(TypedDict):
    """Tokens as the provider counted them, null where it did not say; `input` includes `cached` and `cache_write`."""

    input: Count | None
    cached: Count | None
    cache_write: Count | None
    output: Count | None


class EntryCost(TypedDict):
    """What a request cost: what the provider said it charged, else the cost by the rates."""

    sats: float | None
    provider_sats: Annotated[float | None, Field(description="What the provider says it charged.")]
    list_sats: Annotated[float | None, Field(description="The cost by the rates.")]
    doubtful_sats: NotRequired[Annotated[float, Field(description="May have been charged besides; not known yet.")]]


class EntryTiming(TypedDict):
    """Time to the whole answer, or to a stream's first byte; and the whole stream's."""

    latency_ms: Count
    stream_duration_ms: Count | None


class EntryError(TypedDict):
    """How a request failed."""

    status: Count | None
    message: str | None


class EntryCache(TypedDict):
    """What the prompt cache was expected to have, and saved by the rates; null where that is not known.

    `switching_sats` more were expected to be saved where the conversation had been before.
    """

    predicted_tokens: Count | None
    saved_sats: float | None
    switching_sats: float | None


class RequestEntry(TypedDict):
    """One request."""

    id: int
    request_id: str
    timestamp: Instant
    model: Annotated[str, Field(description="As asked for.")]
    provider: Annotated[str | None, Field(description="The last one tried.")]
    policy: str | None
    streaming: bool
    success: bool
    served_model: Annotated[str | None, Field(description="The model that served.")]
    dialect: str | None
    session: str | None
    client: str | None
    tokens: EntryTokens
    cost: EntryCost
    cache: EntryCache
    timing: EntryTiming
    charged_for_nothing: NotRequired[
        Annotated[Literal[True], Field(description="It cost something and has no output.")]
    ]
    implausible: NotRequired[Annotated[list[Claim], Field(description="Claims of the provider's that can't be true.")]]
    error: NotRequired[Annotated[EntryError, Field(description="Only of failed requests.")]]


class RequestPage(Window):
    """One page of the requests in a window."""

    data: list[RequestEntry]
    page: Count
    per_page: Count
    total: Count
    total_pages: Count


class RequestDetail(RequestEntry):
    """One request in full; attempts and routing are null where they were not kept."""

    attempts: list[AttemptEntry] | None
    routing: RoutingEntry | None
