"""Deadlines: what they end, what they leave alone. On a real loop, whose clock they are set by."""

from __future__ import annotations

import asyncio
import math

import pytest

from arbstr.engine.upstream.deadline import Deadline, DeadlineTimer

SOON_S = 0.01
LONG_S = 60.0


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_wait_that_takes_too_long_ends_in_a_timeout() -> None:
    deadline = Deadline(DeadlineTimer())
    with pytest.raises(TimeoutError), deadline.within(SOON_S):
        await _never()
    assert _not_cancelled()


async def test_who_is_found_late_again_before_the_task_had_its_turn_is_late_once() -> None:
    """As under load, when other deadlines come due in the same turn of the loop."""
    deadline = Deadline(DeadlineTimer())

    def look_twice() -> None:
        deadline.expire()
        deadline.expire()

    asyncio.get_running_loop().call_soon(look_twice)  # once it waits
    with pytest.raises(TimeoutError), deadline.within(LONG_S):
        await _never()
    assert _not_cancelled()
    deadline.close()


async def test_after_a_timeout_the_same_deadline_bounds_the_next_wait() -> None:
    deadline = Deadline(DeadlineTimer())
    for _ in range(3):
        with pytest.raises(TimeoutError), deadline.within(SOON_S):
            await _never()


async def test_a_timer_set_for_an_earlier_wait_does_not_end_a_later_one() -> None:
    deadline = Deadline(DeadlineTimer())
    with deadline.within(SOON_S):
        pass
    with deadline.within(LONG_S):
        await asyncio.sleep(SOON_S * 3)
    deadline.close()


async def test_a_nearer_deadline_holds_although_the_timer_was_set_for_a_farther_one() -> None:
    deadline = Deadline(DeadlineTimer())
    with deadline.within(LONG_S):
        pass
    with pytest.raises(TimeoutError), deadline.within(SOON_S):
        await _never()


async def test_a_wait_may_be_given_more_time_while_it_lasts() -> None:
    deadline = Deadline(DeadlineTimer())
    with deadline.within(SOON_S):
        deadline.within(LONG_S)
        await asyncio.sleep(SOON_S * 3)
    deadline.close()


async def test_a_deadline_ends_nothing_between_waits() -> None:
    deadline = Deadline(DeadlineTimer())
    with deadline.within(SOON_S):
        pass
    await asyncio.sleep(SOON_S * 3)
    assert _not_cancelled()


async def test_infinity_bounds_nothing() -> None:
    deadline = Deadline(DeadlineTimer())
    with deadline.within(math.inf):
        await asyncio.sleep(SOON_S)


async def test_a_task_that_somebody_else_cancels_is_cancelled_and_not_late() -> None:
    async def wait() -> None:
        with Deadline(DeadlineTimer()).within(math.inf):
            await _never()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_being_cancelled_outweighs_being_late_at_the_same_moment() -> None:
    async def wait() -> None:
        deadline = Deadline(DeadlineTimer())
        asyncio.get_running_loop().call_later(SOON_S, task.cancel)
        with deadline.within(SOON_S):
            await asyncio.sleep(0)
            await _never()

    task = asyncio.create_task(wait())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_that_is_no_timeout_passes_a_deadline() -> None:
    with pytest.raises(KeyError), Deadline(DeadlineTimer()).within(math.inf):
        raise KeyError


async def test_one_watch_keeps_the_deadlines_of_many_tasks_apart() -> None:
    watch = DeadlineTimer()

    async def wait(seconds: float) -> str:
        deadline = Deadline(watch)
        try:
            with deadline.within(LONG_S):
                await asyncio.sleep(0)  # so that the watch is set to something far away first
            with deadline.within(seconds):
                await asyncio.sleep(SOON_S * 5)
        except TimeoutError:
            return "late"
        finally:
            deadline.close()
        return "in time"

    ends = await asyncio.gather(*(wait(seconds) for seconds in (LONG_S, SOON_S, math.inf, SOON_S * 2, LONG_S)))
    assert ends == ["in time", "late", "in time", "late", "in time"]


async def test_a_released_deadline_ends_nothing() -> None:
    watch = DeadlineTimer()
    deadline = Deadline(watch)
    with deadline.within(SOON_S):
        deadline.close()
        await asyncio.sleep(SOON_S * 3)


def _not_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() == 0
