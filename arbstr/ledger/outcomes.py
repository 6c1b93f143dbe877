"""Sums by outcome, streams or not and gone well or not: made of the finest sums in a ledger that had none.

That is a ledger of an earlier arbstr, which gets them day by day, the newest first. Until then the finest sums answer.
"""

from __future__ import annotations

from arbstr.clock import DAY_MS, HOUR_MS
from arbstr.ledger.aggregates import SUMS, AggregateSum, from_columns
from arbstr.ledger.dialect import SqlDialect
from arbstr.ledger.latency_histogram import unpack
from arbstr.ledger.rollups import ALL_ROWS, CellKey, Rollups
from arbstr.ledger.sql import Statements

UNSUMMED = "outcomes_before"  # in `ledger_state`: of the days before that instant there are none yet

_STATE = "SELECT MAX(value) FROM ledger_state WHERE name = ?"
_DAY = "SELECT MAX(start_ms) FROM rollups WHERE span_ms = ? AND facet = ? AND start_ms < ?"
_IN_DAY = "span_ms IN (?, ?) AND start_ms >= ? AND start_ms < ?"
_CLEAR = f"DELETE FROM rollups WHERE {_IN_DAY} AND facet IN (SELECT id FROM facets WHERE grain = 'outcome')"


def is_left(db: Statements, state: str = UNSUMMED) -> bool:
    """Check whether days are left that have no such sums."""
    return db.execute(_STATE, (state,)).fetchone()[0] is not None


def next_day(db: Statements, state: str = UNSUMMED) -> int | None:
    """In a transaction in which rollups may change: return the next of those days, which counts as done; None if none.

    `state` names up to where they are done.
    """
    [before_ms] = db.execute(_STATE, (state,)).fetchone()
    if before_ms is None:
        return None
    [day_ms] = db.execute(_DAY, (DAY_MS, ALL_ROWS, before_ms)).fetchone()
    if day_ms is None:
        db.execute("DELETE FROM ledger_state WHERE name = ?", (state,))
        return None
    db.execute("UPDATE ledger_state SET value = ? WHERE name = ?", (day_ms, state))
    return int(day_ms)


def sum_day(db: Statements, rollups: Rollups) -> bool:
    """In a transaction in which rollups may change: make the sums of the next day; return False if there is none."""
    day_ms = next_day(db)
    if day_ms is None:
        return False
    span = (HOUR_MS, DAY_MS, day_ms, day_ms + DAY_MS)
    rollups.forget()
    db.execute(_CLEAR, span)
    cells: dict[CellKey, AggregateSum] = {}
    for span_ms, start_ms, streaming, success, *sums, sketches in db.execute(_finest(rollups.dialect), span).fetchall():
        facet = rollups.number(db, "outcome", streaming=bool(streaming), success=bool(success))
        sketch = sum(unpack(bytes.fromhex(one)) for one in sketches.split(" "))
        cells[span_ms, facet, start_ms] = AggregateSum(from_columns(sums), sketch)
    rollups.add_cells(db, cells)
    return True


def _finest(dialect: SqlDialect) -> str:
    sums = ", ".join(f"SUM(r.{column})" for column in SUMS)
    return (
        f"SELECT r.span_ms, r.start_ms, f.streaming, f.success, {sums}, {dialect.hex_texts('r.latencies')} "
        f"FROM facets f {dialect.joined} rollups r ON r.facet = f.id WHERE f.grain = 'row' AND {_IN_DAY} "
        "GROUP BY 1, 2, 3, 4"
    )
