"""PostgreSQL's side of the ledger's SQL. Only arbstr writes there, so columns hold what they should."""

from __future__ import annotations

from arbstr.ledger.dialect import SqlDialect

_MSATS = "CAST(cost_sats * 1000 AS bigint)"
_LIST_MSATS = "CAST(list_cost_sats * 1000 AS bigint)"
_COUNTED_MSATS = (
    f"(GREATEST({_MSATS}, {_LIST_MSATS}, CASE WHEN implausible IS NULL "
    "THEN CAST(provider_cost_sats * 1000 AS bigint) END, 0) + GREATEST(doubtful_msats, 0))"
)
_REFUSED = "(NOT success AND (error_status IN (400, 404) OR (error_status = 429 AND provider IS NULL)))"

POSTGRES = SqlDialect(
    aside="",  # it would not see the months
    gathered="+",  # else it walks far along the index that has the order
    joined="JOIN",
    by_request_id="",
    closed="TRUE",  # open rows are elsewhere
    succeeded="success",
    failed="NOT success",
    msats=_MSATS,
    counted_msats=_COUNTED_MSATS,
    latency_ms="latency_ms",
    facet_model=f"CASE WHEN NOT {_REFUSED} THEN model END",
    facets_first=True,
    facets_with_costs=True,
    by_months=True,
    row_sums=", ".join(
        (
            "COUNT(*)",
            "COUNT(*) FILTER (WHERE success)",
            "COUNT(*) FILTER (WHERE streaming)",
            "COUNT(cost_sats)",
            f"SUM({_MSATS})",
            "SUM(input_tokens)",
            "SUM(output_tokens)",
            "SUM(latency_ms)",
            f"SUM(dearest_msats - {_MSATS})",
            f"SUM(median_msats - {_MSATS})",
            "SUM(cached_tokens) FILTER (WHERE cache_saved_msats IS NOT NULL)",
            "SUM(cache_saved_msats)",
            "SUM(switching_msats)",
            f"SUM({_LIST_MSATS} - {_MSATS})",
        )
    ),
    rows_where=lambda which: "requests",
    texts=lambda expression: f"STRING_AGG(CAST({expression} AS text), ' ')",
    hex_texts=lambda blob: f"STRING_AGG(ENCODE({blob}, 'hex'), ' ')",
)
