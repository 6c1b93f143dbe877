"""Painting keeps to its share of the loop."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock
from tui.refresh.frame_budget import FrameBudget
from tui.timings import NORMAL


def paced() -> tuple[FrameBudget, Clock]:
    clock = Clock()
    return FrameBudget(clock, budget=0.02), clock


def test_cheap_frames_come_ten_times_a_second() -> None:
    pace, clock = paced()
    assert pace.due
    pace.spent(0.0001)
    pace.painted()
    assert not pace.due
    clock.now += NORMAL.fastest_frame_s
    assert pace.due


def test_dear_frames_wait_until_they_are_paid_for() -> None:
    pace, clock = paced()
    pace.spent(0.004)
    pace.painted()
    clock.now += 0.19
    assert not pace.due
    clock.now += 0.011
    assert pace.due


def test_composing_counts_as_part_of_a_frame() -> None:
    pace, clock = paced()
    pace.composing()
    pace.composing()
    clock.now += 0.006
    pace.displayed()
    pace.displayed()
    pace.painted()
    assert list(pace.holds) == [pytest.approx(0.006)]
    clock.now += 0.29
    assert not pace.due


def test_even_the_dearest_frame_is_followed_by_another() -> None:
    pace, clock = paced()
    pace.spent(10)
    pace.painted()
    clock.now += NORMAL.slowest_frame_s
    assert pace.due
