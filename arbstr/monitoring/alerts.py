"""What needs someone's attention: alerts, by what happened, each once until it clears."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal, NamedTuple

from arbstr.clock import format_ms
from arbstr.events import ProviderHealthChanged, UnexplainedCharge
from arbstr.money import to_sats
from arbstr.sanitize import sanitize
from arbstr.types import Balance, BudgetStatus, value_object

Kind = Literal["budget", "balance", "provider_down", "price_jump", "unexplained_charge"]

PLENTY = 1.25  # times the hours of a low balance, and it no longer is: a rate that wavers is one alert, not many
_MOST_MODELS = 20  # named in an alert


@value_object
class Alert:
    """Something that needs attention. `name` is the budget's scope or the provider; `more` has what its kind adds."""

    kind: Kind
    name: str
    at_ms: int
    percent: int | None = None
    spent_msats: int | None = None
    limit_msats: int | None = None
    more: tuple[tuple[str, Any], ...] = ()

    def document(self) -> dict[str, Any]:
        """Return it as a JSON object; sums in sats."""
        return {
            "alert": self.kind,
            "name": sanitize(self.name, 100),
            "percent": self.percent,
            "spent_sats": to_sats(self.spent_msats),
            "limit_sats": to_sats(self.limit_msats),
            "at": format_ms(self.at_ms),
            **dict(self.more),
        }


class _Sent(NamedTuple):
    """The alerts of a budget: its period, by when that ends and the limit in msats; the percents they were about."""

    period: tuple[int, int]
    percents: frozenset[int]


class Alerts:
    """Turns what happens into alerts for `raised`. `now_ms` is the wall clock.

    A budget's alerts clear when its period ends or its limit changes, a provider's when it can be used again, has money
    for longer again, or its prices are believed. An unexplained charge is an alert each time.
    """

    def __init__(
        self,
        raised: Callable[[Alert], None],
        *,
        budget_percent: Iterable[int],
        balance_hours: float,
        now_ms: Callable[[], int],
    ) -> None:
        self._raised = raised
        self._percents = sorted(set(budget_percent))
        self._low_hours = balance_hours
        self._now_ms = now_ms
        self._standing: set[tuple[Kind, str]] = set()
        self._sent: dict[tuple[str, str], _Sent] = {}  # by scope and period

    def take_over(self, before: Alerts) -> None:
        """Take those that stand for known."""
        self._standing |= before._standing
        self._sent = before._sent

    def known(self, budgets: Iterable[BudgetStatus]) -> None:
        """Take note of what was spent before the start: that is no news."""
        for one in budgets:
            self._news(one)

    def budgets(self, budgets: Iterable[BudgetStatus], *, refused: bool = False) -> None:
        """Look at how much of each budget is spent; `refused`: a request has just been, by those that say so."""
        for one in budgets:
            for percent in self._news(one, refused=refused):
                more = (("period", one.period), ("resets_at", format_ms(one.resets_at_ms)))
                self._raise("budget", one.scope, percent, one.spent_msats, one.limit_msats, more)

    def _news(self, one: BudgetStatus, *, refused: bool = False) -> list[int]:
        before = self._sent.get((one.scope, one.period))
        period = one.resets_at_ms, one.limit_msats
        sent = before.percents if before is not None and before.period == period else frozenset()
        spent = one.spent_msats * 100 // one.limit_msats if one.limit_msats else 100 * (one.spent_msats > 0)
        news = [percent for percent in self._percents if percent <= spent and percent not in sent]
        if refused and one.refused and 100 in self._percents and 100 not in sent.union(news):
            news.append(100)
        self._sent[one.scope, one.period] = _Sent(period, sent.union(news))
        return news

    def balance(self, provider: str, balance: Balance) -> None:
        """Look at how long a balance lasts."""
        hours = balance.runway_hours
        if hours is not None and hours < self._low_hours:
            more = (("hours", round(hours, 1)), ("balance_sats", to_sats(balance.free_msats)))
            self._once("balance", provider, more)
        elif hours is None or hours >= PLENTY * self._low_hours:
            self._standing.discard(("balance", provider))

    def prices(self, provider: str, jumped: Collection[str]) -> None:
        """Look at the models whose prices have jumped since the reading before; none clears it."""
        if jumped:
            self._once(
                "price_jump", provider, (("models", [sanitize(one, 100) for one in sorted(jumped)[:_MOST_MODELS]]),)
            )
        else:
            self._standing.discard(("price_jump", provider))

    def put(self, event: ProviderHealthChanged | UnexplainedCharge) -> None:
        """Handle an event."""
        match event:
            case ProviderHealthChanged(new="open"):
                self._once("provider_down", event.provider, (("reason", sanitize(event.reason, 300)),))
            case ProviderHealthChanged(new="closed"):
                self._standing.discard(("provider_down", event.provider))
            case UnexplainedCharge() if event.msats > 0:
                self._raise("unexplained_charge", event.provider, more=(("sats", to_sats(event.msats)),))

    def _once(self, kind: Kind, name: str, more: tuple[tuple[str, Any], ...]) -> None:
        if (kind, name) not in self._standing:
            self._standing.add((kind, name))
            self._raise(kind, name, more=more)

    def _raise(
        self,
        kind: Kind,
        name: str,
        percent: int | None = None,
        spent_msats: int | None = None,
        limit_msats: int | None = None,
        more: tuple[tuple[str, Any], ...] = (),
    ) -> None:
        self._raised(Alert(kind, name, self._now_ms(), percent, spent_msats, limit_msats, more))
