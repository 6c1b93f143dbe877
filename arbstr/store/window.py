"""A time window cut into whole days, whole hours and ragged edges, so that few things have to be read for it."""

from __future__ import annotations

from dataclasses import dataclass

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
FOREVER_MS = 2**62


@dataclass(frozen=True, slots=True)
class Piece:
    """From `start_ms` to before `end_ms`; `span_ms` is an hour or a day, or 0 where rows must be read one by one."""

    span_ms: int
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Extent:
    """What a ledger holds: the first and last row's instants (None: no rows), and until when rows were pruned.

    Before `pruned_ms`, the start of an hour, there are rollups only; 0 if no rows were pruned.
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


def cut(start: int, end: int, *, days: bool = True) -> list[Piece]:
    """The pieces of [start, end) in order of time, none empty; without whole days if those are too coarse."""
    first_hour, last_hour = _up(start, HOUR_MS), end - end % HOUR_MS
    if first_hour >= last_hour:
        return _pieces((0, start, end))
    first_day, last_day = _up(first_hour, DAY_MS), last_hour - last_hour % DAY_MS
    if not days or first_day >= last_day:
        whole = [(HOUR_MS, first_hour, last_hour)]
    else:
        whole = [
            (HOUR_MS, first_hour, first_day),
            (DAY_MS, first_day, last_day),
            (HOUR_MS, last_day, last_hour),
        ]
    return _pieces((0, start, first_hour), *whole, (0, last_hour, end))


def _pieces(*pieces: tuple[int, int, int]) -> list[Piece]:
    return [Piece(span, start, end) for span, start, end in pieces if start < end]


def _up(instant: int, span: int) -> int:
    """The first start of a span that is not before the instant."""
    return -(-instant // span) * span
