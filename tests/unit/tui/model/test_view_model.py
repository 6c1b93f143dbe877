"""The view-model: whatever becomes of events, a snapshot makes it right again."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbstr.events import (
    AdoptionProgressed,
    Alert,
    AlertRaised,
    AttemptFailed,
    AttemptStarted,
    ChargeBooked,
    ConfigurationRead,
    Event,
    FirstByte,
    LedgerStateChanged,
    OverchargeFound,
    ProviderHealthChanged,
    RequestFinished,
    RequestReceived,
    StreamProgress,
    UnexplainedCharge,
)
from arbstr.types import Attempt, Balance, BudgetStatus
from tests.support.dashboard_fakes import NOON, FakeSource, Traffic, lived_in
from tests.support.effort import examples
from tui.model.request_row import row_of
from tui.model.view_model import ViewModel


def some_events(seed: int, requests: int) -> list[Event]:
    """The events of that many requests, the last few still running."""
    traffic = Traffic(seed)
    events: list[Event] = []
    for number in range(requests):
        until_end, end = traffic.request(NOON + number * 100)
        events += [*until_end, end] if number < requests - 2 else until_end
    return events


def follow(source: FakeSource, events: list[Event]) -> ViewModel:
    model = ViewModel(source.snapshot())
    for event in events:
        source.publish(event)
    model.apply(events)
    return model


@settings(max_examples=examples(30))
@given(st.integers(0, 50), st.integers(0, 30), st.randoms(use_true_random=False))
def test_any_loss_and_order_of_events_ends_in_the_same_state_after_a_snapshot(
    seed: int, requests: int, chance: random.Random
) -> None:
    source, events = FakeSource(), some_events(seed, requests)
    model = ViewModel(source.snapshot())
    for event in events:
        source.publish(event)
    arrived = [event for event in events if chance.random() < 0.7]
    chance.shuffle(arrived)
    model.apply(arrived)
    model.apply(arrived[: len(arrived) // 2])  # and some twice
    model.resync(source.snapshot())
    fresh = ViewModel(source.snapshot())
    assert model.totals == fresh.totals == source.totals
    assert set(model.feed.running) == set(source.running)
    assert [row.request_id for row in model.feed.rows()] == [row.request_id for row in fresh.feed.rows()]
    assert model.view(NOON).providers == fresh.view(NOON).providers or requests > 0


@settings(max_examples=examples(20))
@given(st.integers(0, 50), st.integers(0, 30))
def test_events_alone_keep_the_totals_that_a_snapshot_would_give(seed: int, requests: int) -> None:
    source = FakeSource()
    model = follow(source, some_events(seed, requests))
    assert model.totals == source.totals
    assert set(model.feed.running) == set(source.running)


def test_an_event_that_comes_twice_counts_once() -> None:
    source, events = FakeSource(), some_events(1, 5)
    model = follow(source, events)
    model.apply(events)
    assert model.totals == source.totals


def test_late_events_do_not_bring_a_finished_request_back() -> None:
    events = some_events(1, 3)
    end = next(event for event in events if isinstance(event, RequestFinished))
    model = ViewModel(FakeSource().snapshot())
    model.apply([end])
    model.apply([RequestReceived(end.record.request_id, NOON, "gpt-4o", streaming=True)])
    assert not model.feed.running


def test_a_running_request_moves_along() -> None:
    model = ViewModel(FakeSource().snapshot())
    model.apply([RequestReceived("r", NOON, "gpt-4o", streaming=True)])
    assert row_of(model.feed.running["r"]).state == "waiting"
    model.apply(
        [
            AttemptStarted("r", "alpha"),
            AttemptFailed("r", "alpha", "status", 503, "busy", 10, 100),
            AttemptStarted("r", "alpha"),
            AttemptFailed("r", "alpha", "status", 503, "busy", 10, None),
            AttemptStarted("r", "beta"),
            FirstByte("r", "beta", 700),
            StreamProgress("r", 40),
            StreamProgress("r", 30),
        ]
    )
    row = row_of(model.feed.running["r"])
    assert (row.path, row.failed, row.state, row.events) == (("alpha", "beta"), 2, "streaming", 40)
    assert row.age_ms(NOON + 1500) == 1500


def test_hostile_names_are_harmless_once_inside() -> None:
    source = lived_in()
    source.providers["alpha"] = replace(source.providers["alpha"], last_error="\x1b]52;c;aGk=\x07 boom\u202e")
    model = ViewModel(source.snapshot())
    model.apply([RequestReceived("r", NOON, "\x1b[2J[/x]\nmodel", streaming=False)])
    row = row_of(model.feed.running["r"])
    assert row.model == "�[2J[/x]�model"
    errors = [each.status.last_error for each in model.view(NOON).providers]
    assert "�]52;c;aGk=� boom�" in errors


def test_health_follows_events_at_once_and_is_remembered() -> None:
    source = FakeSource()
    model = ViewModel(source.snapshot())
    model.apply([ProviderHealthChanged("gamma", NOON, "closed", "open", "3 failures", NOON + 30_000)])
    gamma = next(each for each in model.view(NOON).providers if each.key == "gamma")
    assert (gamma.status.state, gamma.status.open_until_ms) == ("open", NOON + 30_000)
    assert [moment.reason for moment in gamma.health_changes] == ["3 failures"]
    assert model.counting_down(NOON)


def test_an_open_breaker_whose_time_is_up_is_ready_to_be_probed_without_any_event() -> None:
    model = ViewModel(FakeSource().snapshot())
    model.apply([ProviderHealthChanged("gamma", NOON, "closed", "open", "3 failures", NOON + 30_000)])

    def serving(now_ms: int) -> int:
        return sum(each.serves for each in model.view(now_ms).providers)

    assert (serving(NOON), serving(NOON + 29_999), serving(NOON + 30_000)) == (3, 3, 4)
    gamma = next(each for each in model.view(NOON + 30_000).providers if each.key == "gamma")
    assert gamma.status.state == "half_open"
    assert not model.counting_down(NOON + 30_000)
    assert model.changes_between(NOON + 29_000, NOON + 30_000)
    assert not model.changes_between(NOON + 30_000, NOON + 31_000)


def refused(at_ms: int, policy: str | None = None) -> RequestFinished:
    """The end of a request that a budget did not let through."""
    message = "The budget for this hour is 12 sats."
    record = replace(Traffic().request(at_ms)[1].record, policy=policy, attempts=(), provider=None, cost_msats=None)
    return RequestFinished(
        replace(record, success=False, latency_ms=1, error_status=402, error_message=message, stream_duration_ms=None)
    )


HOURLY = BudgetStatus("global", "hour", 11_480, 0, 12_000, NOON + 1_800_000)
CODE = BudgetStatus("code", "day", 900, 0, 10_000, NOON + 1_800_000)


@pytest.mark.parametrize(
    ("budgets", "policy", "shown"),
    [
        pytest.param([replace(HOURLY, spent_msats=12_000)], "nobody's", ["hour"], id="spent"),
        pytest.param([HOURLY], None, ["hour"], id="too little is left"),
        pytest.param([HOURLY, CODE], "code", ["hour"], id="the fuller one of two"),
        pytest.param([HOURLY, replace(CODE, reserved_msats=9_000)], "code", ["day"], id="what is reserved counts"),
        pytest.param([CODE], None, [], id="another policy's"),
        pytest.param([replace(HOURLY, resets_at_ms=NOON)], None, [], id="restarted since"),
    ],
)
def test_a_budget_that_refuses_is_known(budgets: list[BudgetStatus], policy: str | None, shown: list[str]) -> None:
    model = ViewModel(replace(FakeSource().snapshot(), budgets=tuple(budgets)))
    if policy != "nobody's":
        model.apply([refused(NOON, policy)])
    assert [budget.period for budget in model.view(NOON + 10).refusing] == shown


def test_a_budget_that_begins_again_refuses_nothing_and_neither_does_another() -> None:
    full, day = replace(HOURLY, spent_msats=11_900), replace(HOURLY, period="day", resets_at_ms=NOON + 9_000_000)
    model = ViewModel(replace(FakeSource().snapshot(), budgets=(full, day)))
    model.apply([refused(NOON)])
    assert model.view(NOON + 10).refusing == (full,)
    again = replace(full, spent_msats=0, resets_at_ms=full.resets_at_ms + 3_600_000)
    model.resync(replace(FakeSource().snapshot(), budgets=(again, day)))
    assert model.view(NOON + 20).refusing == ()


def test_a_clients_budget_that_refuses_is_known() -> None:
    bobs = replace(HOURLY, scope="client:bob")
    model = ViewModel(replace(FakeSource().snapshot(), budgets=(bobs, replace(bobs, scope="client:eve"))))
    event = refused(NOON)
    model.apply([RequestFinished(replace(event.record, client="bob"))])
    assert model.view(NOON + 10).refusing == (bobs,)


def test_alerts_are_those_of_the_snapshot_made_harmless_until_they_end() -> None:
    charge = Alert("unexplained_charge", "al\x1bpha", NOON, NOON + 10, msats=455)
    low = Alert("balance", "beta", NOON, msats=900, hours=0.9)
    model = ViewModel(replace(FakeSource().snapshot(), alerts=(charge, low)))
    assert model.view(NOON).alerts == (replace(charge, name="al\ufffdpha"), low)
    assert [each.key for each in model.view(NOON).providers if each.low] == ["beta"]
    assert model.view(NOON + 10).alerts == (low,)
    model.resync(FakeSource().snapshot())
    assert model.view(NOON).alerts == ()


def test_a_budget_that_has_refused_nothing_for_a_minute_is_not_said_to_refuse() -> None:
    model = ViewModel(replace(FakeSource().snapshot(), budgets=(HOURLY,)))
    model.apply([refused(NOON)])
    assert model.view(NOON + 60_000).refusing
    assert not model.view(NOON + 60_001).refusing


def test_a_402_of_a_provider_is_its_balance_until_it_answers_again() -> None:
    model = ViewModel(replace(FakeSource().snapshot(), budgets=(HOURLY,)))
    end = next(end for _, end in map(Traffic(4).request, [NOON] * 20) if end.record.success)
    name = end.record.provider or ""
    poor = replace(
        end.record, request_id="poor", success=False, error_status=402, attempts=(Attempt(name, 1, 5, "status", 402),)
    )
    model.apply([RequestFinished(poor)])
    assert [each.key for each in model.view(NOON).providers if each.unfunded] == [name]
    assert sum(each.serves for each in model.view(NOON).providers) == 3
    assert not model.view(NOON).refusing
    model.apply([end])
    assert not any(each.unfunded for each in model.view(NOON).providers)


@pytest.mark.parametrize(("free", "reserved", "is_spent"), [(0, 0, True), (0, 900, False), (1, 0, False)])
def test_a_balance_of_nothing_is_said_before_a_node_refuses_anything(free: int, reserved: int, is_spent: bool) -> None:
    """Requests that would not fit are never sent there, so that no 402 tells of it."""
    alpha, *others = FakeSource().snapshot().providers
    poor = replace(alpha, balance=Balance("known", free_msats=free, reserved_msats=reserved))
    model = ViewModel(replace(FakeSource().snapshot(), providers=(poor, *others)))
    assert model.view(NOON).providers[0].unfunded == is_spent


def test_the_adoption_of_old_rows_is_followed_to_its_end() -> None:
    model = ViewModel(FakeSource().snapshot())
    shares = []
    for done in (0, 150_000, 600_000):
        model.apply([AdoptionProgressed(done, 600_000)])
        shares.append(model.view(NOON).adopted)
    assert shares == [0.0, 0.25, None]


def test_what_was_before_this_start_stays_below_what_has_come_since() -> None:
    source, traffic = FakeSource(), Traffic(3)
    past = [traffic.request(NOON - 10_000 * number)[1].record for number in range(1, 4)]
    model = ViewModel(source.snapshot())
    model.remember(past)
    events, end = traffic.request(NOON)
    for event in (*events, end):
        source.publish(event)
        model.apply([event])
    shown = [end.record.request_id, *(record.request_id for record in past)]
    assert [row.request_id for row in model.feed.rows()] == shown
    model.resync(source.snapshot())
    assert [row.request_id for row in model.feed.rows()] == shown
    assert model.totals == source.totals  # which are since the start


def test_an_unknown_provider_in_an_event_is_no_error() -> None:
    model = ViewModel(FakeSource().snapshot())
    model.apply([ProviderHealthChanged("nobody", NOON, "closed", "open", "?")])
    assert len(model.view(NOON).providers) == 4


def test_attempts_are_remembered_by_provider() -> None:
    source = FakeSource()
    model = follow(source, some_events(3, 40))
    attempts = [attempt for record in source.ledger.records for attempt in record.attempts]
    for each in model.view(NOON).providers:
        own = [attempt.failure is None for attempt in attempts if attempt.provider == each.key]
        assert each.outcomes == tuple(own[-60:])


def test_events_that_need_attention_become_notices() -> None:
    model = ViewModel(FakeSource().snapshot())
    model.apply(
        [
            OverchargeFound("alpha", "gpt-4o", 1.25, 125, 100),
            AlertRaised(Alert("budget", "global", NOON, NOON, "day", 100, 5_000_000, 5_000_000)),
            AlertRaised(Alert("budget", "code", NOON, NOON, "hour", 90, 11_480, 12_000)),
            AlertRaised(Alert("unexplained_charge", "alpha", NOON, NOON, msats=700)),
            LedgerStateChanged(ok=False, message="disk full"),
            LedgerStateChanged(ok=True, message="The ledger is writable again."),
            ConfigurationRead(NOON, ("config.toml: a is wrong", "config.toml: b is wrong")),
            ConfigurationRead(NOON, (), ("server.listen", "database.path")),
            ConfigurationRead(NOON, ()),
        ]
    )
    assert [(notice.severity, notice.text) for notice in model.notices] == [
        ("warning", "alpha charges 1.25 times its rates for gpt-4o"),
        ("error", "Budget for this day: 5,000 of 5,000 sats spent (100 %): it refuses requests"),
        ("warning", "Budget of policy code for this hour: 11.480 of 12.000 sats spent (96 %)"),
        ("warning", "alpha took 0.700 sats that no request explains"),
        ("error", "The ledger can't be written: disk full"),
        ("information", "The ledger is writable again."),
        ("error", "The configuration was refused: config.toml: a is wrong (and 1 more)"),
        ("warning", "Configuration reloaded, but server.listen, database.path: that needs a restart"),
        ("information", "Configuration reloaded"),
    ]
    assert model.ledger_problem is None


def test_a_refused_configuration_is_known_until_one_is_taken() -> None:
    model = ViewModel(replace(FakeSource().snapshot(), config_problems=("\tit is wrong", "and more")))
    assert model.view(NOON).config_problem == "�it is wrong"
    model.apply([ConfigurationRead(NOON, ())])
    assert model.view(NOON).config_problem is None
    model.apply([ConfigurationRead(NOON, ("still wrong",))])
    assert model.view(NOON).config_problem == "still wrong"


def test_an_overcharging_provider_is_noticed_once() -> None:
    model = ViewModel(FakeSource().snapshot())
    model.apply([OverchargeFound("alpha", name, 1.25, 125, 100) for name in ("gpt-4o", "gpt-4o-mini", "gpt-4o")])
    assert [notice.text for notice in model.notices] == ["alpha charges 1.25 times its rates for gpt-4o"]
    [alpha] = [each for each in model.view(NOON).providers if each.key == "alpha"]
    assert {event.model for event in alpha.overcharges} == {"gpt-4o", "gpt-4o-mini"}


def test_the_rate_is_of_the_last_ten_seconds_and_survives_missed_events() -> None:
    source = FakeSource()
    model = ViewModel(source.snapshot())
    assert model.view(NOON).per_second == 0
    for event in some_events(1, 22):
        source.publish(event)
    model.resync(source.snapshot())
    assert model.view(NOON + 10_000).per_second == 2.0
    assert model.view(NOON + 30_000).per_second == 0


def test_a_frozen_view_stands_still_and_counts_what_it_misses() -> None:
    source = FakeSource()
    model = follow(source, some_events(1, 6))
    model.freeze(NOON)
    before, rows = model.view(NOON), model.feed.rows()
    later = some_events(2, 5)
    for event in later:
        source.publish(event)
    model.apply(later)
    assert model.view(NOON + 5000) == before
    assert model.feed.rows() == rows
    assert model.unseen == 3
    model.thaw()
    assert model.view(NOON + 5000).totals == source.totals
    assert model.feed.rows() != rows


def test_a_cost_that_turns_out_later_is_shown_and_the_sums_are_asked_for_again() -> None:
    source, events = FakeSource(), some_events(1, 4)
    amended: list[int] = []
    model = ViewModel(source.snapshot(), on_amended=amended.append)
    model.apply(events)
    record = model.feed.finished[0]
    before = model.totals.cost_msats
    model.apply([ChargeBooked(record.request_id, NOON, "alpha", 99_000, record.cost_msats, 0)])
    assert model.totals.cost_msats - before == 99_000 - (record.cost_msats or 0)
    assert next(row for row in model.feed.rows() if row.request_id == record.request_id).cost_msats == 99_000
    model.apply([UnexplainedCharge("alpha", NOON + 1, 455)])
    assert model.totals.cost_msats - before == 99_455 - (record.cost_msats or 0)
    assert (amended, model.amendments) == ([NOON, NOON + 1], 2)
