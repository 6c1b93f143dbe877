"""A request cut off from outside: its task goes on, unless somebody else has cancelled it as well."""

from __future__ import annotations

import asyncio

import pytest

from arbstr.engine.cut_off import CutOff

LONG_S = 3600.0


async def test_work_that_takes_too_long_is_cut_off_and_its_task_goes_on() -> None:
    cut_off = CutOff()
    cut_off.after(0)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(LONG_S)
    assert cut_off.fired
    assert cut_off.end()
    assert not cut_off.end()
    await asyncio.sleep(0)


async def test_work_that_ends_in_time_is_not_cut_off() -> None:
    cut_off = CutOff()
    cut_off.after(0)
    assert not cut_off.end()
    for _ in range(3):  # turns of the loop
        await asyncio.sleep(0)
    assert not cut_off.fired


async def test_a_task_that_is_cancelled_as_well_stays_cancelled() -> None:
    cuts: list[CutOff] = []

    async def work() -> None:
        cuts.append(CutOff())
        cuts[0].after(0)
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            assert not cuts[0].end()
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    cuts[0]._fire()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cuts[0].fired


async def test_work_that_ended_although_it_was_cut_off_leaves_its_task_as_it_was() -> None:
    task = asyncio.current_task()
    assert task is not None
    cut_off = CutOff()
    cut_off.after(0)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(LONG_S)
    cut_off.end()
    assert task.cancelling() == 0
