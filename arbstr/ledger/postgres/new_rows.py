"""Enters rows that have ended: each of them once, whichever instance sends it and how often, and the sums with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arbstr.clock import HOUR_MS
from arbstr.ledger.accounts import COMPARE_AGAIN
from arbstr.ledger.aggregates import AggregateSum, from_columns
from arbstr.ledger.latency_histogram import sketch_all
from arbstr.ledger.pending_row import INTERRUPTED
from arbstr.ledger.postgres import leases, session_costs
from arbstr.ledger.postgres.connection import PostgresConnection
from arbstr.ledger.postgres.dialect import POSTGRES
from arbstr.ledger.postgres.months import Months
from arbstr.ledger.postgres.rollups import PostgresRollups, Summed
from arbstr.ledger.postgres.rows import COPIED, NewRow
from arbstr.ledger.postgres.schema import SUMS, lock
from arbstr.ledger.row_mapping import FacetKey, facet_key_of

_COLUMNS = ", ".join(COPIED)
# As COPY knows no conflicts, rows arrive in a table of the connection's own.
_ARRIVING = (
    f"CREATE TEMP TABLE IF NOT EXISTS arriving ON COMMIT DELETE ROWS AS SELECT {_COLUMNS} FROM requests WITH NO DATA"
)
_SUMMED = (
    f"SELECT facet, at_ms - at_ms % {HOUR_MS}, session IS NOT NULL, ARRAY_AGG(correlation_id), {POSTGRES.row_sums}, "
    f"{POSTGRES.texts(POSTGRES.latency_ms)} FROM changed GROUP BY 1, 2, 3"
)
_ENTER = (
    f"WITH changed AS (INSERT INTO requests ({_COLUMNS}) SELECT {_COLUMNS} FROM arriving "
    f"ON CONFLICT DO NOTHING RETURNING *) {_SUMMED}"
)
# An instance that was cut off for long counts as dead, and its streams as interrupted: their ends know better.
_TAKE_BACK = (
    "WITH changed AS (DELETE FROM requests r USING arriving a WHERE r.correlation_id = a.correlation_id "
    "AND r.at_ms = a.at_ms AND NOT r.success AND r.error_message = ? "
    f"AND a.error_message IS DISTINCT FROM r.error_message RETURNING r.*) {_SUMMED}"
)
_NAMES = "SELECT model, provider, policy, streaming, success, client, dialect FROM facets WHERE id = ?"

_SESSION = COPIED.index("session")

Sums = list[Summed]


class NewRows:
    """Enters rows on one connection, whose rollups are `rollups`."""

    def __init__(self, rollups: PostgresRollups) -> None:
        self._rollups = rollups
        self._months = Months()
        self._arrives = False

    def forget(self) -> None:
        """Take the database for the truth again, after a transaction has failed."""
        self._rollups.forget()
        self._months.forget()

    def prepare(self, db: PostgresConnection, rows: Sequence[NewRow]) -> None:
        """Make what rows need to be entered; in transactions of its own."""
        if not self._arrives:
            db.execute(_ARRIVING)
            self._arrives = True
        self._months.make(db, [row.at_ms for row in rows])

    def enter(self, db: PostgresConnection, rows: Sequence[NewRow]) -> frozenset[str]:
        """In a transaction: enter rows that are prepared, and their sums; return the request ids that are new.

        Until it ends, the transaction has the lock of all sums.
        """
        facets = self._rollups.facets(db, [row.key for row in rows])
        db.copy("arriving", COPIED, [row.with_facet(facets) for row in rows])
        db.execute("DELETE FROM open_requests o USING arriving a WHERE o.correlation_id = a.correlation_id")
        numbers = {number: key for key, number in facets.items()}
        added, sums = self._summed(db, db.execute(_ENTER).fetchall(), numbers)
        gone: frozenset[str] = frozenset()
        if len(added) < len(rows):
            gone, less = self._summed(db, db.execute(_TAKE_BACK, (INTERRUPTED,)).fetchall(), numbers)
            if gone:
                sums += [(key, start_ms, has, _negative(tally)) for key, start_ms, has, tally in less]
                again, more = self._summed(db, db.execute(_ENTER).fetchall(), numbers)
                added, sums = added | again, sums + more
                db.execute("DELETE FROM doubts WHERE request_id = ANY(?)", (list(gone),))
                db.execute(COMPARE_AGAIN)
                leases.recount(db)
        lock(db, SUMS)
        self._rollups.enter(db, sums)
        if sessions := {row.values[_SESSION] for row in rows} - {None}:
            if gone:
                session_costs.sum_again(db, sessions)
            else:
                session_costs.add(db, added, len(rows))
        return added

    def _summed(
        self, db: PostgresConnection, found: Sequence[Any], numbers: Mapping[int, FacetKey]
    ) -> tuple[frozenset[str], Sums]:
        """Return the request ids of rows that have changed, and their sums."""
        ids: set[str] = set()
        sums: Sums = []
        for facet, start_ms, has_session, some, *figures, latencies in found:
            ids.update(some)
            key = numbers[facet] if facet in numbers else facet_key_of(*db.execute(_NAMES, (facet,)))
            sketch = sketch_all(map(int, latencies.split(" ")))
            sums.append((key, start_ms, has_session, AggregateSum(from_columns(figures), sketch)))
        return frozenset(ids), sums


def _negative(tally: AggregateSum) -> AggregateSum:
    less = AggregateSum()
    less.subtract(tally)
    return less
