"""`arbstr db copy`: in PostgreSQL a ledger answers as it did in SQLite, however often the copy was cut short."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest

from arbstr.errors import UnusableInput
from arbstr.ledger import accounts
from arbstr.ledger.accounts import Books, Change, Reading
from arbstr.ledger.model import Filter, GroupBy
from arbstr.ledger.postgres import copying
from arbstr.ledger.postgres.copying import Copied, copy_ledger, prepare
from arbstr.ledger.read_connection import ReadConnection
from arbstr.ledger.write_connection import WriteConnection
from arbstr.ledger.writer import LedgerWriter
from arbstr.places import PostgresPlace
from arbstr.types import Doubt, RequestRecord
from tests.support.ledger_builders import DAY, HOUR, NOON, first_ledger, insert, record
from tests.support.ledgers import PostgresLedgers, asked, write_rows

WHERES = [
    Filter(),
    Filter(model="GPT-4o"),
    Filter(success=False),
    Filter(since_ms=NOON - 3 * DAY),
    Filter(client="laptop"),
]


def mixed_rows(size: int) -> list[RequestRecord]:
    random = Random(7)
    return [
        record(
            received_at_ms=NOON - random.randint(0, 40 * 24) * HOUR - random.randint(0, HOUR),
            model=random.choice(["gpt-4o", "claude", "Ünïcode"]),
            provider=random.choice(["alpha", "beta", None]),
            client=random.choice([None, "laptop"]),
            session=random.choice([None, "0123456789abcdef"]),
            cost_msats=random.choice([None, random.randint(0, 10**7)]),
            list_cost_msats=random.choice([None, random.randint(0, 10**7)]),
            latency_ms=random.randint(0, 60_000),
            success=(went_well := random.random() < 0.8),
            error_status=None if went_well else random.choice([400, 404, 429, 502]),
            doubts=random.choice([(), (Doubt("alpha", random.randint(1, 900)),)]),
        )
        for _ in range(size)
    ]


async def fill(path: Path, rows: list[RequestRecord]) -> None:
    """A ledger with everything in it: rows, some of them pruned, an account, something unexplained, learned state."""
    ledger = LedgerWriter(path)
    await ledger.start()
    for row in rows:
        ledger.append(row)
    ledger.save_learned({"code": (1.5, 3)}, {("speed", "alpha"): "[1]"})
    for change in (Change(0, Reading(1000, 9000)), Change(45, Reading(1045, 8955), (), "alpha", 45)):
        await ledger.change(
            lambda db, rollups, change=change: accounts.balance(  # type: ignore[misc]  # bound in its own round
                db, rollups, "an account", ["alpha"], NOON, lambda books: change
            )
        )
    await ledger.close()
    connection, _ = await WriteConnection.open(path)
    while await connection.prune(NOON - 20 * DAY, NOON):
        pass
    await connection.close()


def assert_alike(path: Path, own_ledgers: PostgresLedgers, place: PostgresPlace) -> None:
    with closing(ReadConnection(path, exact=0)) as old, asked(own_ledgers, place) as new:
        for where in WHERES:
            for group_by in (None, *get_args(GroupBy)):
                assert new.stats(where, group_by) == old.stats(where, group_by)
            assert new.count(where) == old.count(where)
            assert new.spent_msats(where) == old.spent_msats(where)
        pages = [queries.page(Filter(), "cost_sats", "desc", 2, 30).entries for queries in (old, new)]
        assert [entry.request_id for entry in pages[0]] == [entry.request_id for entry in pages[1]]


async def books_of(place: PostgresPlace | Path) -> tuple[Books, Any, bytes]:
    seen: list[Books] = []

    def look(books: Books) -> None:
        seen.append(books)

    ledger = LedgerWriter(place)
    await ledger.start()
    await ledger.change(lambda db, rollups: accounts.balance(db, rollups, "an account", ["alpha"], NOON, look))
    learned, key = await ledger.load_learned(), await ledger.session_key()
    await ledger.close()
    return seen[0], learned, key


async def copied(path: Path, place: PostgresPlace) -> Copied:
    await prepare(path)
    return await asyncio.to_thread(copy_ledger, path, place, lambda done, total: None)


async def test_the_copy_answers_as_the_ledger_did(
    own_ledgers: PostgresLedgers, place: PostgresPlace, tmp_path: Path
) -> None:
    path = tmp_path / "arbstr.db"
    await fill(path, mixed_rows(400))
    came = await copied(path, place)
    assert 0 < came.rows < 400
    assert_alike(path, own_ledgers, place)
    own_ledgers.check_sums(place, since_ms=NOON - NOON % DAY - 20 * DAY)
    assert await books_of(place) == await books_of(path)
    assert await copied(path, place) == Copied(0, came.rows, was_done=True)
    assert_alike(path, own_ledgers, place)
    await write_rows(path, [record()])
    with pytest.raises(UnusableInput, match="1 of its rows came later and can't be added"):
        await copied(path, place)


async def test_a_copy_that_is_cut_short_goes_on(
    own_ledgers: PostgresLedgers, place: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "arbstr.db"
    await fill(path, mixed_rows(300))
    monkeypatch.setattr(copying, "_ROWS", copying._ROWS.replace(f"LIMIT {copying.CHUNK}", "LIMIT 20"))

    class CutShortError(Exception):
        pass

    seen: list[tuple[int, int]] = []

    def cut(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) in (3, 7):
            raise CutShortError

    await prepare(path)
    for _ in range(2):
        with pytest.raises(CutShortError):
            await asyncio.to_thread(copy_ledger, path, place, cut)
    assert [done for done, _ in seen] == [0, 20, 40, 40, 60, 80, 100]
    came = await asyncio.to_thread(copy_ledger, path, place, cut)
    assert (came.earlier, came.earlier + came.rows) == (100, seen[-1][1])
    assert seen[-1][0] == seen[-1][1]
    assert_alike(path, own_ledgers, place)


async def test_a_ledger_of_an_earlier_arbstr_is_copied_with_rows_of_one_id(
    own_ledgers: PostgresLedgers, place: PostgresPlace, tmp_path: Path
) -> None:
    path = tmp_path / "old.db"
    first_ledger(path)
    for number in range(3):
        insert(path, correlation_id="the same", cost_sats=number / 1000)
    insert(path, success=0, error_status=502, cost_sats=None, provider=None)
    await copied(path, place)
    assert_alike(path, own_ledgers, place)
    with asked(own_ledgers, place) as queries:
        assert queries.stats(Filter()).overall.cost_msats == 3
        assert [entry.request_id for entry in queries.slice(Filter(), None, 4)][1:] == [
            "the same#3",
            "the same#2",
            "the same",
        ]


async def test_another_ledger_is_added_to_what_is_there(
    own_ledgers: PostgresLedgers, place: PostgresPlace, tmp_path: Path
) -> None:
    rows = mixed_rows(60)
    await write_rows(place, rows[:20])
    for number in (1, 2):
        await write_rows(tmp_path / f"{number}.db", rows[20 * number : 20 * (number + 1)])
        await copied(tmp_path / f"{number}.db", place)
    with asked(own_ledgers, place) as queries:
        sums = queries.stats(Filter(), "day")
    assert sums.overall.total == sum(day.total for day in sums.groups.values()) == 60
    assert sums.overall.cost_msats == sum(row.cost_msats or 0 for row in rows)


async def test_a_ledger_that_is_written_to_is_not_copied(place: PostgresPlace, tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    ledger = LedgerWriter(path)
    await ledger.start()
    with pytest.raises(UnusableInput, match="stop it first"):
        await copied(path, place)
    await ledger.close()
