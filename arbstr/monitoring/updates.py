"""What no event of the bus reports, for dashboards in other processes: changes that others see in snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from arbstr.events import Alert, Event
from arbstr.logs.ring import LogLine
from arbstr.monitoring.source import InstanceStatus, ProviderStatus
from arbstr.types import BudgetStatus, LearnedRatio, value_object


@value_object
class ProviderUpdated:
    """A provider's state, success rate, speed, balance or rates changed. Without its models and their rates."""

    status: ProviderStatus


@value_object
class PricesUpdated:
    """A provider's list of models changed; `model_rates` are input rate, output rate and fee of each."""

    provider: str
    models: tuple[str, ...]
    model_rates: Mapping[str, tuple[float, float, float]]


@value_object
class BudgetsUpdated:
    """The budgets as they are now."""

    budgets: tuple[BudgetStatus, ...]


@value_object
class RatiosUpdated:
    """The learned lengths as they are now."""

    ratios: tuple[LearnedRatio, ...]


@value_object
class AlertsUpdated:
    """The alerts that stand now."""

    alerts: tuple[Alert, ...]


@value_object
class InstancesUpdated:
    """The arbstrs that share the ledger, as they are now."""

    instances: tuple[InstanceStatus, ...]


@value_object
class LogWritten:
    """Lines of arbstr's own log."""

    lines: tuple[LogLine, ...]


Update = (
    ProviderUpdated | PricesUpdated | BudgetsUpdated | RatiosUpdated | AlertsUpdated | InstancesUpdated | LogWritten
)
Sent = Event | Update


def without_prices(status: ProviderStatus) -> ProviderStatus:
    """Return a status without its list of models and rates, which is long and seldom changes."""
    return replace(status, models=(), model_rates={})
