"""Memory for requests and answers together: requests are refused, answers wait."""

from __future__ import annotations

import asyncio

import pytest

from arbstr.engine import body_memory as module
from arbstr.engine.body_memory import FREE_BYTES, Room
from arbstr.errors import Overloaded

MB = 1_000_000


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_room_is_taken_and_given_back() -> None:
    room = Room(100)
    room.take(60)
    with pytest.raises(Overloaded, match="hold 60 bytes"):
        room.take(41)
    room.take(40)
    room.give_back(60)
    room.take(60)


async def test_an_answer_waits_until_there_is_room() -> None:
    room = Room(20 * MB)
    first, second = room.share(), room.share()
    await first.grow(8 * MB)
    growing = asyncio.create_task(second.grow(8 * MB))
    await settle()
    assert not growing.done()
    first.dropped()
    await growing
    assert second.size == 8 * MB - FREE_BYTES


async def test_answers_leave_half_of_it_to_requests() -> None:
    room = Room(20 * MB)
    first, second = room.share(), room.share()
    await first.grow(6 * MB)
    growing = asyncio.create_task(second.grow(6 * MB))
    await settle()
    assert not growing.done()
    room.take(10 * MB)
    room.give_back(10 * MB)
    first.dropped()
    await growing


async def test_small_answers_need_none() -> None:
    room = Room(0)
    shares = [room.share() for _ in range(100)]
    for share in shares:
        await share.grow(FREE_BYTES)
        assert share.size == 0


async def test_one_answer_alone_is_never_too_large() -> None:
    room = Room(MB)
    room.take(MB)
    share = room.share()
    for size in range(FREE_BYTES, 50 * MB, MB):
        await share.grow(size)


async def test_answers_that_wait_for_each_other_go_on_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    room = Room(20 * MB)
    shares = [room.share() for _ in range(4)]
    for share in shares:
        await share.grow(2 * MB)

    async def reads_on(share: module.Share) -> None:
        for size in range(2 * MB, 40 * MB, MB):
            await share.grow(size)
        share.dropped()

    async with asyncio.timeout(10):
        await asyncio.gather(*map(reads_on, shares))


async def test_an_answer_that_is_given_up_while_it_waits_takes_nothing() -> None:
    room = Room(20 * MB)
    first, second = room.share(), room.share()
    await first.grow(10 * MB)
    growing = asyncio.create_task(second.grow(10 * MB))
    await settle()
    growing.cancel()
    await asyncio.gather(growing, return_exceptions=True)
    second.dropped()
    first.dropped()
    room.take(20 * MB)
