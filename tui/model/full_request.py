"""One request with all that is known of it, from the ledger or from the feed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from arbstr.ledger.model import Detail, Entry
from arbstr.ledger.routing_json import routing_json
from arbstr.types import RequestRecord
from tui.model.request_row import InFlightRequest, Item

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FullRequest:
    """A request from the ledger or an event. `attempts` and `routing` are None where they were not kept."""

    request_id: str
    at_ms: int
    model: str
    streaming: bool
    success: bool | None  # None: it runs
    provider: str | None
    policy: str | None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_msats: int | None = None
    provider_cost_msats: int | None = None
    latency_ms: int | None = None
    stream_duration_ms: int | None = None
    error_status: int | None = None
    error_message: str | None = None
    median_msats: int | None = None
    dearest_msats: int | None = None
    attempts: Sequence[Json] | None = None
    routing: Json | None = None
    list_cost_msats: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    served_model: str | None = None
    dialect: str | None = None
    session: str | None = None
    client: str | None = None
    implausible: str | None = None
    doubtful_msats: int = 0
    predicted_cached_tokens: int | None = None
    cache_saved_msats: int | None = None
    switching_msats: int | None = None

    @property
    def never_sent(self) -> bool:
        """Whether it was refused before any provider was asked, so that it cost nothing."""
        return self.success is False and self.provider is None and not self.attempts and self.cost_msats is None


def _names(kind: type[FullRequest | Entry | RequestRecord]) -> set[str]:
    return {each.name for each in fields(kind)}


# The fields that a ledger's entry and an event's record have in common, by the same names.
_SHARED = tuple(_names(FullRequest) & _names(Entry) & _names(RequestRecord))
_ATTEMPT = ("provider", "started_ms", "duration_ms", "failure", "status", "message")


def from_detail(detail: Detail) -> FullRequest:
    """Build from the ledger's answer."""
    known = {name: getattr(detail.entry, name) for name in _SHARED}
    return FullRequest(at_ms=detail.entry.at_ms, attempts=detail.attempts, routing=detail.routing, **known)


def from_item(item: Item) -> FullRequest:
    """Build from the feed's item."""
    if isinstance(item, RequestRecord):
        return _from_record(item)
    return _from_flight(item) if item.record is None else _from_record(item.record)


def _from_record(record: RequestRecord) -> FullRequest:
    known = {name: getattr(record, name) for name in (*_SHARED, "median_msats", "dearest_msats")}
    return FullRequest(
        at_ms=record.received_at_ms,
        attempts=[{name: getattr(attempt, name) for name in _ATTEMPT} for attempt in record.attempts],
        routing=None if record.routing is None else routing_json(record.routing),
        **known,
    )


def _from_flight(flight: InFlightRequest) -> FullRequest:
    provider = flight.path[-1] if flight.path else None
    return FullRequest(
        flight.request_id,
        flight.at_ms,
        flight.model,
        flight.streaming,
        None,
        provider,
        flight.policy,
        output_tokens=flight.events or None,
        latency_ms=flight.first_byte_ms,
    )
