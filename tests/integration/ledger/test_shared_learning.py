"""What several instances have learned adds up in the ledger: each observation once, whatever fails meanwhile."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from random import Random
from typing import Any, TypeVar

import pytest

from arbstr.config.schema import Config
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.learning.learner import Learner
from arbstr.errors import LedgerUnavailable
from arbstr.ledger.postgres.channel import PostgresChannel
from arbstr.ledger.sql import Statements
from arbstr.places import PostgresPlace
from arbstr.sharing.learning import EVERY_S, SharedLearning
from tests.support.clock import Clock
from tests.support.engine_builders import provider
from tests.support.ledgers import PostgresLedgers, opened, write_rows

T = TypeVar("T")
CONFIG = Config(providers=(provider("alpha"), provider("beta")))


class Instance:
    """A learner that shares over a channel, which can lose its connection just when a transaction was committed."""

    def __init__(self, name: str, channel: PostgresChannel) -> None:
        self.learner = Learner(CONFIG, clock=Clock(), publish=lambda event: None)
        self.clock = Clock()
        self.health = CircuitBreakers(
            ("alpha", "beta"),
            CONFIG.breaker,
            clock=self.clock,
            now_ms=lambda: 0,
            random=lambda: 0.0,
            on_change=lambda event: None,
        )
        self.learning = SharedLearning(lambda: self, name, self.clock)
        self.loses = ""
        self._channel = channel

    async def load(self, place: PostgresPlace) -> None:
        """Restore what is in the ledger, as a start does."""
        ledger = await opened(place)
        learned = await ledger.learned()
        await ledger.close()
        self.learner.restore(learned.ratios, learned.cells)
        self.health.restore(
            {name: json.loads(text) for (kind, name), text in learned.cells.items() if kind == "health"}
        )
        self.learning.loaded(learned)

    def learn(self, name: str, tokens: int) -> None:
        self.learner.tokens.update("chat", "gpt-4o", 400, None, 100, tokens, provider=name)
        self.learner.offer(name, "gpt-4o").record_counts(tokens, tokens)
        permit = self.health.acquire(name)
        assert permit is not None
        permit.succeeded(100)

    async def sync(self) -> None:
        await self.learning.sync_now(self)

    @property
    def counts(self) -> dict[tuple[str, str], Any]:
        ratios, cells = self.learner.export()
        seen: dict[tuple[str, str], Any] = {("ratios", policy): count for policy, (_, count) in ratios.items()}
        for (kind, key), text in cells.items():
            state = json.loads(text)
            if kind == "lengths":
                seen[kind, key] = {name: numbers[0] for name, numbers in state.items()}
            elif kind == "counts":
                seen[kind, key] = state[0]
        for name, figures in self.health.figures().items():
            seen["health", name] = (figures["attempts"], figures["answers"])
        return seen

    # As a channel

    async def do(self, work: Callable[[Statements], T]) -> T:
        if self.loses == "before":
            raise LedgerUnavailable("The connection was lost.")
        result = await self._channel.do(work)
        if self.loses == "after":
            raise LedgerUnavailable("The connection was lost.")
        return result

    async def wait(self, woken: Any) -> None:
        raise NotImplementedError

    async def heard(self) -> list[str]:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


@pytest.fixture
async def channel(place: PostgresPlace) -> AsyncIterator[PostgresChannel]:
    await write_rows(place, [])
    async with AsyncExitStack() as stack:
        made = await PostgresChannel.open(place)
        stack.push_async_callback(made.close)
        yield made


@pytest.mark.parametrize("seed", range(4))
async def test_any_interleaving_with_failures_and_restarts_counts_what_one_would(
    place: PostgresPlace, channel: PostgresChannel, seed: int
) -> None:
    random = Random(seed)
    alone = Instance("alone", channel)
    instances = [Instance(str(number), channel) for number in range(3)]
    for step in range(80):
        place_of = random.randrange(3)
        one = instances[place_of]
        action = random.random()
        if action < 0.7:
            name, tokens = random.choice(["alpha", "beta"]), random.randint(1, 900)
            one.learn(name, tokens)
            alone.learn(name, tokens)
        elif action < 0.95:
            one.loses = random.choice(["", "", "before", "after"])
            try:
                await one.sync()
            except LedgerUnavailable:
                assert one.loses
            one.loses = ""
        else:
            await one.sync()
            instances[place_of] = Instance(f"{place_of}, restarted at {step}", channel)
            await instances[place_of].load(place)
    for one in (*instances, *instances):
        await one.sync()
    assert [one.counts for one in instances] == [alone.counts] * 3
    estimates = [one.learner.tokens.predict("chat", "gpt-4o", 400, None) for one in instances]
    expected = alone.learner.tokens.predict("chat", "gpt-4o", 400, None)
    assert all(estimate == pytest.approx(expected, rel=0.2) for estimate in estimates)


async def test_an_instance_without_news_writes_nothing(
    own_ledgers: PostgresLedgers, place: PostgresPlace, channel: PostgresChannel
) -> None:
    one, other = Instance("one", channel), Instance("other", channel)
    one.learn("alpha", 77)
    await one.sync()
    await other.sync()
    assert other.counts == one.counts
    versions = own_ledgers.read(place, "SELECT kind, key, version FROM learned ORDER BY 1, 2")
    for again in (one, other, one, other):
        await again.sync()
    assert own_ledgers.read(place, "SELECT kind, key, version FROM learned ORDER BY 1, 2") == versions


async def test_what_is_learned_while_others_are_heard_is_not_lost(channel: PostgresChannel) -> None:
    one, other = Instance("one", channel), Instance("other", channel)
    one.learn("alpha", 77)
    await one.sync()
    other.learn("alpha", 5)
    do = other._channel.do

    async def meanwhile(work: Callable[[Statements], T]) -> T:
        result = await do(work)
        other.learn("alpha", 6)
        return result

    other.do = meanwhile  # type: ignore[method-assign]  # something happens at just that moment
    await other.sync()
    other.do = do  # type: ignore[method-assign]  # as it was
    await other.sync()
    await one.sync()
    assert one.counts == other.counts
    assert one.counts["ratios", "chat"] == 3


async def test_what_was_learned_is_exchanged_every_half_minute(channel: PostgresChannel) -> None:
    one, other = Instance("one", channel), Instance("other", channel)
    await one.learning.sync(one)
    await other.learning.sync(other)
    one.learn("alpha", 77)
    for now_s, known in ((0.0, {}), (EVERY_S, one.counts)):
        for each in (one, other):
            each.clock.now += now_s
            await each.learning.sync(each)
        assert other.counts == known
