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
from arbstr.ledger.postgres.shared_states import Claimed
from arbstr.market import webhook
from arbstr.market.webhook import Turn
from arbstr.redaction import Secret
from arbstr.sharing import alerts
from arbstr.sharing.alerts import CLAIM_S, HELD_S, SharedAlerts
from arbstr.sharing.exchange import Channel
from arbstr.sharing.parts import Digests

NOW_MS, HOUR_MS = 1_800_000_000_000, 3_600_000
KEY = Secret("sk-0123456789abcdef")
DOWN = Alert("provider_down", "node", NOW_MS, reason="5 failures in a row")
SPENT = Alert("budget", "global", NOW_MS, until_ms=NOW_MS + HOUR_MS, period="day", percent=90, limit_msats=1000)


class Database:
    """What the statements of claims do, without a database; `stalls` is one that never answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.claims: dict[str, tuple[str, str]] = {}  # by key: whose, and its number
        self.done: dict[str, float] = {}  # by key: for how many seconds
        self.stalls = False
        monkeypatch.setattr(shared_states, "claim", self._claim)
        monkeypatch.setattr(shared_states, "finish", self._finish)

    def _claim(self, db: Any, kind: str, key: str, instance: str, number: str, for_s: float) -> Claimed:
        owner, known = self.claims.setdefault(key, (instance, number))
        return Claimed(known) if owner == instance else Claimed(None, for_s, done=key in self.done)

    def _finish(self, db: Any, kind: str, key: str, instance: str, for_s: float) -> None:
        self.done[key] = for_s

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
        self.name = name
        self.exchange = Exchange(database)
        super().__init__(lambda: self, self.exchange, name, Digests(), lambda: NOW_MS)  # type: ignore[arg-type]  # all it uses

    async def posts(self, alert: Alert) -> bool:
        """Post an alert if it is this one's turn; return whether it was."""
        shared = self.of(alert)
        assert shared is not None
        if (await shared.ask(self.name)).id is None:
            return False
        shared.posted()
        await asyncio.gather(*self.exchange.errands)
        return True


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    return Database(monkeypatch)


async def test_one_posts_what_all_hear_of_whatever_they_call_the_provider(database: Database) -> None:
    one, other = Instance(database, "one"), Instance(database, "other", node="their-node")
    assert await one.posts(DOWN)
    assert not await other.posts(Alert("provider_down", "their-node", NOW_MS + 300, reason="another arbstr found it"))
    assert await one.posts(DOWN)  # and the same again, once it has cleared
    assert not any("node.example" in key or KEY.reveal() in key for key in database.claims)


async def test_each_percent_period_and_limit_of_a_budget_is_an_alert(database: Database) -> None:
    one, other = Instance(database, "one"), Instance(database, "other")
    assert await one.posts(SPENT)
    assert not await other.posts(SPENT)
    for another in (
        replace(SPENT, percent=100),
        replace(SPENT, until_ms=NOW_MS + 2 * HOUR_MS),
        replace(SPENT, limit_msats=2000),
        replace(SPENT, name="client:a"),
    ):
        assert await other.posts(another)
    assert next(iter(database.done.values())) == 3600.0  # until the period ends


async def test_a_budget_whose_period_ends_now_is_held_for_a_while(database: Database) -> None:
    late = Alert("budget", "global", NOW_MS, until_ms=NOW_MS - 1, period="hour", percent=75, limit_msats=1000)
    assert await Instance(database, "one").posts(late)
    assert list(database.done.values()) == [HELD_S]


async def test_what_is_claimed_but_not_posted_is_asked_for_again_when_the_claim_ends(database: Database) -> None:
    one, other = Instance(database, "one"), Instance(database, "other")
    assert await one.ask(DOWN, "its own") == Turn("its own")
    assert await other.ask(DOWN, "another") == Turn(None, CLAIM_S)
    one.posted(DOWN)
    assert await other.ask(DOWN, "another") == Turn(None)


def test_a_claim_outlasts_the_posting_of_an_alert() -> None:
    assert CLAIM_S > webhook.TRIES * webhook.PATIENCE_S + webhook.FIRST_PAUSE_S * (2 ** (webhook.TRIES - 1) - 1)


async def test_charges_that_no_request_explains_are_each_instances_own(database: Database) -> None:
    assert Instance(database, "one").of(Alert("unexplained_charge", "node", NOW_MS, msats=500)) is None


async def test_without_the_database_each_posts_at_once(database: Database) -> None:
    await Instance(database, "one").ask(DOWN, "one")
    other = Instance(database, "other")
    other.exchange.problem = "The server does not answer."
    assert await other.ask(DOWN, "other") == Turn("other")
    assert other.exchange.errands == []


async def test_a_database_that_does_not_answer_is_not_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "PATIENCE_S", 0.01)
    database.stalls = True
    one = Instance(database, "one")
    assert await one.ask(DOWN, "own") == Turn("own")
    for errand in one.exchange.errands:
        errand.cancel()
