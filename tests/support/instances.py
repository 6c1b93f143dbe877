"""Instances that share budgets, without their servers: each spends, and writes what it has spent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from arbstr.clock import wall_ms
from arbstr.config.schema import Budget, Config
from arbstr.engine.budget import Budgets, Reservation
from arbstr.engine.caps import Cap
from arbstr.errors import BudgetExceeded
from arbstr.ledger.reader import LedgerReader
from arbstr.ledger.writer import LedgerWriter
from arbstr.places import PostgresPlace
from arbstr.sharing.lease_store import LedgerLeases
from arbstr.sharing.leases import LeasedBudgets, LeaseStore
from arbstr.types import BudgetStatus, RequestRecord
from tests.support.ledger_builders import record


class Spender:
    """Budgets that are leased from a store, and what spends from them."""

    def __init__(
        self,
        store: LeaseStore,
        config: Config,
        append: Callable[[RequestRecord], None],
        *,
        now_ms: Callable[[], int] = wall_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.now_ms = now_ms
        self.leased = LeasedBudgets(store, wall_ms=now_ms, clock=clock, on_spent=self._spent)
        self.budgets = Budgets(config, clock_ms=self.leased.now_ms, slices=self.leased)
        self._append = append

    def _spent(self, cap: Cap) -> None:
        self.budgets.passed(cap, cap.pass_thresholds())

    def reserve(self, msats: int, policy: str | None = None, client: str | None = None) -> Reservation | None:
        """Reserve what is held; None where that is too little."""
        reservation = self.budgets.open(policy, client)
        with suppress(BudgetExceeded):
            reservation.cover(msats)
            return reservation
        return None

    async def reserve_soon(
        self, msats: int, policy: str | None = None, client: str | None = None
    ) -> Reservation | None:
        """Reserve as a request does, which waits a moment for more; None where it is refused."""
        await self.budgets.ready(policy, client)
        reservation = self.budgets.open(policy, client)
        try:
            reservation.cover(msats)
        except BudgetExceeded:
            await reservation.wait(msats)
            with suppress(BudgetExceeded):
                reservation.cover(msats)
                return reservation
            return None
        return reservation

    def settle(self, reservation: Reservation, msats: int, **changes: Any) -> None:
        """Settle, and append the row."""
        reservation.settle(msats)
        self._append(record(received_at_ms=self.now_ms(), cost_msats=msats, **changes))

    async def spend(self, msats: int, **changes: Any) -> bool:
        """Make a request that costs that much; return whether it was admitted."""
        names = {"policy": changes.get("policy"), "client": changes.get("client")}
        reservation = await self.reserve_soon(msats, **names)
        if reservation is not None:
            await asyncio.sleep(0)
            self.settle(reservation, msats, **changes)
        return reservation is not None

    @property
    def status(self) -> BudgetStatus:
        """The first budget."""
        return self.budgets.status()[0]


class Instance(Spender):
    """An instance on a ledger in PostgreSQL."""

    def __init__(self, place: PostgresPlace, config: Config, *, ahead_ms: int = 0) -> None:
        self.ledger = LedgerWriter(place)
        self.reader = LedgerReader(place, settle=self.ledger.settle)
        store = LedgerLeases(self.ledger, self.reader)
        super().__init__(store, config, self.ledger.append, now_ms=lambda: wall_ms() + ahead_ms)
        self._run: asyncio.Task[None] | None = None
        self.has_died = False

    async def start(self) -> None:
        await self.ledger.start()
        self._run = asyncio.create_task(self.leased.run())

    async def stop(self) -> None:
        """End in order."""
        await self._end()
        await self.leased.close()
        await self.ledger.close()
        await self.reader.close()

    async def die(self) -> None:
        """End as a kill does: nothing is given back."""
        self.has_died = True
        await self._end()
        assert self.ledger._task is not None
        self.ledger._task.cancel()
        await asyncio.gather(self.ledger._task, return_exceptions=True)
        if self.ledger._connection is not None:
            self.ledger._connection._db.close()  # type: ignore[attr-defined]  # PostgreSQL's
        await self.reader.close()

    async def _end(self) -> None:
        assert self._run is not None
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)


def capped(**caps: float) -> Config:
    """Return a configuration with budgets for everything, in sats."""
    return Config(budget=Budget(**caps))
