"""Spending over time in buckets: updated by events at once, settled by the ledger afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SETTLES_AFTER_MS = 1000  # a finished request is in the ledger well before that


@dataclass(frozen=True, slots=True)
class Chart:
    """Values to draw, oldest first: millisats per bucket of `width_ms`, the first beginning at `start_ms`.

    None is not known yet.
    """

    start_ms: int
    width_ms: int
    values: tuple[int | None, ...]


@dataclass(slots=True)
class _Bucket:
    msats: int = 0
    seeded: bool = False  # the ledger was asked at least once
    settled: bool = False  # the ledger was asked after the last event
    asked_ms: int = 0
    touched_ms: int = 0


class Series:
    """The last `length` buckets of `width_ms` each.

    A bucket's value is the ledger's answer plus what events have added since; one that began when all events were
    seen already is made of events alone. It is queried (again) once the bucket is over and its last event is old
    enough to have been written, so that every value ends as the ledger's own.
    """

    def __init__(self, width_ms: int, length: int, heard_from_ms: int) -> None:
        self.width_ms = width_ms
        self.length = length
        self.live_since_ms = heard_from_ms
        self._buckets: dict[int, _Bucket] = {}

    def add(self, costs: Iterable[tuple[int, int, int]], now_ms: int) -> None:
        """Add costs: each is received at, ended at (epoch ms), msats."""
        for received_ms, ended_ms, msats in costs:
            start = received_ms - received_ms % self.width_ms
            bucket = self._buckets.get(start)
            if bucket is None:
                bucket = self._buckets[start] = _Bucket(seeded=start >= self.live_since_ms)
            if ended_ms > bucket.asked_ms:  # else the ledger's sum included it: the ledger hears of ends first
                bucket.msats += msats
            bucket.settled = False
            bucket.touched_ms = now_ms

    def invalidate(self, since_ms: int, now_ms: int) -> None:
        """Mark the buckets from then until now, when events were missed, to be queried again."""
        self.live_since_ms = now_ms
        for start, bucket in self._buckets.items():
            if start + self.width_ms > since_ms:
                bucket.seeded = bucket.settled = False

    def unsettled(self, now_ms: int) -> list[int]:
        """Return the starts of the buckets to query, newest first."""
        return [start for start in reversed(self._starts(now_ms)) if self._wants_asking(start, now_ms)]

    def settle(self, start_ms: int, msats: int, asked_ms: int) -> None:
        """Set the ledger's sum for the bucket that starts then; final unless events came too late for it."""
        bucket = self._buckets.setdefault(start_ms, _Bucket())
        bucket.msats = msats
        bucket.seeded = True
        bucket.asked_ms = asked_ms
        bucket.settled = asked_ms >= bucket.touched_ms + SETTLES_AFTER_MS

    def chart(self, now_ms: int) -> Chart:
        """Return the values known now."""
        starts = self._starts(now_ms)
        for old in [start for start in self._buckets if start < starts[0]]:
            del self._buckets[old]
        return Chart(starts[0], self.width_ms, tuple(self._value(start) for start in starts))

    def _wants_asking(self, start: int, now_ms: int) -> bool:
        bucket = self._buckets.get(start)
        over = now_ms >= start + self.width_ms + SETTLES_AFTER_MS
        if bucket is None:
            return over or start < self.live_since_ms
        quiet = now_ms - bucket.touched_ms >= SETTLES_AFTER_MS
        return not bucket.seeded or (over and quiet and not bucket.settled)

    def _value(self, start: int) -> int | None:
        bucket = self._buckets.get(start)
        if bucket is None:
            return 0 if start >= self.live_since_ms else None
        return bucket.msats

    def _starts(self, now_ms: int) -> list[int]:
        newest = now_ms - now_ms % self.width_ms
        return [newest - index * self.width_ms for index in range(self.length - 1, -1, -1)]
