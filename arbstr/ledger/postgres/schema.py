"""The schema: numbered scripts.

Instances are updated one after the other, so an earlier arbstr goes on with what a later one has migrated: scripts only
add what earlier ones need not know. One that must do more says `-- needs N` in its first line, N being its own number:
from then on no earlier arbstr is let in, and those that write are cut off to hear of it.
"""

from __future__ import annotations

import re
from pathlib import Path

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.postgres.connection import PostgresConnection
from arbstr.ledger.sql import Statements
from arbstr.places import PostgresPlace

# Advisory locks, of the kind with two numbers: the first is arbstr's own.
LOCKS = 0x61726273
SCHEMA, SUMS, LEARNED, PRUNING, SESSIONS = 1, 2, 3, 4, 1000  # sessions: this, and what their number adds

_SCRIPTS = sorted((Path(__file__).parent / "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))
LATEST_VERSION = int(_SCRIPTS[-1].name[:4])
# Who waits to change a table makes all others wait that want it: they get their turn, and it tries again.
_TABLE_WITHIN = "3s"
_NEEDS = re.compile(r"-- needs (\d+)\n")
_VERSIONS = "CREATE TABLE IF NOT EXISTS schema_versions (version integer PRIMARY KEY, since timestamptz, needs integer)"
_VERSION = "SELECT MAX(version), COALESCE(MAX(needs), 0) FROM schema_versions"
# Those that write have the lock of their session.
_CUT_OFF = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid() "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = ? AND objid > ?"
)


def lock(db: Statements, number: int) -> None:
    """In a transaction: wait until no other one has this lock; it is released with the transaction."""
    db.execute("SELECT pg_advisory_xact_lock(?::int, ?::int)", (LOCKS, number))


def try_lock(db: Statements, number: int) -> bool:
    """In a transaction: take this lock unless another one has it."""
    [has] = db.execute("SELECT pg_try_advisory_xact_lock(?::int, ?::int)", (LOCKS, number)).fetchone()
    return bool(has)


def migrate(db: PostgresConnection, place: PostgresPlace) -> None:
    """Bring the schema up to date; several instances may try at once. Raises LedgerUnavailable if it is a newer one."""
    with db.bounded():
        if (_version(db, place) or 0) >= LATEST_VERSION:
            return
    cuts_off = False
    with db.transaction():
        lock(db, SCHEMA)
        db.execute(f"SET LOCAL lock_timeout = '{_TABLE_WITHIN}'")
        db.execute(_VERSIONS)
        version = _version(db, place) or 0  # another instance may have been here
        for path in _SCRIPTS:
            if (number := int(path.name[:4])) > version:
                cuts_off |= _run(db, number, path.read_text("utf-8"))
    if cuts_off:
        db.execute(_CUT_OFF, (LOCKS, SESSIONS))


def _run(db: PostgresConnection, number: int, script: str) -> bool:
    """Run a script; return whether earlier versions must stop."""
    db.run(script)
    needs = _NEEDS.match(script)
    db.execute("INSERT INTO schema_versions VALUES (?, now(), ?)", (number, int(needs[1]) if needs else None))
    return needs is not None


def check(db: Statements, place: PostgresPlace) -> int:
    """Return the schema's version for a reader. Raises LedgerUnavailable where there is no ledger that it can read."""
    version = _version(db, place)
    if not version:
        raise LedgerUnavailable(f"No ledger at {place} yet; it is created when arbstr first serves.")
    if version < LATEST_VERSION:
        raise LedgerUnavailable(
            f"The ledger {place} is an earlier arbstr's; start arbstr serve once to bring it up to date."
        )
    return version


def _version(db: Statements, place: PostgresPlace) -> int | None:
    if db.execute("SELECT to_regclass('schema_versions')").fetchone() == (None,):
        return None
    [version, needs] = db.execute(_VERSION).fetchone() or (None, 0)
    if needs > LATEST_VERSION:
        raise LedgerUnavailable(
            f"The ledger {place} was written by a newer arbstr (schema {version}, this one knows {LATEST_VERSION}); "
            "update arbstr, or name another database."
        )
    return None if version is None else int(version)
