"""Rows on their way into PostgreSQL: of records, and of what was put aside or comes from another ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arbstr.ledger.row_mapping import COLUMNS, FacetKey, clean, facet_key, fold, msats, parse_ms, row_of, whole
from arbstr.types import RequestRecord, value_object

_ELSEWHERE = ("id", "timestamp", "open")  # what PostgreSQL makes itself, and what only open rows have
COPIED = tuple(column for column in COLUMNS if column not in _ELSEWHERE)
_PLACES = [place for place, column in enumerate(COLUMNS) if column not in _ELSEWHERE]
_FACET = COPIED.index("facet")
_SATS = frozenset({"cost_sats", "provider_cost_sats", "list_cost_sats"})
_TRUTHS = frozenset({"streaming", "success"})
_TEXTS = frozenset(
    {
        *("correlation_id", "model", "provider", "policy", "error_message", "attempts", "routing", "served_model"),
        *("dialect", "session", "client", "implausible", "refused_key"),
    }
)


@value_object
class NewRow:
    """A row that has ended, in the order of `COPIED`, its facet yet to be entered."""

    request_id: str
    at_ms: int
    key: FacetKey
    values: list[Any]

    def with_facet(self, facets: Mapping[FacetKey, int]) -> list[Any]:
        """Return the values with the number of its facet."""
        self.values[_FACET] = facets[self.key]
        return self.values


def of_record(record: RequestRecord) -> NewRow:
    """Return the row of a storable record."""
    key = facet_key(record)
    row = row_of(record, key, 0, None, 0)
    return NewRow(record.request_id, record.received_at_ms, key, [row[place] for place in _PLACES])


def of_stored(stored: Mapping[str, Any]) -> NewRow:
    """Return a row that is kept by its columns' names, whatever another program may have put into them."""
    row = {name: _value(name, stored.get(name)) for name in COPIED}
    row["at_ms"] = stored.get("at_ms") or parse_ms(stored.get("timestamp"))
    row["latency_ms"] = max(0, row["latency_ms"] or 0)
    refused = _is_refused(row)
    row["refused_key"] = fold(row["model"]) if refused else None
    names = (row["streaming"], row["success"], row["client"], row["dialect"])
    key = (None if refused else row["model"], row["provider"], row["policy"], *names)
    return NewRow(row["correlation_id"], row["at_ms"], key, [row[name] for name in COPIED])


def _is_refused(row: Mapping[str, Any]) -> bool:
    status = row["error_status"]
    return not row["success"] and (status in (400, 404) or (status == 429 and row["provider"] is None))


def _value(name: str, value: Any) -> Any:
    if name in _TRUTHS:
        return value is not None and value != 0
    if value is None:
        return None
    if name in _TEXTS:
        return clean(str(value))
    if name in _SATS:
        return (msats(value) or 0) / 1000
    return whole(value)
