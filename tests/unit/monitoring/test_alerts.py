"""Alerts: by what happened, each once until it clears; the same for all who hear of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from arbstr.events import (
    Alert,
    AlertCleared,
    AlertRaised,
    BudgetThreshold,
    Event,
    ProviderHealthChanged,
    RequestFinished,
    UnexplainedCharge,
)
from arbstr.monitoring.alerts import UNEXPLAINED_MS, Alerts, document
from arbstr.types import Balance, BreakerState, BudgetStatus
from tests.support.ledger_builders import record

NOW, ENDS, LATER = 1_700_000_000_000, 1_700_003_600_000, 1_700_007_200_000


@dataclass
class World:
    """Alerts, what they have published, and what they look at."""

    budgets: list[BudgetStatus] = field(default_factory=list)
    now_ms: int = NOW
    published: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.alerts = Alerts(self.published.append, lambda policy, client: self.budgets, lambda: self.now_ms)
        self.configure()

    def configure(self, **settings: Any) -> None:
        given: dict[str, Any] = {"budget_percent": (75, 90, 100), "balance_hours": 12.0}
        self.alerts.renew(**given | {"providers": {"alpha": "closed", "beta": "closed"}} | settings)

    @property
    def raised(self) -> list[Alert]:
        return [one.alert for one in self.published if isinstance(one, AlertRaised)]

    @property
    def stand(self) -> tuple[Alert, ...]:
        return self.alerts.standing(self.budgets)

    @property
    def standing(self) -> list[tuple[str, str]]:
        return [(one.kind, one.name) for one in self.stand]

    def spend(self, msats: int, *passed: int, refused: bool = False, ends_ms: int = ENDS) -> None:
        """Spend so much of the budget of 1000 msats, by which it has passed these shares."""
        before = self.budgets[0].passed_percent if self.budgets and self.budgets[0].resets_at_ms == ends_ms else 0
        self.budgets = [BudgetStatus("global", "hour", msats, 0, 1000, ends_ms, refused, max(before, *passed, 0))]
        for percent in passed:
            self.alerts.put(BudgetThreshold("global", "hour", percent, msats, 1000, ends_ms))

    def refuse(self) -> None:
        """Refuse a request for want of money."""
        self.alerts.put(RequestFinished(record(success=False, error_status=402)))


def health(old: BreakerState, new: BreakerState) -> ProviderHealthChanged:
    return ProviderHealthChanged("alpha", NOW, old, new, "3 failures in a row")


def lasting(hours: float) -> Balance:
    return Balance("known", free_msats=round(1000 * hours), hourly_msats=1000)


def test_each_share_of_a_budget_is_an_alert_and_the_last_one_stands() -> None:
    world = World()
    world.spend(950, 75, 90)
    world.spend(1000, 100)
    assert [(one.percent, one.msats) for one in world.raised] == [(75, 950), (90, 950), (100, 1000)]
    assert [one.percent for one in world.stand] == [100]


def test_a_budget_clears_when_its_period_ends() -> None:
    world = World()
    world.spend(760, 75)
    world.now_ms = ENDS
    world.spend(0, ends_ms=LATER)
    assert world.standing == []
    world.spend(800, 75, ends_ms=LATER)
    assert [one.percent for one in world.raised] == [75, 75]


def test_the_first_refusal_is_an_alert_of_the_whole_budget() -> None:
    world = World()
    world.spend(100, refused=True)  # another provider was cheap enough
    assert world.raised == []
    world.refuse()
    world.refuse()
    world.spend(1000, 75, 90, 100, refused=True)
    assert [(one.percent, one.msats) for one in world.raised] == [(100, 100)]
    assert [one.percent for one in world.stand] == [100]


def test_refusals_are_no_alert_where_a_whole_budget_is_none() -> None:
    world = World()
    world.configure(budget_percent=(50,))
    world.spend(100, refused=True)
    world.refuse()
    assert world.raised == []


def test_what_was_spent_before_the_start_stands_but_is_no_news() -> None:
    world = World()
    world.budgets = [BudgetStatus("global", "hour", 800, 0, 1000, ENDS, passed_percent=75)]
    world.configure()
    assert world.published == []
    assert [(one.percent, one.msats) for one in world.stand] == [(75, 800)]
    world.spend(950, 90)
    assert [one.percent for one in world.raised] == [90]


def test_a_budget_that_is_gone_or_has_other_shares_stands_no_more() -> None:
    world = World()
    world.spend(950, 90)
    world.budgets = [BudgetStatus("global", "hour", 950, 0, 1000, ENDS, passed_percent=80)]
    world.configure(budget_percent=(80,))
    assert [one.percent for one in world.stand] == [80]
    world.budgets = []
    assert world.standing == []


def test_another_limit_begins_with_alerts_of_its_own() -> None:
    world = World()
    world.spend(800, 75, refused=True)
    world.refuse()
    world.configure()
    world.refuse()
    assert [one.percent for one in world.raised] == [75, 100]
    world.budgets = [BudgetStatus("global", "hour", 800, 0, 2000, ENDS)]
    assert world.standing == []
    world.budgets = [BudgetStatus("global", "hour", 1600, 0, 2000, ENDS, passed_percent=75)]
    world.alerts.put(BudgetThreshold("global", "hour", 75, 1600, 2000, ENDS))
    assert [one.percent for one in world.raised] == [75, 100, 75]


def test_a_balance_alerts_once_until_it_lasts_clearly_longer() -> None:
    world = World()
    for hours in (30, 11.9, 5, 12.5, 11, 15, 3):
        world.alerts.balance("alpha", lasting(hours))
    world.alerts.balance("beta", Balance("known", free_msats=5))  # nothing is spent
    assert [(one.hours, one.msats) for one in world.raised] == [(11.9, 11_900), (3.0, 3_000)]
    assert world.published[1] == AlertCleared("balance", "alpha", NOW)
    assert world.standing == [("balance", "alpha")]


def test_how_many_hours_are_few_is_configured() -> None:
    world = World()
    world.configure(balance_hours=2)
    world.alerts.balance("alpha", lasting(3))
    assert world.raised == []
    world.alerts.balance("alpha", lasting(1))
    assert world.standing == [("balance", "alpha")]


def test_a_provider_is_down_until_it_answers_again() -> None:
    world = World()
    for event in (health("closed", "open"), health("open", "half_open"), health("half_open", "open")):
        world.alerts.put(event)
    assert [(one.kind, one.name) for one in world.raised] == [("provider_down", "alpha")]
    world.alerts.put(health("half_open", "closed"))
    assert world.standing == []
    world.alerts.put(health("closed", "open"))
    assert len(world.raised) == 2


def test_a_provider_that_was_down_before_the_start_stands_but_is_no_news() -> None:
    world = World()
    world.configure(providers={"alpha": "open", "beta": "half_open"})
    assert world.standing == [("provider_down", "alpha")]
    assert world.published == []


def test_a_reload_clears_what_is_about_providers_that_are_gone_or_have_begun_afresh() -> None:
    world = World()
    world.alerts.put(health("closed", "open"))
    world.alerts.balance("beta", lasting(1))
    world.configure(providers={"alpha": "open", "beta": "closed"})
    assert len(world.standing) == 2
    world.configure(providers={"alpha": "closed"})
    assert world.standing == []
    assert [one for one in world.published if isinstance(one, AlertCleared)] == [
        AlertCleared("provider_down", "alpha", NOW),
        AlertCleared("balance", "beta", NOW),
    ]


def test_prices_that_jump_alert_until_they_are_believed() -> None:
    world = World()
    for jumped in ({"b", "a"}, {"a"}, set[str](), {"c"}):
        world.alerts.prices("alpha", jumped)
    assert [one.models for one in world.raised] == [("a", "b"), ("c",)]
    assert world.standing == [("price_jump", "alpha")]


def test_each_unexplained_charge_is_an_alert_and_they_stand_as_one() -> None:
    world = World()
    for msats in (5000, 2500, -1000):
        world.alerts.put(UnexplainedCharge("alpha", NOW, msats))
    assert [one.msats for one in world.raised] == [5000, 2500]
    assert [one.msats for one in world.stand] == [6500]
    world.alerts.put(UnexplainedCharge("alpha", NOW, -6500))
    assert world.standing == []
    assert world.published[-1] == AlertCleared("unexplained_charge", "alpha", NOW)


def test_unexplained_charges_stand_for_ten_minutes() -> None:
    world = World()
    world.alerts.put(UnexplainedCharge("alpha", NOW, 5000))
    world.now_ms = NOW + UNEXPLAINED_MS
    assert world.standing == []
    world.alerts.put(UnexplainedCharge("alpha", world.now_ms, 700))
    assert [one.msats for one in world.stand] == [700]


@pytest.mark.parametrize(
    ("alert", "more"),
    [
        (
            Alert("budget", "global", NOW, ENDS, "hour", 90, 900, 1000),
            {"percent": 90, "spent_sats": 0.9, "limit_sats": 1.0}
            | {"period": "hour", "resets_at": "2023-11-14T23:13:20.000Z"},
        ),
        (Alert("balance", "alpha", NOW, msats=2500, hours=1.5), {"hours": 1.5, "balance_sats": 2.5}),
        (Alert("provider_down", "alpha", NOW, reason="3 failures in a row"), {"reason": "3 failures in a row"}),
        (Alert("price_jump", "alpha", NOW, models=("a", "b")), {"models": ["a", "b"]}),
        (Alert("unexplained_charge", "alpha", NOW, ENDS, msats=700), {"sats": 0.7}),
    ],
)
def test_an_alert_is_a_json_object(alert: Alert, more: dict[str, Any]) -> None:
    common = {"alert": alert.kind, "name": alert.name, "at": "2023-11-14T22:13:20.000Z"}
    assert document(alert) == {"percent": None, "spent_sats": None, "limit_sats": None} | common | more


def test_a_name_is_sent_without_control_characters() -> None:
    assert "\x1b" not in document(Alert("provider_down", "a\x1bb", NOW))["name"]
