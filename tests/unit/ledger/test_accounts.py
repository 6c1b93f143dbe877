"""What balances tell is booked: in rows, in all sums over them, or as unexplained, all or nothing."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from arbstr.errors import LedgerUnavailable
from arbstr.ledger import accounts, writer
from arbstr.ledger.accounts import Amendment, Booking, Books, Change, Reading
from arbstr.ledger.model import Filter, GroupBy
from arbstr.ledger.read_connection import ReadConnection
from arbstr.ledger.serialize import aggregate_json, entry_json
from arbstr.ledger.spill import files_beside
from arbstr.ledger.writer import LedgerWriter
from arbstr.types import NO_GROUP, Doubt, RequestRecord
from tests.support.ledger_builders import DAY, HOUR, NOON, read, record, write

READ = Reading(1000, 9000)
LATE = record(
    request_id="0000-late", success=False, error_status=504, cost_msats=None, input_tokens=None, output_tokens=None,
    doubtful_msats=900, doubts=(Doubt("alpha", 900),),
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arbstr.db"


class Ledger:
    """A ledger and what a node says of `alpha`."""

    def __init__(self, writer: LedgerWriter) -> None:
        self.writer = writer
        self.books: Books

    async def book(self, change: Change, provider: str = "alpha") -> tuple[Amendment, ...]:
        def decide(books: Books) -> Change:
            self.books = books
            return change

        done = await self.writer.change(
            lambda db, rollups: accounts.balance(db, rollups, "an account", [provider], NOON, decide)
        )
        assert done is not None
        return done[1]

    async def read(self) -> Books:
        """What the ledger knows, changing nothing."""
        seen: list[Books] = []

        def decide(books: Books) -> None:
            seen.append(books)

        await self.writer.change(
            lambda db, rollups: accounts.balance(db, rollups, "an account", ["alpha"], NOON, decide)
        )
        return seen[0]


@asynccontextmanager
async def opened(path: Path, *rows: RequestRecord) -> AsyncIterator[Ledger]:
    writer = LedgerWriter(path)
    await writer.start()
    ledger = Ledger(writer)
    await ledger.book(Change(0, READ))
    for row in rows:
        writer.append(row)
    yield ledger
    await writer.close()


def booking(msats: int, name: str = "0000-late", *, final: bool = True) -> Change:
    return Change(msats, READ, (Booking(name, "alpha", msats, final),))


@contextmanager
def asking(path: Path) -> Iterator[ReadConnection]:
    reader = ReadConnection(path, exact=0)
    yield reader
    reader.close()


async def test_rows_say_what_was_taken_without_what_is_in_doubt(path: Path) -> None:
    unstated = record(cost_msats=400, doubts=(Doubt("alpha", 400, 400, answered=True),))
    async with opened(path, record(cost_msats=455), unstated, LATE, record(provider="beta")) as ledger:
        books = await ledger.read()
        assert (books.booked_msats, books.taken_msats, books.before) == (455, 0, READ)
        found = [(one.expected_msats, one.counted_msats, one.answered) for one in books.doubts]
        assert sorted(found) == [(400, 400, True), (900, 0, False)]


async def test_a_doubt_dates_from_the_end_of_its_request(path: Path) -> None:
    late = record(streaming=True, latency_ms=300, stream_duration_ms=5000, doubts=(Doubt("alpha", 900),))
    async with opened(path, late) as ledger:
        assert [one.at_ms for one in (await ledger.read()).doubts] == [NOON + 5000]


async def test_a_charge_that_is_booked_is_in_the_row_and_in_every_sum(path: Path) -> None:
    async with opened(path, LATE, record(cost_msats=100)) as ledger:
        assert await ledger.book(booking(455)) == (
            Amendment("0000-late", "alpha", NOON, None, None, None, 455, None, None, 455 - 900, 0, 455),
        )
        assert (await ledger.read()).booked_msats == 555
        assert (await ledger.read()).doubts == ()
    assert read(path, "SELECT cost_sats, doubtful_msats FROM requests WHERE error_status = 504") == [(0.455, None)]
    with asking(path) as reader:
        for group_by in ("model", "provider", "hour", "day", "dialect"):
            sums = reader.stats(Filter(), group_by)
            assert sums.overall.cost_msats == sum(one.cost_msats for one in sums.groups.values()) == 555
            assert sums.overall.total == 2
        assert reader.spent_msats(Filter()) == 555


async def test_part_of_a_charge_leaves_the_rest_in_doubt(path: Path) -> None:
    async with opened(path, LATE) as ledger:
        (first,) = await ledger.book(booking(300, final=False))
        assert (first.cost_msats, first.doubtful_msats, first.counted_msats, first.learned_msats) == (300, 600, 0, None)
        (second,) = await ledger.book(booking(455))
        assert (second.was_msats, second.cost_msats, second.doubtful_msats, second.counted_msats) == (300, 455, 0, -445)
        assert (await ledger.read()).booked_msats == 455


async def test_what_was_free_after_all_costs_nothing(path: Path) -> None:
    unstated = record(request_id="0000-late", cost_msats=400, list_cost_msats=400, doubts=(Doubt("alpha", 400, 400),))
    async with opened(path, unstated) as ledger:
        (amendment,) = await ledger.book(booking(0))
        assert (amendment.cost_msats, amendment.was_msats) == (0, 400)
    assert read(path, "SELECT cost_sats FROM requests") == [(0.0,)]


async def test_what_another_provider_took_before_is_added_to_what_the_answer_cost(path: Path) -> None:
    fallen_back = record(request_id="0000-late", provider="beta", cost_msats=50, doubts=(Doubt("alpha", 900),))
    async with opened(path, fallen_back) as ledger:
        (amendment,) = await ledger.book(booking(455))
        assert (amendment.cost_msats, amendment.learned_msats) == (505, None)
        assert (await ledger.read()).booked_msats == 455
    assert read(path, "SELECT provider, cost_sats FROM requests") == [("beta", 0.505)]


async def test_a_row_that_is_gone_leaves_no_doubt(path: Path) -> None:
    async with opened(path, LATE) as ledger:
        await ledger.read()

        def remove(db: Any, rollups: Any) -> None:
            db.execute("DELETE FROM requests")

        await ledger.writer.change(remove)
        assert await ledger.book(booking(455)) == ()
        books = await ledger.read()
        assert (books.doubts, books.booked_msats, books.taken_msats) == ((), 0, 455)


async def test_what_is_unexplained_is_in_the_sums_of_sats_and_in_no_count_or_budget(path: Path) -> None:
    async with opened(path, record(cost_msats=100)) as ledger:
        await ledger.book(Change(400, READ, (), "alpha", 300))
        assert (await ledger.read()).unexplained_msats == 300
    with asking(path) as reader:
        overall = reader.stats(Filter()).overall
        assert (overall.total, overall.cost_msats, overall.unexplained_msats, overall.list_cost_msats) == (
            1,
            400,
            300,
            100,
        )
        assert aggregate_json(overall)["costs"]["unexplained_sats"] == 0.3
        assert reader.count(Filter()) == 1
        assert reader.spent_msats(Filter()) == 100, "budgets limit what requests cost"


GROUPS: dict[GroupBy, str] = {
    "provider": "alpha",
    "model": NO_GROUP,
    "policy": NO_GROUP,
    "client": NO_GROUP,
    "session": NO_GROUP,
    "dialect": NO_GROUP,
    "hour": str(NOON),
    "day": str(NOON - 12 * HOUR),
}


@pytest.mark.parametrize("group_by", GROUPS)
async def test_what_is_unexplained_is_in_the_group_that_it_is_known_of(path: Path, group_by: GroupBy) -> None:
    async with opened(path, record(cost_msats=100, model="gpt-4o")) as ledger:
        await ledger.book(Change(400, READ, (), "alpha", 300))
    with asking(path) as reader:
        sums = reader.stats(Filter(), group_by)
        assert sums.groups[GROUPS[group_by]].unexplained_msats == 300
        assert sum(one.cost_msats for one in sums.groups.values()) == sums.overall.cost_msats == 400
        assert sum(one.total for one in sums.groups.values()) == 1


@pytest.mark.parametrize(
    ("where", "msats"),
    [
        (Filter(provider="ALPHA"), 300),
        (Filter(providers=("alpha", "beta")), 300),
        (Filter(provider="beta"), 0),
        (Filter(since_ms=NOON, until_ms=NOON), 300),
        (Filter(since_ms=NOON + 1), 0),
        (Filter(until_ms=NOON - 1), 0),
        (Filter(until_ms=NOON - 1, open_end=True), 300),
        (Filter(model="gpt-4o"), 0),
        (Filter(policy="code"), 0),
        (Filter(client="laptop"), 0),
        (Filter(success=False), 0),
        (Filter(texts=("alpha",)), 0),
    ],
)
async def test_only_time_and_provider_find_what_is_unexplained(path: Path, where: Filter, msats: int) -> None:
    async with opened(path) as ledger:
        await ledger.book(Change(300, READ, (), "alpha", 300))
    with asking(path) as reader:
        assert reader.stats(where).overall.unexplained_msats == msats


async def test_what_was_unexplained_can_be_taken_back(path: Path) -> None:
    async with opened(path) as ledger:
        for msats in (300, 200):
            await ledger.book(Change(500, READ, (), "alpha", msats))
        await ledger.book(Change(500, READ, (), "alpha", -250))
        books = await ledger.read()
        assert (books.unexplained_msats, books.booked_msats) == (250, 250)
    assert read(path, "SELECT msats FROM unexplained") == [(250,)]


async def test_an_account_that_is_read_for_the_first_time_tells_nothing_of_the_past(path: Path) -> None:
    writer = LedgerWriter(path)
    await writer.start()
    writer.append(LATE)
    ledger = Ledger(writer)
    await ledger.book(Change(0, READ))
    assert (await ledger.read()).doubts == ()
    await writer.close()
    assert read(path, "SELECT cost_sats, doubtful_msats FROM requests") == [(None, 900)]


async def test_a_stream_that_a_crash_left_open_is_in_doubt_at_the_next_start(path: Path) -> None:
    copy = path.with_name("copy.db")
    async with opened(path) as ledger:
        ledger.writer.begin(record(request_id="0000-late", streaming=True, cost_msats=None, doubtful_msats=900))
        await ledger.read()
        for suffix in ("", "-wal"):  # as a process leaves them that is killed
            shutil.copy(path.with_name(path.name + suffix), copy.with_name(copy.name + suffix))
    async with again(copy) as ledger:
        (doubt,) = (await ledger.read()).doubts
        assert (doubt.request_id, doubt.provider, doubt.expected_msats) == ("0000-late", "alpha", 900)
        while not await ledger.book(booking(455)):  # it is in no sums yet
            assert (await ledger.read()).doubts
    assert read(copy, "SELECT cost_sats, success FROM requests") == [(0.455, 0)]
    with asking(copy) as reader:
        assert reader.stats(Filter()).overall.cost_msats == 455


async def test_rows_from_beside_the_ledger_are_compared_from_then_on(path: Path) -> None:
    async with opened(path, record(cost_msats=100)) as ledger:
        await ledger.read()
    beside = LedgerWriter(path)
    beside.append(record(cost_msats=300))
    await beside.close()  # it never began to write, and leaves its row beside the ledger
    async with again(path) as ledger:
        books = await ledger.read()
        assert (books.taken_msats, books.booked_msats) == (None, 100)


async def test_rows_that_were_put_aside_are_back_before_anything_is_booked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_WAITING", 4)
    async with opened(path) as ledger:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(4):
                ledger.writer.append(record(cost_msats=100))
            while not files_beside(path):
                await ledger.writer.settle()
                await asyncio.sleep(0)
            waiting = asyncio.create_task(ledger.read())
            await asyncio.sleep(0)
            other.execute("ROLLBACK")
        assert (await waiting).taken_msats is None
    assert read(path, "SELECT COUNT(*) FROM requests") == [(4,)]


@asynccontextmanager
async def again(path: Path) -> AsyncIterator[Ledger]:
    writer = LedgerWriter(path)
    await writer.start()
    yield Ledger(writer)
    await writer.close()


@pytest.mark.parametrize(
    ("providers", "days", "left"), [(["alpha"], 0, 1), (["beta"], 0, 0), ([], 0, 0), (["alpha"], 8, 0)]
)
async def test_doubts_of_which_no_balance_will_tell_are_forgotten(
    path: Path, providers: list[str], days: int, left: int
) -> None:
    async with opened(path, LATE) as ledger:
        now_ms = NOON + days * DAY
        await ledger.writer.change(lambda db, rollups: accounts.forget_doubts(db, providers, now_ms))
        assert len((await ledger.read()).doubts) == left


async def test_an_account_is_known_once_it_was_compared(path: Path) -> None:
    async with opened(path) as ledger:
        known = await ledger.writer.change(lambda db, rollups: accounts.known_accounts(db))
        assert known == {"an account"}


async def test_a_change_is_made_after_the_rows_that_were_there(path: Path) -> None:
    writer = LedgerWriter(path)
    await writer.start()
    for count in range(1, 50):
        writer.append(record())
        found = await writer.change(lambda db, rollups: db.execute("SELECT COUNT(*) FROM requests").fetchone()[0])
        assert found >= count
    await writer.close()
    with pytest.raises(LedgerUnavailable):
        await writer.change(lambda db, rollups: None)


async def test_an_entry_says_what_is_in_doubt_and_what_was_paid_for_nothing(path: Path) -> None:
    await write(path, [LATE, record(request_id="0001-mute", output_tokens=0)])
    with asking(path) as reader:
        late, mute = (reader.request(name) for name in ("0000-late", "0001-mute"))
        assert late is not None
        assert mute is not None
        shown = entry_json(late.entry)
        assert (shown["cost"]["doubtful_sats"], "charged_for_nothing" in shown) == (0.9, False)
        shown = entry_json(mute.entry)
        assert ("doubtful_sats" in shown["cost"], shown["charged_for_nothing"]) == (False, True)
