"""Which failures count in a provider's breaker, and what an open breaker does."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.failures import FAILS_TO_OPEN, LEFT, PASSING
from tests.support.harness import Arbstr, ProxyHarness
from tests.support.provider import (
    MODEL,
    Asked,
    Move,
    Part,
    Reply,
    chunk,
    completion,
    error_reply,
    json_reply,
    sse_reply,
)

GOOD = json_reply(completion("Hello"))


async def open_breakers(arbstr: Arbstr) -> set[str]:
    health = (await arbstr.get("/health")).json["providers"]
    return {name for name, provider in health.items() if provider["state"] == "open"}


BLAMED = {
    **PASSING,
    **{name: parts for name, parts in LEFT.items() if "model" not in name and name not in ("402", "424")},
}


@pytest.mark.parametrize("failure", BLAMED.values(), ids=BLAMED)
async def test_a_failed_attempt_counts_in_the_breaker(harness: ProxyHarness, failure: list[Part]) -> None:
    await harness.add_provider("alpha", failure)
    await harness.add_provider("beta")
    arbstr = await harness.start(retry={"max_retries": 0}, breaker={"failure_threshold": 1})
    await arbstr.chat()
    assert await open_breakers(arbstr) == {"alpha"}


@pytest.mark.parametrize("failure", FAILS_TO_OPEN.values(), ids=FAILS_TO_OPEN)
async def test_a_stream_that_does_not_begin_counts_in_the_breaker(harness: ProxyHarness, failure: list[Part]) -> None:
    await harness.add_provider("alpha", failure)
    arbstr = await harness.start(breaker={"failure_threshold": 1})
    await arbstr.chat(stream=True)
    assert await open_breakers(arbstr) == {"alpha"}


async def test_a_stream_that_breaks_off_counts_in_the_breaker(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(chunk("Hel"), Move.RESET))
    arbstr = await harness.start(breaker={"failure_threshold": 1})
    await arbstr.row(await arbstr.chat(stream=True))
    assert await open_breakers(arbstr) == {"alpha"}


async def test_a_stale_catalogue_and_the_requests_own_faults_do_not(harness: ProxyHarness) -> None:
    script = [error_reply(400, kind="invalid_model"), error_reply(404, code="model_not_found"), error_reply(422)]
    await harness.add_provider("alpha", *script)
    arbstr = await harness.start(breaker={"failure_threshold": 1})
    for _ in script:
        await arbstr.chat()
    assert await open_breakers(arbstr) == set()


async def test_an_open_breaker_is_passed_over(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", error_reply(500))
    await harness.add_provider("beta")
    arbstr = await harness.start(breaker={"failure_threshold": 3})
    for number in range(3):
        assert (await arbstr.chat(f"hi {number}")).headers["X-Arbstr-Retries"] == "3/alpha"
    answer = await arbstr.chat()
    assert answer.headers["X-Arbstr-Provider"] == "beta"
    assert "X-Arbstr-Retries" not in answer.headers
    assert len(alpha.requests) == 9


async def test_a_request_that_no_provider_can_serve_opens_no_breaker(harness: ProxyHarness) -> None:
    """However often its client sends it again; others are served meanwhile."""

    def chokes(asked: Asked) -> Reply:
        return error_reply(500) if b"poison" in asked.body else GOOD

    for name in ("alpha", "beta"):
        await harness.add_provider(name, chokes)
    arbstr = await harness.start(breaker={"failure_threshold": 3})
    for _ in range(5):
        assert (await arbstr.chat("poison")).status == 502
    assert await open_breakers(arbstr) == set()
    assert (await arbstr.chat("hi")).headers["X-Arbstr-Provider"] == "alpha"


@pytest.mark.parametrize("says", ["Your input was flagged", "Prohibited content", "Content Exists Risk"])
async def test_refusals_of_what_requests_say_open_no_breaker(harness: ProxyHarness, says: str) -> None:
    for name in ("alpha", "beta"):
        await harness.add_provider(name, error_reply(403, says))
    arbstr = await harness.start(breaker={"failure_threshold": 1})
    for number in range(3):
        assert (await arbstr.chat(f"hi {number}")).status == 502
    assert await open_breakers(arbstr) == set()


async def test_a_balance_that_does_not_hold_all_requests_at_once_opens_no_breaker(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", *[error_reply(402)] * 6, GOOD)
    arbstr = await harness.start(breaker={"failure_threshold": 3})
    await asyncio.gather(*(arbstr.chat(f"hi {number}") for number in range(8)))
    assert await open_breakers(arbstr) == set()
    assert (await arbstr.chat()).status == 200
    assert len(alpha.requests) == 9


async def test_while_money_is_short_at_one_provider_others_are_asked_first(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", error_reply(402))
    await harness.add_provider("beta")
    arbstr = await harness.start()
    assert (await arbstr.chat()).headers["X-Arbstr-Retries"] == "1/alpha"
    answer = await arbstr.chat()
    assert (answer.status, answer.headers["X-Arbstr-Provider"]) == (200, "beta")
    assert len(alpha.requests) == 1


async def test_a_model_that_is_gone_rests_at_that_provider_alone(harness: ProxyHarness) -> None:
    def has_the_other_one(asked: Asked) -> Reply:
        return GOOD if asked.json["model"] == "other" else error_reply(404, code="model_not_found")

    alpha = await harness.add_provider("alpha", has_the_other_one, models=(MODEL, "other"))
    await harness.add_provider("beta")
    arbstr = await harness.start(breaker={"failure_threshold": 1})
    assert (await arbstr.chat()).headers["X-Arbstr-Retries"] == "1/alpha"
    answer = await arbstr.chat()
    assert "X-Arbstr-Retries" not in answer.headers
    assert (await arbstr.chat(model="other")).headers["X-Arbstr-Provider"] == "alpha"
    assert len(alpha.requests) == 2


async def test_the_only_provider_of_a_model_is_asked_again_although_it_said_that_it_has_it_not(
    harness: ProxyHarness,
) -> None:
    alpha = await harness.add_provider("alpha", error_reply(404, code="model_not_found"), GOOD)
    arbstr = await harness.start()
    await arbstr.chat()
    assert (await arbstr.chat()).status == 200
    assert len(alpha.requests) == 2


async def test_the_last_provider_is_probed_early_by_one_request_at_a_time(harness: ProxyHarness) -> None:
    back = asyncio.Event()
    alpha = await harness.add_provider("alpha", error_reply(500), [GOOD[0], back, *GOOD[1:]])
    arbstr = await harness.start(retry={"max_retries": 0}, breaker={"failure_threshold": 1})
    await arbstr.chat("first")
    assert await open_breakers(arbstr) == {"alpha"}
    probe = await arbstr.start_chat("second")
    await alpha.asked(2)
    refused = await arbstr.chat("third")
    assert refused.refusal == (503, "upstream_error", "no_healthy_provider")
    assert int(refused.headers["Retry-After"]) >= 1
    back.set()
    assert (await probe).status == 200
    assert await open_breakers(arbstr) == set()
    assert (await arbstr.chat("fourth")).status == 200


async def test_a_pause_that_the_last_provider_asked_for_holds(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", error_reply(429, Retry_After="86400"), GOOD)
    arbstr = await harness.start(breaker={"open_for": 1, "max_open_for": 20})
    await arbstr.chat()
    refused = await arbstr.chat()
    assert refused.refusal == (503, "upstream_error", "no_healthy_provider")
    assert int(refused.headers["Retry-After"]) <= 20, "not a day"
    assert len(alpha.requests) == 1
