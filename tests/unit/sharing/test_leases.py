"""What an instance holds of shared budgets: when it asks, what it gives back, and what it says without its database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from arbstr.config.clients import ClientSettings, digest_of
from arbstr.config.schema import Config
from arbstr.errors import BudgetExceeded, LedgerUnavailable
from arbstr.events import BudgetThreshold
from arbstr.ledger.leases import HELD_S, KEPT_S, Ask, Leases
from arbstr.sharing.slice import HORIZON_S
from tests.support.clock import Clock
from tests.support.instances import Spender, capped
from tests.support.lease_bank import BankStore, LeaseBank, at_once
from tests.support.patience import PATIENCE_S

NOON_S = datetime(2024, 2, 28, 12, tzinfo=UTC).timestamp()
AWAY = "The ledger db can't be used: it is away."
DAY_100 = capped(max_sats_per_day=100)


class Sharers:
    """Instances on one bank, whose time passes by hand."""

    def __init__(self) -> None:
        self.clock = Clock(NOON_S)
        self.bank = LeaseBank(self.clock)

    def one(self, config: Config = DAY_100) -> Sharer:
        return Sharer(self, config)


class Sharer(Spender):
    def __init__(self, sharers: Sharers, config: Config) -> None:
        self.store = BankStore(sharers.bank)
        self.notices: list[str] = []
        super().__init__(
            self.store,
            config,
            lambda row: sharers.bank.write(self.store.session, [row]),
            now_ms=lambda: sharers.bank.now_ms,
            clock=sharers.clock,
        )
        self.leased._on_state = lambda ok, message: self.notices.append(message)

    def renew(self, times: int = 1) -> None:
        for _ in range(times):
            at_once(self.leased.renew_now())

    def answers_when(self) -> tuple[asyncio.Event, asyncio.Event]:
        """Hold answers back; return what happens when they are asked for, and what has them sent."""
        asked, answered = asyncio.Event(), asyncio.Event()
        renew = self.store.renew

        async def slow(asks: Sequence[Ask]) -> Leases:
            answer = await renew(asks)
            asked.set()
            await answered.wait()
            return answer

        self.store.renew = slow  # type: ignore[method-assign]  # answers come by hand
        return asked, answered

    @property
    def held(self) -> int:
        return self.status.held_msats or 0


@pytest.fixture
def sharers() -> Sharers:
    return Sharers()


def test_before_anything_is_leased_nothing_is_admitted_and_the_refusal_says_why(sharers: Sharers) -> None:
    one = sharers.one()
    with pytest.raises(BudgetExceeded) as caught:
        one.budgets.reserve(None, 1)
    assert str(caught.value) == (
        "The budget for this day admits no requests yet: nothing of it is leased to this instance, as the ledger can't "
        "be reached. arbstr keeps trying; see its log."
    )
    assert one.reserve(0) is not None
    one.renew()
    assert one.reserve(1) is not None


async def test_a_start_without_the_database_says_why_and_mends_itself(sharers: Sharers) -> None:
    one = sharers.one()
    one.store.problem = AWAY
    with pytest.raises(LedgerUnavailable, match="it is away"):
        await one.budgets.recall()
    assert one.leased.notice() == (
        "ledger away; nothing is left of the leases: budgets admit no requests until it is back"
    )
    one.store.problem = None
    running = asyncio.create_task(one.leased.run())
    await one.budgets.recall()
    assert one.reserve(1) is not None
    running.cancel()


def test_a_refusal_says_what_is_held_here_and_elsewhere(sharers: Sharers) -> None:
    one, other = sharers.one(), sharers.one()
    for each in (other, one):
        each.renew(2)
    reservation = one.budgets.open(None)
    for cap in one.budgets.caps_of(None, None):
        cap.now.may_grow = False  # as the last answer was
    with pytest.raises(BudgetExceeded) as caught:
        reservation.cover(90_000)
    assert (
        "0 spent and 0 reserved by requests in flight; 2.929 more are held by this instance and 6.25 by others; "
        in (str(caught.value))
    )
    assert caught.value.retry_after_s == 12 * 3600


def test_what_is_spent_fast_is_held_for_a_minute_and_given_back_when_it_ends(sharers: Sharers) -> None:
    one, other = sharers.one(), sharers.one()
    other.renew()
    one.renew()
    idle = one.held
    for _ in range(3):
        sharers.clock.now += 1
        reservation = one.reserve(200)
        assert reservation is not None
        one.settle(reservation, 200)
        one.renew()
    assert one.held == 200 * HORIZON_S
    for _ in range(100):
        sharers.clock.now += 5
        one.renew()
    assert one.held <= idle


def test_no_instance_holds_more_than_its_part_of_half_of_what_is_left(sharers: Sharers) -> None:
    one, other = sharers.one(), sharers.one()
    other.renew()
    one.renew()
    sharers.clock.now += 1
    reservation = one.reserve(one.held)
    assert reservation is not None
    one.settle(reservation, 0)
    one.renew()
    sharers.clock.now += 1
    one.renew()
    assert one.held <= 100_000 // 4


def test_ten_minutes_without_an_answer_and_nothing_is_held(sharers: Sharers, caplog: pytest.LogCaptureFixture) -> None:
    one = sharers.one()
    one.renew()
    one.store.problem = AWAY
    sharers.clock.now += HELD_S - 1
    assert one.reserve(10) is not None
    sharers.clock.now += 1
    assert one.reserve(1) is None
    assert "has run out, and they admit no requests until it is back" in caplog.text
    one.store.problem = None
    one.renew()
    assert one.reserve(10) is not None


async def test_the_ten_minutes_are_counted_from_the_ask_not_from_its_answer(sharers: Sharers) -> None:
    one = sharers.one()
    _, answered = one.answers_when()
    asking = asyncio.create_task(one.leased.renew_now())
    await asyncio.sleep(0)
    sharers.clock.now += HELD_S - 1
    answered.set()
    await asking
    assert one.reserve(10) is not None
    sharers.clock.now += 1
    assert one.reserve(10) is None


def test_while_the_database_is_away_what_is_left_is_said_and_that_it_is_back(
    sharers: Sharers, caplog: pytest.LogCaptureFixture
) -> None:
    one = sharers.one()
    one.renew()
    one.leased.look()
    assert one.notices == []
    one.store.problem = AWAY
    one.leased.look()
    assert one.leased.problem() == f"ledger away; serving within the leases: 6.25 sats left. {AWAY}"
    assert one.reserve(250) is not None
    for _ in range(2):
        one.leased.look()
    assert one.notices == [
        f"ledger away; serving within the leases: {left} sats left. {AWAY}" for left in ("6.25", "6")
    ]
    one.store.problem = None
    one.leased.look()
    assert [record.message for record in caplog.records] == [
        "ledger away; serving within the leases: 6.25 sats left",
        "the ledger is back: budgets are leased from it again",
    ]


def test_without_budgets_only_the_ledgers_own_problem_is_said(sharers: Sharers) -> None:
    one = sharers.one(Config())
    one.store.problem = AWAY
    assert (one.leased.notice(), one.leased.problem()) == (None, AWAY)


def test_without_a_budget_of_everything_what_is_left_of_all_others_is_said(sharers: Sharers) -> None:
    clients = tuple(
        ClientSettings(name=name, key_sha256=digest_of(name), max_sats_per_day=16) for name in ("alice", "bob")
    )
    one = sharers.one(Config(clients=clients))
    one.renew()
    one.store.problem = AWAY
    assert one.leased.notice() == "ledger away; serving within the leases: 2 sats left"


async def test_a_request_waits_for_more_than_is_held(sharers: Sharers) -> None:
    one = sharers.one()
    one.renew()
    running = asyncio.create_task(one.leased.run())
    assert await one.spend(90_000)
    assert not await one.spend(10_001)
    assert one.status.refused
    assert await one.spend(10_000)
    running.cancel()


async def test_what_an_ask_gives_back_is_waited_for_until_the_answer_says_who_has_it(
    sharers: Sharers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbstr.engine.budget._MORE_WITHIN_S", PATIENCE_S)
    one = sharers.one()
    running = asyncio.create_task(one.leased.run())
    assert await one.spend(90_000)
    assert not await one.spend(10_001)
    assert one.held == 10_000  # all that is left, and none of it is needed now
    asked, answered = one.answers_when()
    one.leased._wake.set()
    sharers.clock.now += 10
    await asked.wait()
    assert one.held == 0
    spending = asyncio.create_task(one.spend(10_000))
    await asyncio.sleep(0)
    answered.set()
    assert await spending
    running.cancel()


async def test_a_request_that_is_not_answered_in_time_is_refused_for_a_moment_and_then_admitted(
    sharers: Sharers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbstr.engine.budget._MORE_WITHIN_S", 0.0)
    passed: list[BudgetThreshold] = []
    one = sharers.one()
    one.renew()
    one.budgets._publish = passed.append
    running = asyncio.create_task(one.leased.run())
    _, answered = one.answers_when()
    reservation = one.budgets.open(None)
    await reservation.wait(50_000)
    with pytest.raises(
        BudgetExceeded, match=r"may cost 50, and the ledger has not yet said .* It resets at "
    ) as caught:
        reservation.cover(50_000)
    assert caught.value.retry_after_s == 1.0
    assert not one.status.refused
    answered.set()
    async with asyncio.timeout(PATIENCE_S):
        while one.held < 50_000:  # it was asked for once, and is leased although nobody waits any more
            one.leased._wake.set()
            await asyncio.sleep(0)
    assert one.reserve(50_000) is not None
    running.cancel()


async def test_a_request_that_need_not_wait_marks_no_budget_as_refusing(sharers: Sharers) -> None:
    one = sharers.one()
    one.renew()
    reservation = one.budgets.open(None)
    with pytest.raises(BudgetExceeded):
        reservation.cover(50_000)
    assert not one.status.refused
    one.store.problem = AWAY
    await reservation.wait(50_000)
    with pytest.raises(BudgetExceeded):
        reservation.cover(50_000)
    assert one.status.refused


def test_the_next_period_is_leased_before_it_begins(sharers: Sharers) -> None:
    one = sharers.one(capped(max_sats_per_hour=100))
    sharers.clock.now += 3600 - 60
    one.renew()
    one.store.problem = AWAY
    sharers.clock.now += 60
    assert one.reserve(1000) is not None


def test_a_share_that_others_have_passed_is_announced_here_too(sharers: Sharers) -> None:
    one, other = sharers.one(), sharers.one()
    one.renew()
    other.renew()
    passed: list[BudgetThreshold] = []
    one.budgets._publish = passed.append
    sharers.bank.write(other.store.session, [])
    reservation = other.reserve(1000)
    assert reservation is not None
    other.settle(reservation, 80_000)
    one.renew()
    assert [event.percent for event in passed] == [75]
    third = sharers.one()
    third.budgets._publish = passed.append
    third.renew()
    assert third.status.passed_percent == 75
    assert len(passed) == 1  # what was passed before its start is no news


def test_a_lower_limit_holds_at_once_and_what_a_removed_budget_held_is_given_back(sharers: Sharers) -> None:
    one = sharers.one()
    one.renew()
    one.budgets.renew(capped(max_sats_per_day=50))
    assert one.reserve(1) is None
    one.renew()
    assert one.reserve(1) is not None
    one.budgets.renew(Config())
    one.renew()
    [period] = sharers.bank.periods.values()
    assert sum(lease.outstanding for lease in period.leases.values()) == 1


async def test_an_orderly_end_gives_everything_back_at_once(sharers: Sharers) -> None:
    one, other = sharers.one(), sharers.one()
    one.renew()
    await one.leased.close()
    other.renew()
    assert other.status.held_elsewhere_msats == 0


def test_an_instance_that_was_away_for_long_begins_with_what_it_has_spent(sharers: Sharers) -> None:
    one, other = sharers.one(), sharers.one()
    one.renew()
    assert one.reserve(1000) is not None
    sharers.clock.now += KEPT_S + 1
    other.renew()
    assert other.status.held_elsewhere_msats == 0
    one.renew()
    other.renew()
    assert other.status.held_elsewhere_msats >= 1000
