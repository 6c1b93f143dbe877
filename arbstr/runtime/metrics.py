"""Composes what `/metrics` tells: counters that hear of each request, and the state of the parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from arbstr.bus import EventBus
from arbstr.engine.admission import AdmissionControl
from arbstr.engine.budget import Budgets
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.routing.names import ModelNames
from arbstr.ledger.writer import LedgerWriter
from arbstr.market.balances import Balances
from arbstr.monitoring.gauges import Gauges
from arbstr.monitoring.request_counters import RequestCounters
from arbstr.monitoring.source import InstanceStatus
from arbstr.server.endpoints.metrics import MetricsEndpoint


def count_requests(bus: EventBus, names: ModelNames) -> RequestCounters:
    """Return counters of the requests that finish from now on."""
    counters = RequestCounters(names)
    bus.attach(counters, counters.EVENTS)
    return counters


def expose(
    counters: RequestCounters,
    ledger: LedgerWriter,
    health: CircuitBreakers,
    budgets: Budgets,
    balances: Balances,
    admission: AdmissionControl,
    instances: Callable[[], Sequence[InstanceStatus]],
) -> MetricsEndpoint:
    """Return the endpoint. `instances` returns those that share the ledger, none where it is not shared."""

    def gauges() -> Gauges:
        views = health.views()
        known = {name: balance for name in views if (balance := balances.of(name)) is not None}
        sharing = instances()
        stale = sum(one.stale for one in sharing)
        return Gauges(
            breakers={name: view.state for name, view in views.items()},
            budgets=budgets.status(),
            balances_msats={name: one.free_msats for name, one in known.items() if one.free_msats is not None},
            in_flight=admission.in_flight,
            queued_rows=ledger.queued_rows,
            instances=(len(sharing) - stale, stale) if sharing else None,
        )

    return MetricsEndpoint(counters, gauges)
