"""A row's columns as SQLite's expressions: what `row_mapping` does in Python, for any row that others may write."""

from __future__ import annotations

from arbstr.ledger.dialect import SqlDialect
from arbstr.ledger.row_mapping import COLUMNS, MOST

# A timestamp as epoch milliseconds. What every arbstr writes is read by SQLite itself: calling Python for each of a
# million rows would hold up everybody else.
_SECOND = "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
INSTANT = f"""
    COALESCE(
        CASE WHEN timestamp GLOB '{_SECOND}*' AND (timestamp GLOB '*Z' OR timestamp GLOB '*+00:00') THEN
            CASE WHEN LENGTH(timestamp) IN (20, 25) OR timestamp GLOB '{_SECOND}.[0-9][0-9][0-9]*' THEN
                MAX(0, 1000 * STRFTIME('%s', SUBSTR(timestamp, 1, 19))) + SUBSTR(timestamp, 21, 3)
            END
        END,
        epoch_ms(timestamp))
"""


def _msats(column: str) -> str:
    return f"CAST(ROUND(MIN(MAX(CAST({column} AS REAL), -{MOST}.0), {MOST}.0) * 1000) AS INTEGER)"


def _bounded(column: str) -> str:
    return f"MIN(MAX(CAST({column} AS INTEGER), -{MOST}), {MOST})"


MSATS = _msats("cost_sats")
LIST_MSATS = _msats("list_cost_sats")
# What a row would have cost by the rates, less what it cost: null unless both are known.
SAVED_VS_LIST = f"CASE WHEN list_cost_sats IS NOT NULL AND cost_sats IS NOT NULL THEN {LIST_MSATS} - {MSATS} END"
# What budgets count is the most of what a row cost, what the rates say and what was charged, claims that can't be true
# left out; and what may have been spent besides.
COUNTED_MSATS = f"""
    MAX(COALESCE({MSATS}, 0), COALESCE({LIST_MSATS}, 0),
        CASE WHEN implausible IS NULL THEN COALESCE({_msats("provider_cost_sats")}, 0) ELSE 0 END)
        + MIN(MAX(CAST(COALESCE(doubtful_msats, 0) AS INTEGER), 0), {MOST})
"""


def refused(row: str = "") -> str:
    """Return the expression that a row was refused for what it asks for, or unread; `row` is the table's `name.`."""
    status = f"{row}error_status"
    return f"({row}success = 0 AND ({status} IN (400, 404) OR ({status} = 429 AND {row}provider IS NULL)))"


def facet_model(row: str = "") -> str:
    """Return the expression of a row's model in its facet: null if it was refused."""
    return f"IIF({refused(row)}, NULL, {row}model)"


LATENCY = f"MIN(MAX(CAST(latency_ms AS INTEGER), 0), {MOST})"
# The sums of `tally.SUMS` in their order, over rows.
ROW_SUMS = ", ".join(
    (
        "COUNT(*)",
        "SUM(success <> 0)",
        "SUM(streaming <> 0)",
        "COUNT(cost_sats)",
        f"SUM({MSATS})",
        f"SUM(MIN(CAST(input_tokens AS INTEGER), {MOST}))",
        f"SUM(MIN(CAST(output_tokens AS INTEGER), {MOST}))",
        f"SUM({LATENCY})",
        f"SUM(CASE WHEN cost_sats IS NOT NULL AND dearest_msats IS NOT NULL THEN dearest_msats - {MSATS} END)",
        f"SUM(CASE WHEN cost_sats IS NOT NULL AND median_msats IS NOT NULL THEN median_msats - {MSATS} END)",
        # Of earlier rows it is not known what caches saved: so it is with the rollups that they are in.
        f"SUM(CASE WHEN cache_saved_msats IS NOT NULL THEN {_bounded('cached_tokens')} END)",
        f"SUM({_bounded('cache_saved_msats')})",
        f"SUM({_bounded('switching_msats')})",
        f"SUM({SAVED_VS_LIST})",
    )
)

_OTHERS = ", ".join(column for column in COLUMNS if column != "at_ms")

SQLITE = SqlDialect(
    aside="+",
    gathered="",
    joined="CROSS JOIN",
    by_request_id="INDEXED BY requests_by_correlation",
    closed="open = 0",
    succeeded="success <> 0",
    failed="success = 0",  # as the index by status has it
    msats=MSATS,
    counted_msats=COUNTED_MSATS,
    latency_ms=LATENCY,
    facet_model=facet_model(),
    facets_first=False,
    facets_with_costs=False,
    by_months=False,
    row_sums=ROW_SUMS,
    rows_where=lambda which: f"(SELECT {_OTHERS}, COALESCE(at_ms, {INSTANT}) AS at_ms FROM requests WHERE {which})",
    texts=lambda expression: f"GROUP_CONCAT({expression}, ' ')",
    hex_texts=lambda blob: f"GROUP_CONCAT(HEX({blob}), ' ')",
)
