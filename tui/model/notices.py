"""Notices: toasts about overcharges, budgets, the ledger and the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from arbstr.events import Alert, ConfigurationRead, LedgerStateChanged, OverchargeFound
from tui.format import shown
from tui.model.alert_text import alert_text

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


def alert_notice(alert: Alert) -> Notice:
    """Return the notice that something needs attention."""
    is_spent = alert.kind == "budget" and (alert.percent or 0) >= 100
    return Notice(alert_text(alert), "error" if is_spent else "warning")


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
