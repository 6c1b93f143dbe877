"""A request as tracked by events, and as a row of the feed.

Tracking must cost next to nothing, since every request of the proxy passes here; rows are made for a screenful.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal, Protocol

from arbstr.ledger.model import Entry
from arbstr.monitoring.in_flight import InFlight
from arbstr.types import CLIENT_CLOSED, RequestRecord
from tui.format import shown

State = Literal["waiting", "streaming", "ok", "failed", "left"]
OVERCHARGE = 0.10  # above its rates, and more than a sat in a single request: less is rounding, and not worth a colour
OVERCHARGE_MSATS = 1000


class Priced(Protocol):
    """A request's costs in msats: final, as charged, and by the rates; None is unknown."""

    @property
    def cost_msats(self) -> int | None:
        """The cost in msats."""
        ...

    @property
    def provider_cost_msats(self) -> int | None:
        """The provider's charge in msats."""
        ...

    @property
    def list_cost_msats(self) -> int | None:
        """The cost by the rates in msats."""
        ...


def by_rates(request: Priced) -> int | None:
    """Return the cost by the provider's rates, in msats. In rows of earlier versions that is the cost itself."""
    return request.cost_msats if request.list_cost_msats is None else request.list_cost_msats


def overcharge(request: Priced) -> float | None:
    """Return by what share the charge exceeds the rates (below 0: less); None if no charge is known."""
    listed, charged = by_rates(request), request.provider_cost_msats
    return None if charged is None or not listed else charged / listed - 1


def overcharged(request: Priced) -> bool:
    """Check whether the charge exceeds the rates enough to be marked."""
    more = overcharge(request)
    excess = (request.provider_cost_msats or 0) - (by_rates(request) or 0)
    return more is not None and more > OVERCHARGE and excess > OVERCHARGE_MSATS


@dataclass(slots=True, eq=False)
class InFlightRequest(InFlight):
    """A running request, updated by its events. Its texts are unsanitized. `record` is set once it has ended."""

    record: RequestRecord | None = None


_ALL_FAILED = re.compile(r"^Every provider of .*? (?:failed|is rate-limiting): (?=')")
_TRIED = re.compile(r"'([^']*)' was tried (?:once|(\d+) times), last: ")


def brief(error: str) -> str:
    """Return an error for a line of a table: who failed how comes first, `beta ×3: connection failed`."""
    rest = _ALL_FAILED.sub("", error)
    return error if rest == error else _TRIED.sub(lambda tried: f"{tried[1]}{f' ×{tried[2]}' * bool(tried[2])}: ", rest)


def record_of(entry: Entry) -> RequestRecord:
    """Return a ledger entry as a record, without attempts."""
    known = {name: getattr(entry, name) for name in _IN_BOTH}
    return RequestRecord(received_at_ms=entry.at_ms, **known)


_IN_BOTH = tuple({each.name for each in fields(Entry)} & {each.name for each in fields(RequestRecord)})
Item = InFlightRequest | RequestRecord


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request, fit to show. `elapsed_ms` is None while it runs; `events` are a running stream's so far."""

    request_id: str
    at_ms: int
    model: str
    streaming: bool
    state: State
    path: tuple[str, ...]
    policy: str | None
    failed: int
    events: int = 0
    elapsed_ms: int | None = None
    first_byte_ms: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_msats: int | None = None
    error_status: int | None = None
    error: str = ""
    client: str | None = None
    dialect: str | None = None
    session: str | None = None

    @property
    def running(self) -> bool:
        """Whether it is still running."""
        return self.elapsed_ms is None

    def age_ms(self, now_ms: int) -> int:
        """Return how long it took, or has taken so far, in ms."""
        return max(now_ms - self.at_ms, 0) if self.elapsed_ms is None else self.elapsed_ms


def row_of(item: Item) -> RequestRow:
    """Return the request as a row."""
    if isinstance(item, RequestRecord):
        return _of_record(item)
    return _of_flight(item) if item.record is None else _of_record(item.record)


def _of_flight(flight: InFlightRequest) -> RequestRow:
    streams = flight.streaming and flight.first_byte_ms is not None
    return RequestRow(
        flight.request_id,
        flight.at_ms,
        shown(flight.model),
        flight.streaming,
        "streaming" if streams else "waiting",
        _steps(flight.path),
        _name(flight.policy),
        flight.failed,
        events=flight.events,
        first_byte_ms=flight.first_byte_ms,
    )


def _of_record(record: RequestRecord) -> RequestRow:
    return RequestRow(
        record.request_id,
        record.received_at_ms,
        shown(record.model),
        record.streaming,
        _end_of(record.success, record.error_status),
        _steps([attempt.provider for attempt in record.attempts] or [record.provider or ""]),
        _name(record.policy),
        sum(attempt.failure is not None for attempt in record.attempts),
        elapsed_ms=max(record.latency_ms, record.stream_duration_ms or 0),
        first_byte_ms=record.latency_ms,
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        cost_msats=record.cost_msats,
        error_status=record.error_status,
        error=brief(shown(record.error_message or "")),
        client=_name(record.client),
        dialect=_name(record.dialect),
        session=_name(record.session),
    )


def _end_of(success: bool, status: int | None) -> State:
    if success:
        return "ok"
    return "left" if status == CLIENT_CLOSED else "failed"


def _name(name: str | None) -> str | None:
    return None if name is None else shown(name)


def _steps(providers: Iterable[str]) -> tuple[str, ...]:
    """Return the providers in the order tried; a retry of the same one is no new step."""
    path: list[str] = []
    for provider in providers:
        name = shown(provider)
        if name and (not path or path[-1] != name):
            path.append(name)
    return tuple(path)
