"""What each client's session cost in all, and when: in transactions that hold the lock of all sums."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from arbstr.ledger.postgres.dialect import POSTGRES
from arbstr.ledger.sql import Statements

_COLUMNS = "session, first_ms, last_ms, cost_msats"
_SUMMED = (
    f"SELECT session, MIN(at_ms), MAX(at_ms), COALESCE(SUM({POSTGRES.msats}), 0) FROM {{rows}} "
    "WHERE session IS NOT NULL AND {which} GROUP BY 1"
)
_ADD = (
    f"INSERT INTO session_costs AS s ({_COLUMNS}) {{summed}} ON CONFLICT (session) DO UPDATE SET "
    "first_ms = LEAST(s.first_ms, excluded.first_ms), last_ms = GREATEST(s.last_ms, excluded.last_ms), "
    "cost_msats = s.cost_msats + excluded.cost_msats"
)
_ADD_ALL = _ADD.format(summed=_SUMMED.format(rows="arriving", which="TRUE"))
_ONCE = "(SELECT DISTINCT ON (correlation_id, at_ms) * FROM arriving WHERE correlation_id = ANY(?)) AS added"
_ADD_SOME = _ADD.format(summed=_SUMMED.format(rows=_ONCE, which="TRUE"))
_SUM_AGAIN = f"INSERT INTO session_costs ({_COLUMNS}) " + _SUMMED.format(rows="requests", which="{which}")


def add(db: Statements, added: Collection[str], rows: int) -> None:
    """Add those rows of all that have just arrived whose request ids are new."""
    if len(added) == rows:
        db.execute(_ADD_ALL)
    elif added:
        db.execute(_ADD_SOME, (list(added),))


def sum_again(db: Statements, sessions: Collection[str]) -> None:
    """Sum the rows of these sessions again: some have changed, or are gone."""
    _sum_where(db, "session = ANY(?::text[])", (list(sessions),))


def sum_between(db: Statements, first: str, last: str | None) -> None:
    """Sum the rows of sessions from `first` to before `last` again; None: to the end."""
    if last is None:
        _sum_where(db, "session >= ?", (first,))
    else:
        _sum_where(db, "session >= ? AND session < ?", (first, last))


def _sum_where(db: Statements, which: str, values: Sequence[object]) -> None:
    db.execute(f"DELETE FROM session_costs WHERE {which}", values)
    db.execute(_SUM_AGAIN.format(which=which), values)


def prune(db: Statements, before_ms: int) -> None:
    """Forget sessions that ended before that day."""
    db.execute("DELETE FROM session_costs WHERE last_day < ?", (before_ms,))
