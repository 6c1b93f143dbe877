"""Sums by session: the most expensive ones by name, all others as one group.

Sessions are too many for rollups. Their rows are in an index that holds all that is summed; only the costs of all
sessions, and then the rows of those that are named, are read there. What is left of the whole, which rollups know, are
the others, or the rows without a session; both are there in ledgers that arbstr has kept for long, and then the others
are read too.
"""

from __future__ import annotations

from collections import defaultdict

from arbstr.clock import DAY_MS
from arbstr.ledger.aggregates import AggregateSum
from arbstr.ledger.filters import Condition, both, either, within
from arbstr.ledger.model import OTHER_GROUPS, Filter
from arbstr.ledger.read_view import Label, ReadTransaction
from arbstr.ledger.sql import among

NAMED_SESSIONS = 1000


def session_sums(view: ReadTransaction, where: Filter, whole: AggregateSum) -> dict[Label, AggregateSum]:
    """Return the sums of the matching rows by session; `whole` is that of them all."""
    matching = _of_sessions(view, where)
    found = view.all(
        "SELECT session, COUNT(*) OVER (), SUM(n) OVER () FROM "
        f"(SELECT session, COUNT(*) AS n, COALESCE(SUM({view.dialect.msats}), 0) AS cost FROM requests "
        f"WHERE {matching.sql} GROUP BY 1) AS sums ORDER BY cost DESC, session LIMIT {NAMED_SESSIONS}",
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


def known_session_sums(view: ReadTransaction, where: Filter, whole: AggregateSum) -> dict[Label, AggregateSum]:
    """Return the same of all rows of a window, where it is summed what each session cost in all.

    That is what it cost in the window too, unless it goes beyond: then it cost that at most, and rows tell.
    """
    start, end = view.listed(where)
    named = Condition("session = ANY(?::text[])", (_dearest(view, start, end),))
    sums: dict[Label, AggregateSum] = dict(view.row_sums("session", "requests", both(named, within(start, end))))
    none, left = view.sessionless_sums(where), AggregateSum()
    for each in sums.values():
        left.add(each)
    left.add(none)
    left = _difference(whole, left)
    return sums | {label: each for label, each in ((None, none), (OTHER_GROUPS, left)) if each.total}


def _difference(whole: AggregateSum, part: AggregateSum) -> AggregateSum:
    left = AggregateSum(whole.sums, whole.sketch, whole.latencies)
    left.subtract(part)
    return left


def _dearest(view: ReadTransaction, start: int, end: int) -> list[str]:
    """Return the most expensive sessions of [start, end)."""
    found = view.all(
        "SELECT session, cost_msats FROM session_costs WHERE last_day >= ? AND first_ms >= ? AND last_ms < ? "
        f"ORDER BY cost_msats DESC, session LIMIT {NAMED_SESSIONS}",
        (start - start % DAY_MS, start, end),
    )
    least = found[-1][1] if len(found) == NAMED_SESSIONS else 0
    beyond = {session for instant in (start, end) for session in _under_way(view, instant, least)}
    inside = both(Condition("session = ANY(?::text[])", (list(beyond),)), within(start, end))
    costs = f"SELECT session, COALESCE(SUM({view.dialect.msats}), 0) FROM requests WHERE {inside.sql} GROUP BY 1"
    found += view.all(costs, inside.values) if beyond else []
    found.sort(key=lambda one: (-one[1], one[0]))
    return [session for session, _ in found[:NAMED_SESSIONS]]


# Day by day of those on which sessions end: with the planner's own way to join it would read all of them.
_UNDER_WAY = """
WITH RECURSIVE days (day) AS (
    SELECT MIN(last_day) FROM session_costs WHERE last_day >= ?
    UNION ALL SELECT (SELECT MIN(last_day) FROM session_costs WHERE last_day > day) FROM days WHERE day IS NOT NULL
)
SELECT session FROM days CROSS JOIN LATERAL (
    SELECT session FROM session_costs
    WHERE last_day = day AND first_ms < ? AND last_ms >= ? AND cost_msats >= ? OFFSET 0
) AS found
"""


def _under_way(view: ReadTransaction, instant: int, least_msats: int) -> list[str]:
    """Return the sessions with rows before an instant, and then or later, that cost at least so much."""
    found = view.all(_UNDER_WAY, (instant - instant % DAY_MS, instant, instant, least_msats))
    return [session for (session,) in found]


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
