"""The composition root: from settings to a proxy that listens.

One loop runs everything. Parts are opened in the order of their dependencies and closed in reverse, by one exit
stack; what a configuration is made into is composed by `composition`, nothing else anywhere else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from arbstr import __version__
from arbstr.bus import EventBus
from arbstr.clock import wall_ms
from arbstr.config.schema import Config
from arbstr.config.settings import Settings, proxy_lines
from arbstr.config.toml_file import state_of
from arbstr.engine.admission import AdmissionControl
from arbstr.engine.body_memory import BodyMemory
from arbstr.engine.caps import Bounds, bounds_ms
from arbstr.engine.funds_queue import FundsQueue
from arbstr.engine.request_context import RequestContext
from arbstr.engine.routing.names import ModelNames
from arbstr.engine.routing.policy import load_matchers
from arbstr.engine.sessions import Sessions
from arbstr.engine.upstream.deadline import DeadlineTimer
from arbstr.events import AdoptionProgressed, ConfigurationRead, LedgerStateChanged
from arbstr.ledger.reader import LedgerReader
from arbstr.ledger.writer import LedgerWriter
from arbstr.logs import setup
from arbstr.logs.access_log import AccessLog
from arbstr.logs.ring import LogRing
from arbstr.market.money_watch import MoneyWatch
from arbstr.monitoring.event_feed import EventFeed
from arbstr.monitoring.local_source import LocalSource
from arbstr.places import PostgresPlace, local_path
from arbstr.redaction import Redactor
from arbstr.runtime import process
from arbstr.runtime.alerts import watch_for_alerts
from arbstr.runtime.background import run_in_background
from arbstr.runtime.budgets import open_budgets
from arbstr.runtime.composition import LARGEST_AT_A_TIME, Composition, Lasting, largest_bytes
from arbstr.runtime.config_watch import watch
from arbstr.runtime.control import answer_reloads
from arbstr.runtime.first_steps import tell_first_steps
from arbstr.runtime.in_force import InForce
from arbstr.runtime.metrics import count_requests
from arbstr.runtime.reload import Reloads
from arbstr.runtime.systemd import SystemdNotifier
from arbstr.server.endpoints.inference import InFlightTasks
from arbstr.transport.pool import PooledTransport

if TYPE_CHECKING:
    from arbstr.mock import FakeFleet
    from arbstr.runtime.sharing import Sharing

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy: its URL, the source of its dashboards, and what is needed to reload and to stop it."""

    url: str
    log: setup.Logs
    fleet: FakeFleet | None
    source: LocalSource
    reloads: Reloads
    _notifier: SystemdNotifier
    _lasting: Lasting
    _in_force: InForce

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._in_force.composition.config

    async def drain(self, forced: asyncio.Event) -> None:
        """Refuse new requests; let running ones finish within `shutdown_grace` seconds, or until `forced` is set."""
        admission, grace_s = self._lasting.admission, self.config.server.shutdown_grace
        admission.close()
        if self._lasting.sharing is not None:
            # The others take what comes: balancers need not hear 503 from this one.
            await self._in_force.stop_listening()
        self._notifier.stopping()
        self._lasting.feed.close()
        if unfinished := admission.in_flight + admission.draining:
            requests = "1 request has" if unfinished == 1 else f"{unfinished} requests have"
            logger.info("stopping: %s %g s to finish", requests, grace_s)
        await self._lasting.in_flight.drain(grace_s, forced)


@asynccontextmanager
async def running(
    given: Settings,
    ring: LogRing | None = None,
    load: Callable[[], Settings] | None = None,
    sockets: Sequence[socket.socket] = (),
) -> AsyncIterator[Proxy]:
    """Run a proxy that listens. With a `ring`, arbstr's log goes there instead of to stderr.

    `load` returns the settings for a reload; `sockets` are those to listen on, if they are open already.
    """
    async with AsyncExitStack() as stack:
        fleet = await _open_fleet(stack, given)
        settings = _of_fakes(given, fleet)
        redactor = Redactor(settings.secrets)
        bus = EventBus()
        log, request_log = _open_log(stack, settings, bus, redactor, ring)
        lasting = await _open_lasting(stack, settings, bus, redactor, log, fleet, lambda: in_force.composition)
        in_force = InForce(settings, lasting)
        await in_force.begin(stack)
        _watch_money(stack, settings, lasting, in_force)
        url = await in_force.listen(stack, settings, sockets)

        async def apply(settings: Settings) -> None:
            await in_force.replace(_of_fakes(settings, fleet))
            log.relevel(settings.log_spec)
            request_log.log_requests(settings.config.logging.log_requests)

        notifier = SystemdNotifier(os.environ)

        def publish(event: ConfigurationRead) -> None:
            lasting.source.config_problems = event.problems
            bus.publish(event)

        reloads = Reloads(given, load or (lambda: given), apply, publish, notifier)
        await _reload_when_due(stack, given, reloads)
        process.freeze_gc()
        logger.info("arbstr %s listens on %s", __version__, url)
        tell_first_steps(url, settings.config, [*in_force.composition.router.names.all()])
        lasting.source.address = url
        if lasting.sharing is not None:
            lasting.sharing.announce()
        run_in_background(stack, notifier.keep_alive())
        notifier.ready(f"arbstr {__version__} listens on {url}")
        yield Proxy(url, log, fleet, lasting.source, reloads, notifier, lasting, in_force)


async def _open_lasting(
    stack: AsyncExitStack,
    settings: Settings,
    bus: EventBus,
    redactor: Redactor,
    log: setup.Logs,
    fleet: FakeFleet | None,
    current: Callable[[], Composition],
) -> Lasting:
    """Open what outlives every configuration; `current` will return what is in force."""
    config = settings.config
    ledger, reader = await _open_ledger(stack, settings, bus)
    transport = PooledTransport(settings.proxies.choose)
    stack.push_async_callback(transport.aclose)
    budgets, leased = open_budgets(stack, config, settings.database, bus, ledger, reader, _bounds(fleet))
    ledger_problem = (lambda: ledger.problem) if leased is None else leased.problem
    alerts = watch_for_alerts(bus, budgets)
    running: dict[str, RequestContext] = {}
    started_at_ms = wall_ms()
    source = LocalSource(
        current,
        bus=bus,
        budgets=budgets,
        alerts=alerts.standing,
        running=running,
        ledger=reader,
        ledger_problem=ledger_problem,
        started_at_ms=started_at_ms,
        now_ms=wall_ms,
    )
    admission = AdmissionControl(config.server.max_in_flight, config.server.rate_limit_rps, time.monotonic)
    sharing = _share(settings, current, bus, source, admission)
    if leased is not None:
        source.lease_notice = leased.notice
    feed = EventFeed(source, log)
    stack.callback(feed.close)
    return Lasting(
        bus=bus,
        redactor=redactor,
        ledger=ledger,
        reader=reader,
        transport=transport,
        matchers=load_matchers(),
        budgets=budgets,
        sessions=Sessions(),
        funds_queue=FundsQueue(),
        admission=admission,
        room=BodyMemory(LARGEST_AT_A_TIME * largest_bytes(config)),
        deadline_timer=DeadlineTimer(),
        in_flight=InFlightTasks(),
        running=running,
        alerts=alerts,
        source=source,
        feed=feed,
        counters=count_requests(bus, ModelNames(config)),
        sharing=sharing,
        started_at_ms=started_at_ms,
    )


async def _open_ledger(stack: AsyncExitStack, settings: Settings, bus: EventBus) -> tuple[LedgerWriter, LedgerReader]:
    ledger = LedgerWriter(
        settings.database,
        on_state=lambda ok, message: bus.publish(LedgerStateChanged(ok, message)),
        on_progress=lambda done, total: bus.publish(AdoptionProgressed(done, total)),
        keep_days=settings.config.database.keep_days,
    )
    await ledger.start()
    stack.push_async_callback(ledger.close)
    reader = LedgerReader(settings.database, settle=ledger.settle)
    stack.push_async_callback(reader.close)
    return ledger, reader


def _share(
    settings: Settings,
    current: Callable[[], Composition],
    bus: EventBus,
    source: LocalSource,
    admission: AdmissionControl,
) -> Sharing | None:
    """Return what this instance shares with others; None where the ledger is this one's alone."""
    if not isinstance(settings.database, PostgresPlace):
        return None
    from arbstr.runtime.sharing import Sharing  # noqa: PLC0415 - nothing of it is loaded elsewhere

    sharing = Sharing(settings.database, current, bus, source, admission)
    source.instances = sharing.instances
    return sharing


def _bounds(fleet: FakeFleet | None) -> Bounds:
    if fleet is None or not fleet.has_short_hours:
        return bounds_ms
    from arbstr.mock.short_hours import short_bounds_ms  # noqa: PLC0415 - only the demo needs it

    return short_bounds_ms


async def _reload_when_due(stack: AsyncExitStack, settings: Settings, reloads: Reloads) -> None:
    """Reload when the file has changed, or `arbstr reload` asks for it."""
    await answer_reloads(stack, local_path(settings.database), reloads.reload)
    if reloads.file is not None and reloads.file.is_file():
        look = partial(state_of, reloads.file)
        run_in_background(stack, watch(look, lambda: reloads.file_state, reloads.reload))


def _watch_money(stack: AsyncExitStack, settings: Settings, lasting: Lasting, in_force: InForce) -> None:
    """Look after money that is under way; a mock run has none."""
    if settings.mock or settings.config_path is None:
        return

    def read_balances() -> None:
        now = in_force.composition
        for provider in now.providers:
            now.balances.read_soon(provider.name)

    money = MoneyWatch(settings.config_path, os.environ, lasting.transport, on_moved=read_balances)
    run_in_background(stack, money.run())


def _open_log(
    stack: AsyncExitStack, settings: Settings, bus: EventBus, redactor: Redactor, ring: LogRing | None
) -> tuple[setup.Logs, AccessLog]:
    config = settings.config
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
    return log, request_log


async def _open_fleet(stack: AsyncExitStack, settings: Settings) -> FakeFleet | None:
    """Open the fake providers of a mock run; None for any other."""
    if not settings.mock:
        return None
    from arbstr.mock import FakeFleet  # noqa: PLC0415 - only mock runs need it

    return await stack.enter_async_context(FakeFleet(settings.config, demo=settings.demo))


def _of_fakes(settings: Settings, fleet: FakeFleet | None) -> Settings:
    """Return the settings of a mock run with its fakes in place of the providers; any other's as they are."""
    return settings if fleet is None else replace(settings, config=fleet.stand_in(settings.config))
