"""A database of leases in memory, which loses answers and forgets nothing; what PostgreSQL does is tested beside it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from types import coroutine
from typing import Any

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.leases import KEPT_S, Ask, Leases, Period, State, grant
from arbstr.types import RequestRecord


@dataclass
class HeldLease:
    granted: int = 0
    written: int = 0
    cap: int | None = None
    renewed_at: float = 0.0

    @property
    def outstanding(self) -> int:
        return max(0, self.granted - self.written)


@dataclass
class LeasedPeriod:
    spent: int = 0
    is_known: bool = True
    leases: dict[int, HeldLease] = field(default_factory=dict)


class LeaseBank:
    """What all instances see. `clock` is in seconds, the database's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.periods: dict[Period, LeasedPeriod] = {}
        self.rows: dict[str, RequestRecord] = {}
        self.sessions = 0
        self.ended: list[tuple[int, int]] = []  # sessions whose leases have ended, and what was outstanding

    @property
    def now_ms(self) -> int:
        return int(self.clock() * 1000)

    def renew(self, session: int, asks: Sequence[Ask]) -> Leases:
        now = self.clock()
        held = {}
        for period in self.periods.values():
            for number, lease in period.leases.items():
                if number != session and lease.renewed_at < now - KEPT_S and (lease.outstanding or lease.cap):
                    self.ended.append((number, lease.outstanding))
                    lease.granted, lease.cap = min(lease.granted, lease.written), None
        for ask in asks:
            period = self.periods.setdefault(ask.period, self.of_rows(ask.period))
            own = period.leases.setdefault(session, HeldLease())
            others = [lease for number, lease in period.leases.items() if number != session]
            caps = [lease.cap for lease in others if lease.cap is not None]
            state = State(
                period.spent,
                own.written,
                sum(lease.outstanding for lease in others),
                len(caps),
                min(caps, default=None),
            )
            answer = grant(ask, state, is_known=period.is_known)
            own.granted, own.cap, own.renewed_at = answer.granted_msats, ask.cap_msats, now
            own.written = period.spent - answer.spent_elsewhere_msats
            held[ask.period] = answer
        return Leases(self.now_ms, held)

    def of_rows(self, period: Period) -> LeasedPeriod:
        return LeasedPeriod(sum(row.cost_msats or 0 for row in self.rows.values() if _is_in(period, row)))

    def write(self, session: int | None, rows: Sequence[RequestRecord]) -> None:
        """Enter rows, each once; of no session: those that come from a file."""
        for row in rows:
            if row.request_id not in self.rows:
                self.rows[row.request_id] = row
                for period, state in self.periods.items():
                    if _is_in(period, row):
                        state.spent += row.cost_msats or 0
                        lease = None if session is None else state.leases.get(session)
                        if lease is not None and lease.cap is not None:
                            lease.written += row.cost_msats or 0


def _is_in(period: Period, row: RequestRecord) -> bool:
    return (
        period.policy in ("", row.policy)
        and period.client in ("", row.client)
        and period.starts_ms <= row.received_at_ms < period.ends_ms
    )


class BankStore:
    """A store as one instance has it. `problem` is why the bank can't be reached; its asks wait as long."""

    def __init__(self, bank: LeaseBank) -> None:
        self.bank = bank
        bank.sessions += 1
        self.session = bank.sessions
        self.problem: str | None = None
        self.asked: list[Ask] = []

    async def renew(self, asks: Sequence[Ask]) -> Leases:
        self.asked = list(asks)
        if self.problem is not None:
            raise LedgerUnavailable(self.problem)
        return self.bank.renew(self.session, asks)

    async def sum_up(self, period: Period) -> None:
        self.bank.periods[period].is_known = True


class StepwiseStore(BankStore):
    """One that waits until it is carried on by hand: when it is asked, and before its answer arrives."""

    async def renew(self, asks: Sequence[Ask]) -> Leases:
        self.asked = list(asks)
        return await _step(asks)


@coroutine
def _step(asks: Sequence[Ask]) -> Generator[Sequence[Ask], Leases, Leases]:
    return (yield asks)


def at_once(awaitable: Any) -> None:
    """Run what waits for nothing."""
    try:
        awaitable.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")
