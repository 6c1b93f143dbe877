"""Composes the budgets: of this instance alone, or of all that share a ledger in PostgreSQL."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from arbstr.bus import EventBus
from arbstr.clock import wall_ms
from arbstr.config.schema import Config
from arbstr.engine.budget import Budgets
from arbstr.engine.caps import Bounds, Cap
from arbstr.engine.slices import SpendQuery
from arbstr.events import LedgerStateChanged
from arbstr.ledger.model import Filter
from arbstr.ledger.reader import LedgerReader
from arbstr.ledger.writer import LedgerWriter
from arbstr.places import Place, PostgresPlace
from arbstr.runtime.background import run_in_background

if TYPE_CHECKING:
    from arbstr.sharing.leases import LeasedBudgets


def open_budgets(
    stack: AsyncExitStack,
    config: Config,
    place: Place,
    bus: EventBus,
    ledger: LedgerWriter,
    reader: LedgerReader,
    bounds: Bounds,
) -> tuple[Budgets, LeasedBudgets | None]:
    """Return the budgets; and what leases them, until the stack unwinds, where the ledger has several instances."""
    if not isinstance(place, PostgresPlace):
        alone = Budgets(
            config,
            clock_ms=wall_ms,
            publish=bus.publish,
            recall=lambda asked: _spent_msats(reader, asked),
            bounds=bounds,
        )
        return alone, None
    from arbstr.sharing.lease_store import LedgerLeases  # noqa: PLC0415 - loaded where it is asked for, as PostgreSQL is
    from arbstr.sharing.leases import LeasedBudgets  # noqa: PLC0415 - nor this where there is only one instance

    def spent(cap: Cap) -> None:
        budgets.passed(cap, cap.pass_thresholds())

    leased = LeasedBudgets(
        LedgerLeases(ledger, reader),
        wall_ms=wall_ms,
        clock=_awake_and_asleep,
        on_spent=spent,
        on_state=lambda ok, message: bus.publish(LedgerStateChanged(ok, message)),
    )
    budgets = Budgets(config, clock_ms=leased.now_ms, publish=bus.publish, slices=leased, bounds=bounds)
    stack.push_async_callback(leased.close)
    run_in_background(stack, leased.run())
    return budgets, leased


def _awake_and_asleep() -> float:
    """Return seconds that pass while the machine sleeps too, where the system can tell."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


async def _spent_msats(reader: LedgerReader, asked: SpendQuery) -> int:
    where = Filter(since_ms=asked.since_ms, until_ms=asked.until_ms, policy=asked.policy, client=asked.client)
    return await reader.spent_msats(where)
