"""Who is let in, and what the others are told."""

from __future__ import annotations

import pytest

from arbstr.engine.admission import Gate
from arbstr.errors import Overloaded, RateLimited, ShuttingDown


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_more_than_the_most_in_flight_are_overload() -> None:
    gate = Gate(2, 0, Clock())
    gate.enter()
    gate.enter()
    with pytest.raises(Overloaded, match="max_in_flight"):
        gate.enter()
    gate.leave()
    gate.enter()


def test_a_rate_lets_a_burst_of_one_second_pass_and_says_when_to_come_back() -> None:
    clock = Clock()
    gate = Gate(100, 2, clock)
    gate.knock()
    gate.knock()
    with pytest.raises(RateLimited) as caught:
        gate.knock()
    assert caught.value.retry_after_s == pytest.approx(0.5)
    clock.now = 0.5
    gate.knock()
    with pytest.raises(RateLimited):
        gate.knock()


def test_who_knocks_learns_at_once_that_all_places_are_taken_but_takes_none() -> None:
    gate = Gate(1, 0, Clock())
    gate.knock()
    gate.knock()
    gate.enter()
    with pytest.raises(Overloaded):
        gate.knock()
    gate.leave()
    gate.knock()


def test_a_closed_gate_lets_nobody_in() -> None:
    gate = Gate(100, 0, Clock())
    gate.close()
    with pytest.raises(ShuttingDown):
        gate.knock()
    with pytest.raises(ShuttingDown):
        gate.enter()
    assert gate.inside == 0


def test_who_is_only_drained_gives_its_place_to_others_but_not_without_bound() -> None:
    gate = Gate(2, 0, Clock())
    for _ in range(2):
        gate.enter()
    assert gate.drain()
    gate.enter()
    with pytest.raises(Overloaded):
        gate.enter()
    assert gate.drain()
    assert not gate.drain()
    assert (gate.inside, gate.draining) == (1, 2)
    gate.leave(drained=True)
    assert gate.drain()
    gate.leave(drained=True)
    gate.leave(drained=True)
    assert (gate.inside, gate.draining) == (0, 0)
