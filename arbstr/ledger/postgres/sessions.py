"""Which instances write to the ledger right now: each holds an advisory lock that dies with its connection."""

from __future__ import annotations

from arbstr.ledger.postgres import leases
from arbstr.ledger.postgres.connection import PostgresConnection
from arbstr.ledger.postgres.schema import LOCKS, SESSIONS


class Session:
    """The session of one instance, which it resumes when it has lost its connection."""

    def __init__(self) -> None:
        self.number: int | None = None

    def begin(self, db: PostgresConnection) -> None:
        """Announce the session, under its former number unless another connection has that."""
        with db.transaction():
            if self.number is not None and self._locks(db, self.number):
                db.execute("INSERT INTO sessions (id) VALUES (?) ON CONFLICT DO NOTHING", (self.number,))
                leases.begin(db, self.number, None)
                return
            before = self.number
            [self.number] = db.execute("INSERT INTO sessions DEFAULT VALUES RETURNING id").fetchone() or (0,)
            self._locks(db, self.number)
            leases.begin(db, self.number or 0, before)

    def end(self, db: PostgresConnection) -> None:
        """Take the session back."""
        db.execute("DELETE FROM sessions WHERE id = ?", (self.number,))

    def dead(self, db: PostgresConnection) -> list[int]:
        """In a transaction: return the sessions whose instances have died."""
        found = db.execute(
            "SELECT id FROM (SELECT id FROM sessions UNION SELECT open FROM open_requests) AS known "
            "WHERE id <> ? AND pg_try_advisory_xact_lock(?::int, (? + id)::int)",
            (self.number, LOCKS, SESSIONS),
        )
        return [number for (number,) in found]

    @staticmethod
    def _locks(db: PostgresConnection, number: int) -> bool:
        sql = "SELECT pg_try_advisory_lock(?::int, ?::int)"
        [has] = db.execute(sql, (LOCKS, SESSIONS + number)).fetchone() or (False,)
        return bool(has)
