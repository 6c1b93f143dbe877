"""Leases under any interleaving of instances, lost answers and kills: never more than a budget, and in the end all."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from arbstr.engine.budget import Reservation
from arbstr.errors import LedgerUnavailable
from arbstr.ledger.leases import HELD_S, KEPT_S, Leases
from arbstr.types import RequestRecord
from tests.support.clock import Clock
from tests.support.effort import examples
from tests.support.instances import Spender, capped
from tests.support.lease_bank import LeaseBank, StepwiseStore

START_S = datetime(2024, 2, 28, 0, 5, tzinfo=UTC).timestamp()
LIMIT = 1_000  # msats
WALKS, STEPS = 12, 150


class Machine(Spender):
    """An instance whose renewals go on step by step. Its clocks are its own: `ahead_s` is by how much."""

    def __init__(self, bank: LeaseBank, clock: Clock, ahead_s: int) -> None:
        self.rows: list[RequestRecord] = []
        self.held: list[tuple[Reservation, int]] = []
        self.store = StepwiseStore(bank)
        self.renewing: Coroutine[Any, Any, None] | None = None
        self.answer: Leases | None = None
        super().__init__(
            self.store,
            capped(max_sats_per_day=LIMIT / 1000),
            self.rows.append,
            now_ms=lambda: int((clock() + ahead_s) * 1000),
            clock=lambda: clock() - START_S,
        )

    def wait_for(self, msats: int) -> None:
        """Have requests wait for so much more."""
        (cap,) = self.budgets.caps_of(None, None)
        span = cap.roll_over(self.leased.now_ms())
        self.leased._slice(cap, span.starts_ms, span.ends_ms).waiting = msats

    def begin(self) -> None:
        if self.renewing is None:
            self.renewing = self.leased.renew_now()
            self.renewing.send(None)

    def execute(self) -> None:
        """Let the database do what was asked, which it may do twice."""
        if self.renewing is not None:
            self.answer = self.store.bank.renew(self.store.session, self.store.asked)

    def receive(self) -> None:
        if self.renewing is not None and self.answer is not None:
            renewing, answer = self.renewing, self.answer
            self.renewing = self.answer = None
            with suppress(StopIteration):
                renewing.send(answer)

    def lose(self) -> None:
        """Have the answer lost, if there was one."""
        if self.renewing is not None:
            renewing, self.renewing, self.answer = self.renewing, None, None
            with suppress(LedgerUnavailable):
                renewing.throw(LedgerUnavailable("lost"))

    def renew(self) -> None:
        self.begin()
        self.execute()
        self.receive()

    @property
    def exposed(self) -> int:
        """What is reserved, or spent and in no row."""
        written = sum(row.cost_msats or 0 for row in self.rows if row.request_id in self.store.bank.rows)
        (cap,) = self.budgets.caps_of(None, None)
        return cap.now.own + cap.now.reserved - written


class Walk:
    """Instances that share a budget, and a step of any of them at a time."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.clock = Clock(START_S)
        self.bank = LeaseBank(self.clock)
        self.machines = [Machine(self.bank, self.clock, ahead_s=0)]
        self.late: dict[int, int] = {}  # what was leased to those who were away for too long, and write it yet
        self.steps: list[Callable[[Machine], None]] = [
            *(self.reserve,) * 6,
            *(self.end_a_request,) * 5,
            *(self.write_rows,) * 4,
            *(self.wait,) * 3,
            *(Machine.renew,) * 2,
            *(Machine.begin,) * 6,
            *(Machine.execute,) * 5,
            *(Machine.receive,) * 4,
            Machine.lose,
            self.let_time_pass,
            self.start_another,
            self.kill,
        ]

    def step(self) -> None:
        self.random.choice(self.steps)(self.random.choice(self.machines))
        alive = {machine.store.session for machine in self.machines}
        for session, msats in self.bank.ended:
            if session in alive:
                self.late[session] = self.late.get(session, 0) + msats
        self.bank.ended.clear()
        self.check()

    def start_another(self, _: Machine) -> None:
        """Start one whose clock is minutes ahead, or behind."""
        if len(self.machines) < 4:
            self.machines.append(Machine(self.bank, self.clock, self.random.randint(-240, 240)))

    def kill(self, machine: Machine) -> None:
        if len(self.machines) > 1 and self.random.random() < 0.3:
            self.machines.remove(machine)

    def reserve(self, machine: Machine) -> None:
        msats = self.random.randint(1, max(1, machine.status.held_msats or 0))
        reservation = machine.reserve(msats)
        if reservation is not None:
            machine.held.append((reservation, msats))

    def wait(self, machine: Machine) -> None:
        machine.wait_for(self.random.choice([0, 10, LIMIT // 4, LIMIT]))

    def end_a_request(self, machine: Machine) -> None:
        if machine.held:
            reservation, msats = machine.held.pop(self.random.randrange(len(machine.held)))
            machine.settle(reservation, self.random.choice([msats, self.random.randint(0, msats)]))

    def write_rows(self, machine: Machine) -> None:
        """Write some, and some again: their answer was lost."""
        some = self.random.sample(machine.rows, min(5, len(machine.rows)))
        self.bank.write(machine.store.session, some)

    def let_time_pass(self, _: Machine) -> None:
        if self.clock.now < START_S + 20 * 3600:
            self.clock.now += self.random.choice([1, 1, 1, 60, 60, 60, HELD_S / 2, HELD_S - 1, HELD_S, KEPT_S + 1])

    def check(self) -> None:
        """Check that no more than the budget is spent, reserved and leased, and nobody may spend what is not leased."""
        spent = sum(row.cost_msats or 0 for row in self.bank.rows.values())
        most = LIMIT + sum(self.late.values())
        assert spent + sum(machine.exposed for machine in self.machines) <= most
        for period in self.bank.periods.values():
            assert period.spent == spent
            assert period.spent + sum(lease.outstanding for lease in period.leases.values()) <= most
        for machine in self.machines:
            machine.budgets.open(None)  # time may have passed
            leases = [period.leases.get(machine.store.session) for period in self.bank.periods.values()]
            leased = sum(lease.outstanding for lease in leases if lease is not None)
            late = self.late.get(machine.store.session, 0)
            assert machine.exposed + (machine.status.held_msats or 0) <= leased + late

    def end(self) -> None:
        """Check that one that is left can spend all that is in no row, to the millisat."""
        for machine in self.machines:
            for reservation, _ in machine.held:
                machine.settle(reservation, 0)
            self.bank.write(machine.store.session, machine.rows)
        self.clock.now += KEPT_S + 1
        last = self.machines[0]
        last.lose()
        last.wait_for(LIMIT)
        last.renew()
        spent = sum(row.cost_msats or 0 for row in self.bank.rows.values())
        assert last.status.spent_msats == spent
        assert spent > LIMIT or last.reserve(LIMIT - spent) is not None
        assert last.reserve(1) is None


@pytest.mark.parametrize("seed", range(4))
def test_never_more_than_the_budget_is_spent_and_in_the_end_all_of_it_can_be(seed: int) -> None:
    random = Random(seed)
    for _ in range(examples(WALKS)):
        walk = Walk(random)
        for _ in range(STEPS):
            walk.step()
        walk.end()
