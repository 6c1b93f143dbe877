"""Rows of the ledger: from records, and back to entries; instants as text and as epoch milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from math import copysign
from operator import attrgetter
from typing import Any

from arbstr.clock import format_ms, to_ms
from arbstr.ledger.aggregates import AggregateSum
from arbstr.ledger.latency_histogram import sketch_all
from arbstr.ledger.model import Entry
from arbstr.ledger.row_json import attempts_text, routing_text
from arbstr.types import RequestRecord

RowValues = tuple[Any, ...]
# Model, provider, policy, streaming, success, client, dialect. Requests that were refused have no model here: clients
# make up any names.
FacetKey = tuple[str | None, str | None, str | None, bool, bool, str | None, str | None]

COLUMNS = (
    "id",
    "correlation_id",
    "timestamp",
    "model",
    "provider",
    "policy",
    "streaming",
    "input_tokens",
    "output_tokens",
    "cost_sats",
    "provider_cost_sats",
    "latency_ms",
    "stream_duration_ms",
    "success",
    "error_status",
    "error_message",
    "at_ms",
    "facet",
    "open",
    "dearest_msats",
    "median_msats",
    "attempts",
    "routing",
    "list_cost_sats",
    "cached_tokens",
    "cache_write_tokens",
    "served_model",
    "dialect",
    "session",
    "client",
    "implausible",
    "doubtful_msats",
    "refused_key",
    "predicted_cached_tokens",
    "cache_saved_msats",
    "switching_msats",
)
ENTRY_COLUMNS = (
    "id, correlation_id, at_ms, model, provider, policy, streaming, success, input_tokens, output_tokens, cost_sats, "
    "provider_cost_sats, latency_ms, stream_duration_ms, error_status, error_message, list_cost_sats, cached_tokens, "
    "cache_write_tokens, served_model, dialect, session, client, implausible, doubtful_msats, "
    "predicted_cached_tokens, cache_saved_msats, switching_msats"
)

# No real number comes near; a provider's absurd usage must not overflow the sums of millions of rows.
MOST = 10**12
_TEXT_FIELDS = (
    *("request_id", "model", "provider", "policy", "client", "dialect", "error_message", "served_model", "session"),
)
_NUMBER_FIELDS = (
    *("input_tokens", "output_tokens", "cost_msats", "provider_cost_msats", "latency_ms", "stream_duration_ms"),
    *("error_status", "dearest_msats", "median_msats", "list_cost_msats", "cached_tokens", "cache_write_tokens"),
    *("doubtful_msats", "predicted_cached_tokens", "cache_saved_msats", "switching_msats"),
)
_TEXTS: Callable[[RequestRecord], tuple[str | None, ...]] = attrgetter(*_TEXT_FIELDS)
_NUMBERS: Callable[[RequestRecord], tuple[int | None, ...]] = attrgetter(*_NUMBER_FIELDS)
_ALL_WHOLE = 2.0**52  # floats from here on have no fraction


def parse_ms(timestamp: object) -> int:
    """ISO 8601 as epoch milliseconds; without an offset it is UTC. What can't be read, or is before 1970, is 0."""
    try:
        moment = datetime.fromisoformat(str(timestamp).strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0, to_ms(moment))
    except (ValueError, OverflowError):
        return 0


def storable(record: RequestRecord) -> RequestRecord:
    """Return a record with texts and numbers that a database can hold: itself, unless it is odd."""
    return all_storable([record])[0]


def all_storable(records: Sequence[RequestRecord]) -> Sequence[RequestRecord]:
    """Return records with texts and numbers that a database can hold: most are so, and looked at together."""
    numbers = list(filter(None, chain.from_iterable(map(_NUMBERS, records))))
    is_bounded = not numbers or (max(numbers) <= MOST and min(numbers) >= -MOST)
    if is_bounded and "".join(filter(None, chain.from_iterable(map(_TEXTS, records)))).isascii():
        return records
    if len(records) > 1:
        return [storable(record) for record in records]
    [record] = records
    fit: dict[str, Any] = {name: _clean(text) for name, text in zip(_TEXT_FIELDS, _TEXTS(record), strict=True)}
    fit |= {name: bounded(number) for name, number in zip(_NUMBER_FIELDS, _NUMBERS(record), strict=True)}
    return [replace(record, **fit)]


def facet_key(record: RequestRecord) -> FacetKey:
    """Return a storable record's facet: the names it shares with others."""
    return (
        None if is_refused(record) else record.model,
        record.provider,
        record.policy,
        record.streaming,
        record.success,
        record.client,
        record.dialect,
    )


def is_refused(record: RequestRecord) -> bool:
    """Check whether a request was refused for what it asks for, or before that was read."""
    if record.success:
        return False
    return record.error_status in (400, 404) or (record.error_status == 429 and record.provider is None)


def row_of(record: RequestRecord, key: FacetKey, row_id: int, facet: int | None, opener: int) -> RowValues:
    """A storable record as a row in the order of `COLUMNS`; `opener` other than 0 leaves it open, without a facet."""
    cost, charge, list_cost = record.cost_msats, record.provider_cost_msats, record.list_cost_msats
    return (
        row_id,
        record.request_id,
        format_ms(record.received_at_ms),
        record.model,
        record.provider,
        record.policy,
        1 if record.streaming else 0,  # sqlite3 is slow to bind booleans
        record.input_tokens,
        record.output_tokens,
        None if cost is None else cost / 1000,
        None if charge is None else charge / 1000,
        record.latency_ms,
        None if opener else record.stream_duration_ms,  # it has not ended
        1 if record.success else 0,
        record.error_status,
        record.error_message,
        None if opener else record.received_at_ms,
        facet,
        opener,
        record.dearest_msats,
        record.median_msats,
        attempts_text(record.attempts),
        None if record.routing is None else routing_text(record.routing),
        None if list_cost is None else list_cost / 1000,
        record.cached_tokens,
        record.cache_write_tokens,
        record.served_model,
        record.dialect,
        record.session,
        record.client,
        record.implausible,
        record.doubtful_msats or None,
        fold(record.model) if key[0] is None and not opener else None,
        record.predicted_cached_tokens,
        record.cache_saved_msats,
        record.switching_msats,
    )


def tally_of(records: Sequence[RequestRecord]) -> AggregateSum:
    """Return what storable records of one facet, at least one, add to its rollups."""
    total = len(records)
    costs = [record.cost_msats for record in records]
    latencies = [record.latency_ms for record in records]
    return AggregateSum(
        (
            total,
            total * records[0].success,
            total * records[0].streaming,
            total - costs.count(None),
            sum(filter(None, costs)),
            sum(filter(None, [record.input_tokens for record in records])),
            sum(filter(None, [record.output_tokens for record in records])),
            sum(latencies),
            _sum_above(costs, [record.dearest_msats for record in records]),
            _sum_above(costs, [record.median_msats for record in records]),
            sum([record.cached_tokens or 0 for record in records if record.cache_saved_msats is not None]),
            sum(filter(None, [record.cache_saved_msats for record in records])),
            sum(filter(None, [record.switching_msats for record in records])),
            _sum_above(costs, [record.list_cost_msats for record in records]),
        ),
        sketch_all(latencies),
    )


def _sum_above(costs: list[int | None], others: list[int | None]) -> int:
    """Return by how much the other sums are above the costs, where both are known."""
    pairs = zip(costs, others, strict=True)
    return sum([other - cost for cost, other in pairs if cost is not None and other is not None])


def facet_key_of(columns: Sequence[Any]) -> FacetKey:
    """Return a row's facet from its columns."""
    model, provider, policy, streaming, success, client, dialect = columns
    return (
        _name(model),
        _name(provider),
        _name(policy),
        bool(streaming),
        bool(success),
        _name(client),
        _name(dialect),
    )


def entry_of(row: Sequence[Any]) -> Entry:
    """Convert a row of `ENTRY_COLUMNS` to an entry."""
    (row_id, request_id, at_ms, model, provider, policy, streaming, success, *numbers) = row[:16]
    tokens_in, tokens_out, cost, provider_cost, latency, duration, status, message = numbers
    list_cost, cached, written, served_model, dialect, session, client, implausible, doubtful, *caches = row[16:]
    predicted, cache_saved, switching = caches
    return Entry(
        id=row_id,
        request_id=str(request_id),
        timestamp=format_ms(at_ms),
        at_ms=at_ms,
        model=str(model),
        provider=_name(provider),
        policy=_name(policy),
        streaming=bool(streaming),
        success=bool(success),
        input_tokens=whole(tokens_in),
        output_tokens=whole(tokens_out),
        cost_msats=msats(cost),
        provider_cost_msats=msats(provider_cost),
        latency_ms=max(0, whole(latency) or 0),
        stream_duration_ms=whole(duration),
        error_status=whole(status),
        error_message=_name(message),
        list_cost_msats=msats(list_cost),
        cached_tokens=whole(cached),
        cache_write_tokens=whole(written),
        served_model=_name(served_model),
        dialect=_name(dialect),
        session=_name(session),
        client=_name(client),
        implausible=_name(implausible),
        doubtful_msats=max(0, whole(doubtful) or 0),
        predicted_cached_tokens=whole(predicted),
        cache_saved_msats=whole(cache_saved),
        switching_msats=whole(switching),
    )


def clean(text: str) -> str:
    """Text that a database can hold: half a surrogate pair, which JSON can smuggle in, becomes `?`."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _clean(text: str | None) -> str | None:
    return None if text is None else clean(text)


def fold(name: str | None) -> str | None:
    """Return a name folded to ignore case."""
    return None if name is None else name.casefold()


def fold_any(name: object) -> str | None:
    """The same of what another program may have put where a name belongs."""
    return None if name is None else fold(str(name))


def bounded(number: int | None) -> int | None:
    """Clamp a number to at most `MOST` from zero."""
    if number is None or -MOST <= number <= MOST:
        return number
    return MOST if number > 0 else -MOST


def whole(value: object) -> int | None:
    """What another program may have put where a whole number belongs."""
    if value is None or type(value) is int:
        return bounded(value)
    try:
        return bounded(int(float(str(value))))
    except (ValueError, OverflowError):
        return 0


def msats(sats: object) -> int | None:
    """Sats as they are stored, in millisats; half of one counts as a whole, as in SQLite's ROUND."""
    if sats is None:
        return None
    try:
        exact = min(max(float(str(sats)), -MOST), MOST) * 1000
    except ValueError:
        return 0
    return int(exact + copysign(0.5, exact)) if abs(exact) < _ALL_WHOLE else int(exact)


def _name(value: object) -> str | None:
    return None if value is None else str(value)
