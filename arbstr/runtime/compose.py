"""The composition root: from settings to a proxy that listens.

One loop runs everything. Parts are opened in the order of their dependencies and closed in reverse, by one exit
stack; no other module composes parts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arbstr import __version__
from arbstr.bus import EventBus
from arbstr.clock import wall_ms
from arbstr.config.schema import Config, Provider
from arbstr.config.settings import Settings, proxy_lines
from arbstr.engine.accounts import Accounts
from arbstr.engine.admission import AdmissionControl
from arbstr.engine.body_memory import BodyMemory
from arbstr.engine.budget import Budgets, SpendQuery
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.departure import is_drained
from arbstr.engine.funds_queue import FundsQueue
from arbstr.engine.node_funds import NodeFunds, funds_of
from arbstr.engine.pipeline import Engine
from arbstr.engine.routing.router import Router
from arbstr.engine.sessions import Sessions
from arbstr.engine.upstream.caller import UpstreamCaller
from arbstr.engine.upstream.spoken import SpokenDialects
from arbstr.events import AdoptionProgressed, LedgerStateChanged, ProviderHealthChanged
from arbstr.ledger.model import Filter
from arbstr.ledger.reader import LedgerReader
from arbstr.ledger.writer import LedgerWriter
from arbstr.logs import setup
from arbstr.logs.access_log import AccessLog
from arbstr.logs.ring import LogRing
from arbstr.market.balances import Balances
from arbstr.market.catalogue import Catalogues
from arbstr.market.money_watch import MoneyWatch
from arbstr.monitoring.local_source import LocalSource, provider_statuses
from arbstr.redaction import Redactor
from arbstr.runtime import process
from arbstr.runtime.alerts import raise_alerts
from arbstr.runtime.background import run_in_background
from arbstr.runtime.books import keep_books
from arbstr.runtime.metrics import expose
from arbstr.runtime.persistence import SpendPersistence, StatePersistence
from arbstr.server.access import AccessControl
from arbstr.server.app import App
from arbstr.server.endpoints import ledger as ledger_api
from arbstr.server.endpoints.estimates import EstimateEndpoints
from arbstr.server.endpoints.inference import InferenceEndpoints
from arbstr.server.endpoints.status import StatusEndpoints
from arbstr.server.endpoints.welcome import WelcomeEndpoints
from arbstr.server.router import EndpointRouter, NamedRoute, Route
from arbstr.server.server import listen
from arbstr.transport.pool import PooledTransport

if TYPE_CHECKING:
    from arbstr.mock import FakeFleet

logger = logging.getLogger(__name__)

LARGEST_AT_A_TIME = 4  # requests of the largest size that fit into memory at a time
IDLE_CLIENTS = 1000  # further connections


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy: its URL, a factory of dashboard sources, and what is needed to stop it.

    `watch` returns a source for a dashboard, which follows every event from then on.
    """

    url: str
    config: Config
    log: setup.Logs
    fleet: FakeFleet | None
    watch: Callable[[], LocalSource]
    _admission: AdmissionControl
    _inference: InferenceEndpoints

    async def drain(self, forced: asyncio.Event) -> None:
        """Refuse new requests; let running ones finish within `shutdown_grace` seconds, or until `forced` is set."""
        self._admission.close()
        if unfinished := self._admission.in_flight + self._admission.draining:
            grace_s = self.config.server.shutdown_grace
            logger.info("stopping: %d requests have %g s to finish", unfinished, grace_s)
        await self._inference.drain(self.config.server.shutdown_grace, forced)


@asynccontextmanager
async def running(settings: Settings, ring: LogRing | None = None) -> AsyncIterator[Proxy]:
    """Run a proxy that listens. With a `ring`, arbstr's log goes there instead of to stderr."""
    async with AsyncExitStack() as stack:
        fleet = await _open_fleet(stack, settings)
        config = settings.config if fleet is None else fleet.config
        redactor = Redactor([*config.secrets(), *settings.proxies.secrets])
        bus = EventBus()
        log = _open_log(stack, settings, config, bus, redactor, ring)
        ledger = LedgerWriter(
            settings.database,
            on_state=lambda ok, message: bus.publish(LedgerStateChanged(ok, message)),
            on_progress=lambda done, total: bus.publish(AdoptionProgressed(done, total)),
            keep_days=config.database.keep_days,
        )
        await ledger.start()
        stack.push_async_callback(ledger.close)
        reader = LedgerReader(settings.database, settle=ledger.settle)
        stack.push_async_callback(reader.close)
        transport = PooledTransport(settings.proxies.choose)
        stack.push_async_callback(transport.aclose)
        parts = Infrastructure(config, bus, redactor, ledger, reader, transport, log, fleet)
        proxy = await _compose(stack, settings, parts)
        process.freeze_gc()
        logger.info("arbstr %s listens on %s", __version__, proxy.url)
        yield proxy


@dataclass(frozen=True, slots=True)
class Infrastructure:
    """What decisions and server depend on."""

    config: Config
    bus: EventBus
    redactor: Redactor
    ledger: LedgerWriter
    reader: LedgerReader
    transport: PooledTransport
    log: setup.Logs
    fleet: FakeFleet | None


@dataclass(frozen=True, slots=True)
class Decisions:
    """The parts that decide about requests and learn from them."""

    funds: dict[str, NodeFunds]
    funds_queue: FundsQueue
    health: CircuitBreakers
    router: Router
    budgets: Budgets
    sessions: Sessions
    accounts: Accounts
    spoken: SpokenDialects


def _decisions(config: Config, bus: EventBus, reader: LedgerReader) -> Decisions:
    accounts = Accounts(config.providers)
    funds = funds_of(accounts.providers.values(), time.monotonic)
    health = CircuitBreakers(
        [provider.name for provider in config.providers],
        config.breaker,
        clock=time.monotonic,
        now_ms=wall_ms,
        random=random.random,
        on_change=bus.publish,
        limits={provider.name: provider.max_in_flight for provider in config.providers},
        is_balance_known=lambda provider: provider in funds and funds[provider].is_known,
    )
    spoken = SpokenDialects(config.providers, time.monotonic)
    router = Router(
        config,
        clock=time.monotonic,
        random=random.random,
        is_available=health.available,
        cooling=health.cooldowns.reasons,
        retry_after_s=health.retry_after_s,
        due_next=health.due_next,
        unable=spoken.unable,
        funds=funds,
        publish=bus.publish,
    )
    budgets = Budgets(config, clock_ms=wall_ms, publish=bus.publish, recall=lambda asked: _spent_msats(reader, asked))
    return Decisions(funds, FundsQueue(funds), health, router, budgets, Sessions(), accounts, spoken)


async def _spent_msats(reader: LedgerReader, asked: SpendQuery) -> int:
    where = Filter(since_ms=asked.since_ms, until_ms=asked.until_ms, policy=asked.policy)
    return await reader.spent_msats(where)


def _market(parts: Infrastructure, decisions: Decisions) -> tuple[Catalogues, Balances]:
    """Return what reads the providers' lists and balances."""
    config = parts.config
    lists = Catalogues(
        config.providers,
        decisions.router.names,
        parts.transport,
        parts.redactor,
        random=random.random,
        now_ms=wall_ms,
    )
    balances = Balances(
        config.providers,
        decisions.funds,
        parts.transport,
        parts.redactor,
        clock=time.monotonic,
        now_ms=wall_ms,
        random=random.random,
        traffic=decisions.accounts.traffic,
        on_key=decisions.health.cooldowns.set_key_problem,
        low_hours=config.alerts.balance_hours,
    )
    return lists, balances


async def _compose(stack: AsyncExitStack, settings: Settings, parts: Infrastructure) -> Proxy:
    """Compose engine, server and source."""
    config, started_at_ms = parts.config, wall_ms()
    decisions = _decisions(config, parts.bus, parts.reader)
    changes = parts.bus.subscribe(1, [ProviderHealthChanged])
    lists, balances = _market(parts, decisions)
    bookkeeping = keep_books(
        decisions.accounts, parts.ledger, balances, decisions.budgets, decisions.router.learner, parts.bus
    )
    await bookkeeping.start()
    memory = StatePersistence(parts.ledger, decisions.router, decisions.health, decisions.sessions, lists, changes)
    await memory.load()
    spending = SpendPersistence(decisions.budgets)
    await spending.load()
    raise_alerts(stack, config.alerts, parts.bus, decisions.budgets, balances, lists, parts.transport, parts.redactor)
    stack.callback(memory.save)
    run_in_background(stack, memory.save_periodically())
    run_in_background(stack, spending.load_missing())
    admission = AdmissionControl(config.server.max_in_flight, config.server.rate_limit_rps, time.monotonic)
    largest_bytes = int(config.server.max_request_mb * 1024 * 1024)
    room = BodyMemory(LARGEST_AT_A_TIME * largest_bytes)
    upstream = UpstreamCaller(
        parts.transport,
        parts.redactor,
        keepalive_s=config.server.keepalive,
        spoken=decisions.spoken,
        memory=room,
    )
    stack.push_async_callback(upstream.aclose)
    engine = _engine(parts, decisions, admission, upstream, balances)
    inference = InferenceEndpoints(engine, room, config.server.passthrough)
    run_in_background(stack, lists.run())
    run_in_background(stack, balances.run())
    _watch_money(stack, settings, parts.transport, balances)
    run_in_background(stack, bookkeeping.run())
    meters = expose(parts.bus, parts.ledger, decisions.router, decisions.health, decisions.budgets, balances, admission)
    routes = [*inference.routes(), *meters.routes()]
    edge = _app(settings, parts, decisions, routes, room, lists, balances, started_at_ms)
    url = await listen(
        stack,
        edge.serve,
        settings.host,
        settings.port,
        max_connections=_most_clients(settings, config),
        max_request_bytes=largest_bytes,
    )

    def watch() -> LocalSource:
        return LocalSource(
            config.providers,
            bus=parts.bus,
            health=decisions.health,
            router=decisions.router,
            budgets=decisions.budgets,
            balance_of=balances.of,
            ledger=parts.reader,
            ledger_problem=lambda: parts.ledger.problem,
            address=url,
            started_at_ms=started_at_ms,
            now_ms=wall_ms,
        )

    return Proxy(url, config, parts.log, parts.fleet, watch, admission, inference)


def _watch_money(stack: AsyncExitStack, settings: Settings, transport: PooledTransport, balances: Balances) -> None:
    """Look after money that is under way; a mock run has none."""
    if settings.mock or settings.config_path is None:
        return

    def read_balances() -> None:
        for provider in settings.config.providers:
            balances.read_soon(provider.name)

    watch = MoneyWatch(settings.config_path, os.environ, transport, on_moved=read_balances)
    run_in_background(stack, watch.run())


def _engine(
    parts: Infrastructure,
    decisions: Decisions,
    admission: AdmissionControl,
    upstream: UpstreamCaller,
    balances: Balances,
) -> Engine:
    def drains(provider: Provider) -> bool:
        balance = balances.of(provider.name)
        return is_drained(provider, None if balance is None else balance.node_version)

    return Engine(
        parts.config,
        admission=admission,
        router=decisions.router,
        breakers=decisions.health,
        budgets=decisions.budgets,
        sessions=decisions.sessions,
        accounts=decisions.accounts,
        drains=drains,
        funds_queue=decisions.funds_queue,
        upstream=upstream,
        ledger=parts.ledger,
        bus=parts.bus,
        clock=time.monotonic,
    )


def _app(
    settings: Settings,
    parts: Infrastructure,
    decisions: Decisions,
    routes: list[Route | NamedRoute],
    room: BodyMemory,
    lists: Catalogues,
    balances: Balances,
    started_at_ms: int,
) -> App:
    config = parts.config
    api = StatusEndpoints(
        config.providers,
        decisions.router,
        lists.first_lists,
        statuses=lambda: provider_statuses(config.providers, decisions.health, decisions.router, balances.of),
        uptime_s=lambda: (wall_ms() - started_at_ms) / 1000,
        started_s=started_at_ms // 1000,
    )
    server = config.server
    access_control = AccessControl(
        settings.host, server.auth_token, server.allowed_hosts, server.allowed_origins, server.metrics_token
    )
    routes = [
        *routes,
        *api.routes(),
        *EstimateEndpoints(decisions.router, decisions.sessions, room).routes(),
        *ledger_api.routes(parts.reader, decisions.router.names, [one.name for one in config.providers], wall_ms),
        *WelcomeEndpoints(server.passthrough).routes(),
    ]
    return App(access_control, EndpointRouter(routes, decisions.router.rule))


def _most_clients(settings: Settings, config: Config) -> int:
    """Return the connection limit: twice `max_in_flight` and some; fewer where the system grants fewer open files."""
    in_flight = config.server.max_in_flight
    sockets_each = 3 if settings.mock else 2  # to the client, to the provider, and the fake provider's end
    allowed = process.raise_fd_limit(sockets_each * (2 * in_flight + IDLE_CLIENTS)) // sockets_each
    if allowed < in_flight:
        message = "the limit on open files (ulimit -n) allows %d clients at a time; server.max_in_flight is %d"
        logger.warning(message, allowed, in_flight)
    return allowed


def _open_log(
    stack: AsyncExitStack,
    settings: Settings,
    config: Config,
    bus: EventBus,
    redactor: Redactor,
    ring: LogRing | None,
) -> setup.Logs:
    log = setup.configure(
        settings.log_spec,
        form=config.logging.format,
        file=config.logging.file,
        stderr=ring is None,
        redactor=redactor,
        ring=ring,
    )
    stack.callback(log.close)
    request_log = AccessLog(bus, log, log_requests=config.logging.log_requests)
    stack.callback(request_log.close)
    run_in_background(stack, request_log.run())
    for warning in settings.warnings:
        logger.warning("%s", warning)
    for line in proxy_lines(config, settings.proxies):
        logger.info("providers are reached %s", line)
    return log


async def _open_fleet(stack: AsyncExitStack, settings: Settings) -> FakeFleet | None:
    """Open the fake providers of a mock run; None for any other."""
    if not settings.mock:
        return None
    from arbstr.mock import FakeFleet  # noqa: PLC0415 - only mock runs need it

    return await stack.enter_async_context(FakeFleet(settings.config))
