"""Requests that wait for money which others hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace

import pytest

from arbstr.engine.funds_queue import UNREAD_S, WAIT_S, FundsQueue
from arbstr.engine.node_funds import NodeFunds
from arbstr.errors import InsufficientBalance, ModelNotFound
from arbstr.types import Balance, Candidate, Routing
from tests.support.clock import Clock
from tests.support.virtual_time import run_in_virtual_time

ROUTING = Routing("cheapest", None, "gpt-4o", 100, 256, (Candidate("alpha", 1.0, 1.0),))
HELD = InsufficientBalance("others hold it", until_freed=True)
EMPTY = InsufficientBalance("there is none")


class Money:
    """A router that has money for so many requests."""

    def __init__(self, pieces: int = 0) -> None:
        self.funds = NodeFunds(Clock())
        self.queue = FundsQueue({"alpha": self.funds})
        self.pieces = pieces
        self.taken: list[str] = []
        self.refusal: Exception = HELD

    def route(self, name: str) -> Callable[[], Routing]:
        def routed() -> Routing:
            if not self.pieces:
                raise self.refusal
            self.pieces -= 1
            self.taken.append(name)
            return ROUTING

        return routed

    async def asked(self, name: str) -> Routing:
        return await self.queue.routed(self.route(name))

    def freed(self, pieces: int = 1) -> None:
        self.pieces += pieces
        self.funds.on_free()

    def read(self) -> None:
        """The node's balance is read, or can't be."""
        self.funds.learn(Balance(), self.funds.begin_reading())


def lives(story: Callable[[Money], Coroutine[None, None, None]], pieces: int = 0, *, read: bool = True) -> None:
    async def served() -> None:
        money = Money(pieces)
        if read:
            money.read()
        await story(money)

    run_in_virtual_time(served())


def test_who_finds_money_does_not_wait() -> None:
    async def story(money: Money) -> None:
        assert await money.asked("a") is ROUTING
        assert asyncio.get_running_loop().time() == 0

    lives(story, pieces=1)


@pytest.mark.parametrize("refusal", [EMPTY, ModelNotFound("no")])
def test_who_is_refused_for_another_reason_does_not_wait(refusal: Exception) -> None:
    async def story(money: Money) -> None:
        money.refusal = refusal
        with pytest.raises(type(refusal)):
            await money.asked("a")
        assert asyncio.get_running_loop().time() == 0

    lives(story)


def test_who_waits_has_the_money_in_the_order_of_arrival_as_it_becomes_free() -> None:
    async def story(money: Money) -> None:
        waiting = [asyncio.create_task(money.asked(name)) for name in "abc"]
        await asyncio.sleep(1)
        assert money.taken == []
        money.freed()
        await asyncio.sleep(1)
        assert money.taken == ["a"]
        money.freed(2)
        await asyncio.gather(*waiting)
        assert money.taken == ["a", "b", "c"]

    lives(story)


def test_it_is_refused_when_nothing_has_become_free_for_long() -> None:
    async def story(money: Money) -> None:
        with pytest.raises(InsufficientBalance, match="others hold it"):
            await money.asked("a")
        assert asyncio.get_running_loop().time() == WAIT_S
        money.freed()
        assert money.taken == []

    lives(story)


def test_it_is_refused_at_once_when_nothing_is_left_to_wait_for() -> None:
    async def story(money: Money) -> None:
        waiting = asyncio.create_task(money.asked("a"))
        await asyncio.sleep(1)
        money.refusal = EMPTY
        money.funds.on_free()
        with pytest.raises(InsufficientBalance, match="there is none"):
            await waiting
        assert asyncio.get_running_loop().time() == 1

    lives(story)


def test_who_leaves_makes_room_for_the_next() -> None:
    async def story(money: Money) -> None:
        first, second = (asyncio.create_task(money.asked(name)) for name in "ab")
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        money.freed()
        await second
        assert money.taken == ["b"]

    lives(story)


# --- right after the start


def test_before_the_first_reading_it_waits_for_that_and_is_routed_again() -> None:
    async def story(money: Money) -> None:
        waiting = asyncio.create_task(money.asked("a"))
        await asyncio.sleep(0.1)
        money.pieces = 0
        money.refusal = EMPTY
        money.read()
        with pytest.raises(InsufficientBalance, match="there is none"):
            await waiting
        assert asyncio.get_running_loop().time() == pytest.approx(0.1)

    lives(story, pieces=1, read=False)


def test_after_the_first_reading_nobody_waits_for_another() -> None:
    async def story(money: Money) -> None:
        waiting = asyncio.create_task(money.asked("a"))
        await asyncio.sleep(0.1)
        money.read()
        assert await waiting is await money.asked("b") is ROUTING
        assert asyncio.get_running_loop().time() == pytest.approx(0.1)

    lives(story, pieces=5, read=False)


def test_a_reading_that_does_not_come_is_waited_for_only_right_after_the_start() -> None:
    async def story(money: Money) -> None:
        await money.asked("a")
        assert asyncio.get_running_loop().time() == UNREAD_S
        await money.asked("b")
        assert asyncio.get_running_loop().time() == UNREAD_S

    lives(story, pieces=5, read=False)


def test_where_there_is_no_account_nothing_is_waited_for() -> None:
    async def story() -> None:
        assert await FundsQueue().routed(lambda: ROUTING) is ROUTING
        other = ROUTING.candidates[0]._replace(provider="beta")
        elsewhere = replace(ROUTING, candidates=(other,))
        assert await FundsQueue({"alpha": NodeFunds(Clock())}).routed(lambda: elsewhere) is elsewhere

    run_in_virtual_time(story())
