"""Keeps the ledger true to the balances at nodes: each reading is set against the rows, the difference is booked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from arbstr.engine.accounts import Accounts
from arbstr.errors import LedgerUnavailable
from arbstr.events import ChargeBooked, Event, UnexplainedCharge
from arbstr.ledger import accounts as books
from arbstr.ledger.accounts import Amendment, Books, Change
from arbstr.ledger.rollups import Rollups
from arbstr.ledger.sql import Statements
from arbstr.market.balances import Reading
from arbstr.market.reconciliation import Remainder, decide

logger = logging.getLogger(__name__)

T = TypeVar("T")

START_S = 1.0  # how long the ledger is waited for
AGAIN_S = 5.0  # between readings while something is in doubt or unexplained


class ChangingLedger(Protocol):
    """A ledger whose rows can be changed."""

    async def change(self, work: Callable[[Statements, Rollups], T]) -> T:
        """Do work in a transaction, once all rows so far are written. Raises `LedgerUnavailable`."""
        ...


class Bookkeeping:
    """Books what nodes took to rows, or as unexplained.

    `read_soon` has a provider's balance read within seconds. `amended` is called for each row that has changed,
    `publish` gets events for these and for what is unexplained. `clock` is monotonic seconds, `now_ms` the wall clock.

    `settles_s`: others may use these accounts, and enter their rows soon after the node has charged them. So a reading
    is booked only when a node has said the same for that long; else what they pay could be taken for what is in doubt.
    """

    def __init__(
        self,
        accounts: Accounts,
        ledger: ChangingLedger,
        *,
        read_soon: Callable[[str], None],
        amended: Callable[[Amendment], None],
        publish: Callable[[Event], None],
        clock: Callable[[], float],
        now_ms: Callable[[], int],
        settles_s: float = 0.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._accounts = accounts
        self._ledger = ledger
        self._read_soon = read_soon
        self._amended = amended
        self._publish = publish
        self._clock = clock
        self._now_ms = now_ms
        self._settles_s = settles_s
        self._sleep = sleep
        self._said: dict[str, tuple[object, float]] = {}  # by account: what its node says, and since when
        self._remainders = {account: Remainder() for account in accounts.providers}
        self._readings: dict[str, tuple[Reading, int]] = {}  # by account, with how many requests had been sent by then
        self._unsettled: set[str] = set()  # accounts of which something is in doubt, or unexplained so far
        self._woken = asyncio.Event()

    def renew(self, accounts: Accounts) -> None:
        """Keep the books of another configuration's accounts from now on; `start` follows."""
        self._accounts = accounts
        for account in accounts.providers:
            self._remainders.setdefault(account, Remainder())
        self._unsettled &= accounts.providers.keys()
        self._readings = {account: one for account, one in self._readings.items() if account in accounts.providers}

    async def start(self) -> None:
        """Learn which balances were read in an earlier run: these tell what is taken from now on."""
        every = [name for names in self._accounts.providers.values() for name in names]

        def known(db: Statements, rollups: Rollups) -> frozenset[str]:
            books.forget_doubts(db, every, self._now_ms())
            return books.known_accounts(db)

        with suppress(LedgerUnavailable, TimeoutError):  # the first readings are booked once it can be written
            async with asyncio.timeout(START_S):
                self._accounts.followed |= await self._ledger.change(known) & self._accounts.providers.keys()

    def put(self, reading: Reading) -> None:
        """Take a reading; it is booked soon. One that was made while requests were under way says nothing."""
        account = self._accounts.of(reading.provider)
        if account is None or reading.under_way or reading.balance.read_at_ms is None:
            return
        if self._has_settled(account, reading):
            self._readings[account] = reading, self._accounts.traffic(reading.provider)[1]
            self._woken.set()
        else:
            self._read_soon(reading.provider)

    def _has_settled(self, account: str, reading: Reading) -> bool:
        balance, now_s = reading.balance, self._clock()
        says = (balance.free_msats, balance.reserved_msats, balance.spent_msats)
        if self._said.get(account, (None, 0.0))[0] != says:
            self._said[account] = (says, now_s)
        return now_s - self._said[account][1] >= self._settles_s

    async def run(self) -> None:
        """Book readings as they come, and ask for more while something is open."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._book_all())
            group.create_task(self._ask_again())

    async def _ask_again(self) -> None:
        while True:
            await self._sleep(AGAIN_S)
            for account in self._unsettled:
                self._read_soon(self._accounts.providers[account][0])

    async def _book_all(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._readings:
                account, (reading, sent) = self._readings.popitem()
                try:
                    await self._book(account, reading, sent)
                except LedgerUnavailable as error:
                    logger.warning("what the balance at %s tells can't be booked: %s", reading.provider, error)
                except Exception:
                    logger.exception("could not book what the balance at %s tells", reading.provider)

    async def _book(self, account: str, reading: Reading, sent: int) -> None:
        providers = self._accounts.providers[account]
        balance, now_s = reading.balance, self._clock()
        free, reserved, spent = balance.free_msats, balance.reserved_msats, balance.spent_msats
        if free is None or reserved is None or spent is None or balance.read_at_ms is None:
            return
        read_at_ms, figures, seen = balance.read_at_ms, books.Reading(spent, free + reserved), []

        def decided(known: Books) -> Change | None:
            if self._accounts.traffic(reading.provider) != (0, sent):
                return None  # rows may say more than the reading
            seen.append(known)
            return decide(
                known,
                figures,
                reserved_msats=reserved,
                read_at_ms=read_at_ms,
                remainder=self._remainders[account],
                now_s=now_s,
                provider=providers[0],
            )

        booked = await self._ledger.change(
            lambda db, rollups: books.balance(db, rollups, account, providers, self._now_ms(), decided)
        )
        if booked is None:
            return
        change, amendments = booked
        self._accounts.followed.add(account)
        if account not in self._accounts.providers:  # it has left meanwhile
            self._tell(change, amendments)
            return
        closed = sum(booking.final for booking in change.bookings)
        is_open = len(seen[0].doubts) > closed or closed == books.MOST_AT_ONCE or self._remainders[account].msats
        (self._unsettled.add if is_open else self._unsettled.discard)(account)
        self._tell(change, amendments)

    def _tell(self, change: Change, amendments: tuple[Amendment, ...]) -> None:
        for one in amendments:
            self._amended(one)
            if one.cost_msats != one.was_msats:
                self._publish(
                    ChargeBooked(
                        one.request_id,
                        one.received_at_ms,
                        one.provider,
                        one.cost_msats,
                        one.was_msats,
                        one.doubtful_msats,
                    )
                )
        if change.unexplained_msats:
            self._publish(UnexplainedCharge(change.provider, self._now_ms(), change.unexplained_msats))
