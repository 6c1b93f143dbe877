"""Whole instances on one ledger in PostgreSQL: what one finds the others know, whatever fails between them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import cache, partial
from importlib.metadata import entry_points
from typing import Any

import pytest

from arbstr import __version__
from arbstr.engine.routing import policy
from arbstr.events import Alert, AlertRaised, ProviderHealthChanged
from arbstr.ledger.postgres import shared_states
from arbstr.ledger.postgres.channel import PostgresChannel
from arbstr.market.webhook import Turn
from arbstr.monitoring.remote_source import remote_source
from arbstr.places import PostgresPlace
from arbstr.runtime import process
from arbstr.sharing import exchange, leases
from arbstr.sharing.alerts import SharedAlerts
from tests.integration.test_alerts import hook
from tests.support.harness import Arbstr, ProxyHarness
from tests.support.ledgers import PostgresLedgers
from tests.support.patience import PATIENCE_S, SHORT_S
from tests.support.postgres import PostgresServer
from tests.support.provider import MODEL, completion, error_reply, json_reply, reply

OK = json_reply(completion("Hello"))
FAILS = error_reply(500)
GARBAGE = '{"v":1,"by":"?","kinds":["breaker","colour"]}'
BREAKS = {"failure_threshold": 1}
NODE_LIST = json_reply(
    {"data": [{"id": MODEL, "sats_pricing": {"prompt": 0.001, "completion": 0.003, "request": 0, "max_cost": 1}}]}
)


class Instances:
    """Instances with the same providers on one ledger, all ended with the test."""

    def __init__(self, place: PostgresPlace, stack: AsyncExitStack) -> None:
        self.place = place
        self._stack = stack
        self.harnesses: list[ProxyHarness] = []

    async def configured(self) -> ProxyHarness:
        """A harness: providers added to the first are those of all that follow."""
        made = await self._stack.enter_async_context(ProxyHarness(self.place))
        self.harnesses.append(made)
        made.providers = self.harnesses[0].providers
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


def balance(arbstr: Arbstr, provider: str = "alpha") -> int | None:
    found = arbstr.proxy._in_force.composition.balance_of(provider)
    return None if found is None else found.free_msats


def here(arbstr: Arbstr) -> str:
    return arbstr.source.instances()[0].name


def raised(arbstr: Arbstr) -> list[str]:
    return [event.alert.kind for event in arbstr.events if isinstance(event, AlertRaised)]


def is_away(arbstr: Arbstr) -> bool:
    sharing = arbstr.proxy._lasting.sharing
    return sharing is not None and sharing._exchange.problem is not None


def reasons(arbstr: Arbstr) -> list[str]:
    return [event.reason for event in arbstr.events if isinstance(event, ProviderHealthChanged)]


async def pair(instances: Instances, **sections: Any) -> tuple[Arbstr, Arbstr]:
    one = await (await instances.configured()).start(**sections)
    other = await (await instances.configured()).start(**sections)
    return one, other


async def test_a_breaker_that_one_opens_is_open_in_the_others_and_closes_in_all(instances: Instances) -> None:
    first = await instances.configured()
    await first.add_provider("alpha", FAILS)
    await first.add_provider("beta", OK)
    one, other = await pair(instances, breaker=BREAKS, retry={"max_retries": 0})
    await one.chat()
    assert state(one) == "open"
    await until(lambda: state(other) == "open")
    assert reasons(other) == ["another arbstr found: 1 failures in a row"]
    assert (await other.chat()).headers["X-Arbstr-Provider"] == "beta"
    other.source.close_breaker("alpha")
    await until(lambda: state(one) == state(other) == "closed")


async def test_what_all_hear_of_is_posted_once_and_by_each_without_the_ledger(
    instances: Instances, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_IDLE_S", 0.2)
    turns: list[Turn] = []
    ask = SharedAlerts.ask

    async def noted(self: SharedAlerts, alert: Alert, own_id: str) -> Turn:
        turns.append(await ask(self, alert, own_id))
        return turns[-1]

    monkeypatch.setattr(SharedAlerts, "ask", noted)
    first = await instances.configured()
    taker, alerts = await hook(first, reply(b"", status=200))
    charged = {**completion(), "cost": {"total_msats": 1000}}
    await first.add_provider("alpha", json_reply(charged), FAILS, input_rate=0, output_rate=0, base_fee=1)
    sections = {"alerts": {**alerts, "budget_percent": (10,)}, "budget": {"max_sats_per_month": 10}}
    one, other = await pair(instances, **sections, breaker=BREAKS, retry={"max_retries": 0})
    assert (await one.chat()).status == 200
    await until(lambda: raised(one) == raised(other) == ["budget"])
    await one.chat()
    await until(lambda: raised(one) == raised(other) == ["budget", "provider_down"])
    await until(lambda: len(turns) == 4)
    await until(lambda: len(taker.requests) == 2)
    assert len([turn for turn in turns if turn.id is not None]) == 2
    assert sorted(each.json["alert"] for each in taker.requests) == ["budget", "provider_down"]
    assert {each.json["instance"] for each in taker.requests} <= {here(one), here(other)}
    server.crash()
    try:
        for arbstr in (one, other):
            await until(partial(is_away, arbstr))
            arbstr.proxy._lasting.bus.publish(AlertRaised(Alert("balance", "alpha", 1, hours=2.0, msats=9)))
        await until(lambda: len(taker.requests) == 4)
    finally:
        server.start()
    assert {each.json["instance"] for each in taker.requests[2:]} == {here(one), here(other)}


async def test_a_claim_ends_and_its_number_stays_until_what_was_claimed_is_done(instances: Instances) -> None:
    await (await instances.configured()).start()  # which makes the tables
    channel = await PostgresChannel.open(instances.place)

    async def claimed(instance: str, for_s: float = 3600.0) -> tuple[str | None, bool, bool]:
        number = f"{instance}'s"
        found = await channel.do(lambda db: shared_states.claim(db, "alert", "a", instance, number, for_s))
        return found.number, 3500.0 < found.left_s <= 3600.0, found.done

    async def done(instance: str, for_s: float) -> None:
        await channel.do(lambda db: shared_states.finish(db, "alert", "a", instance, for_s))

    theirs, is_done = (None, True, False), (None, True, True)
    try:
        assert await claimed("one") == ("one's", False, False)
        assert await claimed("other") == theirs
        assert await claimed("one", 0.0) == ("one's", False, False)  # and dies
        assert await claimed("other") == ("one's", False, False)
        await done("other", 3600.0)
        assert await claimed("one") == is_done
        await done("other", 0.0)
        assert await claimed("one") == ("one's", False, False)
    finally:
        await channel.close()


async def test_each_shows_all_of_them_and_who_has_ended(instances: Instances) -> None:
    await (await instances.configured()).add_provider("alpha", OK)
    one = await (await instances.configured()).start()
    other = await (await instances.configured()).start(server={"name": "eu-2"})
    await one.chat()
    await until(lambda: len(one.source.instances()) == len(other.source.instances()) == 2)
    health = (await other.get("/health")).json["instances"]
    assert [each["this"] for each in health] == [True, False]
    assert health[0]["name"] == "eu-2"
    assert health[1]["name"] == f"{socket.gethostname()}:{one.url.rpartition(':')[2]}"
    assert (health[1]["version"], health[1]["stale"], health[0]["heard_at"]) == (__version__, False, None)
    assert 'arbstr_instances{state="live"} 2.0' in (await one.get("/metrics")).body.decode()
    async with remote_source(one.url, None) as remote:
        assert [each.name for each in remote.snapshot().instances] == [each["name"] for each in reversed(health)]
        await instances.harnesses[2].close()
        await until(lambda: len(one.source.instances()) == len(remote.snapshot().instances) == 1)


async def test_what_begins_after_a_reload_is_shared_too(instances: Instances) -> None:
    await (await instances.configured()).add_provider(
        "alpha", error_reply(404, "The model does not exist", code="model_not_found")
    )
    one, other = await pair(instances, retry={"max_retries": 0})
    instances.harnesses[1].sections = {"retry": {"max_retries": 1}}
    await one.proxy.reloads.reload()
    await one.chat()
    cooldowns = other.proxy._in_force.composition.health.cooldowns
    await until(lambda: cooldowns.left("alpha", MODEL)[0] > 0)


async def test_what_a_lost_notification_was_about_comes_with_the_next_look(
    instances: Instances, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_states, "notify", lambda db, kinds, instance: None)
    monkeypatch.setattr(exchange, "RESYNC_S", 0.2)
    await (await instances.configured()).add_provider("alpha", FAILS)
    one, other = await pair(instances, breaker=BREAKS, retry={"max_retries": 0})
    await one.chat()
    await until(lambda: state(other) == "open")


async def test_a_server_that_was_killed_and_is_back_loses_nothing(
    instances: Instances, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "FIRST_RETRY_S", 0.05)
    await (await instances.configured()).add_provider("alpha", FAILS)
    one, other = await pair(instances, breaker=BREAKS, retry={"max_retries": 0})
    server.crash()
    await one.chat()  # it serves on by itself, and nobody hears of it
    assert state(one) == "open"
    server.start()
    await until(lambda: state(other) == "open")


async def test_connections_that_stall_are_given_up_and_what_was_not_heard_is_read(
    instances: Instances, own_ledgers: PostgresLedgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "RESYNC_S", 0.3)
    await (await instances.configured()).add_provider("alpha", FAILS)
    one, other = await pair(instances, breaker=BREAKS, retry={"max_retries": 0})
    ours = "application_name = 'arbstr' AND datname = current_database()"
    backends = [pid for (pid,) in own_ledgers.read(instances.place, f"SELECT pid FROM pg_stat_activity WHERE {ours}")]
    for module in ("channel", "write_connection"):
        monkeypatch.setattr(f"arbstr.ledger.postgres.{module}.PATIENCE_S", SHORT_S)
    for pid in backends:
        os.kill(pid, signal.SIGSTOP)
    try:
        await one.chat()
        await until(lambda: state(other) == "open")
    finally:
        for pid in backends:
            os.kill(pid, signal.SIGCONT)


async def test_anyone_may_notify_and_write_anything(instances: Instances) -> None:
    import psycopg

    await (await instances.configured()).add_provider("alpha", FAILS)
    one, other = await pair(instances, breaker=BREAKS, retry={"max_retries": 0})
    with psycopg.connect(instances.place.url.reveal(), autocommit=True) as connection:
        for number, value in enumerate(("", "}{", "x" * 7000, '{"v":99,"kinds":{}}', GARBAGE)):
            connection.execute("SELECT pg_notify('arbstr_public', %s)", (value,))
            for kind in ("breaker", "cooldown", "prices", "balance", "instance", "colour"):
                connection.execute(
                    "INSERT INTO shared (kind, key, value, instance, changed_at, expires_at) VALUES "
                    "(%s, %s, %s, 'another', now() + interval '1 year', %s)",
                    (kind, f"any {number}", value, "infinity" if number % 2 else "3000-01-01"),
                )
            connection.execute("INSERT INTO learned (kind, key, value) VALUES ('lengths', %s, %s)", (value, value))
        connection.execute("SELECT pg_notify('arbstr_public', %s)", (GARBAGE,))
    await one.chat()
    await until(lambda: state(other) == "open")
    assert "can't be used" not in other.log


async def test_one_list_of_prices_and_one_balance_do_for_all(instances: Instances) -> None:
    first = await instances.configured()
    node = await first.add_provider("alpha", OK, listing=NODE_LIST, kind="routstr", models=())
    node.account = json_reply({"balance": 9000, "reserved": 0, "total_spent": 0})
    one, other = await pair(instances)
    await until(lambda: balance(one) == balance(other) == 9000)
    node.account = json_reply({"balance": 4000, "reserved": 0, "total_spent": 5000})
    polls = len(node.polls)
    one.proxy._in_force.composition.balances.read_soon("alpha")
    await until(lambda: balance(one) == balance(other) == 4000)
    assert len(node.polls) == polls + 1


async def test_what_one_has_learned_another_starts_with(instances: Instances) -> None:
    await (await instances.configured()).add_provider("alpha", OK)
    one = await (await instances.configured()).start()
    await one.chat()
    await one.row()
    await instances.harnesses[-1].close()
    other = await (await instances.configured()).start()
    [ratio] = other.source.snapshot().ratios
    assert ratio.samples == 1


async def test_with_sqlite_nothing_of_it_is_loaded(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", OK)
    arbstr = await harness.start()
    assert "instances" not in (await arbstr.get("/health")).json
    assert arbstr.proxy._lasting.sharing is None
    loading = "import sys, arbstr.runtime.compose; print([name for name in sys.modules if 'shar' in name])"
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", loading, stdout=asyncio.subprocess.PIPE)
    out, _ = await done.communicate()
    assert [name for name in out.decode().split("'") if name.startswith("arbstr")] == []
