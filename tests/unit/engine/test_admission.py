"""Which requests are admitted, and the errors that the others get."""

from __future__ import annotations

import pytest

from arbstr.engine.admission import AdmissionControl
from arbstr.errors import Overloaded, RateLimited, ShuttingDown
from tests.support.clock import Clock


def test_more_than_the_most_in_flight_are_overload() -> None:
    admission = AdmissionControl(2, 0, Clock(0.0))
    admission.acquire()
    admission.acquire()
    with pytest.raises(Overloaded, match="max_in_flight"):
        admission.acquire()
    admission.release()
    admission.acquire()


def test_a_rate_lets_a_burst_of_one_second_pass_and_says_when_to_come_back() -> None:
    clock = Clock(0.0)
    admission = AdmissionControl(100, 2, clock)
    admission.check()
    admission.check()
    with pytest.raises(RateLimited) as caught:
        admission.check()
    assert caught.value.retry_after_s == pytest.approx(0.5)
    clock.now = 0.5
    admission.check()
    with pytest.raises(RateLimited):
        admission.check()


def test_a_check_fails_at_once_when_all_places_are_taken_and_takes_none() -> None:
    admission = AdmissionControl(1, 0, Clock(0.0))
    admission.check()
    admission.check()
    admission.acquire()
    with pytest.raises(Overloaded):
        admission.check()
    admission.release()
    admission.check()


def test_a_closed_admission_control_admits_no_request() -> None:
    admission = AdmissionControl(100, 0, Clock(0.0))
    admission.close()
    with pytest.raises(ShuttingDown):
        admission.check()
    with pytest.raises(ShuttingDown):
        admission.acquire()
    assert admission.in_flight == 0


def test_who_is_only_drained_gives_its_place_to_others_but_not_without_bound() -> None:
    admission = AdmissionControl(2, 0, Clock(0.0))
    for _ in range(2):
        admission.acquire()
    assert admission.drain()
    admission.acquire()
    with pytest.raises(Overloaded):
        admission.acquire()
    assert admission.drain()
    assert not admission.drain()
    assert (admission.in_flight, admission.draining) == (1, 2)
    admission.release(drained=True)
    assert admission.drain()
    admission.release(drained=True)
    admission.release(drained=True)
    assert (admission.in_flight, admission.draining) == (0, 0)


def test_its_repr_says_how_many_are_in_flight() -> None:
    admission = AdmissionControl(2, 0, Clock(0.0))
    admission.acquire()
    assert repr(admission) == "<AdmissionControl 1 of 2 in flight>"
    admission.drain()
    admission.close()
    assert repr(admission) == "<AdmissionControl 0 of 2 in flight, 1 draining, stopping>"
