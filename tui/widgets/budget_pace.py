"""How budgets go: what is spent of them, and how long they last at this rate."""

from __future__ import annotations

from datetime import tzinfo

from arbstr.clock import MINUTE_MS
from arbstr.types import CLIENT_SCOPE, BudgetStatus
from tui.format import countdown, day_or_time, uptime
from tui.model.alert_text import GLOBAL
from tui.model.burn import Burn, Pace, began_ms, pace
from tui.model.filter_language import term
from tui.model.filter_times import since
from tui.model.view_model import DashboardView
from tui.render.layout import Line, Role
from tui.widgets.spend_by_model import bar

SOON_MS = 2 * 3_600_000  # a budget that is empty within that is worth a warning


def tightest(view: DashboardView, burn: Burn | None) -> tuple[BudgetStatus, Pace]:
    """Return the budget that refuses, or is empty first at this rate, or of which most is spent; and how it goes."""
    return min(paces(view, burn), key=lambda each: (each[0] not in view.refusing, *_urgency(each)))


def paces(view: DashboardView, burn: Burn | None) -> list[tuple[BudgetStatus, Pace]]:
    """Return every budget, and how it goes at this rate."""
    rates = [*view.budget_rates, *[None] * len(view.budgets)]
    everything = None if burn is None else burn.per_minute
    return [
        (budget, pace(budget, view.at_ms, everything if budget.scope == GLOBAL else rate))
        for budget, rate in zip(view.budgets, rates, strict=False)
    ]


def _urgency(budget: tuple[BudgetStatus, Pace]) -> tuple[bool, float, float]:
    going = budget[1]
    empty = going.empty_at_ms
    return going.share < 1, float("inf") if empty is None else empty, -going.share


def budget_share(budget: BudgetStatus) -> float:
    """Return the spent share of a budget: 1.0 is all of it."""
    return budget.spent_msats / budget.limit_msats if budget.limit_msats else 1.0


def budget_role(budget: BudgetStatus) -> Role:
    """Return the role of a budget's share."""
    share = budget_share(budget)
    return "bad" if share >= 1 else "warn" if budget.passed_percent else "good"


def budget_finds(budget: BudgetStatus) -> str:
    """Return the filter of the requests that count in a budget."""
    requests, client = since(began_ms(budget)), budget.scope.removeprefix(CLIENT_SCOPE)
    if budget.scope == GLOBAL:
        return requests
    whose = term("policy", budget.scope) if client == budget.scope else term("client", client)
    return f"{whose} {requests}"


def pace_bar(going: Pace, width: int) -> str:
    """Return a bar of what is spent of a budget, with a mark where an even pace would be."""
    text = bar(min(going.share, 1.0), width).ljust(width, "░")
    place = min(int(going.passed * width), width - 1)
    return text[:place] + "┊" + text[place + 1 :]


def lasts(going: Pace, now_ms: int, zone: tzinfo | None, *, refuses: bool = False) -> Line:
    """Return how long a budget lasts at this rate; one that `refuses` requests is spent, or too small for them."""
    if refuses or going.share >= 1:
        return (("refuses requests", "bad"),)
    if going.empty_at_ms is not None:
        in_ms = going.empty_at_ms - now_ms
        at = day_or_time(going.empty_at_ms, now_ms, zone)
        left = uptime(in_ms) if in_ms >= MINUTE_MS else countdown(in_ms)
        return (("empty in ", "muted"), (left, "warn" if in_ms < SOON_MS else "text"), (f" at {at}", "muted"))
    return (("lasts till it resets" if going.at_reset is not None else "at an unknown rate", "muted"),)
