"""The months of the rows: a partition of `requests` for each, made when its first row comes, dropped as a whole."""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

from arbstr.clock import DAY_MS
from arbstr.ledger.postgres.connection import LockTimeout, PostgresConnection
from arbstr.ledger.postgres.schema import SCHEMA, lock

Month = tuple[int, int]  # of a year

# Often enough for the newest rows to be read from indexes alone, also where a month has millions.
_VACUUMED = "autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02"
_TABLES = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'requests'::regclass"
_NAME = re.compile(r"requests_(\d{4})_(\d\d)")
# All who write or read wait as long as what drops a month waits for those that read right now.
_LOCK_WITHIN = "200ms"


class Months:
    """The months of which rows can be written, as far as they are known."""

    def __init__(self) -> None:
        self._known: set[Month] = set()

    def forget(self) -> None:
        """Look again which there are: another instance may have dropped some."""
        self._known.clear()

    def make(self, db: PostgresConnection, instants_ms: Iterable[int]) -> None:
        """Make the months of these instants, in a transaction of its own if some are missing.

        They are made apart and then attached, which waits for no reader.
        """
        missing = {_month(at_ms) for at_ms in instants_ms} - self._known
        if not missing:
            return
        with db.transaction():
            lock(db, SCHEMA)
            there = set(_existing(db))
            for month in sorted(missing - there):
                name = _name(month)
                db.execute(f"CREATE TABLE {name} (LIKE requests INCLUDING ALL) WITH ({_VACUUMED})")
                span = f"FOR VALUES FROM ({_start_ms(month)}) TO ({_end_ms(month)})"
                db.execute(f"ALTER TABLE requests ATTACH PARTITION {name} {span}")
        self._known |= missing


def drop_before(db: PostgresConnection, before_ms: int) -> None:
    """Drop the months that end by then; those that others use right now stay until the next time."""
    for month in sorted(_existing(db)):
        if _end_ms(month) <= before_ms:
            with suppress(LockTimeout), db.transaction():
                db.execute(f"SET LOCAL lock_timeout = '{_LOCK_WITHIN}'")
                db.execute(f"DROP TABLE IF EXISTS {_name(month)}")


def start_of_month(at_ms: int) -> int:
    """Return when the month of an instant begins."""
    return _start_ms(_month(at_ms))


def _existing(db: PostgresConnection) -> list[Month]:
    found = [_NAME.fullmatch(name) for (name,) in db.execute(_TABLES)]
    return [(int(match[1]), int(match[2])) for match in found if match]


def _month(at_ms: int) -> Month:
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.year, moment.month


def _name(month: Month) -> str:
    return f"requests_{month[0]:04}_{month[1]:02}"


def _start_ms(month: Month) -> int:
    return timegm((*month, 1, 0, 0, 0)) * 1000


def _end_ms(month: Month) -> int:
    year, number = month
    return _start_ms((year, number + 1)) if number < 12 else _start_ms(month) + 31 * DAY_MS  # of the last year too
