"""Who is let in, and what the others are told."""

from __future__ import annotations

import pytest

from arbstr.engine.admission import AdmissionControl
from arbstr.errors import Overloaded, RateLimited, ShuttingDown


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_more_than_the_most_in_flight_are_overload() -> None:
    gate = AdmissionControl(2, 0, Clock())
    gate.acquire()
    gate.acquire()
    with pytest.raises(Overloaded, match="max_in_flight"):
        gate.acquire()
    gate.release()
    gate.acquire()


def test_a_rate_lets_a_burst_of_one_second_pass_and_says_when_to_come_back() -> None:
    clock = Clock()
    gate = AdmissionControl(100, 2, clock)
    gate.check()
    gate.check()
    with pytest.raises(RateLimited) as caught:
        gate.check()
    assert caught.value.retry_after_s == pytest.approx(0.5)
    clock.now = 0.5
    gate.check()
    with pytest.raises(RateLimited):
        gate.check()


def test_who_knocks_learns_at_once_that_all_places_are_taken_but_takes_none() -> None:
    gate = AdmissionControl(1, 0, Clock())
    gate.check()
    gate.check()
    gate.acquire()
    with pytest.raises(Overloaded):
        gate.check()
    gate.release()
    gate.check()


def test_a_closed_gate_lets_nobody_in() -> None:
    gate = AdmissionControl(100, 0, Clock())
    gate.close()
    with pytest.raises(ShuttingDown):
        gate.check()
    with pytest.raises(ShuttingDown):
        gate.acquire()
    assert gate.in_flight == 0


def test_who_is_only_drained_gives_its_place_to_others_but_not_without_bound() -> None:
    gate = AdmissionControl(2, 0, Clock())
    for _ in range(2):
        gate.acquire()
    assert gate.drain()
    gate.acquire()
    with pytest.raises(Overloaded):
        gate.acquire()
    assert gate.drain()
    assert not gate.drain()
    assert (gate.in_flight, gate.draining) == (1, 2)
    gate.release(drained=True)
    assert gate.drain()
    gate.release(drained=True)
    gate.release(drained=True)
    assert (gate.in_flight, gate.draining) == (0, 0)
