"""Notices: toasts about overcharges, budgets, the ledger and the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from arbstr.events import BudgetThreshold, ConfigurationRead, LedgerStateChanged, OverchargeFound, UnexplainedCharge
from arbstr.types import CLIENT_SCOPE
from tui.format import percent, sats_round, shown

GLOBAL = "global"  # the scope of a budget that is no rule's

Severity = Literal["information", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to show at once."""

    text: str
    severity: Severity


def overcharge_notice(event: OverchargeFound) -> Notice:
    """Return the notice that a provider charges more than its rates."""
    name, model = shown(event.provider, 40), shown(event.model, 40)
    return Notice(f"{name} charges {event.ratio:.2f} times its rates for {model}", "warning")


def budget_notice(event: BudgetThreshold) -> Notice:
    """Return the notice that a share of a budget is spent."""
    spent, limit = sats_round(event.spent_msats), sats_round(event.limit_msats)
    share = percent(event.spent_msats / event.limit_msats if event.limit_msats else 1.0, 0)
    client = event.scope.removeprefix(CLIENT_SCOPE)
    scope = f"client {shown(client, 40)}" if client != event.scope else f"policy {shown(event.scope, 40)}"
    whose = "Budget" if event.scope == GLOBAL else f"Budget of {scope}"
    text = f"{whose} for this {event.period}: {spent} of {limit} sats spent ({share})"
    return Notice(text, "error" if event.percent >= 100 else "warning")


def unexplained_notice(event: UnexplainedCharge) -> Notice:
    """Return the notice that a provider took what no request explains."""
    return Notice(
        f"{shown(event.provider, 40)} took {sats_round(event.msats)} sats that no request explains", "warning"
    )


def ledger_notice(event: LedgerStateChanged) -> Notice:
    """Return the notice that the ledger can't be written, or can again."""
    if event.ok:
        return Notice(shown(event.message), "information")
    return Notice(f"The ledger can't be written: {shown(event.message)}", "error")


def configuration_notice(event: ConfigurationRead) -> Notice:
    """Return the notice that another configuration is in force, or was refused."""
    if event.problems:
        more = f" (and {len(event.problems) - 1} more)" if len(event.problems) > 1 else ""
        return Notice(f"The configuration was refused: {shown(event.problems[0], 200)}{more}", "error")
    if event.restart:
        return Notice(f"Configuration reloaded, but {', '.join(event.restart)}: that needs a restart", "warning")
    return Notice("Configuration reloaded", "information")
