"""The schema: numbered scripts, and the partitions of months."""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.postgres.connection import PostgresConnection
from arbstr.ledger.sql import Statements
from arbstr.places import PostgresPlace

# Advisory locks, of the kind with two numbers: the first is arbstr's own.
LOCKS = 0x61726273
SCHEMA, SUMS, LEARNED, SESSIONS = 1, 2, 3, 1000  # sessions: this, and what their number adds

_SCRIPTS = sorted((Path(__file__).parent / "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))
LATEST_VERSION = int(_SCRIPTS[-1].name[:4])
# Often enough for the newest rows to be read from indexes alone, also where a month has millions.
_VACUUMED = "autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02"
_VERSION = "SELECT MAX(version) FROM schema_versions"


def lock(db: Statements, number: int) -> None:
    """In a transaction: wait until no other one has this lock; it is released with the transaction."""
    db.execute("SELECT pg_advisory_xact_lock(?::int, ?::int)", (LOCKS, number))


def migrate(db: PostgresConnection, place: PostgresPlace) -> None:
    """Bring the schema up to date; several instances may try at once. Raises LedgerUnavailable if it is a newer one."""
    if _version(db, place) == LATEST_VERSION:
        return
    with db.transaction():
        lock(db, SCHEMA)
        db.execute("CREATE TABLE IF NOT EXISTS schema_versions (version integer PRIMARY KEY, since timestamptz)")
        version = _version(db, place) or 0  # another instance may have been here
        for script in _SCRIPTS:
            if (number := int(script.name[:4])) > version:
                db.run(script.read_text("utf-8"))
                db.execute("INSERT INTO schema_versions VALUES (?, now())", (number,))


def check(db: PostgresConnection, place: PostgresPlace) -> int:
    """Return the schema's version for a reader. Raises LedgerUnavailable where there is no ledger that it can read."""
    version = _version(db, place)
    if not version:
        raise LedgerUnavailable(f"No ledger at {place} yet; it is created when arbstr first serves.")
    if version < LATEST_VERSION:
        raise LedgerUnavailable(
            f"The ledger {place} is an earlier arbstr's; start arbstr serve once to bring it up to date."
        )
    return version


def _version(db: PostgresConnection, place: PostgresPlace) -> int | None:
    if db.execute("SELECT to_regclass('schema_versions')").fetchone() == (None,):
        return None
    [version] = db.execute(_VERSION).fetchone() or (None,)
    if version is not None and version > LATEST_VERSION:
        raise LedgerUnavailable(
            f"The ledger {place} was written by a newer arbstr (schema {version}, this one knows {LATEST_VERSION}); "
            "update arbstr, or name another database."
        )
    return version


class Partitions:
    """The months of which rows can be written."""

    def __init__(self) -> None:
        self._known: set[tuple[int, int]] = set()

    def make(self, db: PostgresConnection, instants_ms: Iterable[int]) -> None:
        """Make the partitions of these instants, in a transaction of its own if some are missing."""
        missing = {_month(at_ms) for at_ms in instants_ms} - self._known
        if not missing:
            return
        with db.transaction():
            lock(db, SCHEMA)
            for year, month in sorted(missing):
                start, end = _start_ms(year, month), _start_ms(year, month + 1)
                db.execute(
                    f"CREATE TABLE IF NOT EXISTS requests_{year:04}_{month:02} PARTITION OF requests "
                    f"FOR VALUES FROM ({start}) TO ({end}) WITH ({_VACUUMED})"
                )
        self._known |= missing


def _month(at_ms: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.year, moment.month


def _start_ms(year: int, month: int) -> int:
    """Return when a month begins; 13 is the next year's first."""
    return timegm((year + month // 13, (month - 1) % 12 + 1, 1, 0, 0, 0)) * 1000
