"""A time window cut into whole days, whole hours and ragged edges, so that few things have to be read for it."""

from __future__ import annotations

from dataclasses import dataclass

from arbstr.clock import DAY_MS, HOUR_MS

FOREVER_MS = 2**62


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From `start_ms` to before `end_ms`; `span_ms` is an hour or a day, or 0 where rows must be read one by one.

    A `surplus` range is subtracted.
    """

    span_ms: int
    start_ms: int
    end_ms: int
    subtract: bool = False


@dataclass(frozen=True, slots=True)
class Extent:
    """What a ledger holds: the first and last row's instants (None: no rows), and until when rows were pruned.

    Before `pruned_ms`, the start of a day, there are rollups only; 0 if no rows were pruned.
    """

    first_ms: int | None
    last_ms: int | None
    pruned_ms: int = 0


def clip(since_ms: int | None, until_ms: int | None, extent: Extent) -> tuple[int, int]:
    """The window as [start, end), drawn in or out to whole days where that changes nothing.

    An hour whose rows are gone belongs to the window in which it begins, so that adjoining windows count it once.
    """
    start = since_ms or 0
    end = FOREVER_MS if until_ms is None else until_ms + 1
    last = extent.pruned_ms - 1 if extent.last_ms is None else extent.last_ms
    if end > last:
        end = _up(last + 1, DAY_MS)
    if not extent.pruned_ms and extent.first_ms is not None and start <= extent.first_ms:
        start = extent.first_ms - extent.first_ms % DAY_MS
    if start < extent.pruned_ms:
        start = _up(start, HOUR_MS)
    if end <= extent.pruned_ms:
        end = _up(end, HOUR_MS)
    return start, end


def cut(start: int, end: int, *, days: bool = True) -> list[TimeRange]:
    """The pieces that [start, end) is made of, without whole days if those are too coarse.

    An hour of which most is in the window is read whole, and the rows of the rest are a surplus.
    """
    first, last = _nearest(start), _nearest(end)
    if first >= last or abs(first - start) + abs(last - end) >= end - start:
        return _some(TimeRange(0, start, end))
    return _some(
        TimeRange(0, start, first),
        TimeRange(0, first, start, subtract=True),
        *_whole(first, last, days=days),
        TimeRange(0, last, end),
        TimeRange(0, end, last, subtract=True),
    )


def in_order(start: int, end: int) -> list[TimeRange]:
    """The pieces of [start, end) in order of time, each after the other and none a surplus."""
    first, last = _up(start, HOUR_MS), end - end % HOUR_MS
    if first >= last:
        return _some(TimeRange(0, start, end))
    return _some(TimeRange(0, start, first), *_whole(first, last, days=True), TimeRange(0, last, end))


def _whole(first: int, last: int, *, days: bool) -> list[TimeRange]:
    """Return whole hours, and days within them."""
    first_day, last_day = _up(first, DAY_MS), last - last % DAY_MS
    if not days or first_day >= last_day:
        return [TimeRange(HOUR_MS, first, last)]
    return [
        TimeRange(HOUR_MS, first, first_day),
        TimeRange(DAY_MS, first_day, last_day),
        TimeRange(HOUR_MS, last_day, last),
    ]


def _some(*pieces: TimeRange) -> list[TimeRange]:
    return [piece for piece in pieces if piece.start_ms < piece.end_ms]


def _nearest(instant: int) -> int:
    """Return the nearest start of an hour."""
    return (instant + HOUR_MS // 2) // HOUR_MS * HOUR_MS


def _up(instant: int, span: int) -> int:
    """The first start of a span that is not before the instant."""
    return -(-instant // span) * span
