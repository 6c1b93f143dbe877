"""Until when rows are kept: `keep_days` counted back from a day that no wrong clock can move far.

The day moves with the clock, but at most by a day for each start and by the time that arbstr has run, which the
monotonic clock tells. So a clock that is fifty years ahead for one start costs a day's rows at most. A day that turns
out to lie ahead of the clock was never reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from arbstr.clock import DAY_MS
from arbstr.ledger.sql import Statements

_LATER = " WHERE excluded.value > ledger_state.value"


class Retention:
    """The retention day of one run. `clock` gives seconds since the epoch, `monotonic` seconds."""

    def __init__(
        self, keep_days: int, *, clock: Callable[[], float], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._kept_ms = keep_days * DAY_MS
        self._clock = clock
        self._monotonic = monotonic
        self._started = monotonic()
        self._start_ms: int | None = None

    @property
    def started(self) -> bool:
        """Whether the day of the last run is known."""
        return self._start_ms is not None

    def start(self, reached_ms: int | None) -> None:
        """Start from the day of the last run; None in a ledger without rows."""
        now_ms = self._now_ms()
        self._start_ms = now_ms if reached_ms is None else min(reached_ms, now_ms)

    def reached_ms(self) -> int:
        """Return the day in epoch milliseconds."""
        now_ms = self._now_ms()
        start_ms = now_ms if self._start_ms is None else self._start_ms
        ran_ms = int((self._monotonic() - self._started) * 1000)
        return min(now_ms, start_ms + DAY_MS + ran_ms)

    def cutoff_ms(self) -> int:
        """Return the cutoff in epoch milliseconds: rows before it may be pruned."""
        return self.reached_ms() - self._kept_ms

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def reached(db: Statements, now_ms: int) -> int | None:
    """Up to where rows were kept at last; where that is not known, the newest row that is not of the future."""
    sql = (
        "SELECT COALESCE((SELECT value FROM ledger_state WHERE name = 'kept_from_ms'), "
        "(SELECT MAX(at_ms) FROM requests WHERE at_ms <= ?))"
    )
    [reached_ms] = db.execute(sql, (now_ms,)).fetchone()
    return None if reached_ms is None else int(reached_ms)


def mend_cutoff(db: Statements, now_ms: int) -> None:
    """In a transaction: have a cutoff that lies ahead of the clock be the day of the oldest row that is there."""
    db.execute(
        "UPDATE ledger_state SET value = "
        f"(SELECT COALESCE(MIN(at_ms), ?) - COALESCE(MIN(at_ms), ?) % {DAY_MS} FROM requests "
        "WHERE at_ms <= ?) WHERE name = 'pruned_before_ms' AND value > ?",
        (now_ms,) * 4,
    )


def prune(db: Statements, before_ms: int, reached_ms: int, most: int, since_ms: int = 0) -> int:
    """In a transaction: delete some rows from before that day, keeping their rollups; returns how many.

    Those from before `since_ms` stay, though nothing lists them any more. `reached_ms` is what `reached` says from now
    on.
    """
    before_ms = max(before_ms - before_ms % DAY_MS, 0)
    for name, value, later in (("kept_from_ms", reached_ms, ""), ("pruned_before_ms", before_ms, _LATER)):
        db.execute(
            "INSERT INTO ledger_state (name, value) VALUES (?, ?) "
            f"ON CONFLICT (name) DO UPDATE SET value = excluded.value{later}",
            (name, value),
        )
    some = f"SELECT id FROM requests WHERE at_ms >= ? AND at_ms < ? LIMIT {most}"
    return db.execute(f"DELETE FROM requests WHERE id IN ({some})", (since_ms, before_ms)).rowcount
