"""Indexes that rows without facets would only make slow to adopt: made one by one once all rows have theirs."""

from __future__ import annotations

from arbstr.ledger.database import Database

# The first three hold what a page's filter needs, so that walking them reads no rows.
LATE_INDEXES = {
    # With the figures that filters ask for: what no other index narrows is found and counted along time.
    "requests_along_time": "(at_ms, facet, cost_sats, latency_ms, stream_duration_ms) WHERE at_ms IS NOT NULL",
    "requests_by_cost": "(cost_sats, id, at_ms, facet)",
    "requests_by_latency": "(latency_ms, id, at_ms, facet, stream_duration_ms)",
    "requests_by_error": "(error_message, at_ms, facet, cost_sats) WHERE error_message IS NOT NULL",
    "requests_by_status": "(COALESCE(error_status, 0), success, at_ms, facet, cost_sats) WHERE success = 0",
    # With the session, which is null, so that rows are found without reading them.
    "requests_without_session": "(at_ms, facet, cost_sats, session) WHERE session IS NULL",
    # All that is summed by session, and what is compared beside it.
    "requests_by_session": "(session, at_ms, facet, refused_key, success, streaming, cost_sats, list_cost_sats, "
    "dearest_msats, median_msats, input_tokens, output_tokens, latency_ms, cached_tokens, cache_saved_msats, "
    "switching_msats, stream_duration_ms) WHERE session IS NOT NULL",
}
# Until the one along time is there.
_BY_TIME = "requests_by_time ON requests (at_ms) WHERE at_ms IS NOT NULL"


async def make_next(db: Database) -> bool:
    """Make one of the late indexes; False if all are there."""
    for name, columns in LATE_INDEXES.items():
        [row] = await db.execute_fetchall("SELECT COUNT(*) FROM sqlite_master WHERE name = ?", (name,))
        if not row[0]:
            await db.execute_fetchall(f"CREATE INDEX IF NOT EXISTS {name} ON requests {columns}")
            return True
    await db.execute_fetchall("DROP INDEX IF EXISTS requests_by_time")
    return False


async def drop_late(db: Database) -> None:
    """Drop the late indexes, to adopt all rows again."""
    await db.execute_fetchall(f"CREATE INDEX IF NOT EXISTS {_BY_TIME}")
    for name in LATE_INDEXES:
        await db.execute_fetchall(f"DROP INDEX IF EXISTS {name}")
