"""Whole instances on one ledger in PostgreSQL: what one finds the others know, whatever fails between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import pytest

from arbstr.engine.routing import policy
from arbstr.events import ProviderHealthChanged
from arbstr.places import PostgresPlace
from arbstr.runtime import process
from tests.support.harness import Arbstr, ProxyHarness
from tests.support.patience import PATIENCE_S
from tests.support.provider import completion, error_reply, json_reply

OK = json_reply(completion("Hello"))
FAILS = error_reply(500)
BREAKS = {"failure_threshold": 1}


class Instances:
    """Instances with the same providers on one ledger, all ended with the test."""

    def __init__(self, place: PostgresPlace, stack: AsyncExitStack) -> None:
        self.place = place
        self._stack = stack
        self.first: ProxyHarness | None = None

    async def configured(self) -> ProxyHarness:
        """A harness: providers added to the first are those of all that follow."""
        made = await self._stack.enter_async_context(ProxyHarness(self.place))
        if self.first is None:
            self.first = made
        made.providers = self.first.providers
        return made


@pytest.fixture
async def instances(place: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Instances]:
    monkeypatch.setattr(process, "freeze_gc", lambda: None)
    monkeypatch.setattr(policy, "entry_points", cache(entry_points))
    async with AsyncExitStack() as stack:
        yield Instances(place, stack)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


def state(arbstr: Arbstr, provider: str = "alpha") -> str:
    return next(one.state for one in arbstr.source.snapshot().providers if one.name == provider)


def reasons(arbstr: Arbstr) -> list[str]:
    return [event.reason for event in arbstr.events if isinstance(event, ProviderHealthChanged)]


async def pair(instances: Instances, **sections: Any) -> tuple[Arbstr, Arbstr]:
    one = await (await instances.configured()).start(**sections)
    other = await (await instances.configured()).start(**sections)
    return one, other


async def test_a_breaker_that_one_opens_is_open_in_the_others_and_closes_in_all(instances: Instances) -> None:
    first = await instances.configured()
    alpha = await first.add_provider("alpha", FAILS)
    await first.add_provider("beta", OK)
    sections = {"breaker": {**BREAKS, "open_for": 0.2}, "retry": {"backoff": 0, "max_retries": 0}}
    one, other = await pair(instances, **sections)
    await one.chat()
    assert state(one) == "open"
    await until(lambda: state(other) != "closed")
    assert reasons(other) == ["another arbstr found: 1 failures in a row"]
    alpha.script = [OK]
    await until(lambda: state(other) == "half_open")
    await other.chat()
    await until(lambda: state(one) == state(other) == "closed")
