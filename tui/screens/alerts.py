"""The alerts that stand, as a list to choose from: each leads to where it can be read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import tzinfo

from textual.screen import Screen

from arbstr.events import Alert
from tui.format import clock
from tui.model.alert_text import alert_text
from tui.model.dashboard import DashboardModel
from tui.screens.choice import ChoiceScreen

_KEYS = "123456789abcdefghi"  # none that the list itself has
_ON_MONEY = ("budget", "unexplained_charge")


def offer_alerts(
    screen: Screen[object], dashboard: DashboardModel, show_provider: Callable[[str], Awaitable[None]]
) -> None:
    """List the alerts, the latest first; the one that is chosen is shown on the screen that has its figures."""
    standing = dashboard.view().alerts
    alerts = standing[::-1][: len(_KEYS)]
    if not alerts:
        screen.notify("Nothing needs attention", markup=False)
        return

    async def show(key: str | None) -> None:
        if key is None:
            return
        alert = alerts[_KEYS.index(key)]
        if alert.kind in _ON_MONEY:
            await screen.app.switch_mode("money")
        else:
            await show_provider(alert.name)

    answers = _answers(alerts, dashboard.zone)
    latest = "" if len(alerts) == len(standing) else f", the latest {len(alerts)} of {len(standing)}"
    screen.app.push_screen(ChoiceScreen(f"What needs attention{latest}, and where it can be read", answers), show)


def _answers(alerts: Sequence[Alert], zone: tzinfo | None) -> list[tuple[str, str]]:
    return [
        (key, f"{clock(alert.at_ms, zone)}  {alert_text(alert)}") for key, alert in zip(_KEYS, alerts, strict=False)
    ]
