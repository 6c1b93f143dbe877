"""Alerts of what instances share are posted by one of them; where the database can't say which, by each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from arbstr.config.schema import Provider
from arbstr.events import Alert
from arbstr.ledger.postgres import shared_states
from arbstr.redaction import Secret
from arbstr.sharing import alerts
from arbstr.sharing.alerts import HELD_S, SharedAlerts
from arbstr.sharing.exchange import Channel
from arbstr.sharing.parts import Digests

NOW_MS, HOUR_MS = 1_800_000_000_000, 3_600_000
KEY = Secret("sk-0123456789abcdef")
DOWN = Alert("provider_down", "node", NOW_MS, reason="5 failures in a row")
SPENT = Alert("budget", "global", NOW_MS, until_ms=NOW_MS + HOUR_MS, period="day", percent=90, limit_msats=1000)


class Database:
    """What the claim's statement does, without a database; `stalls` is one that never answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.owners: dict[str, str] = {}
        self.held_s: list[float] = []
        self.stalls = False
        monkeypatch.setattr(shared_states, "claim", self._claim)

    def _claim(self, db: Any, kind: str, key: str, instance: str, for_s: float) -> bool:
        self.held_s.append(for_s)
        return self.owners.setdefault(key, instance) == instance

    async def do(self, work: Callable[[Any], Any]) -> Any:
        if self.stalls:
            await asyncio.Event().wait()
        return work(None)


class Exchange:
    """Does errands at once, as long as it is connected."""

    def __init__(self, database: Database) -> None:
        self.problem: str | None = None
        self.errands: list[asyncio.Future[None]] = []
        self._database = database

    def run_errand(self, errand: Callable[[Channel], Awaitable[None]]) -> None:
        self.errands.append(asyncio.ensure_future(errand(self._database)))  # type: ignore[arg-type]  # all it uses


class Instance(SharedAlerts):
    """An instance that knows one node, by a name of its own."""

    def __init__(self, database: Database, name: str, node: str = "node") -> None:
        self.providers = [Provider(name=node, url="https://node.example/v1", api_key=KEY)]
        self.exchange = Exchange(database)
        super().__init__(lambda: self, self.exchange, name, Digests(), lambda: NOW_MS)  # type: ignore[arg-type]  # all it uses


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    return Database(monkeypatch)


async def test_one_posts_what_all_hear_of_whatever_they_call_the_provider(database: Database) -> None:
    one, other = Instance(database, "one"), Instance(database, "other", node="their-node")
    assert await one.claim(DOWN)
    assert not await other.claim(Alert("provider_down", "their-node", NOW_MS + 300, reason="another arbstr found it"))
    assert await one.claim(DOWN)  # and the same again, once it has cleared
    assert not any("node.example" in key or KEY.reveal() in key for key in database.owners)


async def test_each_percent_period_and_limit_of_a_budget_is_an_alert(database: Database) -> None:
    one, other = Instance(database, "one"), Instance(database, "other")
    assert await one.claim(SPENT)
    assert not await other.claim(SPENT)
    for another in (
        replace(SPENT, percent=100),
        replace(SPENT, until_ms=NOW_MS + 2 * HOUR_MS),
        replace(SPENT, limit_msats=2000),
        replace(SPENT, name="client:a"),
    ):
        assert await other.claim(another)
    assert database.held_s[0] == 3600.0  # until the period ends


async def test_a_budget_whose_period_ends_now_is_claimed_for_a_while(database: Database) -> None:
    late = Alert("budget", "global", NOW_MS, until_ms=NOW_MS - 1, period="hour", percent=75, limit_msats=1000)
    assert await Instance(database, "one").claim(late)
    assert database.held_s == [HELD_S]


async def test_charges_that_no_request_explains_are_each_instances_own(database: Database) -> None:
    charge = Alert("unexplained_charge", "node", NOW_MS, msats=500)
    assert await Instance(database, "one").claim(charge)
    assert await Instance(database, "other").claim(charge)
    assert database.owners == {}


async def test_without_the_database_each_posts_at_once(database: Database) -> None:
    await Instance(database, "one").claim(DOWN)
    other = Instance(database, "other")
    other.exchange.problem = "The server does not answer."
    assert await other.claim(DOWN)
    assert other.exchange.errands == []


async def test_a_database_that_does_not_answer_is_not_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "PATIENCE_S", 0.01)
    database.stalls = True
    one = Instance(database, "one")
    assert await one.claim(DOWN)
    for errand in one.exchange.errands:
        errand.cancel()
