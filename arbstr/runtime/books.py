"""Composes what keeps the ledger true to balances: what is booked changes rows, budgets and what was learned."""

from __future__ import annotations

import time

from arbstr.bus import EventBus
from arbstr.clock import wall_ms
from arbstr.engine.accounts import Accounts
from arbstr.engine.budget import Budgets
from arbstr.engine.learning.learner import Learner
from arbstr.ledger.accounts import Amendment
from arbstr.ledger.writer import LedgerWriter
from arbstr.market.balances import Balances
from arbstr.market.bookkeeping import Bookkeeping


def keep_books(
    accounts: Accounts, ledger: LedgerWriter, balances: Balances, budgets: Budgets, learner: Learner, bus: EventBus
) -> Bookkeeping:
    """Return the bookkeeping of the accounts, which gets each reading of a balance.

    Budgets do not count what is unexplained: else a node's mere word would refuse requests at all others.
    """

    def amended(one: Amendment) -> None:
        budgets.amend(one.policy, one.received_at_ms, one.counted_msats)
        if one.learned_msats and one.list_cost_msats and one.served_model:
            learner.learn_charge(one.provider, one.served_model, one.learned_msats, one.list_cost_msats)

    bookkeeping = Bookkeeping(
        accounts,
        ledger,
        read_soon=balances.read_soon,
        amended=amended,
        publish=bus.publish,
        clock=time.monotonic,
        now_ms=wall_ms,
    )
    balances.on_reading(bookkeeping.put)
    return bookkeeping
