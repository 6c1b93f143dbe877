"""Queries to a ledger in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any

from arbstr.clock import format_ms
from arbstr.errors import LedgerUnavailable
from arbstr.ledger.contents import Contents
from arbstr.ledger.postgres.connection import DatabaseError, PostgresConnection, TookTooLong
from arbstr.ledger.postgres.dialect import POSTGRES
from arbstr.ledger.postgres.faults import explain
from arbstr.ledger.postgres.schema import check
from arbstr.ledger.queries import CHUNK, EXACT, Queries
from arbstr.ledger.read_view import CACHES_SINCE, ReadTransaction
from arbstr.ledger.sql import Rows
from arbstr.ledger.time_buckets import Extent
from arbstr.places import PostgresPlace

# What searches all rows may take longer than anybody waits for; the server ends it, and is given up if it does not.
LONGEST_S = 60
_LONGEST = f"SET statement_timeout = '{LONGEST_S}s'"
_GRACE_S = 10
_SNAPSHOT = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
_CONTENTS = (
    "SELECT (SELECT MIN(at_ms) FROM requests), (SELECT MAX(at_ms) FROM requests), "
    "COALESCE((SELECT value FROM ledger_state WHERE name = 'pruned_before_ms'), 0), "
    "NOT EXISTS (SELECT 1 FROM ledger_state WHERE name = 'outcomes_before'), "
    "NOT EXISTS (SELECT 1 FROM ledger_state WHERE name IN ('sessionless_before', 'sessions_from'))"
)


class _Bounded:
    """Statements for whose answer is not waited much longer than the server may take."""

    def __init__(self, db: PostgresConnection) -> None:
        self._db = db

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Run one statement."""
        with self._db.bounded(LONGEST_S + _GRACE_S):
            return self._db.execute(sql, values)


class PostgresReadConnection(Queries):
    """Queries to a ledger in PostgreSQL, each on a snapshot of it."""

    def __init__(self, place: PostgresPlace, *, exact: int = EXACT) -> None:
        super().__init__(exact)
        self._place = place
        self._interrupting: Thread | None = None
        with self._explained():
            self._db = self._connect()
        try:
            with self._explained():
                self._version = check(_Bounded(self._db), place)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def interrupt(self) -> None:
        """Have the server end the query; another thread asks it to, as that takes a connection."""
        if self._interrupting is None or not self._interrupting.is_alive():
            self._interrupting = Thread(target=self._db.cancel, daemon=True)
            self._interrupting.start()

    def info(self) -> dict[str, str]:
        """Return what the ledger holds, as labels and texts for people."""
        with self._view() as view:
            extent = view.holds.extent
            [size] = view.one("SELECT pg_database_size(current_database())")
            return {
                "size": f"{size:,} bytes",
                "schema": str(self._version),
                "rows": f"{view.one('SELECT COUNT(*) FROM requests')[0]:,}",
                "first": "-" if extent.first_ms is None else format_ms(extent.first_ms),
                "last": "-" if extent.last_ms is None else format_ms(extent.last_ms),
                "open": f"{view.one('SELECT COUNT(*) FROM open_requests')[0]:,} streams that have not ended",
                "unsummed": "0 rows not yet in the rollups",
                "sums": f"{view.one('SELECT COUNT(*) FROM rollups')[0]:,} hours and days by model, provider and policy",
                "pruned": f"before {format_ms(extent.pruned_ms)}" if extent.pruned_ms else "never",
            }

    def _many(self, sql: str, values: Sequence[Any]) -> Iterator[list[Any]]:
        return self._db.many(sql, values, CHUNK)

    @contextmanager
    def _view(self) -> Iterator[ReadTransaction]:
        with self._explained():
            self._begin()
        with self._explained(), self._db.begun():
            statements = _Bounded(self._db)
            [(*extent, by_outcome, by_session)] = statements.execute(_CONTENTS).fetchall()
            holds = Contents(
                CACHES_SINCE,
                [],
                "FALSE",
                pending=False,
                extent=Extent(*extent),
                outcomes=by_outcome,
                sessions=by_session,
            )
            yield ReadTransaction(statements, POSTGRES, holds)

    def _begin(self) -> None:
        """Begin a transaction, on another connection if the server has ended this one while it was idle."""
        try:
            with self._db.bounded():
                self._db.begin(_SNAPSHOT)
        except DatabaseError:
            if not self._db.closed:
                raise
            self._db = self._connect()
            self._db.begin(_SNAPSHOT)

    def _connect(self) -> PostgresConnection:
        db = PostgresConnection(self._place)
        with db.bounded():
            db.execute(_LONGEST)
        return db

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except TookTooLong as error:
            if "statement timeout" not in str(error):  # its asker has given it up
                raise LedgerUnavailable(explain(self._place, error)) from None
            message = f"The query took longer than {LONGEST_S} s and was ended; ask for a shorter time."
            raise LedgerUnavailable(message) from None
        except DatabaseError as error:
            raise LedgerUnavailable(explain(self._place, error)) from None  # the error's own text is not redacted
