"""Windows in pieces: whole days and hours, ragged edges, nothing twice and nothing left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbstr.ledger.time_buckets import Extent, TimeRange, clip, cut, in_order
from tests.support.ledger_builders import DAY, HOUR, NOON

MIDNIGHT = NOON + 12 * HOUR
spans = st.tuples(st.integers(0, 10 * DAY), st.integers(0, 10 * DAY)).map(sorted)


def test_a_window_is_read_as_edges_hours_and_days() -> None:
    minute = HOUR // 60
    assert cut(NOON - minute, MIDNIGHT + DAY + HOUR + minute) == [
        TimeRange(0, NOON - minute, NOON),
        TimeRange(HOUR, NOON, MIDNIGHT),
        TimeRange(DAY, MIDNIGHT, MIDNIGHT + DAY),
        TimeRange(HOUR, MIDNIGHT + DAY, MIDNIGHT + DAY + HOUR),
        TimeRange(0, MIDNIGHT + DAY + HOUR, MIDNIGHT + DAY + HOUR + minute),
    ]


def test_an_hour_that_is_nearly_whole_is_read_whole_and_the_rest_taken_off() -> None:
    minute = HOUR // 60
    assert cut(NOON + minute, NOON + HOUR - minute) == [
        TimeRange(0, NOON, NOON + minute, subtract=True),
        TimeRange(HOUR, NOON, NOON + HOUR),
        TimeRange(0, NOON + HOUR - minute, NOON + HOUR, subtract=True),
    ]
    assert cut(NOON + 20 * minute, NOON + 40 * minute) == [TimeRange(0, NOON + 20 * minute, NOON + 40 * minute)]


@given(spans, st.booleans())
def test_pieces_less_the_surplus_are_the_window(span: list[int], days: bool) -> None:
    start, end = span
    pieces = cut(start, end, days=days)
    lengths = [(-1 if piece.subtract else 1) * (piece.end_ms - piece.start_ms) for piece in pieces]
    assert sum(lengths) == end - start
    for piece in pieces:
        assert piece.start_ms < piece.end_ms
        assert not piece.span_ms or piece.start_ms % piece.span_ms == piece.end_ms % piece.span_ms == 0
        assert not piece.subtract or piece.end_ms <= start or piece.start_ms >= end
    rows = sum(piece.end_ms - piece.start_ms for piece in pieces if not piece.span_ms)
    assert rows <= HOUR
    assert days or all(piece.span_ms != DAY for piece in pieces)


@given(spans)
def test_pieces_in_order_join_without_gaps(span: list[int]) -> None:
    start, end = span
    pieces = in_order(start, end)
    edges = [start, *(piece.end_ms for piece in pieces)]
    assert [piece.start_ms for piece in pieces] == edges[:-1]
    assert edges[-1] == end


def test_a_window_that_reaches_beyond_the_rows_needs_no_edges() -> None:
    extent = Extent(NOON + 5, NOON + 7 * HOUR + 5)
    start, end = clip(NOON - 3, NOON + 8 * HOUR + 3, extent)
    assert [piece.span_ms for piece in cut(start, end)] == [DAY]
    assert clip(None, None, extent) == (start, end)


def test_a_window_before_or_after_all_rows_is_empty() -> None:
    extent = Extent(NOON, NOON)
    assert cut(*clip(NOON + 2 * DAY, None, extent)) == []
    assert cut(*clip(None, NOON - 2 * DAY, extent)) == []
    assert cut(*clip(None, None, Extent(None, None))) == []


@given(spans, st.integers(0, 10 * 24), st.integers(0, 10 * DAY))
def test_an_hour_whose_rows_are_gone_is_in_one_of_two_adjoining_windows(
    span: list[int], pruned_hour: int, boundary: int
) -> None:
    start, end = span
    boundary = min(max(boundary, start), end)
    extent = Extent(None, None, pruned_hour * HOUR)

    def hours(since: int, until: int) -> list[int]:
        first, last = clip(since, until, extent)
        return [hour for hour in range(0, pruned_hour * HOUR, HOUR) if first <= hour and hour + HOUR <= last]

    apart = hours(start, boundary) + hours(boundary + 1, end)
    assert len(apart) == len(set(apart))
    assert set(hours(start, end)) == set(apart)
