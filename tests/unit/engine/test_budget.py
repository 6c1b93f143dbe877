"""Caps on spending: what is reserved, what is settled, when they reset, and that they hold."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.config.alerts import Alerts
from arbstr.config.clients import ClientSettings, digest_of
from arbstr.config.schema import Budget, Config, Policies, Rule
from arbstr.engine.budget import Budgets, Reservation
from arbstr.engine.caps import Period, bounds_ms
from arbstr.engine.slices import SpendQuery
from arbstr.errors import BudgetExceeded, LedgerUnavailable
from arbstr.events import BudgetThreshold
from arbstr.types import BudgetStatus

HOUR = 3_600_000
START = int(datetime(2024, 2, 28, 22, 30, tzinfo=UTC).timestamp() * 1000)


class WallClock:
    """Epoch milliseconds that pass only by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


def configured(*rules: Rule, percents: tuple[int, ...] = (50, 80, 100), **caps: Any) -> Config:
    """`caps` are those on everything, in sats; `percents` what is announced."""
    return Config(budget=Budget(**caps), policies=Policies(rules=rules), alerts=Alerts(budget_percent=percents))


def budgets(
    *rules: Rule, clock: WallClock | None = None, events: list[BudgetThreshold] | None = None, **caps: Any
) -> Budgets:
    """`caps` are those on everything, in sats."""
    return Budgets(
        configured(*rules, **caps), clock_ms=clock or WallClock(), publish=(events if events is not None else []).append
    )


def only(status: tuple[BudgetStatus, ...]) -> BudgetStatus:
    assert len(status) == 1
    return status[0]


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


# --- letting in


def test_when_a_period_began_is_known_however_long_it_is() -> None:
    span = START - 7, START + 9
    caps = Budgets(configured(max_sats_per_hour=1), clock_ms=WallClock(), bounds=lambda period, now_ms: span)
    assert (only(caps.status()).starts_ms, only(caps.status()).resets_at_ms) == span


def test_without_budgets_everything_passes_and_there_is_nothing_to_show() -> None:
    caps = budgets()
    caps.reserve(None, 1e12).settle(10**12)
    assert caps.status() == ()


def test_what_is_reserved_counts_until_it_is_settled() -> None:
    caps = budgets(max_sats_per_day=10)
    reservation = caps.reserve(None, 6000)
    with pytest.raises(BudgetExceeded):
        caps.reserve(None, 4001)
    caps.reserve(None, 4000)
    reservation.settle(1000)
    assert replace(only(caps.status()), starts_ms=None) == BudgetStatus(
        "global", "day", 1000, 4000, 10_000, utc("2024-02-29"), refused=True
    )
    caps.reserve(None, 5000)


def test_a_budget_may_be_spent_to_the_last_millisat() -> None:
    caps = budgets(max_sats_per_hour=1.001)
    caps.reserve(None, 1001).settle(1001)
    with pytest.raises(BudgetExceeded):
        caps.reserve(None, 0.1)


def test_a_request_that_costs_nothing_passes_a_spent_budget() -> None:
    caps = budgets(max_sats_per_hour=0)
    caps.reserve(None, 0).settle(0)
    with pytest.raises(BudgetExceeded):
        caps.reserve(None, 1)


def test_a_refused_request_leaves_no_trace() -> None:
    caps = budgets(Rule(name="code", max_sats_per_hour=1), max_sats_per_day=100)
    with pytest.raises(BudgetExceeded):
        caps.reserve("code", 2000)
    assert [status.reserved_msats for status in caps.status()] == [0, 0]


def test_a_rules_budget_holds_for_that_rule_alone_and_the_global_one_for_all() -> None:
    caps = budgets(Rule(name="code", max_sats_per_day=5), Rule(name="chat"), max_sats_per_day=8)
    caps.reserve("code", 5000).settle(5000)
    with pytest.raises(BudgetExceeded, match="policy 'code'"):
        caps.reserve("code", 1)
    caps.reserve("chat", 2000).settle(2000)
    caps.reserve(None, 1000).settle(1000)
    with pytest.raises(BudgetExceeded, match=r"^The budget for"):
        caps.reserve("chat", 1)


def test_a_refusal_says_which_budget_how_much_and_when_it_resets() -> None:
    caps = budgets(max_sats_per_day=10)
    caps.reserve(None, 7500).settle(7500)
    caps.reserve(None, 500)
    with pytest.raises(BudgetExceeded) as caught:
        caps.reserve(None, 3000)
    assert str(caught.value) == (
        "The budget for this day is 10 sats: 7.5 spent and 0.5 reserved by requests in flight; "
        "this request may cost 3. It resets at 2024-02-29T00:00:00Z."
    )
    assert caught.value.retry_after_s == 1.5 * 3600


def test_of_several_spent_budgets_the_one_that_resets_last_is_named() -> None:
    caps = budgets(max_sats_per_hour=1, max_sats_per_month=1)
    with pytest.raises(BudgetExceeded, match="for this month"):
        caps.reserve(None, 2000)


# --- settling


def test_nothing_was_charged_releases_the_reservation() -> None:
    caps = budgets(max_sats_per_day=10)
    caps.reserve(None, 9000).settle(0)
    assert (only(caps.status()).spent_msats, only(caps.status()).reserved_msats) == (0, 0)


def test_only_the_first_settlement_counts() -> None:
    caps = budgets(max_sats_per_day=10)
    reservation = caps.reserve(None, 5000)
    reservation.settle(1000)
    reservation.settle(0)
    reservation.settle(9000)
    assert (only(caps.status()).spent_msats, only(caps.status()).reserved_msats) == (1000, 0)


def test_what_costs_more_than_expected_is_spent_in_full_and_the_next_is_refused() -> None:
    caps = budgets(max_sats_per_day=10)
    caps.reserve(None, 1000).settle(25_000)
    assert only(caps.status()).spent_msats == 25_000
    with pytest.raises(BudgetExceeded):
        caps.reserve(None, 1)


# --- periods


@pytest.mark.parametrize(
    ("period", "at", "begins", "ends"),
    [
        ("hour", "2024-02-28T22:30:15.999", "2024-02-28T22:00", "2024-02-28T23:00"),
        ("hour", "2024-02-28T23:00", "2024-02-28T23:00", "2024-02-29T00:00"),
        ("day", "2024-02-28T23:59:59.999", "2024-02-28", "2024-02-29"),
        ("month", "2024-02-29T12:00", "2024-02-01", "2024-03-01"),
        ("month", "2023-12-31T23:59", "2023-12-01", "2024-01-01"),
        ("month", "2024-01-31T01:00", "2024-01-01", "2024-02-01"),
    ],
)
def test_periods_are_the_calendars_in_utc(period: Period, at: str, begins: str, ends: str) -> None:
    assert bounds_ms(period, utc(at)) == (utc(begins), utc(ends))


@given(st.sampled_from(["hour", "day", "month"]), st.integers(0, 4 * 10**12))
def test_every_instant_lies_in_its_period_and_the_next_begins_where_it_ends(period: Period, at: int) -> None:
    begins, ends = bounds_ms(period, at)
    assert begins <= at < ends
    assert bounds_ms(period, ends)[0] == ends
    assert bounds_ms(period, begins) == (begins, ends)


def test_a_new_period_begins_with_nothing_spent() -> None:
    clock = WallClock()
    caps = budgets(clock=clock, max_sats_per_hour=10, max_sats_per_day=100)
    caps.reserve(None, 9000).settle(9000)
    clock.now += HOUR // 2
    assert [status.spent_msats for status in caps.status()] == [0, 9000]
    caps.reserve(None, 9000)


def test_a_request_belongs_to_the_period_it_came_in_however_late_it_ends() -> None:
    clock = WallClock()
    caps = budgets(clock=clock, max_sats_per_hour=10, max_sats_per_day=100)
    reservation = caps.reserve(None, 5000)
    clock.now += HOUR // 2
    assert [status.reserved_msats for status in caps.status()] == [0, 5000]
    reservation.settle(4000)
    assert [(s.spent_msats, s.reserved_msats) for s in caps.status()] == [(0, 0), (4000, 0)]


def test_a_clock_that_is_set_back_gives_nothing_back() -> None:
    clock = WallClock()
    caps = budgets(clock=clock, max_sats_per_hour=10)
    caps.reserve(None, 9000).settle(9000)
    clock.now -= 2 * HOUR
    with pytest.raises(BudgetExceeded):
        caps.reserve(None, 2000)


# --- thresholds


def test_each_threshold_is_published_once_a_period() -> None:
    clock, events = WallClock(), list[BudgetThreshold]()
    caps = budgets(clock=clock, events=events, max_sats_per_hour=10)
    for _ in range(10):
        caps.reserve(None, 1000).settle(1000)
    assert [(event.percent, event.spent_msats) for event in events] == [(50, 5000), (80, 8000), (100, 10_000)]
    assert events[0] == BudgetThreshold("global", "hour", 50, 5000, 10_000, utc("2024-02-28T23:00"))
    clock.now += HOUR
    caps.reserve(None, 6000).settle(6000)
    assert [event.percent for event in events[3:]] == [50]


def test_one_request_may_pass_several_thresholds() -> None:
    events: list[BudgetThreshold] = []
    caps = budgets(Rule(name="code", max_sats_per_day=1), events=events)
    caps.reserve("code", 900).settle(900)
    assert [(event.scope, event.percent) for event in events] == [("code", 50), ("code", 80)]


def test_reservations_pass_no_threshold() -> None:
    events: list[BudgetThreshold] = []
    budgets(events=events, max_sats_per_hour=10).reserve(None, 10_000).settle(0)
    assert events == []


# --- another provider's turn


def test_what_the_next_provider_may_cost_takes_the_place_of_what_the_first_might() -> None:
    caps = budgets(max_sats_per_day=10)
    reservation = caps.reserve(None, 2000)
    reservation.cover(9000)
    assert only(caps.status()).reserved_msats == 9000
    reservation.cover(500)
    assert only(caps.status()).reserved_msats == 500
    reservation.settle(400)
    assert (only(caps.status()).spent_msats, only(caps.status()).reserved_msats) == (400, 0)


def test_a_dearer_provider_that_does_not_fit_is_refused_and_the_reservation_stands() -> None:
    caps = budgets(Rule(name="code", max_sats_per_hour=3), max_sats_per_day=10)
    caps.reserve(None, 4000)
    reservation = caps.reserve("code", 1000)
    with pytest.raises(BudgetExceeded, match="4 reserved by requests in flight; this request may cost 7"):
        reservation.cover(7000)
    with pytest.raises(BudgetExceeded, match="policy 'code'"):
        reservation.cover(3001)
    assert [status.reserved_msats for status in caps.status()] == [5000, 1000]
    reservation.cover(3000)


# --- clocks that jump

YEAR = 366 * 24 * HOUR


def test_a_clock_that_jumps_ahead_and_back_finds_the_budget_as_it_was() -> None:
    clock = WallClock()
    caps = budgets(clock=clock, max_sats_per_hour=10, max_sats_per_month=20)
    caps.reserve(None, 9000).settle(9000)
    clock.now += YEAR
    caps.status()
    clock.now -= YEAR
    assert [status.spent_msats for status in caps.status()] == [9000, 9000]
    assert caps.status()[0].resets_at_ms == utc("2024-02-28T23:00")
    with pytest.raises(BudgetExceeded):
        caps.reserve(None, 2000)
    clock.now += HOUR
    caps.reserve(None, 2000)


def test_what_was_spent_while_the_clock_was_ahead_counts_when_it_is_back() -> None:
    clock = WallClock()
    caps = budgets(clock=clock, max_sats_per_day=10)
    before = caps.reserve(None, 1000)
    clock.now += YEAR
    caps.reserve(None, 4000).settle(4000)
    late = caps.reserve(None, 3000)
    clock.now -= YEAR
    before.settle(1000)
    assert only(caps.status()).spent_msats == 5000
    late.settle(3000)
    assert only(caps.status()).spent_msats == 8000
    with pytest.raises(BudgetExceeded):
        caps.reserve(None, 2001)
    clock.now += 24 * HOUR
    assert only(caps.status()).spent_msats == 0


def test_a_clock_that_wavers_about_midnight_counts_nothing_twice() -> None:
    clock = WallClock()
    caps = budgets(clock=clock, max_sats_per_day=10)
    for step in (2, -2, 2, -2):
        clock.now += step * HOUR
        caps.reserve(None, 1000).settle(1000)
    assert only(caps.status()).spent_msats == 4000
    clock.now += 2 * HOUR
    assert only(caps.status()).spent_msats == 2000


@given(st.lists(st.integers(0, 5), max_size=30))
def test_whatever_was_spent_ahead_of_time_is_spent_when_the_clock_is_back(months: list[int]) -> None:
    clock = WallClock()
    caps = budgets(clock=clock, max_sats_per_month=10**6)
    for number, month in enumerate([*months, 0], start=1):
        clock.now = START + month * 31 * 24 * HOUR
        caps.reserve(None, 1000).settle(1000)
        if month == 0:
            assert only(caps.status()).spent_msats == number * 1000
    assert only(caps.status()).reserved_msats == 0


# --- restarts


class Past:
    """A ledger that says what was spent, or fails while it is `locked`."""

    def __init__(self, **spent: int) -> None:
        self.spent = spent
        self.locked = False
        self.asked: list[SpendQuery] = []

    async def __call__(self, question: SpendQuery) -> int:
        if self.locked:
            raise LedgerUnavailable("locked")
        self.asked.append(question)
        return self.spent.get(question.scope, 0)


def restarted(past: Past, *rules: Rule, clock: WallClock, events: list[BudgetThreshold], **caps: Any) -> Budgets:
    return Budgets(configured(*rules, **caps), clock_ms=clock, publish=events.append, recall=past)


async def test_the_ledger_is_asked_for_every_budgets_period_and_what_it_says_is_spent() -> None:
    events: list[BudgetThreshold] = []
    past = Past(**{"global": 8500, "code": 3000})
    caps = restarted(
        past, Rule(name="code", max_sats_per_month=20), clock=WallClock(), events=events, max_sats_per_hour=10
    )
    await caps.recall()
    assert past.asked == [
        SpendQuery("global", "hour", None, None, utc("2024-02-28T22:00"), utc("2024-02-28T23:00") - 1),
        SpendQuery("code", "month", "code", None, utc("2024-02-01"), utc("2024-03-01") - 1),
    ]
    assert [status.spent_msats for status in caps.status()] == [8500, 3000]
    with pytest.raises(BudgetExceeded):
        caps.reserve(None, 1600)
    caps.reserve("code", 1500).settle(1500)
    assert [(event.scope, event.percent) for event in events] == [("global", 100)]  # 50 and 80 were passed before


async def test_until_the_ledger_can_be_read_nothing_is_let_in_that_costs() -> None:
    past = Past(**{"global": 8500})
    past.locked = True
    caps = restarted(past, clock=WallClock(), events=[], max_sats_per_day=10)
    await caps.ready()
    with pytest.raises(BudgetExceeded, match="past spending could not be read") as caught:
        caps.reserve(None, 1)
    assert caught.value.retry_after_s == 1
    caps.reserve(None, 0)
    past.locked = False
    await caps.ready()
    with pytest.raises(BudgetExceeded, match=r"8\.5 spent"):
        caps.reserve(None, 1501)
    caps.reserve(None, 1500)


async def test_a_request_waits_for_what_was_spent_of_its_own_budgets_alone() -> None:
    past = Past()
    clients = tuple(
        ClientSettings(name=name, key_sha256=digest_of(name), max_sats_per_day=10) for name in ("alice", "bob")
    )
    caps = Budgets(Config(clients=clients), clock_ms=WallClock(), recall=past)
    await caps.ready("code", "alice")
    assert [question.client for question in past.asked] == ["alice"]
    assert [status.scope for status in caps.status_of("code", "alice")] == ["client:alice"]
    assert [cap.client for cap, _ in caps.unknown] == ["bob"]


async def test_a_ledger_that_does_not_answer_is_not_waited_for_long() -> None:
    class Silent(Past):
        async def __call__(self, question: SpendQuery) -> int:
            return await asyncio.Future()

    caps = restarted(Silent(), clock=WallClock(), events=[], max_sats_per_day=10)
    await caps.ready(patience_s=0.001)
    assert caps.unknown


async def test_the_ledger_is_asked_again_where_the_clock_has_jumped_and_not_where_a_period_follows() -> None:
    """A machine without a clock of its own starts in 1970 and learns the date later."""
    past, clock = Past(**{"global": 9000}), WallClock()
    caps = restarted(past, clock=clock, events=[], max_sats_per_day=10)
    await caps.recall()
    clock.now += 2 * HOUR
    assert caps.unknown == []
    caps.reserve(None, 9500)
    clock.now += 30 * 24 * HOUR
    with pytest.raises(BudgetExceeded, match="could not be read"):
        caps.reserve(None, 1)
    await caps.ready()
    with pytest.raises(BudgetExceeded, match="9 spent"):
        caps.reserve(None, 1001)
    assert [question.since_ms for question in past.asked] == [utc("2024-02-28"), utc("2024-03-30")]


# --- hundreds at once


@given(st.integers(0, 2**32))
def test_budgets_hold_under_hundreds_of_interleaved_requests_with_random_ends(seed: int) -> None:
    chance, clock = random.Random(seed), WallClock()
    rules = [Rule(name="code", max_sats_per_hour=3, max_sats_per_day=9), Rule(name="chat", max_sats_per_month=20)]
    caps = budgets(*rules, clock=clock, max_sats_per_hour=8, max_sats_per_day=25)
    running: list[tuple[Reservation, int]] = []
    refused = 0
    for _ in range(400):
        clock.now += chance.choice([0, 0, 0, 1000, 60_000, HOUR // 3])
        if running and chance.random() < 0.5:
            reservation, amount = running.pop(chance.randrange(len(running)))
            reservation.settle(chance.choice([0, amount, chance.randint(0, amount)]))
            continue
        amount = chance.randint(1, 2000)
        try:
            running.append((caps.reserve(chance.choice(["code", "chat", None]), amount), amount))
        except BudgetExceeded:
            refused += 1
        for status in caps.status():
            assert status.spent_msats + status.reserved_msats <= status.limit_msats
            assert min(status.spent_msats, status.reserved_msats) >= 0
    assert refused
    for reservation, _ in running:
        reservation.settle(0)
    assert {status.reserved_msats for status in caps.status()} == {0}


# --- what turns out later


def test_a_cost_that_turns_out_later_counts_where_its_request_did() -> None:
    clock, events = WallClock(), list[BudgetThreshold]()
    caps = budgets(
        Rule(name="code", max_sats_per_hour=1), clock=clock, events=events, max_sats_per_hour=1, max_sats_per_day=10
    )
    caps.reserve("code", 300).settle(300)
    caps.amend("code", clock.now, 155)
    assert [one.spent_msats for one in caps.status()] == [455, 455, 455]
    caps.amend("code", clock.now, -455)
    assert [one.spent_msats for one in caps.status()] == [0, 0, 0]
    clock.now += HOUR
    caps.amend("code", START, 700)
    assert [one.spent_msats for one in caps.status()] == [0, 700, 0]
    caps.amend(None, clock.now, 500)
    assert [one.spent_msats for one in caps.status()] == [500, 1200, 0]
    assert [(one.scope, one.period, one.percent) for one in events] == [("global", "hour", 50)]


# --- other limits while requests run


def test_another_limit_counts_what_was_spent_and_reserved_before() -> None:
    caps = budgets(max_sats_per_day=10)
    caps.reserve(None, 4_000).settle(4_000)
    running = caps.reserve(None, 3_000)
    caps.renew(configured(max_sats_per_day=8))
    assert replace(only(caps.status()), starts_ms=None) == BudgetStatus(
        "global", "day", 4_000, 3_000, 8_000, utc("2024-02-29"), False, 50
    )
    with pytest.raises(BudgetExceeded):
        caps.reserve(None, 1_001)
    running.settle(3_000)
    assert only(caps.status()).spent_msats == 7_000


def test_a_raised_limit_passes_its_thresholds_again() -> None:
    events: list[BudgetThreshold] = []
    caps = budgets(events=events, max_sats_per_day=10)
    caps.reserve(None, 9_000).settle(9_000)
    caps.renew(configured(max_sats_per_day=20))
    caps.reserve(None, 9_000).settle(9_000)
    assert [(event.percent, event.limit_msats) for event in events] == [
        (50, 10_000),
        (80, 10_000),
        (50, 20_000),
        (80, 20_000),
    ]


def test_other_shares_to_be_announced_hold_for_what_is_spent_from_now_on() -> None:
    events: list[BudgetThreshold] = []
    caps = budgets(events=events, max_sats_per_day=10)
    caps.reserve(None, 9_000).settle(9_000)
    caps.renew(configured(percents=(95, 75), max_sats_per_day=10))
    assert only(caps.status()).passed_percent == 75
    caps.reserve(None, 600).settle(600)
    assert [event.percent for event in events] == [50, 80, 95]
    assert only(caps.status()).passed_percent == 95


def test_a_new_budget_counts_what_ends_after_it_was_set_up() -> None:
    caps = budgets()
    running = caps.reserve("code", 5_000)
    caps.renew(configured(max_sats_per_day=10))
    running.settle(6_000)
    assert only(caps.status()).spent_msats == 6_000


def test_a_budget_that_is_gone_refuses_nothing() -> None:
    caps = budgets(max_sats_per_day=1)
    running = caps.reserve(None, 1_000)
    caps.renew(Config())
    caps.reserve(None, 1e9).settle(10**9)
    running.settle(1_000)
    assert caps.status() == ()
