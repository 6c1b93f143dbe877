"""Instants and how they are written."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.clock import format_ms, to_ms, wall_ms

YEARS_1_TO_9999 = st.integers(to_ms(datetime(1, 1, 1, tzinfo=UTC)), to_ms(datetime(9999, 12, 31, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("at_ms", "written"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_741_960_931_042, "2025-03-14T14:02:11.042Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
    ],
)
def test_instants_are_written_to_the_millisecond_in_utc(at_ms: int, written: str) -> None:
    assert format_ms(at_ms) == written


@given(YEARS_1_TO_9999)
def test_what_is_written_reads_as_the_same_instant(at_ms: int) -> None:
    assert to_ms(datetime.fromisoformat(format_ms(at_ms))) == at_ms


def test_offsets_count_and_microseconds_are_cut_off() -> None:
    moment = datetime(2025, 3, 14, 14, 2, 11, 42_999, tzinfo=timezone(timedelta(hours=1)))
    assert format_ms(to_ms(moment)) == "2025-03-14T13:02:11.042Z"


def test_the_wall_clock_is_the_systems() -> None:
    before = time.time_ns() // 1_000_000
    assert before <= wall_ms() <= time.time_ns() // 1_000_000
