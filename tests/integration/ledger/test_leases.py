"""Budgets that instances share through PostgreSQL: never overspent, used up, and back after kills and outages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from arbstr.clock import wall_ms
from arbstr.config.clients import ClientSettings, digest_of
from arbstr.config.schema import Budget, Config, Policies, Rule
from arbstr.errors import LedgerUnavailable
from arbstr.ledger import accounts
from arbstr.ledger.backend import backend_at
from arbstr.ledger.leases import KEPT_S, Ask, Leases, Period
from arbstr.ledger.pending_row import PendingRow
from arbstr.ledger.postgres import leases
from arbstr.ledger.postgres.write_connection import PostgresWriteConnection
from arbstr.ledger.rollups import Rollups
from arbstr.ledger.sql import Statements
from arbstr.places import PostgresPlace
from arbstr.types import RequestRecord
from tests.support.clock import Clock
from tests.support.instances import Instance, capped
from tests.support.lease_bank import LeaseBank
from tests.support.ledger_builders import HOUR, record
from tests.support.ledgers import PostgresLedgers, opened, write_rows
from tests.support.patience import PATIENCE_S
from tests.support.postgres import PostgresServer

SATS_100 = capped(max_sats_per_month=100)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests wait for an answer as long as a busy machine needs for it."""
    monkeypatch.setattr("arbstr.engine.budget._MORE_WITHIN_S", PATIENCE_S)


@pytest.fixture
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The server, running again afterwards."""
    yield postgres
    if not postgres.runs:
        postgres.start()


@asynccontextmanager
async def instances(
    place: PostgresPlace, tmp_path: Path, *configs: Config, **given: Any
) -> AsyncIterator[list[Instance]]:
    """Run instances, each with a directory of its own."""
    places = [PostgresPlace.at(place.url.reveal(), tmp_path / f"{number}.db") for number in range(len(configs))]
    running = [Instance(*pair, **given) for pair in zip(places, configs, strict=True)]
    for one in running:
        await one.start()
        await one.budgets.recall()
    try:
        yield running
    finally:
        for one in running:
            if not one.has_died:
                await one.stop()


def row_msats(own_ledgers: PostgresLedgers, place: PostgresPlace) -> int:
    [(sats,)] = own_ledgers.read(place, "SELECT COALESCE(SUM(cost_sats), 0) FROM requests")
    return int(sats * 1000)


def change(own_ledgers: PostgresLedgers, sql: str) -> None:
    with psycopg.connect(own_ledgers.url, autocommit=True) as connection:
        connection.execute(sql.encode())


async def renewed(instance: Instance) -> None:
    """Renew leases as soon as the database is back."""
    for _ in range(9):
        with suppress(LedgerUnavailable):
            return await instance.leased.renew_now()
    raise AssertionError(instance.ledger.problem)


def look(instance: Instance) -> bool:
    """Have it look for instances that have died, as a minute later."""
    instance.ledger._connection._look_at = 0  # type: ignore[union-attr]  # PostgreSQL's
    instance.ledger._wake_now()
    return False


def renew(asks: list[Ask], db: Statements, rollups: Rollups) -> Leases:
    return leases.renew(db, asks)


def amend(request_id: str, msats: int, db: Statements, rollups: Rollups) -> None:
    row = accounts._row(db, rollups.dialect, request_id)
    assert row is not None
    accounts._change_row(db, rollups, row, msats, 0)


async def until(true: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.01)


async def test_two_instances_with_500_parallel_requests_spend_one_budget_and_no_more(
    own_ledgers: PostgresLedgers, place: PostgresPlace, tmp_path: Path
) -> None:
    async with instances(place, tmp_path, SATS_100, SATS_100) as (one, other):
        both = [one.spend(400) for _ in range(250)] + [other.spend(400) for _ in range(250)]
        admitted = sum(await asyncio.gather(*both))
        assert 0 < admitted <= 250
        for instance in (one, other) * 4:  # what one holds still, the other gets
            await instance.leased.renew_now()
            admitted += await instance.spend(400)
        while await one.spend(1):
            admitted += 0
        await one.ledger.settle(PATIENCE_S)
        await other.ledger.settle(PATIENCE_S)
        await one.leased.renew_now()
        await other.leased.renew_now()
        spent = row_msats(own_ledgers, place)
        assert spent <= 100_000
        assert one.status.spent_msats == other.status.spent_msats == spent
        left = (one.status.held_msats or 0) + (other.status.held_msats or 0)
        assert spent + left <= 100_000
    assert row_msats(own_ledgers, place) == spent
    assert own_ledgers.read(place, "SELECT SUM(granted_msats - written_msats) FROM budget_leases") == [(0,)]


async def test_what_a_killed_instance_held_comes_back_and_the_other_spends_it_to_the_millisat(
    own_ledgers: PostgresLedgers, place: PostgresPlace, tmp_path: Path
) -> None:
    async with instances(place, tmp_path, SATS_100, SATS_100) as (dead, alive):
        for _ in range(20):
            assert await dead.spend(500)
            assert await alive.spend(500)
        await dead.leased.renew_now()
        under_way = dead.reserve(700)
        assert under_way is not None
        await dead.die()
        while await alive.spend(500):
            pass
        while await alive.spend(1):
            pass
        held = alive.status.held_elsewhere_msats
        assert held >= 700  # also what was under way: it may have been spent
        assert alive.status.spent_msats + held == 100_000
        change(own_ledgers, f"UPDATE budget_leases SET renewed_at = renewed_at - interval '{KEPT_S + 1} s'")
        await alive.leased.renew_now()
        assert alive.status.held_elsewhere_msats == 0
        assert await alive.spend(held - 1)
        assert await alive.spend(1)
        assert not await alive.spend(1)
        await alive.ledger.settle(PATIENCE_S)
        assert row_msats(own_ledgers, place) == 100_000


async def test_without_the_database_an_instance_serves_within_its_leases_says_so_and_recovers(
    own_ledgers: PostgresLedgers, place: PostgresPlace, tmp_path: Path, server: PostgresServer
) -> None:
    async with instances(place, tmp_path, SATS_100) as [one]:
        assert await one.spend(1000)
        await one.ledger.settle(PATIENCE_S)
        await one.leased.renew_now()
        server.crash()
        one.ledger._wake_now()
        held = one.status.held_msats or 0
        assert held > 1000
        assert await one.spend(1000)
        await until(lambda: one.ledger.problem)
        assert one.leased.notice() == f"ledger away; serving within the leases: {(held - 1000) / 1000:.10g} sats left"
        assert await one.spend(held - 1000)
        assert not await one.spend(1)
        assert one.leased.notice() == (
            "ledger away; nothing is left of the leases: budgets admit no requests until it is back"
        )
        server.start()
        one.ledger._wake_now()
        await until(lambda: one.ledger.problem is None and (one.status.held_msats or 0) > 1000)
        assert one.leased.notice() is None
        assert await one.spend(1000)
    assert row_msats(own_ledgers, place) == 1000 + held + 1000


async def test_a_renewal_whose_answer_is_lost_costs_nothing(
    place: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with instances(place, tmp_path, SATS_100, SATS_100) as (one, other):
        real = PostgresWriteConnection.change

        async def loses(self: PostgresWriteConnection, work: Any) -> Any:
            await real(self, work)
            self._db.abort()
            raise psycopg.OperationalError("the connection was lost")

        for spent in (0, 700, 1400):
            with monkeypatch.context() as patched:
                patched.setattr(PostgresWriteConnection, "change", loses)
                with pytest.raises(LedgerUnavailable):
                    await one.leased.renew_now()
            assert (one.status.held_msats or 0) > 700  # as before
            await renewed(one)
            assert one.status.spent_msats == spent
            assert await one.spend(700)
        spent = 2100
        for msats in (1000, 10):
            while await one.spend(msats):
                spent += msats
        assert spent + (other.status.held_msats or 0) > 99_000
        await one.leased.renew_now()
        await other.leased.renew_now()
        held = (one.status.held_msats or 0) + (other.status.held_msats or 0)
        assert one.status.spent_msats == other.status.spent_msats == spent
        assert spent + held <= 100_000


@pytest.mark.parametrize("ahead_ms", [3 * HOUR, -3 * HOUR])
async def test_periods_are_by_the_databases_clock(
    own_ledgers: PostgresLedgers, place: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_ms: int
) -> None:
    """This machine's clock is hours ahead, or behind."""
    hourly = capped(max_sats_per_hour=100)
    monkeypatch.setattr("arbstr.ledger.postgres.write_connection.wall_ms", lambda: wall_ms() + ahead_ms)
    async with instances(place, tmp_path, hourly, hourly, ahead_ms=ahead_ms) as both:
        for each in both:
            assert await each.spend(1000)
            await each.ledger.settle(PATIENCE_S)
        for each in both:
            await each.leased.renew_now()
            assert abs(each.leased.now_ms() - wall_ms()) < HOUR / 60
            assert each.status.spent_msats == 2000
        assert own_ledgers.read(place, "SELECT COUNT(*) FROM budget_periods WHERE spent_msats = 2000") == [(1,)]


async def test_budgets_of_policies_and_clients_count_their_own_rows(place: PostgresPlace, tmp_path: Path) -> None:
    config = Config(
        budget=Budget(max_sats_per_month=100),
        policies=Policies(rules=(Rule(name="code", max_sats_per_month=50),)),
        clients=(ClientSettings(name="alice", key_sha256=digest_of("alice"), max_sats_per_month=20),),
    )
    async with instances(place, tmp_path, config, config) as (one, other):
        assert await one.spend(1000)
        assert await one.spend(2000, policy="code")
        assert await other.spend(3000, policy="code", client="alice")
        for each in (one, other) * 2:
            await each.ledger.settle(PATIENCE_S)
            await each.leased.renew_now()
        for each in (one, other):
            spent = {status.scope: status.spent_msats for status in each.budgets.status()}
            assert spent == {"global": 6000, "code": 5000, "client:alice": 3000}
        assert not await one.spend(18_000, client="alice")
        assert await one.spend(12_000, client="alice")  # the other may hold a quarter


async def test_what_was_spent_before_a_budget_was_set_up_counts_and_what_comes_from_files_and_balances(
    own_ledgers: PostgresLedgers, place: PostgresPlace, tmp_path: Path
) -> None:
    before = record(received_at_ms=wall_ms(), cost_msats=40_000)
    await write_rows(place, [before])
    async with instances(place, tmp_path, SATS_100) as [one]:
        assert one.status.spent_msats == 40_000
        dead = await opened(place)
        stream = record(received_at_ms=wall_ms(), streaming=True, cost_msats=None, doubtful_msats=900)
        await dead.write([PendingRow(stream, final=False)], {}, {})
        await dead.close()
        await until(lambda: look(one) or own_ledgers.read(place, "SELECT COUNT(*) FROM requests") == [(2,)])
        await one.ledger.change(partial(amend, before.request_id, 40_050))  # as a balance shows
        await one.leased.renew_now()
        assert one.status.spent_msats == 40_950
        await one.ledger.change(lambda db, rollups: leases.recount(db))  # as a copy does
        await one.leased.renew_now()
        await until(lambda: own_ledgers.read(place, "SELECT 1 FROM budget_periods WHERE known_at < changes") == [])
        await one.leased.renew_now()
        assert one.status.spent_msats == 40_950
        assert await one.spend(100_000 - 40_950)
        assert not await one.spend(1)


async def test_an_instance_that_comes_back_under_another_session_takes_its_leases_along(
    own_ledgers: PostgresLedgers, place: PostgresPlace
) -> None:
    """Its former connection is lost, which the server does not know yet."""
    backend = backend_at(place)
    first, _ = await backend.open()
    ask = Ask(Period("", "", wall_ms() + HOUR, wall_ms() + 2 * HOUR), 0, 100, 0, 1000)
    await first.change(partial(renew, [ask]))
    again, _ = await backend.open()
    assert own_ledgers.read(place, "SELECT session, granted_msats FROM budget_leases") == [(2, 156)]
    found = await again.change(partial(renew, [ask]))
    assert found.held[ask.period].held_elsewhere_msats == 0
    await again.close()
    await first.close()


async def test_of_different_limits_the_lower_holds_until_they_agree(
    place: PostgresPlace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with instances(place, tmp_path, SATS_100, capped(max_sats_per_month=20)) as (one, other):
        await one.leased.renew_now()
        assert "the budget global / month is 100 sats here and 20 at another instance" in caplog.text
        assert not await one.spend(30_000)
        other.budgets.renew(SATS_100.model_copy())
        await other.leased.renew_now()
        await one.leased.renew_now()
        assert await one.spend(30_000)
        one.budgets.renew(capped(max_sats_per_month=31))
        assert not await one.spend(2000)
        for each in (one, other, other, one):  # it hears of it, and gives back
            await each.leased.renew_now()
        assert not await one.spend(1001)
        assert await one.spend(900)
        one.budgets.renew(Config())
        assert one.budgets.status() == ()
        assert await one.spend(10**9)
        one.budgets.renew(SATS_100)
        await one.ledger.settle(PATIENCE_S)
        await one.leased.renew_now()
        assert one.status.spent_msats > 10**9


async def test_the_database_answers_as_the_model_of_it_does(place: PostgresPlace) -> None:
    random, clock = Random(7), Clock(time.time())
    bank = LeaseBank(clock)
    sessions = [await opened(place) for _ in range(3)]
    periods = [Period("", "", 0, 1), Period("code", "", 0, 1), Period("", "alice", 0, 1)]
    hours = [(hour, hour + HOUR) for hour in (wall_ms() - wall_ms() % HOUR - HOUR, wall_ms() + 10 * HOUR)]
    periods = [Period(one.policy, one.client, *hour) for one in periods for hour in hours]
    written: list[RequestRecord] = []
    begun = [one for one in periods if one.starts_ms < wall_ms()]
    for number in [1, 2, 3] * 25:
        session = sessions[number - 1]
        if random.random() < 0.4:
            rows = [_row(random) for _ in range(random.randint(1, 5))]
            again = random.sample(written, min(2, len(written)))  # their answer was lost
            await session.write([PendingRow(row, final=True) for row in [*rows, *again, *rows]], {}, {})
            written += rows
            bank.write(number, rows)
        else:
            asks = [_ask(random, one) for one in random.sample(periods, 3)]
            found = await session.change(partial(renew, asks))
            for one in asks:  # what the model knows at once
                if one.period in begun and not found.held[one.period].is_known:
                    bank.periods.setdefault(one.period, bank.of_rows(one.period)).is_known = False
            assert bank.renew(number, asks).held == found.held
    for session in sessions:
        await session.close()


def _row(random: Random) -> RequestRecord:
    return record(
        received_at_ms=wall_ms() - 2 * HOUR,
        policy=random.choice([None, "code"]),
        client=random.choice([None, "alice", "bob"]),
        cost_msats=random.randint(0, 50),
    )


def _ask(random: Random, period: Period) -> Ask:
    limit = random.randint(0, 300)
    need, extra, cap = limit + random.randint(-50, 50), random.randint(0, 500), random.choice([None, 900, 1000])
    return Ask(period, limit, need, extra, cap, returns=random.random() < 0.1)
