"""Memory for requests and answers together: requests are refused, answers wait."""

from __future__ import annotations

import asyncio

import pytest

from arbstr.engine import body_memory as module
from arbstr.engine.body_memory import FREE_BYTES, BodyMemory
from arbstr.errors import Overloaded
from tests.support.patience import PATIENCE_S

MB = 1_000_000


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_room_is_taken_and_given_back() -> None:
    memory = BodyMemory(100)
    memory.acquire(60)
    with pytest.raises(Overloaded, match="already use 60 bytes"):
        memory.acquire(41)
    memory.acquire(40)
    memory.release(60)
    memory.acquire(60)


async def test_an_answer_waits_until_there_is_room() -> None:
    memory = BodyMemory(20 * MB)
    first, second = memory.share(), memory.share()
    await first.grow(8 * MB)
    growing = asyncio.create_task(second.grow(8 * MB))
    await settle()
    assert not growing.done()
    first.release()
    await growing
    assert second.size == 8 * MB - FREE_BYTES


async def test_answers_leave_half_of_it_to_requests() -> None:
    memory = BodyMemory(20 * MB)
    first, second = memory.share(), memory.share()
    await first.grow(6 * MB)
    growing = asyncio.create_task(second.grow(6 * MB))
    await settle()
    assert not growing.done()
    memory.acquire(10 * MB)
    memory.release(10 * MB)
    first.release()
    await growing


async def test_small_answers_need_none() -> None:
    memory = BodyMemory(0)
    shares = [memory.share() for _ in range(100)]
    for share in shares:
        await share.grow(FREE_BYTES)
        assert share.size == 0


async def test_one_answer_alone_is_never_too_large() -> None:
    memory = BodyMemory(MB)
    memory.acquire(MB)
    share = memory.share()
    for size in range(FREE_BYTES, 50 * MB, MB):
        await share.grow(size)


async def test_answers_that_wait_for_each_other_go_on_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    memory = BodyMemory(20 * MB)
    shares = [memory.share() for _ in range(4)]
    for share in shares:
        await share.grow(2 * MB)

    async def reads_on(share: module.MemoryShare) -> None:
        for size in range(2 * MB, 40 * MB, MB):
            await share.grow(size)
        share.release()

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*map(reads_on, shares))


async def test_an_answer_that_is_given_up_while_it_waits_takes_nothing() -> None:
    memory = BodyMemory(20 * MB)
    first, second = memory.share(), memory.share()
    await first.grow(10 * MB)
    growing = asyncio.create_task(second.grow(10 * MB))
    await settle()
    growing.cancel()
    await asyncio.gather(growing, return_exceptions=True)
    second.release()
    first.release()
    memory.acquire(20 * MB)
