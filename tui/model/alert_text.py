"""Alerts in words: for notices, the top bar, and the list of what needs attention."""

from __future__ import annotations

from dataclasses import replace

from arbstr.clock import HOUR_MS
from arbstr.events import Alert
from arbstr.types import CLIENT_SCOPE
from tui.format import percent, sats_round, shown, uptime

GLOBAL = "global"  # the scope of a budget that is no rule's
_NAMED = 3  # models


def harmless(alert: Alert) -> Alert:
    """Return an alert fit to show."""
    return replace(
        alert,
        name=shown(alert.name, 40),
        models=tuple(shown(model, 40) for model in alert.models),
        reason=shown(alert.reason, 200),
    )


def alert_text(alert: Alert) -> str:
    """Return what an alert says, in a sentence without a full stop."""
    alert = harmless(alert)
    name, amount = alert.name, f"{sats_round(alert.msats)} sats"
    match alert.kind:
        case "budget":
            return _budget(alert)
        case "balance" if not alert.msats:
            return f"{name}'s balance is used up: top it up"
        case "balance":
            return f"{name}'s balance of {amount} lasts {uptime((alert.hours or 0) * HOUR_MS)} at this rate: top it up"
        case "provider_down":
            return f"{name} is down{f': {alert.reason}' if alert.reason else ''}"
        case "price_jump":
            more = f" and {len(alert.models) - _NAMED} more" if len(alert.models) > _NAMED else ""
            models = ", ".join(alert.models[:_NAMED])
            return f"{name}'s prices jumped tenfold, and are doubted until they are read twice: {models}{more}"
        case "unexplained_charge":
            return f"{name} took {amount} that no request explains"


def _budget(alert: Alert) -> str:
    client = alert.name.removeprefix(CLIENT_SCOPE)
    scope = f"client {client}" if client != alert.name else f"policy {client}"
    whose = "Budget" if alert.name == GLOBAL else f"Budget of {scope}"
    share = percent((alert.msats or 0) / alert.limit_msats if alert.limit_msats else 1.0, 0)
    spent, limit = sats_round(alert.msats), sats_round(alert.limit_msats)
    refuses = ": it refuses requests" if (alert.percent or 0) >= 100 else ""
    return f"{whose} for this {alert.period}: {spent} of {limit} sats spent ({share}){refuses}"
