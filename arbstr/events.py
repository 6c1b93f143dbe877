"""What happened, as values: published by the engine, read by the log, the dashboard and the tests.

Nothing that must not be lost travels as an event: a slow reader misses old ones and resynchronises from a snapshot.
Every request that is received gets exactly one `RequestReceived` and exactly one `RequestFinished`.
"""

from __future__ import annotations

from typing import Literal

from arbstr.types import BreakerState, FailureKind, RequestRecord, Routing, value_object

AlertKind = Literal["budget", "balance", "provider_down", "price_jump", "unexplained_charge"]


@value_object
class RequestReceived:
    """A client's request passed authentication. `model` is as asked, or empty if it could not be read."""

    request_id: str
    at_ms: int
    model: str
    streaming: bool


@value_object
class RouteChosen:
    """A request was routed: `routing.candidates` will be tried in order."""

    request_id: str
    routing: Routing


@value_object
class AttemptStarted:
    """A provider is about to be asked."""

    request_id: str
    provider: str


@value_object
class AttemptFailed:
    """A try at a provider failed; `retry_in_ms` is the wait before it is asked again, None if it is not."""

    request_id: str
    provider: str
    failure: FailureKind
    status: int | None
    message: str
    duration_ms: int
    retry_in_ms: int | None


@value_object
class FirstByte:
    """A stream began for the client: with its first event, or with a keep-alive.

    `after_ms` counts from the request's arrival.
    """

    request_id: str
    provider: str
    after_ms: int


@value_object
class StreamProgress:
    """A stream made progress: `events` so far, each about one token. Sent a few times a second at most."""

    request_id: str
    events: int


@value_object
class RequestFinished:
    """A request ended, well or not; the record is the ledger's row."""

    record: RequestRecord


@value_object
class ProviderHealthChanged:
    """A provider's breaker or rotation (`in_rotation`) changed. `until_ms`: the breaker is open until then."""

    provider: str
    at_ms: int
    old: BreakerState
    new: BreakerState
    reason: str
    until_ms: int | None = None
    in_rotation: bool = True


@value_object
class OverchargeFound:
    """A provider charges more than its rates say, beyond the tolerance: `ratio` is charged over computed, learned."""

    provider: str
    model: str
    ratio: float
    charged_msats: int
    computed_msats: int


@value_object
class BudgetThreshold:
    """A budget passed a share that is to be announced; `scope` and `period` are those of its `BudgetStatus`."""

    scope: str
    period: str
    percent: int
    spent_msats: int
    limit_msats: int
    resets_at_ms: int


@value_object
class LedgerStateChanged:
    """The database can't be written (`ok` false, rows wait in memory), or can again."""

    ok: bool
    message: str


@value_object
class ConfigurationRead:
    """The configuration was read again. `problems` are why it was refused; without any it is in force.

    `restart` names the keys that have no effect until the next start.
    """

    at_ms: int
    problems: tuple[str, ...]
    restart: tuple[str, ...] = ()


@value_object
class AdoptionProgressed:
    """Rows of an earlier arbstr are being rolled up: `done` of `total`, equal when finished."""

    done: int
    total: int


@value_object
class ChargeBooked:
    """A provider's balance has shown what it took for a request: its cost is `cost_msats` now, and was `was_msats`.

    `doubtful_msats` may have been spent besides, still. `at_ms` is when the request was received.
    """

    request_id: str
    at_ms: int
    provider: str
    cost_msats: int
    was_msats: int | None
    doubtful_msats: int


@value_object
class UnexplainedCharge:
    """A provider took what no request explains; a negative amount was taken for such, and is explained now."""

    provider: str
    at_ms: int
    msats: int


@value_object
class Alert:
    """Something that needs someone's attention, until `until_ms` or until it is cleared.

    `name` is the budget's scope or the provider's name; the other fields are those of its kind. Of a budget: its
    `period`, the `percent` that is passed, spent `msats` of `limit_msats`. Of a balance: how many `hours` its `msats`
    last. Of a charge: the `msats` taken. Of prices: the `models`. Of a provider that is down: the `reason`.
    """

    kind: AlertKind
    name: str
    at_ms: int
    until_ms: int | None = None
    period: str | None = None
    percent: int | None = None
    msats: int | None = None
    limit_msats: int | None = None
    hours: float | None = None
    models: tuple[str, ...] = ()
    reason: str = ""


@value_object
class AlertRaised:
    """Something needs someone's attention from now on."""

    alert: Alert


@value_object
class AlertCleared:
    """Something no longer needs attention. What ends by itself, at a known time, is not cleared besides."""

    kind: AlertKind
    name: str
    at_ms: int


Event = (
    RequestReceived
    | RouteChosen
    | AttemptStarted
    | AttemptFailed
    | FirstByte
    | StreamProgress
    | RequestFinished
    | ProviderHealthChanged
    | OverchargeFound
    | BudgetThreshold
    | LedgerStateChanged
    | ConfigurationRead
    | AdoptionProgressed
    | ChargeBooked
    | UnexplainedCharge
    | AlertRaised
    | AlertCleared
)
