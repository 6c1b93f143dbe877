"""Sums that a ledger of an earlier arbstr lacks: made step by step in the background, each under the lock of all sums.

What is written meanwhile is added to them as to others; a step sums all again that it is about.
"""

from __future__ import annotations

import re
from itertools import product

from arbstr.clock import DAY_MS, HOUR_MS
from arbstr.ledger import outcomes
from arbstr.ledger.aggregates import AggregateSum, from_columns
from arbstr.ledger.latency_histogram import sketch_text
from arbstr.ledger.postgres import session_costs
from arbstr.ledger.postgres.connection import PostgresConnection
from arbstr.ledger.postgres.dialect import POSTGRES
from arbstr.ledger.postgres.rollups import PostgresRollups
from arbstr.ledger.postgres.schema import SUMS, lock
from arbstr.ledger.rollups import SESSIONLESS

_SESSIONLESS_BEFORE = "sessionless_before"
_SESSIONS_FROM = "sessions_from"
_PARTS = 256  # of all sessions, by their first two digits
_BEGINNING = re.compile("[0-9a-f]{2}")
_HOURS = (
    f"SELECT at_ms - at_ms % {HOUR_MS}, {POSTGRES.row_sums}, {POSTGRES.texts(POSTGRES.latency_ms)} FROM requests "
    "WHERE session IS NULL AND at_ms >= ? AND at_ms < ? GROUP BY 1"
)


def add_some(db: PostgresConnection, rollups: PostgresRollups) -> bool:
    """Take one step; return False if nothing was left."""
    if outcomes.is_left(db):
        # In a transaction before that which has the lock: others have theirs while they enter facets.
        with db.transaction():
            for streaming, success in product((False, True), repeat=2):
                rollups.number(db, "outcome", streaming=streaming, success=success)
    with db.transaction():
        lock(db, SUMS)
        return outcomes.sum_day(db, rollups) or _sum_sessionless_day(db, rollups) or _sum_sessions(db)


def _sum_sessionless_day(db: PostgresConnection, rollups: PostgresRollups) -> bool:
    day_ms = outcomes.next_day(db, _SESSIONLESS_BEFORE)
    if day_ms is None:
        return False
    day = (day_ms, day_ms + DAY_MS)
    db.execute(f"DELETE FROM rollups WHERE facet = {SESSIONLESS} AND start_ms >= ? AND start_ms < ?", day)
    rollups.add_cells(
        db,
        rollups.sessionless(
            (start_ms, AggregateSum(from_columns(figures), sketch_text(latencies)))
            for start_ms, *figures, latencies in db.execute(_HOURS, day).fetchall()
        ),
    )
    return True


def _sum_sessions(db: PostgresConnection) -> bool:
    [part] = db.execute("SELECT MAX(value) FROM ledger_state WHERE name = ?", (_SESSIONS_FROM,)).fetchone() or (None,)
    if part is None:
        return False
    last = f"{part + 1:02x}" if part + 1 < _PARTS else None
    session_costs.sum_between(db, f"{part:02x}" if part else "", last)
    [following] = db.execute("SELECT MIN(session) FROM requests WHERE session >= ?", (last,)).fetchone() or (None,)
    if following is None:
        db.execute("DELETE FROM ledger_state WHERE name = ?", (_SESSIONS_FROM,))
    else:
        found = _BEGINNING.match(following)
        following_part = int(found[0], 16) if found else part + 1
        db.execute("UPDATE ledger_state SET value = ? WHERE name = ?", (following_part, _SESSIONS_FROM))
    return True
