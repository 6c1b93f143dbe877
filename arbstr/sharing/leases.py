"""Budgets that several instances spend from: each holds slices of them, and renews them before they run out.

A request is admitted by what is held here, at once. Asking for more is done in the background, for all slices in one
transaction; only a request that the slice is too small for waits for it, for a moment. Without the database an instance
goes on within what it holds, for `HELD_S` seconds: then another may get what is unspent of it.

Periods are by the database's clock, so that instances whose clocks differ agree on them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from math import inf
from typing import Protocol

from arbstr.engine.caps import Cap, Span
from arbstr.engine.slices import Held
from arbstr.errors import LedgerUnavailable
from arbstr.ledger.leases import HELD_S, Ask, Leases, Period
from arbstr.sharing.slice import Slice

logger = logging.getLogger(__name__)

_LOOK_S = 0.25
_BUSY_S = 1.0  # between renewals while something is spent
_IDLE_S = 5.0  # and while nothing is
_FIRST_S = 2.0  # for what is spent to be known
_AHEAD_MS = 600_000  # so early, or in the last tenth of a shorter period, the next one is leased
_CLOSE_S = 2.0


class LeaseStore(Protocol):
    """Where leases are kept, for all instances."""

    @property
    def problem(self) -> str | None:
        """Why it can't be reached now; None if it can."""
        ...

    async def renew(self, asks: Sequence[Ask]) -> Leases:
        """Renew leases. Raises `LedgerUnavailable`; they may be renewed all the same."""
        ...

    async def sum_up(self, period: Period) -> None:
        """Count what is spent of a period that is not known. Raises `LedgerUnavailable`."""
        ...


class LeasedBudgets:
    """Implements `engine.slices.Slices`.

    `wall_ms` is this machine's clock, `clock` gives seconds that pass while it sleeps too. `on_spent` is called when
    other instances may have spent of a cap's current period, `on_state(ok, message)` when there is another notice.
    """

    def __init__(
        self,
        store: LeaseStore,
        *,
        wall_ms: Callable[[], int],
        clock: Callable[[], float],
        on_spent: Callable[[Cap], None],
        on_state: Callable[[bool, str], None] = lambda ok, message: None,
    ) -> None:
        self._store = store
        self._wall_ms = wall_ms
        self._clock = clock
        self._on_spent = on_spent
        self._on_state = on_state
        self._notice: str | None = None
        self._caps: dict[Cap, None] = {}  # in their order
        self._slices: dict[Period, Slice] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._summing: asyncio.Task[None] | None = None
        self._renewed_at = -inf
        self._hold_until = inf
        self._known: tuple[int, float] | None = None  # an instant of the database's clock, and when that was
        self._latest_ms = 0
        self._differing: dict[Cap, tuple[int, int]] = {}

    # What the budgets ask

    @property
    def unknown(self) -> str:
        """Why nothing is admitted in a period of which nothing was leased yet."""
        return "nothing of it is leased to this instance, as the ledger can't be reached"

    def now_ms(self) -> int:
        """Return the present instant by the database's clock; by this machine's until that is known."""
        now = self._clock()
        if now >= self._hold_until:
            self._end()
        if self._known is None:
            return self._wall_ms()
        at_ms, at = self._known
        self._latest_ms = max(self._latest_ms, at_ms + int((now - at) * 1000))
        return self._latest_ms

    def renew(self, caps: Sequence[Cap]) -> None:
        """Lease parts of these caps; what is held of others is given back."""
        self._caps = dict.fromkeys(caps)
        for one in self._retired:
            one.give_back()
        self._wake.set()

    def begin(self, cap: Cap, span: Span, *, follows: bool) -> None:
        """Set what may be spent in a period that a cap enters."""
        self._slice(cap, span.starts_ms, span.ends_ms).enter(cap, span)

    def limited(self, cap: Cap) -> None:
        """Give back what is held of a cap that is lower now, until it is known what is left."""
        for one in self._slices.values():
            if one.cap is cap and one.lease is not None and cap.limit < one.lease.cap_msats:
                one.give_back(may_grow=True)
        self._wake.set()

    def amend(self, cap: Cap, at_ms: int, msats: int) -> None:
        """Do nothing: the database counts it, and says so when leases are renewed."""

    async def recall(self, unknown: Iterable[tuple[Cap, Span]]) -> None:
        """Wait until something is leased of these periods. Raises `LedgerUnavailable`."""
        if self._store.problem is not None:
            raise LedgerUnavailable(self._store.problem)
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_S):
                while not self._all_known(unknown):
                    await self._next_answer()
                    if self._summing is not None:
                        await asyncio.wait((self._summing,))
        if not self._all_known(unknown):
            raise LedgerUnavailable(self._store.problem or "it has not answered yet.")

    def _all_known(self, unknown: Iterable[tuple[Cap, Span]]) -> bool:
        """Check it of the current periods, which may be others by the database's clock."""
        return all(cap.roll_over(self.now_ms()).known for cap, _ in unknown)

    async def more(self, full: Sequence[tuple[Cap, Span]], msats: int) -> None:
        """Wait until leases have been renewed by an ask that counts this, which it does if nobody waits that long."""
        if self._store.problem is not None:
            for _, span in full:
                span.may_grow = False
            return
        slices = [self._slice(cap, span.starts_ms, span.ends_ms) for cap, span in full]
        for one in slices:
            one.waiting += msats

        def answered(_: object = None) -> None:
            for one in slices:
                one.waiting -= msats

        answer = self._next_answer()
        try:
            await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(answered)
            raise
        answered()

    def held(self, cap: Cap) -> Held | None:
        """Return what is held of a cap's current period."""
        return self._slice(cap, cap.now.starts_ms, cap.now.ends_ms).held

    # What an operator hears

    def notice(self) -> str | None:
        """Return what budgets admit while the ledger can't be reached; None while it can, or there are no budgets."""
        if self._store.problem is None or not self._caps:
            return None
        if not any(one.left for one in self._slices.values()):
            return "ledger away; nothing is left of the leases: budgets admit no requests until it is back"
        return f"ledger away; serving within the leases: {self._left_msats() / 1000:.10g} sats left"

    def problem(self) -> str | None:
        """Return why the ledger can't be written, and what budgets admit meanwhile; None while it can."""
        notice, why = self.notice(), self._store.problem
        return f"{notice}. {why}" if notice is not None else why

    def _left_msats(self) -> int:
        """Return what can be spent without the database: of everything the least, else of all policies and clients."""
        now = [self._slice(cap, cap.now.starts_ms, cap.now.ends_ms) for cap in self._caps]
        overall = [one.left for one in now if one.cap.policy is None and one.cap.client is None]
        return min(overall) if overall else sum(one.left for one in now)

    # Renewing

    async def run(self) -> None:
        """Renew leases, and say when that is impossible; the owner cancels it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._renew_when_due())
                group.create_task(self._watch())
        finally:
            if self._summing is not None:
                self._summing.cancel()

    async def _watch(self) -> None:
        while True:
            self.now_ms()  # leases end also while no request comes
            self.look()
            await asyncio.sleep(_BUSY_S)

    def look(self) -> None:
        """Report another notice than before."""
        before, self._notice = self._notice, self.notice()
        if self._notice is not None and self._notice != before:
            if before is None:
                logger.warning("%s", self._notice)
            self._on_state(False, self.problem() or self._notice)
        elif self._notice is None and before is not None:
            logger.warning("the ledger is back: budgets are leased from it again")

    async def _renew_when_due(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._wake.wait()
            self._wake.clear()
            if self._store.problem is not None:
                self._renewed_at = -inf  # at once when it is back
            elif self._is_due(self._clock()):
                try:
                    await self.renew_now()
                except LedgerUnavailable:  # the writer reports it
                    self._renewed_at = -inf
                    await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """Give back what is unspent, if the database answers soon."""
        self.renew(())
        with suppress(LedgerUnavailable, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self.renew_now()

    async def renew_now(self) -> None:
        """Renew all leases once. Raises `LedgerUnavailable`."""
        waiters, self._waiters = self._waiters, []
        now = self._renewed_at = self._clock()
        try:
            slices = self._due_slices(self.now_ms())
            if asked := [(one, one.ask(now, retired=one.cap not in self._caps)) for one in slices]:
                answer = await self._store.renew([ask for _, ask in asked])
                self._known = (answer.now_ms, self._clock())
                self._hold_until = now + HELD_S
                self._take(asked, answer)
                unknown = [period for period, lease in answer.held.items() if not lease.is_known]
                if unknown and (self._summing is None or self._summing.done()):
                    self._summing = asyncio.create_task(self._sum_up(unknown))
        finally:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def _sum_up(self, periods: Iterable[Period]) -> None:
        """Count what is spent of periods: among many rows that takes seconds, in which others are renewed."""
        with suppress(LedgerUnavailable):
            for period in periods:
                await self._store.sum_up(period)
        self._renewed_at = -inf
        self._wake.set()

    def _is_due(self, now: float) -> bool:
        waited = now - self._renewed_at
        slices = self._slices.values()
        if self._waiters or waited >= _IDLE_S or any(one.runs_low for one in slices):
            return True
        return waited >= _BUSY_S and any(one.has_changed for one in slices)

    def _due_slices(self, now_ms: int) -> Iterator[Slice]:
        """Yield the slices of the current periods, of those that begin soon, and of caps that are no more."""
        for period in [period for period in self._slices if period.ends_ms <= now_ms]:
            del self._slices[period]
        for cap in self._caps:
            span = cap.roll_over(now_ms)
            yield self._slice(cap, span.starts_ms, span.ends_ms)
            if span.ends_ms - now_ms < min(_AHEAD_MS, (span.ends_ms - span.starts_ms) // 10):
                yield self._slice(cap, *cap.bounds(cap.period, span.ends_ms))
        yield from self._retired

    @property
    def _retired(self) -> list[Slice]:
        """Those of caps that are no more."""
        return [one for one in self._slices.values() if one.cap not in self._caps]

    def _take(self, asked: Iterable[tuple[Slice, Ask]], answer: Leases) -> None:
        for one, ask in asked:
            one.take(ask, answer.held[one.period])
            if one.cap in self._caps and one.span is one.cap.now:
                self._on_spent(one.cap)
                self._compare(one)

    def _compare(self, one: Slice) -> None:
        """Warn once where another instance has a lower limit for a budget."""
        assert one.lease is not None
        limits = (one.lease.cap_msats, one.cap.limit)
        if limits[0] < limits[1] and self._differing.get(one.cap) != limits:
            logger.warning(
                "the budget %s / %s is %.10g sats here and %.10g at another instance: the lower holds until they agree",
                *(one.cap.scope, one.cap.period, limits[1] / 1000, limits[0] / 1000),
            )
        self._differing[one.cap] = limits

    def _slice(self, cap: Cap, starts_ms: int, ends_ms: int) -> Slice:
        period = Period(cap.policy or "", cap.client or "", starts_ms, ends_ms)
        if period not in self._slices:
            self._slices[period] = Slice(cap, period, self._clock())
        found = self._slices[period]
        if cap in self._caps:
            found.cap = cap
        return found

    def _next_answer(self) -> asyncio.Future[None]:
        """Return what is done once leases have been renewed that are asked for from now on."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake.set()
        return waiter

    def _end(self) -> None:
        """Hold nothing any more: another instance may get it from now on."""
        self._hold_until = inf
        for one in self._slices.values():
            one.give_back()
        logger.warning(
            "the ledger has not been reached for %d minutes: what was leased of budgets has run out, and they admit no "
            "requests until it is back",
            HELD_S // 60,
        )
