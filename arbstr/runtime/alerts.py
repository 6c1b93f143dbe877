"""Composes the alerts: what is heard of, and where they go."""

from __future__ import annotations

import logging

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
from arbstr.redaction import Redactor, Secret

logger = logging.getLogger(__name__)


class _Spending:
    """Looks at the budgets after each request, and after each change of what one cost."""

    def __init__(self, alerts: Alerts, budgets: Budgets) -> None:
        self._alerts = alerts
        self._budgets = budgets

    def put(self, event: Event) -> None:
        """Handle an event."""
        if isinstance(event, RequestFinished):
            record = event.record
            changed = self._budgets.status_of(record.policy, record.client)  # there may be thousands of others
            self._alerts.budgets(changed, refused=record.error_status == BudgetExceeded.status)
        else:
            self._alerts.budgets(self._budgets.status())


class WebhookAlerts:
    """Logs alerts and posts them to a webhook."""

    def __init__(
        self, settings: Settings, url: Secret, transport: httpx.AsyncBaseTransport, redactor: Redactor
    ) -> None:
        self._webhook = Webhook(url, settings.secret, transport, redactor)
        self._alerts = Alerts(
            self._raised,
            budget_percent=settings.budget_percent,
            balance_hours=settings.balance_hours,
            now_ms=wall_ms,
        )
        self._spending: _Spending | None = None

    @classmethod
    def for_settings(
        cls,
        settings: Settings,
        transport: httpx.AsyncBaseTransport,
        redactor: Redactor,
        before: WebhookAlerts | None = None,
    ) -> WebhookAlerts | None:
        """Return the alerts, with those `before` that stand still; None without a webhook.

        Then the log and the dashboard tell of the same things by themselves.
        """
        if settings.webhook is None:
            return None
        alerts = cls(settings, settings.webhook, transport, redactor)
        if before is not None:
            alerts.take_over(before)
        return alerts

    def take_over(self, before: WebhookAlerts) -> None:
        """Go on with what stands, and what has not been posted yet."""
        self._alerts.take_over(before._alerts)
        self._webhook.take_over(before._webhook)

    def begin(self, bus: EventBus, budgets: Budgets, balances: Balances, lists: Catalogues) -> None:
        """Hear of what happens from now on; past spending is to be known by now."""
        self._alerts.known(budgets.status())
        self._spending = _Spending(self._alerts, budgets)
        bus.attach(self._spending, [RequestFinished, ChargeBooked])
        bus.attach(self._alerts, [ProviderHealthChanged, UnexplainedCharge])  # type: ignore[arg-type]  # it gets no others
        balances.on_reading(lambda reading: self._alerts.balance(reading.provider, reading.balance))
        lists.on_jumps(self._alerts.prices)

    def end(self, bus: EventBus) -> None:
        """Hear of nothing more."""
        bus.unsubscribe(self._alerts)  # type: ignore[arg-type]  # as above
        if self._spending is not None:
            bus.unsubscribe(self._spending)

    async def run(self) -> None:
        """Post the alerts; the owner cancels it."""
        await self._webhook.run()

    def _raised(self, alert: Alert) -> None:
        document = alert.document()
        logger.warning("alert: %s", ", ".join(f"{key} {value}" for key, value in document.items() if value is not None))
        self._webhook.put(document)
