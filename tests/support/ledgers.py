"""Ledgers in either database, for tests that both must pass."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from arbstr.ledger.backend import OpenLedger, backend_at
from arbstr.ledger.queries import Queries
from arbstr.ledger.read_connection import ReadConnection
from arbstr.ledger.writer import LedgerWriter
from arbstr.places import Place, PostgresPlace
from arbstr.types import RequestRecord
from tests.support.patience import PATIENCE_S

_FIGURES = "COUNT(*), COALESCE(SUM(cost_sats * 1000), 0)::bigint, SUM(latency_ms)"
_KEPT = "r.total, r.cost_msats, r.latency_ms FROM rollups r"
_SPANS = "FROM requests CROSS JOIN (VALUES (3600000), (86400000)) AS spans (span_ms)"
# What a ledger in PostgreSQL keeps, and what its rows say of it. Rollups to which nothing has come keep no row.
_SUMMED = {
    "SELECT session, first_ms, last_ms, last_day, cost_msats FROM session_costs": "SELECT session, MIN(at_ms), "
    "MAX(at_ms), MAX(at_ms) / 86400000 * 86400000, COALESCE(SUM(cost_sats * 1000), 0)::bigint FROM requests "
    "WHERE session IS NOT NULL GROUP BY session",
    f"SELECT span_ms, start_ms, 0, {_KEPT} WHERE r.facet = -1 AND r.total > 0": "SELECT span_ms, "
    f"at_ms - at_ms % span_ms, 0, {_FIGURES} {_SPANS} WHERE session IS NULL GROUP BY 1, 2",
    "SELECT r.span_ms, r.start_ms, f.streaming::int * 2 + f.success::int, "
    f"{_KEPT} JOIN facets f ON f.id = r.facet WHERE f.grain = 'outcome' AND r.total > 0": "SELECT span_ms, "
    f"at_ms - at_ms % span_ms, streaming::int * 2 + success::int, {_FIGURES} {_SPANS} GROUP BY 1, 2, 3",
}


class Ledgers(Protocol):
    """Makes empty ledgers in one kind of database."""

    def place(self) -> Place:
        """Return the place of an empty ledger; the one before may be gone."""
        ...

    def connect(self, place: Place, exact: int = 0) -> Queries:
        """Open a ledger for queries; sets of up to `exact` rows have exact percentiles."""
        ...

    def read(self, place: Place, sql: str) -> list[tuple[Any, ...]]:
        """Return what is in the database, past the ledger's own code."""
        ...


class SqliteLedgers:
    """Files in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def place(self) -> Path:
        return self._directory / f"{uuid.uuid4().hex}.db"

    def connect(self, place: Place, exact: int = 0) -> Queries:
        assert isinstance(place, Path)
        return ReadConnection(place, exact=exact)

    def read(self, place: Place, sql: str) -> list[tuple[Any, ...]]:
        import sqlite3

        assert isinstance(place, Path)
        with closing(sqlite3.connect(place)) as database:
            return database.execute(sql).fetchall()


class PostgresLedgers:
    """One database, emptied for each ledger: to make another takes ten times as long."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self._directory = directory

    def place(self) -> PostgresPlace:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            tables = connection.execute(
                "SELECT string_agg(tablename, ', ') FROM pg_tables WHERE schemaname = 'public' "
                "AND tablename NOT IN ('schema_versions', 'ledger_state')"
            ).fetchone()
            if tables and tables[0]:
                connection.execute(f"TRUNCATE {tables[0]} RESTART IDENTITY".encode())
                connection.execute("DELETE FROM ledger_state WHERE name NOT LIKE 'session_key%'")
                connection.execute("ALTER SEQUENCE request_ids RESTART")
        return PostgresPlace.at(self.url, self._directory / uuid.uuid4().hex)

    def connect(self, place: Place, exact: int = 0) -> Queries:
        from arbstr.ledger.postgres.read_connection import PostgresReadConnection

        assert isinstance(place, PostgresPlace)
        return PostgresReadConnection(place, exact=exact)

    def check_sums(self, place: Place, since_ms: int = 0) -> None:
        """Check that all that is summed beside models, providers and the like is what the rows say."""
        for kept, of_rows in _SUMMED.items():
            found = [row for row in self.read(place, f"{kept} ORDER BY 1, 2, 3") if row[1] >= since_ms]
            assert found == self.read(place, f"{of_rows} ORDER BY 1, 2, 3")

    def read(self, place: Place, sql: str) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.url) as connection:
            return connection.execute(sql.encode()).fetchall()


async def write_rows(place: Place, records: Iterable[RequestRecord], **options: Any) -> None:
    """Append the records to the ledger at the place, made if need be, and close it."""
    ledger = LedgerWriter(place, **options)
    await ledger.start()
    assert ledger.problem is None
    for each in records:
        ledger.append(each)
    await ledger.close()


async def started_fully(ledger: LedgerWriter) -> None:
    """Wait until nothing of a start runs any more: for sums that a ledger may lack the server has a minute."""
    async with asyncio.timeout(PATIENCE_S):
        while ledger._connection is None or ledger._connection._lacks_sums:  # type: ignore[attr-defined]  # PostgreSQL's
            ledger._wake_now()
            await asyncio.sleep(0.01)


async def opened(place: Place) -> OpenLedger:
    """Open a ledger for writing, past the writer."""
    ledger, _ = await backend_at(place).open()
    return ledger


@contextmanager
def asked(ledgers: Ledgers, place: Place, exact: int = 0) -> Iterator[Queries]:
    """Open a ledger for queries."""
    with closing(ledgers.connect(place, exact)) as queries:
        yield queries
