"""What a ledger holds as one query finds it: its schema's version, its extent, and rows that are in no rollup yet."""

from __future__ import annotations

import sqlite3

from arbstr.ledger.backlog import Chunk, chunks_of
from arbstr.ledger.outcomes import is_left
from arbstr.ledger.time_buckets import Extent
from arbstr.types import value_object

ROLLUPS_SINCE = 2  # the schema version that brought them
_BACKLOG_SINCE = 5
_OUTCOMES_SINCE = 11


@value_object
class Counts:
    """The number of matching rows, and of those with a known cost."""

    total: int
    priced: int


@value_object
class Contents:
    """`is_pending` is the condition that a row of `requests` is pending, `pending` whether there are any.

    `outcomes` says that all rows in rollups are in those by outcome, `sessions` that it is summed what each session
    cost, and what rows have none.
    """

    version: int
    backlog: list[Chunk]
    is_pending: str
    pending: bool
    extent: Extent
    outcomes: bool
    sessions: bool = False

    @property
    def bare(self) -> bool:
        """Whether it is an earlier arbstr's, not migrated."""
        return self.version < ROLLUPS_SINCE


def contents_of(connection: sqlite3.Connection) -> Contents:
    """Return what a ledger in SQLite holds."""
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version < ROLLUPS_SINCE:
        return Contents(version, [], "TRUE", pending=True, extent=Extent(None, None), outcomes=False)
    backlog = [] if version < _BACKLOG_SINCE else chunks_of(connection)
    is_pending = "facet IS NULL AND open = 0"
    if backlog:
        is_pending += f" AND id > {backlog[-1].last_id}"
    [pending] = connection.execute(f"SELECT EXISTS (SELECT 1 FROM requests WHERE {is_pending})").fetchone()
    by_outcome = version >= _OUTCOMES_SINCE and not is_left(connection)
    return Contents(version, backlog, is_pending, bool(pending), _extent(connection, backlog), by_outcome)


def _extent(connection: sqlite3.Connection, backlog: list[Chunk]) -> Extent:
    with_instant = "FROM requests WHERE at_ms IS NOT NULL"
    first, last, pruned = connection.execute(
        f"SELECT (SELECT MIN(at_ms) {with_instant}), (SELECT MAX(at_ms) {with_instant}), "
        "COALESCE((SELECT value FROM ledger_state WHERE name = 'pruned_before_ms'), 0)"
    ).fetchone()
    firsts = [chunk.first_ms for chunk in backlog] + ([] if first is None else [first])
    lasts = [chunk.last_ms for chunk in backlog] + ([] if last is None else [last])
    return Extent(min(firsts, default=None), max(lasts, default=None), pruned)
