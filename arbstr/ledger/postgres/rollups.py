"""Rollups in PostgreSQL, to which several instances add: read and written under one lock, whole batches at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from arbstr.clock import DAY_MS, HOUR_MS
from arbstr.ledger.aggregates import AggregateSum
from arbstr.ledger.dialect import SqlDialect
from arbstr.ledger.postgres import leases, session_costs
from arbstr.ledger.postgres.dialect import POSTGRES
from arbstr.ledger.rollups import FACET_COLUMNS, ROLLUP_COLUMNS, SESSIONLESS, CellKey, Rollups
from arbstr.ledger.row_mapping import FacetKey
from arbstr.ledger.sql import Statements

_KEY = ROLLUP_COLUMNS[:3]
_ARRAYS = ", ".join("?::bytea[]" if column == "latencies" else "?::bigint[]" for column in ROLLUP_COLUMNS)
_READ = (
    f"SELECT {', '.join('r.' + column for column in ROLLUP_COLUMNS)} "
    f"FROM unnest(?::bigint[], ?::bigint[], ?::bigint[]) AS k ({', '.join(_KEY)}) "
    f"JOIN rollups r USING ({', '.join(_KEY)})"
)
_WRITE = (
    f"INSERT INTO rollups ({', '.join(ROLLUP_COLUMNS)}) SELECT * FROM unnest({_ARRAYS}) "
    f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in ROLLUP_COLUMNS[3:])
)
_TRUTHS = ("streaming", "success")

# Of rows of one facet and hour: whether they have sessions, and their sums.
Summed = tuple[FacetKey, int, bool, AggregateSum]


class PostgresRollups(Rollups):
    """Adds rows to the rollups, in a transaction that holds their lock."""

    dialect: ClassVar[SqlDialect] = POSTGRES

    def add_cells(self, db: Statements, changes: dict[CellKey, AggregateSum]) -> None:
        """Add sums to rollups, each by its key."""
        self._cells.clear()  # another instance may have changed them
        super().add_cells(db, changes)

    @staticmethod
    def facet(db: Statements, facet: Sequence[Any]) -> int:
        """Return the number of a facet, in the order of `FACET_COLUMNS` as SQLite has it; a new one is inserted."""
        values = [_truth(value) if name in _TRUTHS else value for name, value in zip(FACET_COLUMNS, facet, strict=True)]
        marks = ", ".join("?" * len(values))
        db.execute(f"INSERT INTO facets ({', '.join(FACET_COLUMNS)}) VALUES ({marks}) ON CONFLICT DO NOTHING", values)
        [number] = db.execute("SELECT id FROM facets WHERE name = ?", values[:1]).fetchone()
        return int(number)

    def enter(self, db: Statements, sums: Sequence[Summed]) -> None:
        """Add the sums of rows that have been entered."""
        self.facets(db, [key for key, *_ in sums])
        cells = self._changes((key, start_ms, tally) for key, start_ms, _, tally in sums)
        self.add_cells(db, cells | self.sessionless((start_ms, tally) for _, start_ms, has, tally in sums if not has))

    @staticmethod
    def sessionless(hours: Iterable[tuple[int, AggregateSum]]) -> dict[CellKey, AggregateSum]:
        """Return what is to be added to which rollups for rows without a session, summed by hour."""
        cells: dict[CellKey, AggregateSum] = {}
        for start_ms, tally in hours:
            for span_ms in (HOUR_MS, DAY_MS):
                cells.setdefault((span_ms, SESSIONLESS, start_ms - start_ms % span_ms), AggregateSum()).add(tally)
        return cells

    def amended(self, db: Statements, row_id: int, key: FacetKey, at_ms: int, change: AggregateSum, msats: int) -> None:
        """Count more, or less, for a row's session and under its budgets."""
        leases.amend(db, key[2], key[5], at_ms, msats)
        [session] = db.execute("SELECT session FROM requests WHERE id = ?", (row_id,)).fetchone()
        if session is None:
            self.add_cells(db, self.sessionless([(at_ms - at_ms % HOUR_MS, change)]))
        else:
            session_costs.sum_again(db, (session,))

    def _stored(self, db: Statements, keys: list[CellKey]) -> Iterator[tuple[Any, ...]]:
        if keys:
            yield from db.execute(_READ, [list(column) for column in zip(*keys, strict=True)])

    def _store(self, db: Statements, cells: list[tuple[int | bytes, ...]]) -> None:
        if cells:
            db.execute(_WRITE, [list(column) for column in zip(*cells, strict=True)])


def _truth(value: Any) -> bool | None:
    return None if value is None else bool(value)
