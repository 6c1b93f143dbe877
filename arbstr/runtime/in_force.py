"""The composition in force: what keeps its books and its memory, and how another takes its place."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from weakref import WeakKeyDictionary

from arbstr.config.settings import Settings
from arbstr.engine.pipeline import Engine
from arbstr.events import ProviderHealthChanged
from arbstr.redaction import Secret
from arbstr.runtime.background import run_in_background
from arbstr.runtime.books import keep_books
from arbstr.runtime.composition import Composition, Lasting, compose, largest_bytes
from arbstr.runtime.limits import most_clients
from arbstr.runtime.persistence import SpendPersistence, StatePersistence
from arbstr.server.server import Listener, listen


class InForce:
    """The composition in force."""

    def __init__(self, settings: Settings, lasting: Lasting) -> None:
        self._lasting = lasting
        self.composition = compose(settings, lasting)
        self._listener: Listener | None = None
        self._books = keep_books(
            lambda: self.composition,
            lasting.ledger,
            lasting.budgets,
            lasting.bus,
            shared=lasting.sharing is not None,
        )
        changes = lasting.bus.subscribe(1, [ProviderHealthChanged])
        self._memory = StatePersistence(
            lasting.ledger, lambda: self.composition, lasting.sessions, changes, lasting.sharing
        )
        self._spending = SpendPersistence(lasting.budgets)
        self._background: asyncio.Task[None] | None = None
        # By engine, for as long as a request holds it: what left the configuration is masked until its last one ends.
        self._secrets: WeakKeyDictionary[Engine, tuple[Secret, ...]] = WeakKeyDictionary()
        self._mask_secrets(settings)

    async def begin(self, stack: AsyncExitStack) -> None:
        """Remember what was learned and spent before the start, and work until the stack unwinds."""
        await self._books.start()
        await self._memory.load()
        await self._spending.load()
        stack.callback(self._memory.save)
        if self._lasting.sharing is not None:
            await self._lasting.sharing.begin(stack)
        run_in_background(stack, self._memory.save_periodically())
        run_in_background(stack, self._spending.load_missing())
        run_in_background(stack, self._books.run())
        stack.push_async_callback(self._close_streams)
        stack.push_async_callback(self._end_work)
        self._begin_work()

    async def listen(self, stack: AsyncExitStack, settings: Settings, sockets: Sequence[socket.socket]) -> str:
        """Open the port, unless `sockets` are given, until the stack unwinds; return its URL.

        Raises `AddressInUse`, `ArbstrError`.
        """
        self._listener = await listen(
            stack,
            self.composition.app.serve,
            settings.host,
            settings.port,
            max_connections=most_clients(settings),
            max_request_bytes=largest_bytes(settings.config),
            sockets=sockets,
        )
        return self._listener.url

    async def stop_listening(self) -> None:
        """Take no more connections; requests on those that are open are answered."""
        if self._listener is not None:
            await self._listener.end()

    async def replace(self, settings: Settings) -> None:
        """Put another configuration in force: for requests that arrive from now on.

        It is done in one step, before this first waits.
        """
        before, config = self.composition, settings.config
        after = compose(settings, self._lasting, before)
        self.composition = after
        self._mask_secrets(settings)
        self._lasting.renew(config)
        if self._listener is not None:
            self._listener.serve(
                after.app.serve, max_connections=most_clients(settings), max_request_bytes=largest_bytes(config)
            )
        self._lasting.counters.renew(after.router.names)
        self._books.renew(after.accounts)
        if (before.config.server.auth_token, before.config.clients) != (config.server.auth_token, config.clients):
            self._lasting.feed.end_watchers()
        if before.webhook is not None:
            before.webhook.end(self._lasting.bus)
        replaced = self._begin_work()
        await asyncio.gather(self._spending.load(), self._books.start())
        if replaced is not None:
            await asyncio.gather(replaced, return_exceptions=True)
        del before, replaced
        gc.collect()  # it would come by itself once in thousands of requests, and reloads would add up till then
        self._mask_secrets(settings)

    def _mask_secrets(self, settings: Settings) -> None:
        """Have the secrets masked of this configuration and of those that a request has still."""
        self._secrets[self.composition.engine] = settings.secrets
        self._lasting.redactor.renew(secret for known in self._secrets.values() for secret in known)

    def _begin_work(self) -> asyncio.Task[None] | None:
        """Begin the present composition's work in the background; return the one before's, which is to end."""
        now, replaced = self.composition, self._background
        now.balances.on_reading(self._books.put)
        if now.webhook is not None:
            now.webhook.begin(self._lasting.bus)
        self._watch_for_alerts(now)
        if self._lasting.sharing is not None:
            self._lasting.sharing.watch(now)
        if replaced is not None:
            replaced.cancel()
        self._background = asyncio.create_task(now.run())
        return replaced

    def _watch_for_alerts(self, now: Composition) -> None:
        """Have the alerts hear of what a composition reads, by its configuration."""
        alerts, settings = self._lasting.alerts, now.config.alerts
        alerts.renew(
            budget_percent=settings.budget_percent,
            balance_hours=settings.balance_hours,
            providers={name: view.state for name, view in now.health.views().items()},
        )
        now.balances.on_reading(lambda reading: alerts.balance(reading.provider, reading.balance))
        now.lists.on_jumps(alerts.prices)

    async def _end_work(self) -> None:
        if self._background is not None:
            self._background.cancel()
            await asyncio.gather(self._background, return_exceptions=True)
        if self.composition.traces is not None:
            await self.composition.traces.flush()

    async def _close_streams(self) -> None:
        await self.composition.upstream.aclose()
