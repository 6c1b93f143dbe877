"""What rests for a while although its provider's breaker is closed."""

from __future__ import annotations

import pytest

from arbstr.engine.routing.cooldown import MODEL_GONE_S, MONEY_SHORT_S, REMEMBERED, UPSTREAM_DOWN_S, Cooldowns
from arbstr.errors import AttemptError
from tests.support.clock import Clock

GONE = AttemptError("stale_catalogue", "HTTP 404: no such model", status=404)
UPSTREAM = AttemptError("status", "HTTP 424: its upstream", status=424)
BROKE = AttemptError("status", "HTTP 402: insufficient balance", status=402)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cooldowns(clock: Clock) -> Cooldowns:
    return Cooldowns(clock)


@pytest.mark.parametrize(("error", "seconds"), [(GONE, MODEL_GONE_S), (UPSTREAM, UPSTREAM_DOWN_S)])
def test_a_model_rests_at_one_provider_alone(
    cooldowns: Cooldowns, clock: Clock, error: AttemptError, seconds: float
) -> None:
    cooldowns.failed("alpha", "gpt-4o", error)
    assert set(cooldowns.reasons("gpt-4o")) == {"alpha"}
    assert cooldowns.reasons("gpt-4o-mini") == {}
    clock.now += seconds
    assert cooldowns.reasons("gpt-4o") == {}


def test_money_rests_for_every_model(cooldowns: Cooldowns, clock: Clock) -> None:
    cooldowns.failed("alpha", "gpt-4o", BROKE)
    assert set(cooldowns.reasons("anything")) == {"alpha"}
    clock.now += MONEY_SHORT_S
    assert cooldowns.reasons("anything") == {}


@pytest.mark.parametrize("error", [GONE, UPSTREAM, BROKE])
def test_a_success_ends_a_cooldown(cooldowns: Cooldowns, error: AttemptError) -> None:
    cooldowns.failed("alpha", "gpt-4o", error)
    cooldowns.succeeded("beta", "gpt-4o")
    assert set(cooldowns.reasons("gpt-4o")) == {"alpha"}
    cooldowns.succeeded("alpha", "gpt-4o")
    assert cooldowns.reasons("gpt-4o") == {}


def test_a_success_with_another_model_says_nothing_of_this_one(cooldowns: Cooldowns) -> None:
    cooldowns.failed("alpha", "gpt-4o", GONE)
    cooldowns.succeeded("alpha", "gpt-4o-mini")
    assert set(cooldowns.reasons("gpt-4o")) == {"alpha"}


@pytest.mark.parametrize(
    "error",
    [
        AttemptError("status", "HTTP 500", status=500),
        AttemptError("connect", "refused"),
        AttemptError("content", "HTTP 403: flagged", status=403),
    ],
    ids=str,
)
def test_other_failures_let_nothing_rest(cooldowns: Cooldowns, error: AttemptError) -> None:
    cooldowns.failed("alpha", "gpt-4o", error)
    assert cooldowns.reasons("gpt-4o") == {}


def test_memory_is_bounded_and_the_newest_are_kept(cooldowns: Cooldowns) -> None:
    for number in range(REMEMBERED + 1):
        cooldowns.failed("alpha", f"model-{number}", GONE)
    assert cooldowns.reasons("model-0") == {}
    assert set(cooldowns.reasons(f"model-{REMEMBERED}")) == {"alpha"}


def test_a_key_that_is_not_taken_rests_its_provider_until_it_is(cooldowns: Cooldowns, clock: Clock) -> None:
    cooldowns.set_key_problem("alpha", "it has expired")
    clock.now += 1e6
    cooldowns.failed("beta", "gpt-4o", GONE)
    cooldowns.succeeded("alpha", "gpt-4o")
    assert cooldowns.reasons("gpt-4o").keys() == {"alpha", "beta"}
    assert cooldowns.reasons("gpt-4o-mini") == {"alpha": "it has expired"}
    cooldowns.set_key_problem("alpha", None)
    cooldowns.set_key_problem("gamma", None)
    assert cooldowns.reasons("gpt-4o-mini") == {}
