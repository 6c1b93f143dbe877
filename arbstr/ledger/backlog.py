"""Rows that are being adopted, in chunks of neighbouring ids, and which of them must be read row by row.

A chunk's rows have no instant and no facet in the database yet, but it is known between which instants they lie, and
once they are `summed` the rollups count them. So a question reads the few chunks that its window's edges fall into.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

from arbstr.ledger.expressions import INSTANT
from arbstr.ledger.row_mapping import COLUMNS

_OTHERS = ", ".join(column for column in COLUMNS if column != "at_ms")

# Those of all summed chunks that were refused: the rollups don't know their models.
REFUSED_ROWS = (
    f"(SELECT {_OTHERS}, {INSTANT} AS at_ms FROM requests INDEXED BY requests_refused "
    "WHERE refused_key IS NOT NULL AND facet IS NULL AND open = 0)"
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows without facets from `first_id` to `last_id`, of instants from `first_ms` to `last_ms`, all inclusive."""

    first_id: int
    last_id: int
    total: int
    first_ms: int
    last_ms: int
    summed: bool = field(kw_only=True)

    def meets(self, start_ms: int, end_ms: int) -> bool:
        """Check whether some of its rows may have arrived in [start_ms, end_ms)."""
        return self.first_ms < end_ms and self.last_ms >= start_ms


def chunks_of(connection: sqlite3.Connection) -> list[Chunk]:
    """Return all chunks, by id."""
    columns = "first_id, last_id, total, first_ms, last_ms, summed"
    rows = connection.execute(f"SELECT {columns} FROM backlog ORDER BY first_id")
    return [Chunk(*numbers, summed=bool(summed)) for *numbers, summed in rows]


def rows_in(chunks: Iterable[Chunk]) -> str:
    """Return a table expression with every column of the rows of some chunks."""
    spans = ", ".join(f"({chunk.first_id}, {chunk.last_id})" for chunk in chunks)
    return (
        f"(SELECT {_OTHERS}, {INSTANT} AS at_ms FROM (VALUES {spans}) span CROSS JOIN requests "
        "ON id BETWEEN span.column1 AND span.column2 WHERE facet IS NULL AND open = 0)"
    )
