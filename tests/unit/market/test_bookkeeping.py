"""Readings of balances become changes of the ledger, each once it is certain what it says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from arbstr.engine.accounts import Accounts
from arbstr.errors import LedgerUnavailable
from arbstr.events import ChargeBooked, Event
from arbstr.ledger.accounts import Amendment
from arbstr.ledger.rollups import Rollups
from arbstr.ledger.sql import Statements
from arbstr.ledger.writer import LedgerWriter
from arbstr.market.balances import Reading
from arbstr.market.bookkeeping import Bookkeeping
from arbstr.redaction import Secret
from arbstr.types import Balance, Doubt
from tests.support.clock import Clock
from tests.support.engine_builders import provider
from tests.support.ledger_builders import NOON, read, record

T = TypeVar("T")

KEY = Secret("sk-0123456789abcdef")
NODES = [provider("one", kind="routstr", api_key=KEY), provider("two", kind="routstr", api_key=KEY)]
LATER = NOON + 60_000


class Books:
    """Bookkeeping of one key that two providers share, and what it has done."""

    def __init__(self, writer: LedgerWriter, settles_s: float = 0.0) -> None:
        self.writer = writer
        self.clock = Clock()
        self.accounts = Accounts(NODES)
        self.amended: list[Amendment] = []
        self.events: list[Event] = []
        self.asked: list[str] = []
        self.pauses: asyncio.Queue[None] = asyncio.Queue()
        self.bookkeeping = Bookkeeping(
            self.accounts,
            self,
            read_soon=self.asked.append,
            amended=self.amended.append,
            publish=self.events.append,
            clock=self.clock,
            now_ms=lambda: LATER,
            settles_s=settles_s,
            sleep=self._sleep,
        )
        self.fault: Exception | None = None
        self.changes = 0
        self.changed = asyncio.Event()
        self.before_change: Callable[[], None] = lambda: None

    async def _sleep(self, seconds: float) -> None:
        await self.pauses.get()

    async def change(self, work: Callable[[Statements, Rollups], T]) -> T:
        self.before_change()
        try:
            if self.fault is not None:
                raise self.fault
            return await self.writer.change(work)
        finally:
            self.changes += 1
            self.changed.set()

    async def read(self, spent: int, *, reserved: int = 0, name: str = "one", under_way: bool = False) -> None:
        """Tell of a balance, and wait until it is booked."""
        balance = Balance("known", 100_000 - spent, reserved, spent, read_at_ms=LATER)
        self.changed.clear()
        self.bookkeeping.put(Reading(name, Balance(), balance, under_way))
        await self.changed.wait()
        await turns()

    async def late(self, name: str = "0000-late") -> None:
        """A request that was not answered in time."""
        self.writer.append(record(request_id=name, provider="two", cost_msats=None, doubts=(Doubt("two", 500),)))


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def keeping(path: Path, settles_s: float = 0.0) -> AsyncIterator[Books]:
    writer = LedgerWriter(path)
    await writer.start()
    books = Books(writer, settles_s)
    await books.bookkeeping.start()
    running = asyncio.create_task(books.bookkeeping.run())
    yield books
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await writer.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arbstr.db"


async def test_what_a_reading_tells_is_booked_and_said(path: Path) -> None:
    async with keeping(path) as books:
        await books.read(7_000)
        await books.late()
        await books.read(7_455)
        assert [one.cost_msats for one in books.amended] == [455]
        assert books.events == [ChargeBooked("0000-late", NOON, "two", 455, None, 0)]


async def test_from_the_first_reading_on_a_balance_tells_also_in_later_runs(path: Path) -> None:
    async with keeping(path) as books:
        assert not books.accounts.begin("two", "r-1")
        books.accounts.end("r-1")
        await books.read(7_000)
        assert books.accounts.begin("two", "r-2")
    async with keeping(path) as books:
        assert books.accounts.begin("two", "r-3")


async def test_a_reading_that_was_made_while_requests_were_under_way_is_not_used(path: Path) -> None:
    async with keeping(path) as books:
        await books.read(7_000)
        changes = books.changes
        balance = Balance("known", 90_000, 0, 8_000, read_at_ms=LATER)
        books.bookkeeping.put(Reading("one", Balance(), balance, under_way=True))
        await turns()
        assert books.changes == changes


async def test_a_reading_is_not_set_against_rows_of_requests_that_came_after_it(path: Path) -> None:
    async with keeping(path) as books:
        await books.read(7_000)

        def another() -> None:
            books.accounts.begin("two", "r-1")
            books.writer.append(record(provider="two", cost_msats=300))
            books.accounts.end("r-1")

        books.before_change = another
        await books.read(7_000)
        books.before_change = lambda: None
        await books.read(7_300)
        assert read(path, "SELECT taken_msats FROM accounts") == [(300,)]


async def test_while_something_is_open_balances_are_read_again(path: Path) -> None:
    async with keeping(path) as books:
        await books.read(7_000)
        await books.late()
        books.pauses.put_nowait(None)
        await turns()
        assert books.asked == []
        await books.read(7_000, reserved=900)
        books.pauses.put_nowait(None)
        await turns()
        assert books.asked == ["one"]
        await books.read(7_455)
        books.pauses.put_nowait(None)
        await turns()
        assert books.asked == ["one"]


@pytest.mark.parametrize("fault", [LedgerUnavailable("locked"), ZeroDivisionError()])
async def test_a_ledger_that_fails_is_logged_and_the_next_reading_is_booked(
    path: Path, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with keeping(path) as books:
        await books.read(7_000)
        await books.late()
        books.fault = fault
        with caplog.at_level(logging.WARNING):
            await books.read(7_455)
        assert "one" in caplog.text
        books.fault = None
        await books.read(7_455, name="two")
        assert [one.cost_msats for one in books.amended] == [455]


async def test_a_key_that_the_node_refuses_tells_nothing(path: Path) -> None:
    async with keeping(path) as books:
        changes = books.changes
        for balance in (Balance("bad_key"), replace(Balance("expired"), read_at_ms=LATER)):
            books.bookkeeping.put(Reading("one", Balance(), balance, under_way=False))
        books.bookkeeping.put(Reading("unknown", Balance(), Balance("known", 1, 0, 0, read_at_ms=LATER), False))
        await turns()
        assert books.changes == changes


async def test_where_others_use_the_key_too_a_node_has_to_have_said_the_same_for_a_while(path: Path) -> None:
    async with keeping(path, settles_s=1.5) as books:
        for spent, after_s in ((5000, 0.0), (5000, 1.0), (6000, 1.0), (6000, 1.4)):
            books.clock.now += after_s
            balance = Balance("known", 100_000 - spent, 0, spent, read_at_ms=LATER)
            books.bookkeeping.put(Reading("one", Balance(), balance, under_way=False))
            await turns()
        assert books.changes == 1  # of the start
        assert books.asked == ["one"] * 4  # so that it is known soon
        books.clock.now += 0.2
        await books.read(6000)
        assert books.changes == 2
