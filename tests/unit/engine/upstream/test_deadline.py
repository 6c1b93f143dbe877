"""Deadlines: what they end, what they leave alone. On a real loop, whose clock they are set by."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.upstream.deadline import Deadline, DeadlineTimer
from tests.support.virtual_time import run_in_virtual_time

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


# As asyncio.timeout does


@dataclass(frozen=True)
class Wait:
    """A wait within a limit. All are whole seconds: even for what is waited for, odd for limits, so that none meet."""

    takes_s: int
    limit_s: int


Limiter = Callable[[Deadline, Wait], Awaitable[None]]
WAITS = st.builds(Wait, st.integers(0, 20).map(lambda n: 2 * n), st.integers(0, 20).map(lambda n: 2 * n + 1))


async def live(waits: Sequence[Wait], cancelled_after_s: float | None, bounded: Limiter) -> tuple[list[str], bool]:
    """Go through waits in a task; tell how each ended and when, and whether the task was cancelled at its end."""
    loop = asyncio.get_running_loop()
    story: list[str] = []

    async def waiting() -> None:
        deadline = Deadline(DeadlineTimer())
        for wait in waits:
            try:
                await bounded(deadline, wait)
            except TimeoutError:
                story.append(f"late at {loop.time()}")
            else:
                story.append(f"in time at {loop.time()}")
            story.append(str(_not_cancelled()))
        deadline.close()

    task = asyncio.create_task(waiting())
    if cancelled_after_s is not None:
        loop.call_later(cancelled_after_s, task.cancel)
    await asyncio.wait([task])
    return story, task.cancelled()


async def within_deadline(deadline: Deadline, wait: Wait) -> None:
    with deadline.within(wait.limit_s):
        await asyncio.sleep(wait.takes_s)


async def within_timeout(deadline: Deadline, wait: Wait) -> None:
    async with asyncio.timeout(wait.limit_s):
        await asyncio.sleep(wait.takes_s)


@given(st.lists(WAITS, max_size=8), st.none() | st.integers(0, 100).map(lambda n: n + 0.5))
def test_waits_end_as_within_a_timeout_of_the_standard_library(
    waits: list[Wait], cancelled_after_s: float | None
) -> None:
    model = run_in_virtual_time(live(waits, cancelled_after_s, within_timeout))
    assert run_in_virtual_time(live(waits, cancelled_after_s, within_deadline)) == model


def _not_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() == 0
