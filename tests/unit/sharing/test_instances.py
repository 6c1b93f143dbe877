"""Who shares the ledger: each instance hears of the others, of those that end, and of those that are heard no more."""

from __future__ import annotations

from typing import Any

import pytest

from arbstr.engine.learning.codec import dumps
from arbstr.ledger.postgres.shared_states import Found
from arbstr.monitoring.source import InstanceStatus
from arbstr.sharing.instances import GONE_S, STALE_S, SharedInstances
from tests.support.clock import Clock

HERE = InstanceStatus("here:1", "1.2", 500_000, 3, 40, 5000, here=True)


def shared(clock: Clock, here: InstanceStatus = HERE) -> SharedInstances:
    made = SharedInstances(here.name, lambda: here, clock, lambda: int(clock.now * 1000))
    made.announce()
    return made


def said_by(other: SharedInstances, *, age_s: float = 0.0, connected: bool = False) -> Found:
    other.refresh(connected=connected)
    [change] = other.take()
    return Found(change.kind, change.key, change.value, change.key, age_s, change.left_s, 1)


def there(name: str = "there:2", clock: Clock | None = None) -> SharedInstances:
    """Another, for an hour by its own clock."""
    state = InstanceStatus(name, "1.1", 1_000_000, 1, 7, 90, here=True)
    return shared(clock or Clock(4600.0), state)


def test_others_are_known_by_ones_own_clock() -> None:
    clock = Clock(50_000.0)
    ours = shared(clock)
    assert ours.statuses() == (HERE,)
    ours.apply([said_by(there(), age_s=5.0)])
    expected = InstanceStatus("there:2", "1.1", 50_000_000 - 5000 - 3_600_000, 1, 7, 90, heard_at_ms=49_995_000)
    assert ours.statuses() == (HERE, expected)


def test_the_others_hear_at_once_of_a_new_one_and_else_in_time() -> None:
    ours = shared(Clock())
    for connected in (True, False):
        ours.refresh(connected=connected)
        assert [change.quiet for change in ours.take()] == [not connected]
    assert ours.take() == []


def test_one_that_is_heard_no_more_is_stale_and_then_gone() -> None:
    clock = Clock()
    ours = shared(clock)
    ours.apply([said_by(there())])
    clock.now += STALE_S + 1
    assert [one.stale for one in ours.statuses()] == [False, True]
    clock.now += GONE_S
    assert ours.statuses() == (HERE,)


def test_one_that_ends_is_gone_at_once() -> None:
    ours, other = shared(Clock()), there()
    ours.apply([said_by(other)])
    other.leave()
    [change] = other.take()
    ours.apply([Found(*change[:3], "there", 0.0, change.left_s, 2)])
    assert ours.statuses() == (HERE,)


def test_one_that_was_killed_is_gone_when_it_is_back_under_its_name() -> None:
    clock = Clock()
    ours = shared(clock)
    before = said_by(there())
    ours.apply([before._replace(key="before")])
    clock.now += STALE_S + 1
    ours.apply([said_by(there())])
    assert [(one.name, one.stale) for one in ours.statuses()] == [("here:1", False), ("there:2", False)]


@pytest.mark.parametrize("value", ["", "null", "[]", "5", '"text"'])
def test_what_is_no_description_is_no_instance(value: str) -> None:
    ours = shared(Clock())
    ours.apply([Found("instance", "x", value, "x", 0.0, 9.0, 1)])
    assert ours.statuses() == (HERE,)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"name": 5, "version": None, "uptime_s": "long", "in_flight": -1, "requests": 1e300, "spent_msats": True},
        {"name": "\x1b[2J" + "x" * 999, "version": "\x00", "more": {}},
    ],
)
def test_a_description_of_another_version_is_shown_as_far_as_it_goes(said: dict[str, Any]) -> None:
    ours = shared(Clock())
    ours.apply([Found("instance", "x", dumps(said), "x", -1.0, 9.0, 1)])
    [_, other] = ours.statuses()
    assert other.name.isprintable()
    assert len(other.name) <= 80
    assert (other.in_flight, other.requests, other.spent_msats) == (0, 0, 0)
    assert other.started_at_ms <= 1_000_000
