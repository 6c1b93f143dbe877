"""Alerts: by what happened, each once until it clears."""

from __future__ import annotations

from typing import Any

import pytest

from arbstr.events import ProviderHealthChanged, UnexplainedCharge
from arbstr.monitoring.alerts import Alert, Alerts
from arbstr.types import Balance, BreakerState, BudgetStatus

NOW, ENDS, LATER = 1_700_000_000_000, 1_700_003_600_000, 1_700_007_200_000


def watching(**settings: Any) -> tuple[Alerts, list[Alert]]:
    raised: list[Alert] = []
    given: dict[str, Any] = {"budget_percent": (75, 90, 100), "balance_hours": 12.0} | settings
    return Alerts(raised.append, now_ms=lambda: NOW, **given), raised


def budget(spent: int, *, limit: int = 1000, ends_ms: int = ENDS, refused: bool = False) -> BudgetStatus:
    return BudgetStatus("global", "hour", spent, 0, limit, ends_ms, refused)


def health(old: BreakerState, new: BreakerState) -> ProviderHealthChanged:
    return ProviderHealthChanged("alpha", NOW, old, new, "3 failures in a row")


def lasting(hours: float) -> Balance:
    return Balance("known", free_msats=round(1000 * hours), hourly_msats=1000)


@pytest.mark.parametrize(
    ("spent", "percents"),
    [
        ((749,), []),
        ((750, 760), [75]),
        ((950,), [75, 90]),
        ((760, 900, 999, 1000, 1500), [75, 90, 100]),
        ((760, 700, 760), [75]),
    ],
)
def test_each_share_of_a_budget_is_an_alert_once(spent: tuple[int, ...], percents: list[int]) -> None:
    alerts, raised = watching()
    for msats in spent:
        alerts.budgets([budget(msats)])
    assert [one.percent for one in raised] == percents


def test_a_new_period_clears_a_budget() -> None:
    alerts, raised = watching(budget_percent=(50,))
    for status in (budget(600), budget(700), budget(0, ends_ms=LATER), budget(500, ends_ms=LATER)):
        alerts.budgets([status])
    assert [(one.percent, one.spent_msats) for one in raised] == [(50, 600), (50, 500)]


def test_the_first_refusal_is_an_alert_of_the_whole_budget() -> None:
    alerts, raised = watching()
    alerts.budgets([budget(100, refused=True)])  # another provider was cheap enough
    assert raised == []
    for _ in range(2):
        alerts.budgets([budget(100, refused=True)], refused=True)
    alerts.budgets([budget(1000, refused=True)])
    assert [(one.percent, one.spent_msats) for one in raised] == [(100, 100), (75, 1000), (90, 1000)]


def test_a_budget_of_nothing_is_spent_by_anything() -> None:
    alerts, raised = watching(budget_percent=(100,))
    alerts.budgets([budget(0, limit=0)])
    assert raised == []
    alerts.budgets([budget(1, limit=0)])
    assert len(raised) == 1


def test_what_was_spent_before_the_start_is_no_news() -> None:
    alerts, raised = watching()
    alerts.known([budget(800)])
    alerts.budgets([budget(950)])
    assert [one.percent for one in raised] == [90]


def test_another_configuration_repeats_no_alert_of_a_budget_whose_limit_stays() -> None:
    before, raised = watching()
    before.budgets([budget(800, refused=True)], refused=True)
    after, again = watching()
    after.take_over(before)
    after.known([budget(800, refused=True)])
    after.budgets([budget(820, refused=True)], refused=True)
    assert ([one.percent for one in raised], again) == ([75, 100], [])
    after.budgets([budget(1600, limit=2000)])
    assert [one.percent for one in again] == [75]


def test_a_balance_alerts_once_until_it_lasts_clearly_longer() -> None:
    alerts, raised = watching()
    for hours in (30, 11.9, 5, 12.5, 11, 15, 3):
        alerts.balance("alpha", lasting(hours))
    alerts.balance("beta", Balance("known", free_msats=5))  # nothing is spent
    assert [dict(one.more) for one in raised] == [
        {"hours": 11.9, "balance_sats": 11.9},
        {"hours": 3.0, "balance_sats": 3.0},
    ]


def test_a_provider_is_down_until_it_answers_again() -> None:
    alerts, raised = watching()
    for event in (health("closed", "open"), health("open", "half_open"), health("half_open", "open")):
        alerts.put(event)
    assert [(one.kind, one.name) for one in raised] == [("provider_down", "alpha")]
    alerts.put(health("half_open", "closed"))
    alerts.put(health("closed", "open"))
    assert len(raised) == 2


def test_prices_that_jump_alert_until_they_are_believed() -> None:
    alerts, raised = watching()
    for jumped in ({"b", "a"}, {"a"}, set[str](), {"c"}):
        alerts.prices("alpha", jumped)
    assert [dict(one.more)["models"] for one in raised] == [["a", "b"], ["c"]]


def test_each_unexplained_charge_is_an_alert_and_its_explanation_none() -> None:
    alerts, raised = watching()
    for msats in (5000, -5000, 2500):
        alerts.put(UnexplainedCharge("alpha", NOW, msats))
    assert [(one.kind, dict(one.more)) for one in raised] == [
        ("unexplained_charge", {"sats": 5.0}),
        ("unexplained_charge", {"sats": 2.5}),
    ]


def test_an_alert_is_a_json_object_without_control_characters() -> None:
    alert = Alert("budget", "a\x1bb", NOW, 90, 900, 1000, (("period", "hour"),))
    document = alert.document()
    assert "\x1b" not in document.pop("name")
    assert document == {
        "alert": "budget",
        "percent": 90,
        "spent_sats": 0.9,
        "limit_sats": 1.0,
        "at": "2023-11-14T22:13:20.000Z",
        "period": "hour",
    }
