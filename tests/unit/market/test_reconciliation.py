"""What nodes took is in the ledger to the millisat: with the requests that it was for, or as unexplained."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbstr.clock import wall_ms
from arbstr.ledger import accounts
from arbstr.ledger.accounts import Booking, Books, Change, OpenDoubt, Reading
from arbstr.ledger.model import Filter
from arbstr.ledger.pending_row import PendingRow
from arbstr.ledger.read_connection import ReadConnection
from arbstr.ledger.row_mapping import MOST
from arbstr.ledger.write_connection import WriteConnection
from arbstr.market.reconciliation import (
    ANSWERED_AFTER_MS,
    GIVEN_UP_AFTER_S,
    SETTLED_AFTER_MS,
    UNEXPLAINED_AFTER_S,
    Remainder,
    decide,
)
from arbstr.types import Doubt, RequestRecord
from tests.support.effort import examples
from tests.support.ledger_builders import NOON, read, record

STARTED = Reading(spent_msats=7_000, funds_msats=1_000_000)


def books(booked: int = 0, taken: int | None = 0, *doubts: OpenDoubt, **fields: Any) -> Books:
    known: dict[str, Any] = {"before": STARTED, "before_msats": booked, "unexplained_msats": 0}
    return Books(booked_msats=booked, taken_msats=taken, doubts=doubts, **(known | fields))


def doubt(name: str = "r-1", expected_msats: int = 500, **fields: Any) -> OpenDoubt:
    given: dict[str, Any] = {"at_ms": NOON, "counted_msats": 0, "booked_msats": 0, "answered": False}
    return OpenDoubt(name, "alpha", expected_msats=expected_msats, **(given | fields))


def after(msats: int, paid_in: int = 0) -> Reading:
    return Reading(STARTED.spent_msats + msats, STARTED.funds_msats - msats + paid_in)


def decided(known: Books, reading: Reading, *, age_ms: int = 0, **fields: Any) -> Change:
    given: dict[str, Any] = {"reserved_msats": 0, "remainder": Remainder(), "now_s": 0.0, "provider": "alpha"}
    return decide(known, reading, read_at_ms=NOON + age_ms, **(given | fields))


def test_the_first_reading_is_where_counting_begins() -> None:
    assert decided(books(300, None, before=None), after(900)) == Change(300, after(900))


def test_what_is_stated_in_rows_changes_nothing() -> None:
    assert decided(books(455, 0), after(455)) == Change(455, after(455), (), "alpha", 0)


def test_a_request_in_doubt_gets_what_was_taken_and_is_settled() -> None:
    change = decided(books(0, 0, doubt()), after(455))
    assert change.bookings == (Booking("r-1", "alpha", 455, final=True),)
    assert change.unexplained_msats == 0


def test_several_in_doubt_share_what_was_taken_as_was_expected_of_them() -> None:
    doubts = [doubt("r-1", 100), doubt("r-2", 300), doubt("r-3", 0)]
    change = decided(books(0, 0, *doubts), after(401))
    assert {one.request_id: one.msats for one in change.bookings} == {"r-1": 100, "r-2": 300, "r-3": 1}


def test_while_the_node_holds_a_reservation_more_may_be_taken() -> None:
    change = decided(books(0, 0, doubt()), after(455), reserved_msats=900)
    assert change.bookings == (Booking("r-1", "alpha", 455, final=False),)
    assert decided(books(0, 0, doubt()), after(0), reserved_msats=900, age_ms=SETTLED_AFTER_MS).bookings == ()


@pytest.mark.parametrize(("answered", "after_ms"), [(True, ANSWERED_AFTER_MS), (False, SETTLED_AFTER_MS)])
def test_what_is_not_taken_in_time_was_free(answered: bool, after_ms: int) -> None:
    known = books(0, 0, doubt(counted_msats=500, answered=answered))
    assert decided(known, after(0), age_ms=after_ms - 1).bookings == ()
    assert decided(known, after(0), age_ms=after_ms).bookings == (Booking("r-1", "alpha", 0, final=True),)


def test_much_more_than_was_expected_was_not_for_the_request() -> None:
    remainder = Remainder()
    change = decided(books(0, 0, doubt(expected_msats=100)), after(100_000), remainder=remainder)
    assert change.bookings[0].msats == 2_000
    assert remainder.msats == 98_000


def test_a_request_that_ended_after_the_reading_gets_nothing_of_it() -> None:
    assert decided(books(0, 0, doubt(at_ms=NOON + 1)), after(455)).bookings == ()


def test_what_no_request_is_for_is_unexplained_after_half_a_minute() -> None:
    remainder = Remainder()
    first = decided(books(0, 0), after(455), remainder=remainder, now_s=0.0)
    assert first.unexplained_msats == 0
    known = books(0, first.taken_msats, before=after(455))
    assert decided(known, after(455), remainder=remainder, now_s=UNEXPLAINED_AFTER_S - 1).unexplained_msats == 0
    assert decided(known, after(455), remainder=remainder, now_s=UNEXPLAINED_AFTER_S).unexplained_msats == 455


def test_what_was_unexplained_before_a_request_is_not_for_it() -> None:
    remainder = Remainder()
    remainder.become(300, 0.0)
    change = decided(books(0, 0, doubt()), after(755), remainder=remainder, now_s=1.0)
    assert [one.msats for one in change.bookings] == [455]
    assert remainder.msats == 300


def test_a_key_in_steady_use_elsewhere_is_unexplained_bit_by_bit() -> None:
    remainder, unexplained, taken = Remainder(), 0, 0
    for turn in range(10):
        known = books(unexplained, taken, before=after(100 * turn))
        change = decided(known, after(100 * (turn + 1)), remainder=remainder, now_s=10.0 * turn)
        unexplained, taken = unexplained + change.unexplained_msats, change.taken_msats
    assert unexplained == 700


def lacking(known: Books, reading: Reading) -> Change:
    """What is decided when rows have said for a minute that more was taken."""
    remainder = Remainder()
    assert decided(known, reading, remainder=remainder).unexplained_msats == 0
    return decided(known, reading, remainder=remainder, now_s=GIVEN_UP_AFTER_S)


def test_a_row_that_comes_late_takes_back_what_was_unexplained() -> None:
    change = lacking(books(910, 455, before=after(455), unexplained_msats=455), after(455))
    assert (change.taken_msats, change.unexplained_msats) == (455, -455)


def test_a_node_that_states_more_than_it_takes_is_compared_from_there_on() -> None:
    change = lacking(books(700, 0), after(455))
    assert (change.taken_msats, change.unexplained_msats) == (700, 0)


def test_what_a_node_takes_later_than_it_states_it_is_waited_for() -> None:
    remainder = Remainder()
    first = decided(books(1000, 0), after(0), remainder=remainder)
    assert first.taken_msats == 0
    second = decided(books(1000, 0, doubt()), after(1455), remainder=remainder, now_s=GIVEN_UP_AFTER_S)
    assert [one.msats for one in second.bookings] == [455]


@pytest.mark.parametrize("paid_in", [0, 21_000, -900_000])
def test_money_paid_in_or_back_is_not_taken(paid_in: int) -> None:
    assert decided(books(0, 0, doubt()), after(455, paid_in)).bookings[0].msats == 455


@pytest.mark.parametrize(
    ("funds_msats", "stated_msats", "taken_msats"),
    [(999_545, 0, 455), (999_000, 455, 1000), (1_020_000, 455, 455), (0, 455, 455)],
)
def test_where_nothing_is_said_of_what_was_spent_the_funds_tell(
    funds_msats: int, stated_msats: int, taken_msats: int
) -> None:
    known = books(stated_msats, 0, before=Reading(0, 1_000_000), before_msats=0)
    assert decided(known, Reading(0, funds_msats)).taken_msats == taken_msats


def test_a_sum_that_begins_again_loses_nothing() -> None:
    known = books(0, 0, doubt(), before=Reading(500_000, 1_000_000))
    assert decided(known, Reading(0, 999_545)).bookings[0].msats == 455


# --- any course of events


class Node:
    """What a node knows of a key: it reserves, takes, and is paid."""

    def __init__(self) -> None:
        self.spent, self.funds, self.reserved = 12_345, 5_000_000, 0
        self.pending: list[tuple[int, int]] = []  # (reserved, taken at the end) of requests that nobody waits for

    def take(self, msats: int) -> None:
        self.spent += msats
        self.funds -= msats

    def finish(self) -> None:
        if self.pending:
            reserved, msats = self.pending.pop(0)
            self.reserved -= reserved
            self.take(msats)


class World:
    """A node, a ledger, and the time; arbstr is a writer that may die."""

    def __init__(self, directory: Path) -> None:
        self.node, self.remainder = Node(), Remainder()
        self.directory, self.names = directory, count(1)
        self.path = directory / "0.db"
        self.now_ms = wall_ms() + 60_000  # a crash is dated by the machine's clock
        self.taken = 0
        self.due = 0  # stated, and not taken yet

    async def start(self) -> None:
        self.writer, _ = await WriteConnection.open(self.path)
        while await self.writer.absorb():
            pass

    def row(self, **fields: Any) -> RequestRecord:
        return record(
            request_id=f"00000000-0000-0000-0000-{next(self.names):012}",
            received_at_ms=self.now_ms,
            latency_ms=0,
            **fields,
        )

    def take(self, msats: int) -> None:
        self.taken += msats
        self.node.take(msats)

    async def write(self, row: RequestRecord, *, final: bool = True) -> None:
        await self.writer.write([PendingRow(row, final=final)], {}, {})

    async def stated(self, msats: int) -> None:
        self.take(msats)
        await self.write(
            self.row(cost_msats=msats, provider_cost_msats=msats, list_cost_msats=msats + 1, median_msats=77)
        )

    async def stated_first(self, msats: int) -> None:
        """The node takes what it has stated a moment later."""
        self.taken += msats
        self.due += msats
        await self.write(self.row(cost_msats=msats, provider_cost_msats=msats))

    async def unstated(self, msats: int) -> None:
        self.take(msats)
        doubted = Doubt("alpha", 400, 400, answered=True)
        await self.write(self.row(cost_msats=400, list_cost_msats=400, dearest_msats=900, doubts=(doubted,)))

    async def late(self, msats: int) -> None:
        self.node.pending.append((600, msats))
        self.node.reserved += 600
        self.taken += msats
        doubted = Doubt("alpha", 500)
        await self.write(
            self.row(cost_msats=None, success=False, error_status=504, doubtful_msats=500, doubts=(doubted,))
        )

    async def fallen_back(self, msats: int) -> None:
        """Alpha is late, beta answers."""
        self.take(msats)
        await self.write(self.row(provider="beta", cost_msats=50, doubtful_msats=500, doubts=(Doubt("alpha", 500),)))

    async def crash(self, msats: int) -> None:
        """Arbstr dies in the middle of a stream; the node reads on."""
        row = self.row(streaming=True, success=False, cost_msats=None, doubtful_msats=500)
        await self.write(row, final=False)
        dead, self.path = self.path, self.directory / f"{next(self.names)}.db"
        for file in (dead, dead.with_name(f"{dead.name}-wal")):
            if file.exists():
                shutil.copy(file, self.path.with_name(file.name.replace(dead.name, self.path.name)))
        await self.writer.close()
        self.remainder = Remainder()
        self.take(msats)
        await self.start()

    async def foreign(self, msats: int) -> None:
        self.take(msats)

    async def paid_in(self, msats: int) -> None:
        self.node.funds += msats

    async def finish(self, msats: int) -> None:
        self.node.finish()

    async def wait(self, msats: int) -> None:
        self.node.take(self.due)
        self.due = 0
        self.now_ms += 10 * msats

    async def read(self, msats: int = 0) -> None:
        node = self.node

        def compared(db: Any, rollups: Any) -> Any:
            return accounts.balance(
                db,
                rollups,
                "account",
                ["alpha"],
                self.now_ms,
                lambda known: decide(
                    known,
                    Reading(node.spent, node.funds),
                    reserved_msats=node.reserved,
                    read_at_ms=self.now_ms,
                    remainder=self.remainder,
                    now_s=self.now_ms / 1000,
                    provider="alpha",
                ),
            )

        await self.writer.change(compared)

    async def settle(self) -> None:
        await self.wait(0)
        while self.node.pending:
            self.node.finish()
        for _ in range(4):
            await self.read()
            self.now_ms += 31_000
        await self.read()

    async def close(self) -> None:
        while await self.writer.absorb():
            pass
        await self.writer.close()


STEPS: list[Callable[[World, int], Any]] = [
    World.stated,
    World.stated_first,
    World.unstated,
    World.late,
    World.fallen_back,
    World.crash,
    World.foreign,
    World.paid_in,
    World.finish,
    World.wait,
    World.read,
]
courses = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2_000)), max_size=25)


async def lived_through(directory: Path, course: list[tuple[Callable[[World, int], Any], int]]) -> World:
    world = World(directory)
    await world.start()
    await world.read()
    for step, msats in course:
        await step(world, msats)
    await world.settle()
    await world.close()
    return world


def number(world: World, sql: str) -> float:
    [(found,)] = read(world.path, sql)
    return 0 if found is None else float(str(found))


@settings(max_examples=examples(30), deadline=None)
@given(courses)
def test_whatever_happens_the_ledger_is_what_the_node_took(
    course: list[tuple[Callable[[World, int], Any], int]],
) -> None:
    with TemporaryDirectory() as directory:
        world = asyncio.run(lived_through(Path(directory), course))
        rows = number(world, "SELECT SUM(ROUND(cost_sats * 1000)) FROM requests")
        unexplained = number(world, "SELECT SUM(msats) FROM unexplained")
        beta = sum(step is World.fallen_back for step, _ in course) * 50
        assert rows + unexplained == world.taken + beta
        assert number(world, "SELECT MIN(cost_sats) FROM requests") >= 0
        assert number(world, "SELECT COUNT(*) FROM doubts") == 0
        with closing(ReadConnection(world.path, exact=0)) as reader:
            whole = reader.stats(Filter()).overall
        assert whole.cost_msats == world.taken + beta
        assert whole.unexplained_msats == unexplained
        assert whole.total == number(world, "SELECT COUNT(*) FROM requests")
        with closing(ReadConnection(world.path)) as reader:
            by_rows = reader.stats(Filter()).overall
        assert (by_rows.saved_vs_median_msats, by_rows.saved_vs_dearest_msats, by_rows.list_cost_msats) == (
            whole.saved_vs_median_msats, whole.saved_vs_dearest_msats, whole.list_cost_msats,
        )  # fmt: skip


async def test_a_node_whose_figures_are_absurd_leaves_a_ledger_that_can_be_read(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.start()
    for spent in [0, 2 * 10**18] * 8:
        world.node.spent, world.node.funds = spent, 2 * 10**18 - spent
        await world.read()
        world.now_ms += 31_000
    await world.settle()
    await world.close()
    reader = ReadConnection(world.path, exact=0)
    figures = reader.stats(Filter()).overall
    reader.close()
    assert 0 < figures.unexplained_msats <= 16 * MOST
