"""When a balance is read next."""

from __future__ import annotations

import pytest

from arbstr.market.poll_schedule import ACTIVE_S, APART_S, JITTER, SOON_S, PollSchedule

LONGEST_S = 120.0


def schedule(*, longest_s: float = LONGEST_S, random: float = 0.0) -> PollSchedule:
    made = PollSchedule(longest_s, lambda: random)
    made.polled(0.0, quiet=False)
    return made


def test_the_first_reading_is_due_at_once() -> None:
    assert PollSchedule(LONGEST_S, lambda: 0.0).due_s == 0.0


def test_while_something_changes_it_is_read_every_ten_seconds() -> None:
    poll = schedule()
    assert poll.due_s == ACTIVE_S == 10
    poll.polled(10.0, quiet=False)
    assert poll.due_s == 20


def test_while_nothing_does_it_is_read_less_and_less_often_but_at_least_every_refresh() -> None:
    poll, pauses, now = schedule(), [], 0.0
    for _ in range(6):
        poll.polled(now, quiet=True)
        pauses.append(poll.due_s - now)
        now = poll.due_s
    assert pauses == [20, 40, 80, 120, 120, 120]


def test_it_is_read_up_to_a_fifth_earlier_so_that_several_do_not_ask_at_once() -> None:
    assert schedule(random=1.0).due_s == ACTIVE_S * (1 - JITTER) == 8


def test_after_a_quiet_time_a_request_brings_the_next_reading_within_ten_seconds() -> None:
    poll = schedule()
    for now in (10.0, 30.0, 70.0):
        poll.polled(now, quiet=True)
    poll.active(100.0)
    assert poll.due_s == 110
    poll.active(109.0)
    assert poll.due_s == 110, "later requests do not put it off"
    poll.polled(110.0, quiet=True)
    assert poll.due_s == 130


@pytest.mark.parametrize(("now_s", "due_s"), [(0.1, APART_S), (5.0, 5 + SOON_S)])
def test_what_waits_for_it_brings_it_within_a_second_but_never_closer_than_two_to_the_last(
    now_s: float, due_s: float
) -> None:
    poll = schedule()
    poll.urgent(now_s)
    assert poll.due_s == due_s


def test_a_short_refresh_shortens_every_pause() -> None:
    poll = schedule(longest_s=0.5)
    assert poll.due_s == 0.5
    poll.polled(1.0, quiet=True)
    assert poll.due_s == 1.5
    poll.urgent(1.1)
    assert poll.due_s == 1.5
