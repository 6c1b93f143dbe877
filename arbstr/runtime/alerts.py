"""Composes the alerts: what is heard of, and where they go."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

import httpx

from arbstr.bus import EventBus
from arbstr.clock import wall_ms
from arbstr.config.alerts import Alerts as Settings
from arbstr.engine.budget import Budgets
from arbstr.errors import BudgetExceeded
from arbstr.events import ChargeBooked, Event, ProviderHealthChanged, RequestFinished, UnexplainedCharge
from arbstr.market.balances import Balances
from arbstr.market.catalogue import Catalogues
from arbstr.market.webhook import Webhook
from arbstr.monitoring.alerts import Alert, Alerts
from arbstr.redaction import Redactor
from arbstr.runtime.background import run_in_background

logger = logging.getLogger(__name__)


class _Spending:
    """Looks at the budgets after each request, and after each change of what one cost."""

    def __init__(self, alerts: Alerts, budgets: Budgets) -> None:
        self._alerts = alerts
        self._budgets = budgets

    def put(self, event: Event) -> None:
        """Handle an event."""
        refused = isinstance(event, RequestFinished) and event.record.error_status == BudgetExceeded.status
        self._alerts.budgets(self._budgets.status(), refused=refused)


def raise_alerts(
    stack: AsyncExitStack,
    settings: Settings,
    bus: EventBus,
    budgets: Budgets,
    balances: Balances,
    lists: Catalogues,
    transport: httpx.AsyncBaseTransport,
    redactor: Redactor,
) -> None:
    """Log alerts and post them from now on, if there is a webhook; past spending is to be known by now.

    Without one the log and the dashboard tell of the same things by themselves.
    """
    if settings.webhook is None:
        return
    webhook = Webhook(settings.webhook, settings.secret, transport, redactor)

    def raised(alert: Alert) -> None:
        document = alert.document()
        logger.warning("alert: %s", ", ".join(f"{key} {value}" for key, value in document.items() if value is not None))
        webhook.put(document)

    alerts = Alerts(
        raised, budget_percent=settings.budget_percent, balance_hours=settings.balance_hours, now_ms=wall_ms
    )
    alerts.known(budgets.status())
    if budgets.status():
        bus.attach(_Spending(alerts, budgets), [RequestFinished, ChargeBooked])
    bus.attach(alerts, [ProviderHealthChanged, UnexplainedCharge])  # type: ignore[arg-type]  # it gets no others
    balances.on_reading(lambda reading: alerts.balance(reading.provider, reading.balance))
    lists.on_jumps(alerts.prices)
    run_in_background(stack, webhook.run())
