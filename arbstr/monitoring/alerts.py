"""What needs someone's attention: alerts, by what happened, each once until it clears.

This is the one place that decides it. The log, the webhook and the dashboards hear of alerts by events; what stands now
is in each snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from arbstr.clock import MINUTE_MS, format_ms
from arbstr.errors import BudgetExceeded
from arbstr.events import (
    Alert,
    AlertCleared,
    AlertKind,
    AlertRaised,
    BudgetThreshold,
    Event,
    ProviderHealthChanged,
    RequestFinished,
    UnexplainedCharge,
)
from arbstr.money import to_sats
from arbstr.sanitize import sanitize
from arbstr.types import Balance, BreakerState, BudgetStatus, RequestRecord

PLENTY = 1.25  # times the hours of a low balance, and it no longer is: a rate that wavers is one alert, not many
UNEXPLAINED_MS = 10 * MINUTE_MS  # how long a charge that no request explains stands
_ALL = 100  # percent
_MOST_MODELS = 20  # named in an alert

_Key = tuple[AlertKind, str, str | None]  # with a budget's period


class Alerts:
    """Turns what happens into alerts, published as events, and knows which ones stand.

    A bus listener: `put` takes each event of `EVENTS`. Balances and prices come by `balance` and `prices`. `budgets_of`
    returns the budgets that a request under a rule, by a client, counts for; `now_ms` is the wall clock.

    A budget's alert ends with its period, or when its limit changes; a provider's when it can be used again, has money
    for longer again, or its prices are believed. Each unexplained charge is an alert; they stand as one for each
    provider, for ten minutes.
    """

    EVENTS = (RequestFinished, BudgetThreshold, ProviderHealthChanged, UnexplainedCharge)

    def __init__(
        self,
        publish: Callable[[Event], None],
        budgets_of: Callable[[str | None, str | None], Iterable[BudgetStatus]],
        now_ms: Callable[[], int],
    ) -> None:
        self._publish = publish
        self._budgets_of = budgets_of
        self._now_ms = now_ms
        self._low_hours = 0.0
        self._percents: frozenset[int] = frozenset()
        self._standing: dict[_Key, Alert] = {}

    def standing(self, of_budgets: Iterable[BudgetStatus]) -> tuple[Alert, ...]:
        """Return what needs attention now, the latest last, given the state of all budgets."""
        now_ms, budgets = self._now_ms(), {_key_of_budget(one): one for one in of_budgets}
        for key, alert in [*self._standing.items()]:
            is_over = alert.until_ms is not None and alert.until_ms <= now_ms
            budget = budgets.get(key)
            if is_over or (alert.kind == "budget" and (budget is None or not self._holds(alert, budget))):
                del self._standing[key]
        for key, budget in budgets.items():
            if budget.passed_percent and key not in self._standing:  # since before the start, or a reload
                self._stand(self._of_budget(budget, budget.passed_percent))
        return tuple(self._standing.values())

    def _holds(self, alert: Alert, budget: BudgetStatus) -> bool:
        """Check whether a budget's alert is what its state calls for."""
        return max(budget.passed_percent, 1) <= _percent(alert, budget) and alert.percent in self._percents

    def renew(
        self, *, budget_percent: Iterable[int], balance_hours: float, providers: Mapping[str, BreakerState]
    ) -> None:
        """Apply a configuration. What is as it was before the start, or before this, stands, but is no news.

        `providers` are the states of the breakers.
        """
        self._low_hours = balance_hours
        self._percents = frozenset(budget_percent)
        for key, one in [*self._standing.items()]:
            gone = one.kind != "budget" and one.name not in providers
            if gone or (one.kind == "provider_down" and providers[one.name] == "closed"):
                self._clear(key)
        for name, state in providers.items():
            if state == "open" and ("provider_down", name, None) not in self._standing:
                self._stand(Alert("provider_down", name, self._now_ms(), reason="since before the start"))

    def balance(self, provider: str, balance: Balance) -> None:
        """Look at how long a balance lasts."""
        hours = balance.runway_hours
        if hours is not None and hours < self._low_hours:
            self._once(Alert("balance", provider, self._now_ms(), hours=round(hours, 1), msats=balance.free_msats))
        elif hours is None or hours >= PLENTY * self._low_hours:
            self._clear(("balance", provider, None))

    def prices(self, provider: str, jumped: Collection[str]) -> None:
        """Look at the models whose prices have jumped since the reading before; none clears it."""
        if jumped:
            models = tuple(sanitize(one, 100) for one in sorted(jumped)[:_MOST_MODELS])
            self._once(Alert("price_jump", provider, self._now_ms(), models=models))
        else:
            self._clear(("price_jump", provider, None))

    def put(self, event: Event) -> None:
        """Handle an event."""
        match event:
            case RequestFinished():  # every request passes here
                if event.record.error_status == BudgetExceeded.status and _ALL in self._percents:
                    self._refused(event.record)
            case BudgetThreshold():
                budget = BudgetStatus(
                    event.scope, event.period, event.spent_msats, 0, event.limit_msats, event.resets_at_ms
                )
                if self._percent_of(budget) < event.percent:
                    self._raise(self._of_budget(budget, event.percent))
            case ProviderHealthChanged(new="open"):
                self._once(Alert("provider_down", event.provider, event.at_ms, reason=sanitize(event.reason, 300)))
            case ProviderHealthChanged(new="closed"):
                self._clear(("provider_down", event.provider, None))
            case UnexplainedCharge():
                self._unexplained(event)
            case _:
                pass

    def _refused(self, record: RequestRecord) -> None:
        """Raise an alert for budgets that refuse requests, as one that has just been refused shows."""
        for budget in self._budgets_of(record.policy, record.client):
            if budget.refused and max(self._percent_of(budget), budget.passed_percent) < _ALL:
                self._raise(self._of_budget(budget, _ALL))

    def _percent_of(self, budget: BudgetStatus) -> int:
        """Return the share of a budget that was an alert in this period, in percent."""
        known = self._standing.get(_key_of_budget(budget))
        return 0 if known is None else _percent(known, budget)

    def _of_budget(self, budget: BudgetStatus, percent: int) -> Alert:
        return Alert(
            "budget",
            budget.scope,
            self._now_ms(),
            until_ms=budget.resets_at_ms,
            period=budget.period,
            percent=percent,
            msats=budget.spent_msats,
            limit_msats=budget.limit_msats,
        )

    def _unexplained(self, event: UnexplainedCharge) -> None:
        """Raise an alert for a charge; a negative one takes back what is explained now."""
        key: _Key = ("unexplained_charge", event.provider, None)
        known = self._standing.get(key)
        before = 0 if known is None or (known.until_ms or 0) <= event.at_ms else known.msats or 0
        alert = Alert(
            "unexplained_charge", event.provider, event.at_ms, until_ms=event.at_ms + UNEXPLAINED_MS, msats=event.msats
        )
        if event.msats > 0:
            self._publish(AlertRaised(alert))
            self._stand(replace(alert, msats=before + event.msats))
        elif before + event.msats > 0 and known is not None:
            self._stand(replace(known, msats=before + event.msats))
        else:
            self._clear(key)

    def _once(self, alert: Alert) -> None:
        if _key(alert) not in self._standing:
            self._raise(alert)

    def _raise(self, alert: Alert) -> None:
        self._stand(alert)
        self._publish(AlertRaised(alert))

    def _stand(self, alert: Alert) -> None:
        self._standing.pop(_key(alert), None)  # so that it is the latest
        self._standing[_key(alert)] = alert

    def _clear(self, key: _Key) -> None:
        if self._standing.pop(key, None) is not None:
            self._publish(AlertCleared(key[0], key[1], self._now_ms()))


def _key(alert: Alert) -> _Key:
    return alert.kind, alert.name, alert.period


def _percent(alert: Alert, budget: BudgetStatus) -> int:
    """Return the share of a budget that an alert is about, in percent; 0 if it is of another period or limit."""
    is_same = (alert.until_ms, alert.limit_msats) == (budget.resets_at_ms, budget.limit_msats)
    return alert.percent or 0 if is_same else 0


def _key_of_budget(budget: BudgetStatus) -> _Key:
    return "budget", budget.scope, budget.period


def document(alert: Alert) -> dict[str, Any]:
    """Return an alert as a JSON object; sums in sats."""
    is_budget = alert.kind == "budget"
    return {
        "alert": alert.kind,
        "name": sanitize(alert.name, 100),
        "percent": alert.percent,
        "spent_sats": to_sats(alert.msats) if is_budget else None,
        "limit_sats": to_sats(alert.limit_msats),
        "at": format_ms(alert.at_ms),
        **_more(alert),
    }


def _more(alert: Alert) -> dict[str, Any]:
    """Return what the JSON object of its kind has besides."""
    match alert.kind:
        case "budget":
            return {"period": alert.period, "resets_at": format_ms(alert.until_ms or 0)}
        case "balance":
            return {"hours": alert.hours, "balance_sats": to_sats(alert.msats)}
        case "price_jump":
            return {"models": list(alert.models)}
        case "provider_down":
            return {"reason": alert.reason}
        case "unexplained_charge":
            return {"sats": to_sats(alert.msats)}
