"""Sums by session: the most expensive ones by name, all others as one group.

Sessions are too many for rollups. Their rows are in an index that holds all that is summed; only the costs of all
sessions, and then the rows of those that are named, are read there. What is left of the whole, which rollups know, are
the others, or the rows without a session; both are there in ledgers that arbstr has kept for long, and then the others
are read too.
"""

from __future__ import annotations

from collections import defaultdict

from arbstr.ledger.aggregates import AggregateSum
from arbstr.ledger.filters import Condition, both, either
from arbstr.ledger.model import OTHER_GROUPS, Filter
from arbstr.ledger.read_view import Label, ReadTransaction
from arbstr.ledger.sql import among

NAMED_SESSIONS = 1000


def session_sums(view: ReadTransaction, where: Filter, whole: AggregateSum) -> dict[Label, AggregateSum]:
    """Return the sums of the matching rows by session; `whole` is that of them all."""
    matching = _of_sessions(view, where)
    found = view.all(
        "SELECT session, COUNT(*) OVER (), SUM(n) OVER () FROM "
        f"(SELECT session, COUNT(*) AS n, SUM({view.dialect.msats}) AS cost FROM requests WHERE {matching.sql} "
        f"GROUP BY 1) AS sums ORDER BY cost DESC NULLS LAST, session LIMIT {NAMED_SESSIONS}",
        matching.values,
    )
    named = [session for session, *_ in found]
    sessions, rows = found[0][1:] if found else (0, 0)
    marks, listed = among(named) if named else ("(NULL)", ())
    inside, outside = Condition(f"session IN {marks}", listed), Condition(f"session NOT IN {marks}", listed)
    sums: defaultdict[Label, AggregateSum] = defaultdict(AggregateSum)
    sums.update(view.row_sums("session", "requests", both(inside, matching)))
    left = AggregateSum(whole.sums, whole.sketch, whole.latencies)
    for each in list(sums.values()):
        left.subtract(each)
    if sessions > len(named) and whole.total > rows:  # others, and rows without a session
        for _, each in view.row_sums("NULL", "requests", both(outside, matching)):
            sums[OTHER_GROUPS] = each
            left.subtract(each)
        sums[None] = left
    elif left.total:
        sums[OTHER_GROUPS if sessions > len(named) else None] = left
    return sums


def session_sums_of_rows(view: ReadTransaction, where: Filter) -> dict[Label, AggregateSum]:
    """Return the same with every row read: where some rows are in no rollups, or there are few."""
    table, condition = view.matching(where)
    sums = dict(view.row_sums("session", table, condition))
    known = [session for session in sums if session is not None]
    by_cost = sorted(known, key=lambda session: (-sums[session].cost_msats, str(session)))
    for session in by_cost[NAMED_SESSIONS:]:
        sums.setdefault(OTHER_GROUPS, AggregateSum()).add(sums.pop(session))
    return sums


def _of_sessions(view: ReadTransaction, where: Filter) -> Condition:
    """Return the condition that a row matches and has a session, for the index of such rows."""
    start, end = view.listed(where)
    matching = view.aside(where, start, end)
    if refused := view.refused(where):
        matching = either(matching, refused)
    return both(Condition("session IS NOT NULL"), matching)
