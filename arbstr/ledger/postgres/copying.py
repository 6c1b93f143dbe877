"""Copies a ledger in SQLite into one in PostgreSQL: rows in the order of their ids, then what no row tells.

Each step is a transaction that also notes how far the copy is, so that it can be cut short anywhere and go on. What it
notes is under the ledger's own key: several ledgers can be copied into one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from arbstr.errors import LedgerUnavailable, UnusableInput
from arbstr.ledger.accounts import COMPARE_AGAIN
from arbstr.ledger.aggregates import AggregateSum
from arbstr.ledger.latency_histogram import unpack
from arbstr.ledger.learned import read_learned, write_learned
from arbstr.ledger.postgres import leases, schema
from arbstr.ledger.postgres.connection import DatabaseError, PostgresConnection
from arbstr.ledger.postgres.faults import explain
from arbstr.ledger.postgres.new_rows import NewRows
from arbstr.ledger.postgres.rollups import PostgresRollups
from arbstr.ledger.postgres.rows import of_stored
from arbstr.ledger.read_connection import connect
from arbstr.ledger.rollups import ALL_ROWS, FACET_COLUMNS, ROLLUP_COLUMNS
from arbstr.ledger.row_mapping import COLUMNS
from arbstr.ledger.session_key import read_session_key
from arbstr.ledger.sql import Statements
from arbstr.ledger.write_connection import WriteConnection
from arbstr.places import PostgresPlace
from arbstr.types import value_object

CHUNK = 2_000  # rows of one transaction
_PRUNED_MS = "(SELECT COALESCE(MAX(value), 0) FROM ledger_state WHERE name = 'pruned_before_ms')"
_CLOSED = f"open = 0 AND at_ms >= {_PRUNED_MS}"
# Another program may have used an id again, at the same moment even: each such row gets one of its own.
_BEFORE = (
    "SELECT COUNT(*) FROM requests e WHERE e.correlation_id = r.correlation_id AND e.at_ms = r.at_ms AND e.id < r.id"
)
_ROWS = f"SELECT ({_BEFORE}), {', '.join(COLUMNS)} FROM requests r WHERE id > ? AND {_CLOSED} ORDER BY id LIMIT {CHUNK}"
_STATE = ("pruned_before_ms", "kept_from_ms", "other_ids", "session_key_1", "session_key_2")
_PUT = "INSERT INTO ledger_state (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_TABLES = {
    "accounts": ("name", "spent_msats", "funds_msats", "taken_msats", "booked_msats"),
    "doubts": ("request_id", "provider", "at_ms", "expected_msats", "counted_msats", "booked_msats", "answered"),
    "unexplained": ("at_ms", "provider", "provider_key", "msats"),
}

OnProgress = Callable[[int, int], None]


@value_object
class Copied:
    """What came of a copy: how many rows it has copied now, and earlier; `was_done`: there was nothing left to copy."""

    rows: int
    earlier: int
    was_done: bool = False


async def prepare(path: Path) -> None:
    """Bring a ledger in SQLite up to date, all of its rows summed.

    Raises LedgerUnavailable, and UnusableInput while another process writes to it.
    """
    connection, _ = await WriteConnection.open(path, replace_broken=False)
    try:
        if await connection.is_shared():
            raise UnusableInput(f"arbstr runs with the ledger {path}; stop it first, so that no row is left behind.")
        while await connection.absorb():
            pass
    finally:
        await connection.close()


def copy_ledger(path: Path, place: PostgresPlace, on_progress: OnProgress) -> Copied:
    """Copy a ledger that `prepare` has seen to; go on where an earlier copy was cut short.

    Raises LedgerUnavailable, and UnusableInput where rows have come since all was copied.
    """
    try:
        with closing(PostgresConnection(place)) as db, closing(connect(path)) as source:
            schema.migrate(db, place)
            return _Copy(source, db, on_progress).run()
    except DatabaseError as error:
        raise LedgerUnavailable(explain(place, error)) from None  # the error's own text is not redacted


class _Copy:
    def __init__(self, source: sqlite3.Connection, db: PostgresConnection, on_progress: OnProgress) -> None:
        self._source = source
        self._db = db
        self._on_progress = on_progress
        self._rollups = PostgresRollups()
        self._rows = NewRows(self._rollups)
        self._mark = f"copied_{read_session_key(source).hex()}"

    def run(self) -> Copied:
        upto = self._state(self._mark)
        if self._state(self._done_mark):
            return self._done_before(upto or 0)
        self._first = upto is None and self._one("SELECT NOT EXISTS (SELECT 1 FROM requests)", self._db)
        if upto is None:
            self._begin()
        earlier = self._one(f"SELECT COUNT(*) FROM requests WHERE id <= ? AND {_CLOSED}", self._source, (upto or 0,))
        total = self._one(f"SELECT COUNT(*) FROM requests WHERE {_CLOSED}", self._source)
        done = earlier
        self._on_progress(done, total)
        for rows in self._chunks(upto or 0):
            self._enter(rows)
            done += len(rows)
            self._on_progress(done, total)
        self._finish()
        return Copied(done - earlier, earlier)

    def _done_before(self, upto: int) -> Copied:
        later = self._one(f"SELECT COUNT(*) FROM requests WHERE id > ? AND {_CLOSED}", self._source, (upto,))
        if later:
            raise UnusableInput(
                f"This ledger was copied there before; {later:,} of its rows came later and can't be added. "
                "Leave them, or copy it into an empty database."
            )
        return Copied(0, self._one(f"SELECT COUNT(*) FROM requests WHERE {_CLOSED}", self._source), was_done=True)

    def _begin(self) -> None:
        """Note that a copy has begun, in the first of whose ledgers everything is this one's."""
        with self._db.transaction():
            self._db.execute(_PUT, (self._mark, 0))
            if self._first:
                self._copy_state()

    def _copy_state(self) -> None:
        names = ", ".join("?" * len(_STATE))
        for name, value in self._source.execute(
            f"SELECT name, value FROM ledger_state WHERE name IN ({names})", _STATE
        ):
            self._db.execute(_PUT, (name, value))
        self._db.execute(_PUT, (f"{self._mark}_first", 1))

    def _chunks(self, upto: int) -> Iterator[list[dict[str, Any]]]:
        while found := self._source.execute(_ROWS, (upto,)).fetchall():
            rows = []
            for before, *values in found:
                row = dict(zip(COLUMNS, values, strict=True))
                if before:
                    row["correlation_id"] = f"{row['correlation_id']}#{before + 1}"
                rows.append(row)
            yield rows
            upto = rows[-1]["id"]

    def _enter(self, stored: Sequence[dict[str, Any]]) -> None:
        rows = [of_stored(row) for row in stored]
        self._rows.prepare(self._db, rows)
        with self._db.transaction():
            self._rows.enter(self._db, rows)
            self._db.execute(_PUT, (self._mark, stored[-1]["id"]))

    def _finish(self) -> None:
        """Copy what is in no row: sums of pruned days, accounts, what was learned."""
        with self._db.transaction():
            schema.lock(self._db, schema.SUMS)
            self._rollups.add_cells(self._db, self._pruned_sums())
            for provider, msats in self._source.execute("SELECT provider, msats FROM booked"):
                sql = "INSERT INTO booked (provider, msats) VALUES (?, ?) ON CONFLICT (provider) DO UPDATE SET msats = "
                self._db.execute(f"{sql}booked.msats + excluded.msats", (provider, msats))
            for table, columns in _TABLES.items():
                self._copy_table(table, columns)
            if self._state(f"{self._mark}_first"):
                learned = read_learned(self._source)
                write_learned(self._db, learned.ratios, learned.cells)
            else:
                self._db.execute(COMPARE_AGAIN)  # the scale of what was booked there has changed
            leases.recount(self._db)
            self._db.execute(_PUT, (self._done_mark, 1))

    def _copy_table(self, table: str, columns: Sequence[str]) -> None:
        names = ", ".join(columns)
        sql = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))}) ON CONFLICT DO NOTHING"
        for row in self._source.execute(f"SELECT {names} FROM {table}"):
            named = dict(zip(columns, row, strict=True))
            if "answered" in named:
                named["answered"] = bool(named["answered"])
            self._db.execute(sql, list(named.values()))

    def _pruned_sums(self) -> dict[tuple[int, int, int], AggregateSum]:
        """Return the sums of days whose rows are gone, by the numbers that facets have there."""
        pruned = f"FROM rollups r WHERE start_ms < {_PRUNED_MS}"
        numbers = {ALL_ROWS: ALL_ROWS}
        facets = f"SELECT id, {', '.join(FACET_COLUMNS)} FROM facets WHERE id IN (SELECT facet {pruned})"
        for number, *facet in self._source.execute(facets):
            numbers[number] = self._rollups.facet(self._db, facet)
        sums = {}
        for span, facet, start, *figures, latencies in self._source.execute(
            f"SELECT {', '.join(ROLLUP_COLUMNS)} {pruned}"
        ):
            sums[span, numbers[facet], start] = AggregateSum(figures, unpack(latencies))
        return sums

    @property
    def _done_mark(self) -> str:
        return f"{self._mark}_done"

    def _state(self, name: str) -> int | None:
        value = self._one("SELECT MAX(value) FROM ledger_state WHERE name = ?", self._db, (name,))
        return None if value is None else int(value)

    @staticmethod
    def _one(sql: str, db: Statements, values: Sequence[Any] = ()) -> Any:
        return db.execute(sql, values).fetchone()[0]
