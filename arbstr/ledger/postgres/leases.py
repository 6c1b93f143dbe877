"""Leases in PostgreSQL: all in transactions that hold the lock of all sums, so that one comes after the other.

Rows come with instants by their instance's clock. What counts here is the database's: a row is as old as its instance
says, before the present instant here; one of an instance that has died is of when it said.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from arbstr.ledger.leases import KEPT_S, Ask, Lease, Leases, Missing, Period, State, grant
from arbstr.ledger.postgres.dialect import POSTGRES
from arbstr.ledger.sql import Statements

_NOW_MS = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint"
_OURS = "current_setting('arbstr.session')::integer"
_PERIODS = "UNNEST(?::text[], ?::text[], ?::bigint[], ?::bigint[]) AS asked (policy, client, starts_ms, ends_ms)"
_KEPT_MS = 86_400_000  # periods are kept that long after their end

# Periods begin and end with a second; a batch has rows of few.
_COUNT = f"""
WITH added AS ({{added}}), given AS (
    SELECT {_NOW_MS} - COALESCE(?, {_NOW_MS}) AS behind_ms
), seconds AS (
    SELECT policy, client, (at_ms + behind_ms) / 1000 * 1000 AS at_ms, SUM({POSTGRES.counted_msats}) AS msats
    FROM given CROSS JOIN added WHERE EXISTS (SELECT FROM budget_periods) GROUP BY 1, 2, 3
), counted AS (
    SELECT p.id, SUM(s.msats) AS msats FROM seconds s JOIN budget_periods p
    ON p.policy IN ('', s.policy) AND p.client IN ('', s.client) AND s.at_ms >= p.starts_ms AND s.at_ms < p.ends_ms
    GROUP BY p.id
), summed AS (
    UPDATE budget_periods p SET spent_msats = spent_msats + msats FROM counted WHERE p.id = counted.id
)
UPDATE budget_leases l SET written_msats = written_msats + msats FROM counted
WHERE l.period = counted.id AND l.session = {_OURS} AND l.limit_msats IS NOT NULL AND ?::boolean
"""
_COUNT_ALL = _COUNT.format(added="SELECT * FROM arriving")
_COUNT_SOME = _COUNT.format(
    added="SELECT DISTINCT ON (correlation_id, at_ms) * FROM arriving WHERE correlation_id = ANY(?)"
)
_AMEND = (
    "UPDATE budget_periods SET spent_msats = GREATEST(0, spent_msats + ?) "
    "WHERE policy IN ('', ?) AND client IN ('', ?) AND starts_ms <= ? AND ends_ms > ?"
)
_KNOWN = (
    "UPDATE budget_periods SET spent_msats = GREATEST(0, spent_msats + ?), known_at = changes "
    "WHERE policy = ? AND client = ? AND starts_ms = ? AND ends_ms = ? AND changes = ? AND known_at <> changes"
)
_ADD = (
    "INSERT INTO budget_periods (policy, client, starts_ms, ends_ms, known_at) "
    f"SELECT asked.*, CASE WHEN starts_ms >= ? THEN 1 ELSE 0 END FROM {_PERIODS} ON CONFLICT DO NOTHING"
)
_END = (
    "UPDATE budget_leases l SET granted_msats = LEAST(granted_msats, written_msats), limit_msats = NULL "
    f"WHERE (limit_msats IS NOT NULL OR granted_msats > written_msats) AND session <> {_OURS} "
    f"AND renewed_at < now() - make_interval(secs => {KEPT_S}) "
    "AND NOT EXISTS (SELECT FROM open_requests WHERE open = l.session)"
)
_STATES = f"""
SELECT p.id, p.known_at = p.changes, p.policy, p.client, p.starts_ms, p.ends_ms, p.spent_msats,
    COALESCE(MAX(l.written_msats) FILTER (WHERE l.session = {_OURS}), 0),
    COALESCE(SUM(GREATEST(l.granted_msats - l.written_msats, 0)) FILTER (WHERE l.session <> {_OURS}), 0),
    COUNT(l.limit_msats) FILTER (WHERE l.session <> {_OURS}), MIN(l.limit_msats) FILTER (WHERE l.session <> {_OURS})
FROM {_PERIODS} JOIN budget_periods p USING (policy, client, starts_ms, ends_ms)
LEFT JOIN budget_leases l ON l.period = p.id GROUP BY p.id
"""
_PUT = (
    "INSERT INTO budget_leases (period, session, granted_msats, written_msats, limit_msats, renewed_at) "
    f"SELECT period, {_OURS}, granted_msats, written_msats, limit_msats, now() FROM "
    "UNNEST(?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[]) AS a "
    "(period, granted_msats, written_msats, limit_msats) "
    "ON CONFLICT (period, session) DO UPDATE SET granted_msats = excluded.granted_msats, "
    "written_msats = excluded.written_msats, limit_msats = excluded.limit_msats, renewed_at = excluded.renewed_at"
)


def begin(db: Statements, session: int, before: int | None) -> None:
    """Have the statements of a connection be a session's, which takes over the leases of the one before."""
    db.execute("SELECT set_config('arbstr.session', ?, false)", (str(session),))
    db.execute("UPDATE budget_leases SET session = ? WHERE session = ?", (session, before))


def count(db: Statements, added: Collection[str], rows: int, now_ms: int | None = None) -> None:
    """Count those that were added of the rows that have just been entered.

    `now_ms` is the present instant by the clock of this session, whose rows they are; None: another's.
    """
    if not added:
        return
    if len(added) == rows:
        db.execute(_COUNT_ALL, (now_ms, now_ms is not None))
    else:
        db.execute(_COUNT_SOME, (list(added), now_ms, now_ms is not None))


def recount(db: Statements) -> None:
    """Have all rows summed again: many came, or some went."""
    db.execute("UPDATE budget_periods SET changes = changes + 1")


def amend(db: Statements, policy: str | None, client: str | None, at_ms: int, msats: int) -> None:
    """Count more, or less, for a row."""
    if msats:
        db.execute(_AMEND, (msats, policy or "", client or "", at_ms, at_ms))


def known(db: Statements, period: Period, missing: Missing) -> None:
    """Count what a period lacked when its rows were summed, unless others came since."""
    db.execute(_KNOWN, (missing.msats, *period.key, missing.changes))


def renew(db: Statements, asks: Sequence[Ask]) -> Leases:
    """Renew leases, and end those of instances that have not been heard of for long."""
    db.execute(_END)
    [now_ms] = db.execute(f"SELECT {_NOW_MS}").fetchone()
    states = _states(db, [ask.period for ask in asks]) if asks else {}
    if missing := [ask.period for ask in asks if ask.period not in states]:
        db.execute("DELETE FROM budget_periods WHERE ends_ms < ?", (now_ms - _KEPT_MS,))
        db.execute(_ADD, (now_ms, *_columns(missing)))
        states |= _states(db, missing)
    held: dict[Period, Lease] = {}
    rows = []
    for ask in asks:
        if ask.period in states:
            number, is_known, state = states[ask.period]
            held[ask.period] = lease = grant(ask, state, is_known=is_known)
            written = state.spent_msats - lease.spent_elsewhere_msats
            rows.append((number, lease.granted_msats, written, ask.cap_msats))
    if rows:
        db.execute(_PUT, [list(column) for column in zip(*rows, strict=True)])
    return Leases(now_ms, held)


def _states(db: Statements, periods: Sequence[Period]) -> dict[Period, tuple[int, bool, State]]:
    found = db.execute(_STATES, _columns(periods))
    return {
        Period(policy, client, starts_ms, ends_ms): (number, is_known, State(*figures))
        for number, is_known, policy, client, starts_ms, ends_ms, *figures in found
    }


def _columns(periods: Sequence[Period]) -> list[list[str | int]]:
    return [list(column) for column in zip(*(one.key for one in periods), strict=True)]
