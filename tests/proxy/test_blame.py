"""Which failures count in a provider's breaker, and what an open breaker does."""

from __future__ import annotations

import pytest

from tests.provider import (
    Move,
    Part,
    chunk,
    error_reply,
    sse_reply,
)
from tests.proxy.failures import FAILS_TO_OPEN, LEFT, PASSING
from tests.proxy.world import Arbstr, World


async def open_breakers(arbstr: Arbstr) -> set[str]:
    health = (await arbstr.get("/health")).json["providers"]
    return {name for name, told in health.items() if told["state"] == "open"}


BLAMED = {
    **PASSING,
    **{name: parts for name, parts in LEFT.items() if "model" not in name},
}


@pytest.mark.parametrize("failure", BLAMED.values(), ids=BLAMED)
async def test_a_failed_attempt_counts_in_the_breaker(world: World, failure: list[Part]) -> None:
    await world.sells("alpha", failure)
    await world.sells("beta")
    arbstr = await world.opens(retry={"max_retries": 0}, breaker={"failure_threshold": 1})
    await arbstr.chat()
    assert await open_breakers(arbstr) == {"alpha"}


@pytest.mark.parametrize("failure", FAILS_TO_OPEN.values(), ids=FAILS_TO_OPEN)
async def test_so_does_a_stream_that_does_not_begin(world: World, failure: list[Part]) -> None:
    await world.sells("alpha", failure)
    arbstr = await world.opens(breaker={"failure_threshold": 1})
    await arbstr.chat(stream=True)
    assert await open_breakers(arbstr) == {"alpha"}


async def test_so_does_a_stream_that_breaks_off(world: World) -> None:
    await world.sells("alpha", sse_reply(chunk("Hel"), Move.RESET))
    arbstr = await world.opens(breaker={"failure_threshold": 1})
    await arbstr.row(await arbstr.chat(stream=True))
    assert await open_breakers(arbstr) == {"alpha"}


async def test_a_stale_catalogue_and_the_requests_own_faults_do_not(world: World) -> None:
    script = [error_reply(400, kind="invalid_model"), error_reply(404, code="model_not_found"), error_reply(422)]
    await world.sells("alpha", *script)
    arbstr = await world.opens(breaker={"failure_threshold": 1})
    for _ in script:
        await arbstr.chat()
    assert await open_breakers(arbstr) == set()


async def test_an_open_breaker_is_passed_over(world: World) -> None:
    alpha = await world.sells("alpha", error_reply(500))
    await world.sells("beta")
    arbstr = await world.opens(breaker={"failure_threshold": 3})
    assert (await arbstr.chat()).headers["X-Arbstr-Retries"] == "3/alpha"
    answer = await arbstr.chat()
    assert answer.headers["X-Arbstr-Provider"] == "beta"
    assert "X-Arbstr-Retries" not in answer.headers
    assert len(alpha.requests) == 3
