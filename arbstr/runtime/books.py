"""Composes what keeps the ledger true to balances: what is booked changes rows, budgets and what was learned."""

from __future__ import annotations

import time
from collections.abc import Callable

from arbstr.bus import EventBus
from arbstr.clock import wall_ms
from arbstr.engine.budget import Budgets
from arbstr.ledger.accounts import Amendment
from arbstr.ledger.writer import LedgerWriter
from arbstr.market.bookkeeping import Bookkeeping
from arbstr.runtime.composition import Composition

SETTLES_S = 1.5  # rows are written within half a second, unless a client is slow to take its answer


def keep_books(
    current: Callable[[], Composition], ledger: LedgerWriter, budgets: Budgets, bus: EventBus, *, shared: bool = False
) -> Bookkeeping:
    """Return the bookkeeping of the `current` composition's accounts; it is to get each reading of a balance.

    `shared`: other instances enter rows into the ledger, of requests at the same accounts.

    Budgets do not count what is unexplained: else a node's mere word would refuse requests at all others.
    """

    def read_soon(provider: str) -> None:
        current().balances.read_soon(provider)

    def amended(one: Amendment) -> None:
        budgets.amend(one.policy, one.received_at_ms, one.counted_msats, one.client)
        if one.learned_msats and one.list_cost_msats and one.served_model:
            current().router.learner.learn_charge(
                one.provider, one.served_model, one.learned_msats, one.list_cost_msats
            )

    return Bookkeeping(
        current().accounts,
        ledger,
        read_soon=read_soon,
        amended=amended,
        publish=bus.publish,
        clock=time.monotonic,
        now_ms=wall_ms,
        settles_s=SETTLES_S if shared else 0.0,
    )
