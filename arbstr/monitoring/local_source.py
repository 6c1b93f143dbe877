"""The `Source` of the arbstr in this process: a snapshot of all its parts, and the few actions of an operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from arbstr import __version__
from arbstr.bus import DEFAULT_CAPACITY, EventBus, Subscription
from arbstr.config.schema import Provider
from arbstr.engine.budget import Budgets
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.request_context import RequestContext
from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.router import Router
from arbstr.events import Alert
from arbstr.ledger.model import LedgerQueries
from arbstr.monitoring.live_state import FinishedRequests
from arbstr.monitoring.source import (
    InstanceStatus,
    OfferStatus,
    ProviderStatus,
    RunningRequest,
    Snapshot,
    Totals,
)
from arbstr.types import Balance, BudgetStatus, Price


class Watched(Protocol):
    """The parts of a configuration that is in force."""

    @property
    def providers(self) -> Sequence[Provider]:
        """The configured providers."""
        ...

    @property
    def health(self) -> CircuitBreakers:
        """Their breakers."""
        ...

    @property
    def router(self) -> Router:
        """What decides among them."""
        ...

    def balance_of(self, provider: str) -> Balance | None:
        """Return what is known of the balance at a provider; None where there is nothing to ask."""
        ...


class LocalSource:
    """Implements `source.Source`.

    `current` returns what is in force now, `running` are the requests under way; finished ones are counted from now on.
    `alerts` returns those that stand, by the state of the budgets. `now_ms` is the wall clock; `address` the URL that
    clients use, empty until it is known. `ledger_problem` says why the ledger can't be written now, also if that began
    before the first subscriber; `config_problems` why the configuration file is not what is in force. `instances`
    returns those that share the ledger.
    """

    def __init__(
        self,
        current: Callable[[], Watched],
        *,
        bus: EventBus,
        budgets: Budgets,
        alerts: Callable[[Sequence[BudgetStatus]], tuple[Alert, ...]],
        running: Mapping[str, RequestContext],
        ledger: LedgerQueries,
        ledger_problem: Callable[[], str | None],
        started_at_ms: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._current = current
        self._bus = bus
        self._budgets = budgets
        self._alerts = alerts
        self._running = running
        self._ledger = ledger
        self._ledger_problem = ledger_problem
        self.address = ""
        self.config_problems: tuple[str, ...] = ()
        self.lease_notice: Callable[[], str | None] = lambda: None  # nor leases
        self.instances: Callable[[], tuple[InstanceStatus, ...]] = tuple  # none, unless the ledger is shared
        self.started_at_ms = started_at_ms
        self._now_ms = now_ms
        self._finished = FinishedRequests()
        bus.attach(self._finished, self._finished.EVENTS)

    @property
    def totals(self) -> Totals:
        """Return the sums since the start."""
        return self._finished.totals

    @property
    def link(self) -> None:
        """Return None: it is the one of this process."""
        return None

    @property
    def ledger(self) -> LedgerQueries:
        """Return the queries of the ledger."""
        return self._ledger

    def subscribe(self, capacity: int = DEFAULT_CAPACITY) -> Subscription:
        """Subscribe to events from now on."""
        return self._bus.subscribe(capacity)

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._bus.unsubscribe(subscription)

    def snapshot(self) -> Snapshot:
        """Return the state now."""
        now, budgets = self._current(), self._budgets.status()
        return Snapshot(
            at_ms=self._now_ms(),
            started_at_ms=self.started_at_ms,
            address=self.address,
            version=__version__,
            providers=provider_statuses(now.providers, now.health, now.router, now.balance_of),
            running=tuple(_running(one) for one in self._running.values() if one.announced),
            recent=self._finished.recent,
            totals=self.totals,
            budgets=budgets,
            ratios=now.router.learner.tokens.ratios(),
            ledger_problem=self._ledger_problem(),
            config_problems=self.config_problems,
            alerts=self._alerts(budgets),
            instances=self.instances(),
        )

    async def offers(self, models: Sequence[str]) -> Mapping[str, tuple[OfferStatus, ...]]:
        """Return for each model, by any of its names, what the providers that sell it ask now."""
        router = self._current().router
        return {model: tuple(_offer_status(*sold) for sold in router.offers_of(model)) for model in models}

    def set_in_rotation(self, provider: str, in_rotation: bool) -> None:
        """Take a provider out of rotation or back. Raises KeyError for an unknown name."""
        self._current().health.set_in_rotation(provider, in_rotation)

    def close_breaker(self, provider: str) -> None:
        """Close a provider's breaker now. Raises KeyError for an unknown name."""
        self._current().health.close(provider)


def provider_statuses(
    providers: Sequence[Provider],
    health: CircuitBreakers,
    router: Router,
    balance_of: Callable[[str], Balance | None],
) -> tuple[ProviderStatus, ...]:
    """Return the status of every provider, in the configuration's order."""
    return tuple(_status(provider, health, router, balance_of(provider.name)) for provider in providers)


def _status(provider: Provider, health: CircuitBreakers, router: Router, balance: Balance | None) -> ProviderStatus:
    view = health.view(provider.name)
    prices = router.names.price_list(provider)
    return ProviderStatus(
        name=provider.name,
        url=provider.url,
        models=tuple(prices),
        input_rate=provider.input_rate,
        output_rate=provider.output_rate,
        base_fee=provider.base_fee,
        masked_key=None if provider.api_key is None else str(provider.api_key),
        key_source=provider.key_source,
        state=view.state,
        in_rotation=view.in_rotation,
        failure_count=view.failure_count,
        in_flight=view.in_flight,
        success_rate=view.success_rate,
        latency_ms=view.latency_ms,
        last_error=view.last_error,
        open_until_ms=view.open_until_ms,
        model_rates=prices,
        inert=provider.is_inert,
        charged_ratio=router.learner.charged_ratio(provider.name),
        charged_ratios=router.learner.charged_ratios(provider.name),
        balance=balance,
        list_age_s=router.names.list_age_s(provider.name),
        list_stale=router.names.is_stale(provider.name),
    )


def _running(context: RequestContext) -> RunningRequest:
    return RunningRequest(
        context.request_id,
        context.received_at_ms,
        context.model if context.routing is None else context.routing.model,
        context.streaming,
        None if context.provider is None else context.provider.name,
        context.policy,
        context.first_byte_ms,
        0 if context.stream is None else context.stream.observer.events,
    )


def _offer_status(provider: Provider, price: Price, learned: Offer | None) -> OfferStatus:
    rates = (price.input_rate, price.output_rate, price.base_fee)
    doubted = price.source in ("doubted", "stale")
    if learned is None:
        return OfferStatus(provider.name, *rates, doubted=doubted)
    return OfferStatus(
        provider.name,
        *rates,
        ratio=learned.tag.ratio,
        extra_sats=learned.tag.extra / 1000,
        success=learned.tag.success,
        doubted=doubted,
    )
