"""The budgets: spent, where an even pace would be, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo

from arbstr.clock import MINUTE_MS
from arbstr.types import BudgetStatus
from tui.format import age, day_or_time, percent, sats_alike, sats_round, uptime
from tui.model.burn import Burn, Pace
from tui.model.view_model import DashboardView
from tui.render.layout import Column, Role, Span
from tui.widgets.budget_pace import SOON_MS, budget_finds, budget_role, pace_bar, paces
from tui.widgets.rows_panel import BAR, Row

COLUMNS = (
    Column("budget", 12, share=1, most=26),
    Column(BAR, 10, share=4, most=60, rank=2),
    Column("share", 5, "right"),
    Column("spent of limit", 14, "right", rank=3),
    Column("at this rate", 12, exact=True, rank=1),
    Column("resets in", 9, "right", rank=4),
)


def budget_rows(view: DashboardView, burn: Burn | None, zone: tzinfo | None) -> list[Row]:
    """Return a row for each budget, leading to the requests that count in it."""
    known = paces(view, burn)
    sums = sats_alike([msats for budget, going in known for msats in _sums(budget, going)])
    return [
        _row(budget, going, sums[3 * place : 3 * place + 3], view, zone) for place, (budget, going) in enumerate(known)
    ]


def _sums(budget: BudgetStatus, going: Pace) -> tuple[float | None, ...]:
    """Return what is spent of a budget, its limit, and what will be spent at its reset, in msats."""
    at_reset = None if going.at_reset is None else going.at_reset * budget.limit_msats
    return budget.spent_msats, budget.limit_msats, at_reset


def _row(budget: BudgetStatus, going: Pace, sums: Sequence[str], view: DashboardView, zone: tzinfo | None) -> Row:
    spent, limit, at_reset = sums
    role, now_ms = budget_role(budget), view.at_ms
    ends = forecast(budget, going, at_reset, now_ms, zone)
    return Row(
        f"{budget.scope}/{budget.period}",
        {
            "budget": (f"{budget.scope} / {budget.period}", "text"),
            "share": (percent(going.share, 0), role),
            "spent of limit": (f"{spent} of {limit}{_held(budget)}", "text"),
            "at this rate": ("refuses requests", "bad") if budget in view.refusing else ends,
            "resets in": (uptime(max(budget.resets_at_ms - now_ms, 0)), "muted"),
        },
        finds=budget_finds(budget),
        bar=_bar(budget, going),
    )


def _held(budget: BudgetStatus) -> str:
    """Return what this instance holds of a budget that several share."""
    return "" if budget.held_msats is None else f", {sats_round(budget.held_msats)} held here"


def _bar(budget: BudgetStatus, going: Pace) -> Callable[[int], Span]:
    return lambda width: (pace_bar(going, width), budget_role(budget))


def forecast(budget: BudgetStatus, going: Pace, at_reset: str, now_ms: int, zone: tzinfo | None) -> Span:
    """Return how a budget ends if what is spent of it goes on: `empty 16:31, 9 h early`, `2,900 at reset`."""
    if going.share >= 1:
        return ("spent", "bad")
    if going.empty_at_ms is not None:
        early_ms = budget.resets_at_ms - going.empty_at_ms
        if early_ms < MINUTE_MS:
            return ("empty as it resets", "text")
        early = f"{age(early_ms)} early"
        role: Role = "warn" if going.empty_at_ms - now_ms < SOON_MS else "text"
        return (f"empty {day_or_time(going.empty_at_ms, now_ms, zone)}, {early}", role)
    if going.at_reset is None:
        return ("rate unknown", "muted")
    return (f"{at_reset} at reset", "text")
