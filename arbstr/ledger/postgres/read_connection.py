"""Queries to a ledger in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any

from arbstr.clock import format_ms
from arbstr.errors import LedgerUnavailable
from arbstr.ledger.contents import Contents
from arbstr.ledger.postgres.connection import DatabaseError, PostgresConnection, explain
from arbstr.ledger.postgres.dialect import POSTGRES
from arbstr.ledger.postgres.schema import check
from arbstr.ledger.queries import CHUNK, EXACT, Queries
from arbstr.ledger.read_view import CACHES_SINCE, ReadTransaction
from arbstr.ledger.time_buckets import Extent
from arbstr.places import PostgresPlace

_SNAPSHOT = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
_EXTENT = (
    "SELECT (SELECT MIN(at_ms) FROM requests), (SELECT MAX(at_ms) FROM requests), "
    "COALESCE((SELECT value FROM ledger_state WHERE name = 'pruned_before_ms'), 0)"
)


class PostgresReadConnection(Queries):
    """Queries to a ledger in PostgreSQL, each on a snapshot of it."""

    def __init__(self, place: PostgresPlace, *, exact: int = EXACT) -> None:
        super().__init__(exact)
        self._place = place
        self._interrupting: Thread | None = None
        with self._explained():
            self._db = PostgresConnection(place)
        try:
            with self._explained():
                self._version = check(self._db, place)
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
            extent = Extent(*(self._db.execute(_EXTENT).fetchone() or ()))
            holds = Contents(CACHES_SINCE, [], "FALSE", pending=False, extent=extent)
            yield ReadTransaction(self._db, POSTGRES, holds)

    def _begin(self) -> None:
        """Begin a transaction, on another connection if the server has ended this one while it was idle."""
        try:
            self._db.begin(_SNAPSHOT)
        except DatabaseError:
            if not self._db.closed:
                raise
            self._db = PostgresConnection(self._place)
            self._db.begin(_SNAPSHOT)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            raise LedgerUnavailable(explain(self._place, error)) from None  # the error's own text is not redacted
