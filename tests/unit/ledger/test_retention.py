"""Until when rows are kept, whatever the clock says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbstr.ledger.retention import Retention
from tests.support.ledger_builders import DAY, HOUR, NOON


class Clocks:
    """A wall clock that may be set, and time that only passes."""

    def __init__(self) -> None:
        self.wall_ms = NOON
        self.passed_ms = 0
        self.reached: int | None = None

    def start(self, keep_days: int = 30) -> Retention:
        retention = Retention(keep_days, clock=lambda: self.wall_ms / 1000, monotonic=lambda: self.passed_ms / 1000)
        retention.start(self.reached)
        return retention

    def run(self, ms: int) -> None:
        self.wall_ms += ms
        self.passed_ms += ms


def test_with_a_right_clock_the_cutoff_is_keep_days_ago() -> None:
    clocks = Clocks()
    retention = clocks.start()
    clocks.run(3 * DAY)
    assert retention.cutoff_ms() == clocks.wall_ms - 30 * DAY


def test_a_start_moves_the_cutoff_by_a_day_at_most_and_running_by_its_time() -> None:
    clocks = Clocks()
    clocks.reached = NOON
    clocks.wall_ms = NOON + 50 * 365 * DAY
    retention = clocks.start()
    assert retention.reached_ms() == NOON + DAY
    clocks.run(5 * HOUR)
    assert retention.reached_ms() == NOON + DAY + 5 * HOUR


def test_the_cutoff_does_not_stay_ahead_of_the_clock() -> None:
    clocks = Clocks()
    clocks.reached = NOON + 50 * 365 * DAY
    assert clocks.start().reached_ms() == NOON
    clocks.reached = None
    retention = clocks.start()
    clocks.wall_ms = NOON - DAY
    assert retention.reached_ms() == NOON - DAY


def test_fewer_days_of_retention_count_at_once() -> None:
    clocks = Clocks()
    clocks.reached = NOON
    assert clocks.start(keep_days=3).cutoff_ms() == NOON - 3 * DAY


@given(st.lists(st.tuples(st.integers(-60, 60), st.integers(0, 30)), max_size=20))
def test_whatever_the_clock_does_the_cutoff_moves_by_a_day_a_start_and_the_time_that_passed(
    runs: list[tuple[int, int]],
) -> None:
    clocks = Clocks()
    clocks.reached = NOON
    for jump_days, hours in runs:
        clocks.wall_ms += jump_days * DAY
        before = clocks.reached
        retention = clocks.start()
        clocks.run(hours * HOUR)
        clocks.reached = retention.reached_ms()
        assert clocks.reached <= min(before + DAY + hours * HOUR, clocks.wall_ms)
