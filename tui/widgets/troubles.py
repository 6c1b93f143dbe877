"""What is wrong, for the top bar: badges of what must not be overlooked, and words for the other alerts."""

from __future__ import annotations

from datetime import tzinfo

from arbstr.events import AlertKind
from arbstr.types import BudgetStatus
from tui.format import day_or_time, percent, sats_round, shown
from tui.model.alert_text import GLOBAL
from tui.model.burn import Burn
from tui.model.view_model import DashboardView
from tui.render.layout import Part
from tui.widgets.budget_pace import budget_share, tightest
from tui.widgets.provider_health import runway_of


def troubles(
    view: DashboardView, now_ms: int, zone: tzinfo | None, burn: Burn | None, unread: str | None
) -> list[Part]:
    """Return all that is wrong; `unread` is why the ledger can't be read, if it can't."""
    return [
        *_budgets(view, now_ms, zone, burn),
        *_balances(view),
        *_ledger(view.ledger_problem, unread),
        *_configuration(view),
        *_unexplained(view),
        *_down(view),
        *_prices(view),
    ]


def badge(said: str, details: str, rank: int) -> list[Part]:
    """Return a badge that must not be overlooked; its details are dropped first."""
    return [(((" ", "text"), (f" {said}", "alarm")), 0), (((details, "alarm"),), rank), (((" ", "alarm"),), 0)]


def _budgets(view: DashboardView, now_ms: int, zone: tzinfo | None, burn: Burn | None) -> list[Part]:
    """Return badges of budgets that refuse, else of one that is nearly spent, and till when one lasts."""
    parts: list[Part] = []
    for budget in view.refusing:
        until = day_or_time(budget.resets_at_ms, now_ms, zone)
        parts += badge(f"budget {_named(budget)} spent", f", refusing until {until}", 2)
    if not parts:
        near = [each for each in view.budgets if each.passed_percent]
        for budget in sorted(near, key=budget_share)[-1:]:
            said = f"  {_named(budget)} budget {percent(budget_share(budget), 0)}"
            parts.append((((said, "warn"),), 4))
        if view.budgets and (empty_at_ms := tightest(view, burn)[1].empty_at_ms) is not None:
            known = "" if near else f"  {_named(tightest(view, burn)[0])} budget"
            parts.append((((f"{known} lasts till {day_or_time(empty_at_ms, now_ms, zone)}", "warn"),), 5))
    return parts


def _named(budget: BudgetStatus) -> str:
    return budget.period if budget.scope == GLOBAL else f"{budget.scope} {budget.period}"


def _balances(view: DashboardView) -> list[Part]:
    names = [each.status.name for each in view.providers if each.unfunded]
    parts = badge("no balance", f" left at {', '.join(names)}", 2) if names else []
    for each in view.providers:
        if each.low and not each.unfunded:
            parts.append((((f"  {each.status.name}'s balance {runway_of(each)[0]}", "warn"),), 4))
    return parts


def _ledger(unwritten: str | None, unread: str | None) -> list[Part]:
    if unwritten is not None:
        return badge("ledger can't be written", f": {shown(unwritten, 60)}", 6)
    return badge("ledger", f": {shown(unread, 60)}", 2) if unread is not None else []


def _configuration(view: DashboardView) -> list[Part]:
    """Return a badge of a configuration file that was refused: what runs is the one before."""
    if view.config_problem is None:
        return []
    return badge("config refused", f": {shown(view.config_problem, 80)}", 6)


def _unexplained(view: DashboardView) -> list[Part]:
    """Return a badge of what was taken lately for no request that is known."""
    charges = [each for each in view.alerts if each.kind == "unexplained_charge"]
    if not charges:
        return []
    taken = ", ".join(f"{sats_round(each.msats)} sats at {each.name}" for each in charges)
    return badge("unexplained charge", f": {taken}", 4)


def _down(view: DashboardView) -> list[Part]:
    names = _with_alert(view, "provider_down")
    return [(((f"  {', '.join(names)} down", "warn"),), 6)] if names else []


def _prices(view: DashboardView) -> list[Part]:
    names = _with_alert(view, "price_jump")
    return [(((f"  prices at {', '.join(names)} jumped", "warn"),), 5)] if names else []


def _with_alert(view: DashboardView, kind: AlertKind) -> list[str]:
    return [each.name for each in view.alerts if each.kind == kind]
