"""Composes what this instance shares with others on its ledger; loaded only where that can be shared."""

from __future__ import annotations

import random
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from arbstr import __version__
from arbstr.bus import EventBus
from arbstr.clock import wall_ms
from arbstr.engine.admission import AdmissionControl
from arbstr.events import ProviderHealthChanged
from arbstr.ledger.learned import LearnedState
from arbstr.ledger.postgres.channel import PostgresChannel
from arbstr.monitoring.local_source import LocalSource
from arbstr.monitoring.source import InstanceStatus
from arbstr.places import PostgresPlace
from arbstr.runtime.background import run_in_background
from arbstr.runtime.composition import Composition
from arbstr.sharing.alerts import SharedAlerts
from arbstr.sharing.breakers import SharedBreakers, SharedCooldowns
from arbstr.sharing.exchange import Exchange
from arbstr.sharing.instances import SharedInstances
from arbstr.sharing.learning import SharedLearning
from arbstr.sharing.market import SharedBalances, SharedPrices
from arbstr.sharing.parts import Digests

FIRST_S = 2.0  # how long the start waits for what others have found


class Sharing:
    """What this instance shares. `current` returns the configuration in force."""

    def __init__(
        self,
        place: PostgresPlace,
        current: Callable[[], Composition],
        bus: EventBus,
        source: LocalSource,
        admission: AdmissionControl,
    ) -> None:
        instance, clock, digests = secrets.token_hex(8), time.monotonic, Digests()
        self._exchange = Exchange(
            partial(PostgresChannel.open, place), instance, digests, clock=clock, random=random.random
        )
        wake = self._exchange.wake
        self._breakers = SharedBreakers(current, digests, clock, wake)
        self._cooldowns = SharedCooldowns(current, digests, clock, wake)
        self._prices = SharedPrices(current, digests, clock, wake)
        self._balances = SharedBalances(current, digests, clock, wake, wall_ms)
        self._describe = partial(_describe, current, source, admission)
        self._instances = SharedInstances(instance, self._describe, clock, wall_ms)
        self._learning = SharedLearning(current, instance, clock)
        self._exchange.parts += [self._instances, self._breakers, self._cooldowns, self._prices, self._balances]
        self._exchange.jobs.append(self._learning.sync)
        self.instances = self._instances.statuses
        self.alerts = SharedAlerts(current, self._exchange, instance, digests, wall_ms)
        bus.attach(self._breakers, [ProviderHealthChanged])

    @property
    def name(self) -> str:
        """The name of this instance."""
        return self._describe().name

    def loaded(self, learned: LearnedState) -> None:
        """Note what was learned before, which has been restored."""
        self._learning.loaded(learned)

    def watch(self, now: Composition) -> None:
        """Share what a configuration finds, from now on."""
        now.health.cooldowns.on_change = self._cooldowns.began
        now.lists.on_read(self._prices.read)
        now.balances.on_reading(self._balances.put)

    async def begin(self, stack: AsyncExitStack) -> None:
        """Share until the stack unwinds; return once others' findings are known, or after a moment."""
        stack.push_async_callback(self._end)
        run_in_background(stack, self._exchange.run())
        await self._exchange.synced(FIRST_S)

    def announce(self) -> None:
        """Have the others know of this instance, whose address is known now."""
        self._instances.announce()
        self._exchange.wake()

    async def _end(self) -> None:
        self._instances.leave()
        await self._exchange.say_farewell([self._learning.sync_now])


def _describe(current: Callable[[], Composition], source: LocalSource, admission: AdmissionControl) -> InstanceStatus:
    name = current().config.server.name or f"{socket.gethostname()}:{source.address.rpartition(':')[2]}"
    totals = source.totals
    return InstanceStatus(
        name, __version__, source.started_at_ms, admission.in_flight, totals.requests, totals.cost_msats, here=True
    )
