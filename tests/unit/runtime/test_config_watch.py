"""When a changed file is taken: once it is still, and only if it is another than before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from arbstr.runtime.config_watch import LOOK_S, STILL_S, watch


async def seen_by_the_watch(*states: str) -> tuple[list[int], list[float]]:
    """After which looks a change is reported, and what was slept, where the file's states are these."""
    left, looks, changes, slept = list(states), 0, list[int](), list[float]()
    seen, known = "", "a"

    def look() -> str:
        nonlocal looks, seen, known
        looks += 1
        seen = left.pop(0)
        if seen.endswith("*"):  # it has been read by somebody else
            seen = known = seen[:-1]
        return seen

    async def changed() -> None:
        nonlocal known
        known = seen
        changes.append(looks)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if not left:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await watch(look, lambda: known, changed, sleep)
    return changes, slept


@pytest.mark.parametrize(
    ("states", "after"),
    [
        ("aaa", []),
        ("abb", [3]),
        ("abbb", [3]),
        ("abbcc", [3, 5]),
        ("abbaa", [3, 5]),
    ],
)
async def test_each_change_is_reported_once(states: Iterable[str], after: list[int]) -> None:
    assert (await seen_by_the_watch(*states))[0] == after


async def test_a_file_that_is_being_written_is_waited_for() -> None:
    changes, slept = await seen_by_the_watch("a", "", "b", "bc", "bc")
    assert changes == [5]
    assert slept == [LOOK_S, LOOK_S, STILL_S, STILL_S, STILL_S, LOOK_S]


async def test_a_file_that_becomes_what_it_was_has_not_changed() -> None:
    assert (await seen_by_the_watch("a", "b", "a", "a", "a"))[0] == []


async def test_what_was_read_for_another_reason_is_no_change() -> None:
    assert (await seen_by_the_watch("a", "b", "b*", "b", "c", "c"))[0] == [6]
