"""Spending over time in buckets, by model: updated by events at once, settled by the ledger afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

SETTLES_AFTER_MS = 1000  # a finished request is in the ledger well before that
LAYERS = 6  # models that a chart tells apart


class Cost(NamedTuple):
    """What a request cost, when it came in and when it ended, in epoch ms."""

    received_ms: int
    ended_ms: int
    msats: int
    model: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Values to draw, oldest first: millisats per bucket of `width_ms`, the first beginning at `start_ms`.

    None is not known yet. `models` are parts of the values: those of the models on which most was spent, in that order.
    """

    start_ms: int
    width_ms: int
    values: tuple[int | None, ...]
    models: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def by_spending(models: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Return the models on which most was spent, `LAYERS` at most, that one first."""
    sums = sorted(((-sum(values), name) for name, values in models.items()))
    return {name: tuple(models[name]) for spent, name in sums[:LAYERS] if spent}


@dataclass(slots=True)
class _Bucket:
    models: dict[str, int] = field(default_factory=dict)  # msats
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

    def add(self, costs: Iterable[Cost], now_ms: int) -> None:
        """Add what requests have cost that ended."""
        for received_ms, ended_ms, msats, model in costs:
            start = received_ms - received_ms % self.width_ms
            bucket = self._buckets.get(start)
            if bucket is None:
                bucket = self._buckets[start] = _Bucket(seeded=start >= self.live_since_ms)
            if ended_ms > bucket.asked_ms:  # else the ledger's sum included it: the ledger hears of ends first
                bucket.models[model] = bucket.models.get(model, 0) + msats
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

    def settle(self, start_ms: int, models: Mapping[str, int], asked_ms: int) -> None:
        """Set the ledger's sums in msats for the bucket that starts then; final unless events came too late for it."""
        bucket = self._buckets.setdefault(start_ms, _Bucket())
        bucket.models = dict(models)
        bucket.seeded = True
        bucket.asked_ms = asked_ms
        bucket.settled = asked_ms >= bucket.touched_ms + SETTLES_AFTER_MS

    def chart(self, now_ms: int) -> Chart:
        """Return the values known now."""
        starts = self._starts(now_ms)
        for old in [start for start in self._buckets if start < starts[0]]:
            del self._buckets[old]
        known = [self._buckets.get(start) for start in starts]
        names = {name for bucket in known if bucket is not None for name in bucket.models}
        models = {name: [0 if each is None else each.models.get(name, 0) for each in known] for name in names}
        return Chart(starts[0], self.width_ms, tuple(self._value(start) for start in starts), by_spending(models))

    def recent(self, span_ms: int, now_ms: int) -> tuple[int, int] | None:
        """Return what was spent in the last `span_ms` or so, in msats, and how long that is in ms; None if unknown.

        The first bucket begins at most one before the span does, and the last is not over.
        """
        starts = [start for start in self._starts(now_ms) if start > now_ms - span_ms - self.width_ms]
        values = [self._value(start) for start in starts]
        if not starts or None in values:
            return None
        return sum(value or 0 for value in values), max(now_ms - starts[0], 1)

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
        return sum(bucket.models.values())

    def _starts(self, now_ms: int) -> list[int]:
        newest = now_ms - now_ms % self.width_ms
        return [newest - index * self.width_ms for index in range(self.length - 1, -1, -1)]
