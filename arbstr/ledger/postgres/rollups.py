"""Rollups in PostgreSQL, to which several instances add: read and written under one lock, whole batches at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from arbstr.ledger.aggregates import AggregateSum
from arbstr.ledger.dialect import SqlDialect
from arbstr.ledger.postgres import leases
from arbstr.ledger.postgres.dialect import POSTGRES
from arbstr.ledger.rollups import FACET_COLUMNS, ROLLUP_COLUMNS, CellKey, Rollups
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

    def amended(self, db: Statements, key: FacetKey, at_ms: int, msats: int) -> None:
        """Count more, or less, under the budgets of a row that has changed."""
        leases.amend(db, key[2], key[5], at_ms, msats)

    def _stored(self, db: Statements, keys: list[CellKey]) -> Iterator[tuple[Any, ...]]:
        if keys:
            yield from db.execute(_READ, [list(column) for column in zip(*keys, strict=True)])

    def _store(self, db: Statements, cells: list[tuple[int | bytes, ...]]) -> None:
        if cells:
            db.execute(_WRITE, [list(column) for column in zip(*cells, strict=True)])


def _truth(value: Any) -> bool | None:
    return None if value is None else bool(value)
