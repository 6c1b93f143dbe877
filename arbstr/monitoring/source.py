"""The `Source` protocol: what a dashboard may ask of a running arbstr, and the snapshot it starts from.

The one in this process is made by `arbstr.runtime.compose`; another could stand on a remote arbstr's endpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from arbstr.bus import Subscription
from arbstr.events import Alert
from arbstr.ledger.model import LedgerQueries
from arbstr.types import Balance, BreakerState, BudgetStatus, LearnedRatio, RequestRecord


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """A provider's configuration and state. Rates in sats per 1000 tokens, fee in sats per request.

    `model_rates` are input rate, output rate and fee of models that have rates of their own.
    `success_rate` is 0 to 1 over recent attempts, None before the first; `latency_ms` the learned time to first byte.
    `charged_ratio` is charged over computed as learned, None where the provider never said; `charged_ratios` the same
    by model. `balance` is what a Routstr node says the key holds, None where there is nothing to ask. `list_age_s` is
    the time since its list of models and prices was read, None if it never was; `list_stale`: so long that it is
    doubted. `inert`: a Routstr node without a key, which is not used.
    """

    name: str
    url: str
    models: tuple[str, ...]
    input_rate: float
    output_rate: float
    base_fee: float
    masked_key: str | None
    key_source: str
    state: BreakerState
    in_rotation: bool
    failure_count: int
    in_flight: int
    success_rate: float | None = None
    latency_ms: float | None = None
    last_error: str | None = None
    open_until_ms: int | None = None
    charged_ratio: float | None = None
    charged_ratios: Mapping[str, float] = field(default_factory=dict)
    model_rates: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    balance: Balance | None = None
    list_age_s: float | None = None
    list_stale: bool = False
    inert: bool = False

    def rates_for(self, model: str) -> tuple[float, float, float]:
        """Return input rate, output rate and fee for a model."""
        return self.model_rates.get(model, (self.input_rate, self.output_rate, self.base_fee))


@dataclass(frozen=True, slots=True)
class OfferStatus:
    """A provider's price for a model: rates in sats per 1000 tokens, fee in sats per request; and what was learned.

    It charges `ratio` times its rates and `extra_sats` more, and answers the share `success` of requests. `doubted`:
    the price is old, or has just jumped.
    """

    provider: str
    input_rate: float
    output_rate: float
    base_fee: float
    ratio: float = 1.0
    extra_sats: float = 0.0
    success: float = 1.0
    doubted: bool = False

    def effective_msats(self, input_tokens: float, output_tokens: float) -> float:
        """Return what an answer of this size is expected to cost there, as routing compares it, in msats."""
        listed = input_tokens * self.input_rate + output_tokens * self.output_rate + self.base_fee * 1000
        return (listed * self.ratio + self.extra_sats * 1000) / self.success


@dataclass(frozen=True, slots=True)
class RunningRequest:
    """A request that has not finished. `events` counts a stream's events so far."""

    request_id: str
    at_ms: int
    model: str
    streaming: bool
    provider: str | None
    policy: str | None
    first_byte_ms: int | None
    events: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums since arbstr started, over finished requests; sats in msats, tokens where known.

    `compared_msats` is what those cost whose saving is known, `list_cost_msats` what all cost by the rates. Of the
    input `cached_tokens` were read from prompt caches, which saved `cache_saved_msats` by the rates; `switching_msats`
    more were expected to be saved where conversations had been before. `failures` counts those that failed by their
    status, 0 where it has none.
    """

    requests: int = 0
    succeeded: int = 0
    cost_msats: int = 0
    saved_vs_median_msats: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    compared_msats: int = 0
    list_cost_msats: int = 0
    failures: Mapping[int, int] = field(default_factory=dict)
    cached_tokens: int = 0
    cache_saved_msats: int = 0
    switching_msats: int = 0

    @property
    def cached_share(self) -> float:
        """The share of the input tokens that was read from prompt caches, 0 to 1."""
        return self.cached_tokens / max(self.input_tokens, self.cached_tokens, 1)


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """One of the arbstrs that share a ledger, `here`: the one that is asked.

    `requests` and `spent_msats` are sums since it started. Of another it was last heard at `heard_at_ms`; `stale`: so
    long ago that its figures are old, and it may have died. Instants are by the clock of the one that is asked.
    """

    name: str
    version: str
    started_at_ms: int
    in_flight: int
    requests: int
    spent_msats: int
    here: bool = False
    heard_at_ms: int | None = None
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state at `at_ms`: everything a reader needs to continue from events.

    `recent` are finished requests, newest first, a few hundred at most. `config_problems` are why the configuration
    file, as it is now, is not the one in force. `alerts` stand now, the latest last. `instances` are those that share
    the ledger, this one first; none where it is not shared.
    """

    at_ms: int
    started_at_ms: int
    address: str
    version: str
    providers: tuple[ProviderStatus, ...]
    running: tuple[RunningRequest, ...]
    recent: tuple[RequestRecord, ...]
    totals: Totals
    budgets: tuple[BudgetStatus, ...] = ()
    ratios: tuple[LearnedRatio, ...] = ()
    ledger_problem: str | None = None
    config_problems: tuple[str, ...] = ()
    alerts: tuple[Alert, ...] = ()
    instances: tuple[InstanceStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class Outage:
    """Why and since when a source is out of date, and when it tries to connect again."""

    reason: str
    since_ms: int
    again_ms: int


@dataclass(frozen=True, slots=True)
class LinkState:
    """The arbstr that is watched from elsewhere; `outage` is None as long as it tells what happens."""

    url: str
    outage: Outage | None = None


class Source(Protocol):
    """The source of everything a dashboard shows."""

    @property
    def link(self) -> LinkState | None:
        """Return how it is connected to another arbstr, which it only watches; None for the one of this process."""
        ...

    @property
    def ledger(self) -> LedgerQueries:
        """Return the queries of the ledger."""
        ...

    def subscribe(self, capacity: int = ...) -> Subscription:
        """Subscribe to events from now on."""
        ...

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        ...

    def snapshot(self) -> Snapshot:
        """Return the state now, consistent with the events published so far."""
        ...

    async def offers(self, models: Sequence[str]) -> Mapping[str, tuple[OfferStatus, ...]]:
        """Return for each model, by any of its names, what the providers that sell it ask now.

        Raises `LedgerUnavailable` while a remote arbstr does not answer.
        """
        ...

    def set_in_rotation(self, provider: str, in_rotation: bool) -> None:
        """Take a provider out of rotation or back. Raises KeyError for an unknown name."""
        ...

    def close_breaker(self, provider: str) -> None:
        """Close a provider's breaker now. Raises KeyError for an unknown name."""
        ...
