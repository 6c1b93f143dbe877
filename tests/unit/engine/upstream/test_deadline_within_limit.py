"""Two mechanisms cancel the task of one request: the deadline of a call to a provider, and the limit that is set when
the client leaves. Which of them it was, or whether it was somebody else, is known however they meet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import permutations
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.upstream.deadline import Deadline, DeadlineTimer

Happening = Literal["late", "left", "stopped"]

LONG_S = 60.0
APART = 4  # turns of the loop in which everything that is on its way arrives


@dataclass
class Request:
    """A request that calls one provider after the other until something else than a deadline ends it."""

    limit: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    calls_that_timed_out: int = 0
    left: bool = False
    cancelling: int = -1  # at its end

    async def run(self) -> None:
        self.deadline = Deadline(DeadlineTimer())
        try:
            async with self.limit:
                while True:
                    await self.call_a_provider()
        except TimeoutError:
            self.left = self.limit.expired()
        finally:
            self.deadline.close()
            task = asyncio.current_task()
            assert task is not None
            self.cancelling = task.cancelling()

    async def call_a_provider(self) -> None:
        try:
            with self.deadline.within(LONG_S):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            self.calls_that_timed_out += 1


async def serve(*steps: tuple[int, Happening]) -> tuple[Request, asyncio.Task[None], set[Happening]]:
    """Let things happen to a request, each so many turns of the loop after the one before; tell what could."""
    request, happened = Request(), set[Happening]()
    task = asyncio.create_task(request.run())
    await turns(1)
    for pause, happening in steps:
        await turns(pause)
        if task.done() or (happening == "late" and not request.deadline.waiting):
            continue
        happened.add(happening)
        MAKE_IT[happening](request, task)
    await turns(APART)
    return request, task, happened


def client_leaves(request: Request, task: asyncio.Task[None]) -> None:
    if not request.limit.expired():  # clients leave once
        request.limit.reschedule(asyncio.get_running_loop().time())


MAKE_IT: dict[Happening, Callable[[Request, asyncio.Task[None]], object]] = {
    "late": lambda request, task: request.deadline.expire(),
    "left": client_leaves,
    "stopped": lambda request, task: task.cancel(),
}


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def ends_as_it_should(*steps: tuple[int, Happening]) -> None:
    request, task, happened = await serve(*steps)
    if "stopped" in happened:
        assert task.cancelled(), "a cancel from outside is obeyed, whatever else happens"
    elif "left" in happened:
        assert task.done()
        assert request.left
        assert request.cancelling == 0
    else:
        assert not task.done(), "a deadline ends its call, not the request"
        assert task.cancelling() == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["late", "left", "stopped"])), max_size=6))
def test_whatever_happens_in_whatever_order_is_recognised(steps: list[tuple[int, Happening]]) -> None:
    asyncio.run(ends_as_it_should(*steps))


@pytest.mark.parametrize("apart", range(3))
@pytest.mark.parametrize("order", list(permutations(["late", "left", "stopped"])), ids=" ".join)
async def test_late_left_and_stopped_at_once_or_one_after_the_other(order: tuple[Happening, ...], apart: int) -> None:
    await ends_as_it_should(*((apart, happening) for happening in order))


@pytest.mark.parametrize("pause", [0, 1], ids=["the deadline first", "the limit first"])
async def test_a_call_that_is_late_at_the_moment_its_client_leaves_is_not_taken_for_a_failure(pause: int) -> None:
    """A limit set to now comes due in the loop's next turn; both cancel the task before it runs."""
    request, _, happened = await serve((0, "left"), (pause, "late"))
    assert happened == {"left", "late"}
    assert (request.left, request.calls_that_timed_out, request.cancelling) == (True, 0, 0)


async def test_a_call_that_is_late_before_its_client_leaves_is() -> None:
    request, _, _ = await serve((0, "late"), (APART, "left"))
    assert (request.left, request.calls_that_timed_out, request.cancelling) == (True, 1, 0)


async def test_a_client_that_left_is_known_although_the_task_is_cancelled_too() -> None:
    request, task, _ = await serve((0, "left"), (1, "stopped"))
    assert task.cancelled()
    assert request.limit.expired()


async def test_a_limit_in_the_future_leaves_the_deadlines_of_calls_alone() -> None:
    """The client has left, and what it has asked for is read on for a while."""
    request = Request()
    task = asyncio.create_task(request.run())
    await turns(1)
    request.limit.reschedule(asyncio.get_running_loop().time() + LONG_S)
    for count in range(3):
        request.deadline.expire()
        await turns(APART)
        assert (request.calls_that_timed_out, task.cancelling(), request.limit.expired()) == (count + 1, 0, False)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
