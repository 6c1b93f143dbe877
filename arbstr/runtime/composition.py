"""What one configuration is made into: the parts that its requests go through, from their arrival to their end.

Nothing of it changes while it is in force. Another configuration is another composition, which takes over what was
learned and what is under way; requests that began under the one before end there, with its providers, rates and rules.
What outlives every configuration is in `Lasting`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arbstr.bus import EventBus
from arbstr.clock import wall_ms
from arbstr.config.schema import Config, Provider
from arbstr.config.settings import Settings
from arbstr.engine.accounts import Accounts
from arbstr.engine.admission import AdmissionControl
from arbstr.engine.body_memory import BodyMemory
from arbstr.engine.budget import Budgets
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.clients import Clients
from arbstr.engine.departure import is_drained
from arbstr.engine.funds_queue import FundsQueue
from arbstr.engine.learning.learner import Learner
from arbstr.engine.node_funds import NodeFunds, funds_of
from arbstr.engine.pipeline import Engine
from arbstr.engine.request_context import RequestContext
from arbstr.engine.routing.policy import Matcher
from arbstr.engine.routing.router import Router
from arbstr.engine.sessions import Sessions
from arbstr.engine.upstream.caller import UpstreamCaller
from arbstr.engine.upstream.deadline import DeadlineTimer
from arbstr.engine.upstream.spoken import SpokenDialects
from arbstr.events import RequestFinished
from arbstr.ledger.reader import LedgerReader
from arbstr.ledger.writer import LedgerWriter
from arbstr.market.balances import Balances
from arbstr.market.catalogue import Catalogues
from arbstr.monitoring.alerts import Alerts
from arbstr.monitoring.event_feed import EventFeed
from arbstr.monitoring.local_source import LocalSource, provider_statuses
from arbstr.monitoring.request_counters import RequestCounters
from arbstr.redaction import Redactor
from arbstr.runtime.alerts import WebhookAlerts
from arbstr.runtime.metrics import expose
from arbstr.server.access import AccessControl
from arbstr.server.app import App
from arbstr.server.endpoints import ledger as ledger_api
from arbstr.server.endpoints.estimates import EstimateEndpoints
from arbstr.server.endpoints.events import EventEndpoints
from arbstr.server.endpoints.inference import InferenceEndpoints, InFlightTasks
from arbstr.server.endpoints.status import StatusEndpoints
from arbstr.server.endpoints.welcome import WelcomeEndpoints
from arbstr.server.router import EndpointRouter, NamedRoute, Route
from arbstr.transport.pool import PooledTransport
from arbstr.types import Balance

if TYPE_CHECKING:
    from arbstr.market.trace_export import TraceExport
    from arbstr.runtime.sharing import Sharing

LARGEST_AT_A_TIME = 4  # requests of the largest size that fit into memory at a time


@dataclass(frozen=True, slots=True)
class Lasting:
    """What outlives every configuration, and takes over each new one where it depends on it."""

    bus: EventBus
    redactor: Redactor
    ledger: LedgerWriter
    reader: LedgerReader
    transport: PooledTransport
    matchers: Sequence[Matcher]
    budgets: Budgets
    sessions: Sessions
    funds_queue: FundsQueue
    admission: AdmissionControl
    room: BodyMemory
    deadline_timer: DeadlineTimer
    in_flight: InFlightTasks
    running: dict[str, RequestContext]
    alerts: Alerts
    source: LocalSource
    feed: EventFeed
    counters: RequestCounters
    sharing: Sharing | None
    started_at_ms: int

    def renew(self, config: Config) -> None:
        """Apply a configuration."""
        self.budgets.renew(config)
        self.admission.limit(config.server.max_in_flight, config.server.rate_limit_rps)
        self.room.limit(LARGEST_AT_A_TIME * largest_bytes(config))


@dataclass(frozen=True, slots=True)
class Composition:
    """The parts of one configuration."""

    config: Config
    clients: Clients
    accounts: Accounts
    account_funds: dict[str, NodeFunds]
    spoken: SpokenDialects
    health: CircuitBreakers
    router: Router
    lists: Catalogues
    balances: Balances
    upstream: UpstreamCaller
    engine: Engine
    webhook: WebhookAlerts | None
    traces: TraceExport | None
    app: App

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The configured providers."""
        return self.config.providers

    @property
    def learner(self) -> Learner:
        """What learns of answers and charges."""
        return self.router.learner

    def balance_of(self, provider: str) -> Balance | None:
        """Return what is known of the balance at a provider; None where there is nothing to ask."""
        return self.balances.of(provider)

    async def run(self) -> None:
        """Read lists and balances, and post alerts; the owner cancels it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.lists.run())
            group.create_task(self.balances.run())
            if self.webhook is not None:
                group.create_task(self.webhook.run())
            if self.traces is not None:
                group.create_task(self.traces.run())


def largest_bytes(config: Config) -> int:
    """Return the size of the largest request that is taken."""
    return int(config.server.max_request_mb * 1024 * 1024)


def compose(settings: Settings, lasting: Lasting, before: Composition | None = None) -> Composition:
    """Compose the parts of a configuration, which go on where those `before` are now.

    It never waits: between what is taken over and the next request there is none.
    """
    config = settings.config
    staying = _staying(config, before)
    accounts = Accounts(config.providers)
    if before is not None:
        accounts.take_over(before.accounts)
    account_funds, funds = funds_of(accounts.providers, time.monotonic, {} if before is None else before.account_funds)
    lasting.funds_queue.renew(funds)
    spoken, health, router = _decisions(config, lasting, funds)
    lists, balances = _market(config, lasting, accounts, funds, health, router)
    clients = Clients(config.clients, router.names.resolve, time.monotonic)
    upstream = UpstreamCaller(
        lasting.transport,
        lasting.redactor,
        keepalive_s=config.server.keepalive,
        spoken=spoken,
        memory=lasting.room,
        deadline_timer=lasting.deadline_timer,
    )
    if before is not None:
        clients.take_over(before.clients)
        spoken.take_over(before.spoken, staying)
        health.take_over(before.health, staying)
        lists.take_over(before.lists, staying)
        router.take_over(before.router, staying)
        balances.take_over(before.balances)
        upstream.take_over(before.upstream)
    webhook = WebhookAlerts.for_settings(
        config.alerts, lasting.transport, lasting.redactor, before.webhook if before else None, lasting.sharing
    )
    traces = _traces(config, lasting, before)
    engine = _engine(config, lasting, accounts, health, router, upstream, balances)
    app = _app(settings, lasting, clients, engine, health, router, lists, balances)
    return Composition(
        config,
        clients,
        accounts,
        account_funds,
        spoken,
        health,
        router,
        lists,
        balances,
        upstream,
        engine,
        webhook,
        traces,
        app,
    )


def _traces(config: Config, lasting: Lasting, before: Composition | None) -> TraceExport | None:
    """Return what exports traces, of the requests that the one before has left too; None without an endpoint."""
    known = before.traces if before is not None else None
    if config.otel.traces_url is None:
        if known is not None:
            lasting.bus.unsubscribe(known.finished)
        return None
    from arbstr.market.trace_export import MOST_WAITING, TraceExport  # noqa: PLC0415 - few export them

    finished = lasting.bus.subscribe(MOST_WAITING, [RequestFinished]) if known is None else known.finished
    return TraceExport(config.otel.traces_url, finished, config.providers, lasting.transport, lasting.redactor)


def _staying(config: Config, before: Composition | None) -> frozenset[str]:
    """Return the names of the providers that were there before: what was learned of another address is not theirs."""
    known = {} if before is None else {one.name: (one.url, one.kind) for one in before.providers}
    return frozenset(one.name for one in config.providers if known.get(one.name) == (one.url, one.kind))


def _decisions(
    config: Config, lasting: Lasting, funds: dict[str, NodeFunds]
) -> tuple[SpokenDialects, CircuitBreakers, Router]:
    health = CircuitBreakers(
        [provider.name for provider in config.providers],
        config.breaker,
        clock=time.monotonic,
        now_ms=wall_ms,
        random=random.random,
        on_change=lasting.bus.publish,
        limits={provider.name: provider.max_in_flight for provider in config.providers},
        is_balance_known=lambda provider: provider in funds and funds[provider].is_known,
    )
    spoken = SpokenDialects(config.providers, time.monotonic)
    router = Router(
        config,
        clock=time.monotonic,
        random=random.random,
        unavailable=health.unavailable,
        cooling=health.cooldowns.reasons,
        retry_after_s=health.retry_after_s,
        due_next=health.due_next,
        unable=spoken.unable,
        funds=funds,
        publish=lasting.bus.publish,
        matchers=lasting.matchers,
    )
    return spoken, health, router


def _market(
    config: Config,
    lasting: Lasting,
    accounts: Accounts,
    funds: dict[str, NodeFunds],
    health: CircuitBreakers,
    router: Router,
) -> tuple[Catalogues, Balances]:
    """Return what reads the providers' lists and balances."""
    lists = Catalogues(
        config.providers,
        router.names,
        lasting.transport,
        lasting.redactor,
        random=random.random,
        now_ms=wall_ms,
    )
    balances = Balances(
        config.providers,
        funds,
        lasting.transport,
        lasting.redactor,
        clock=time.monotonic,
        now_ms=wall_ms,
        random=random.random,
        traffic=accounts.traffic,
        on_key=health.cooldowns.set_key_problem,
    )
    return lists, balances


def _engine(
    config: Config,
    lasting: Lasting,
    accounts: Accounts,
    health: CircuitBreakers,
    router: Router,
    upstream: UpstreamCaller,
    balances: Balances,
) -> Engine:
    def drains(provider: Provider) -> bool:
        balance = balances.of(provider.name)
        return is_drained(provider, None if balance is None else balance.node_version)

    return Engine(
        config,
        admission=lasting.admission,
        router=router,
        breakers=health,
        budgets=lasting.budgets,
        sessions=lasting.sessions,
        accounts=accounts,
        drains=drains,
        funds_queue=lasting.funds_queue,
        upstream=upstream,
        ledger=lasting.ledger,
        bus=lasting.bus,
        clock=time.monotonic,
        running=lasting.running,
    )


def _app(
    settings: Settings,
    lasting: Lasting,
    clients: Clients,
    engine: Engine,
    health: CircuitBreakers,
    router: Router,
    lists: Catalogues,
    balances: Balances,
) -> App:
    config, server = settings.config, settings.config.server
    api = StatusEndpoints(
        config.providers,
        router,
        lists.first_lists,
        statuses=lambda: provider_statuses(config.providers, health, router, balances.of),
        uptime_s=lambda: (wall_ms() - lasting.started_at_ms) / 1000,
        started_s=lasting.started_at_ms // 1000,
        instances=lasting.source.instances,
        lease_notice=lasting.source.lease_notice,
    )
    access_control = AccessControl(
        settings.host,
        server.auth_token,
        server.allowed_hosts,
        server.allowed_origins,
        server.metrics_token,
        clients,
    )
    routes: list[Route | NamedRoute] = [
        *InferenceEndpoints(engine, lasting.room, lasting.in_flight, server.passthrough).routes(),
        *expose(
            lasting.counters,
            lasting.ledger,
            health,
            lasting.budgets,
            balances,
            lasting.admission,
            lasting.source.instances,
        ).routes(),
        *api.routes(),
        *EstimateEndpoints(router, lasting.sessions, lasting.room).routes(),
        *ledger_api.routes(lasting.reader, router.names, [one.name for one in config.providers], wall_ms),
        *EventEndpoints(lasting.feed, lasting.source, lasting.room).routes(),
        *WelcomeEndpoints(server.passthrough).routes(),
    ]
    return App(access_control, EndpointRouter(routes, router.rule))
