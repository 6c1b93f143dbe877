"""Composes the alerts: what they hear of, and how they get to a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from arbstr.bus import EventBus
from arbstr.clock import wall_ms
from arbstr.config.alerts import Alerts as Settings
from arbstr.engine.budget import Budgets
from arbstr.events import AlertRaised, Event
from arbstr.market.webhook import Webhook
from arbstr.monitoring.alerts import Alerts, document
from arbstr.redaction import Redactor, Secret

if TYPE_CHECKING:
    from arbstr.runtime.sharing import Sharing


def watch_for_alerts(bus: EventBus, budgets: Budgets) -> Alerts:
    """Return the alerts, which hear of what happens from now on."""
    alerts = Alerts(bus.publish, budgets.status_of, wall_ms)
    bus.attach(alerts, Alerts.EVENTS)
    return alerts


class WebhookAlerts:
    """Posts alerts to a webhook; with `sharing`, those of what is shared for other instances too, or they for this."""

    def __init__(
        self,
        settings: Settings,
        url: Secret,
        transport: httpx.AsyncBaseTransport,
        redactor: Redactor,
        sharing: Sharing | None = None,
    ) -> None:
        self._sharing = sharing
        self._webhook = Webhook(url, settings.secret, transport, redactor)

    @classmethod
    def for_settings(
        cls,
        settings: Settings,
        transport: httpx.AsyncBaseTransport,
        redactor: Redactor,
        before: WebhookAlerts | None = None,
        sharing: Sharing | None = None,
    ) -> WebhookAlerts | None:
        """Return what posts alerts, those that the one `before` has not posted yet first; None without a webhook."""
        if settings.webhook is None:
            return None
        alerts = cls(settings, settings.webhook, transport, redactor, sharing)
        if before is not None:
            alerts.take_over(before)
        return alerts

    def take_over(self, before: WebhookAlerts) -> None:
        """Post first what an earlier one has not posted yet."""
        self._webhook.take_over(before._webhook)

    def begin(self, bus: EventBus) -> None:
        """Post the alerts that are raised from now on."""
        bus.attach(self, [AlertRaised])

    def end(self, bus: EventBus) -> None:
        """Take no more alerts."""
        bus.unsubscribe(self)

    def put(self, event: Event) -> None:
        """Handle an event."""
        if not isinstance(event, AlertRaised):
            return
        if self._sharing is None:
            self._webhook.put(document(event.alert))
        else:
            alert = {**document(event.alert), "instance": self._sharing.name}
            self._webhook.put(alert, self._sharing.alerts.of(event.alert))

    async def run(self) -> None:
        """Post the alerts; the owner cancels it."""
        await self._webhook.run()
