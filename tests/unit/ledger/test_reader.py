"""The reader of a running arbstr: questions in threads, the loop and the writer undisturbed."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from arbstr.errors import LedgerUnavailable
from arbstr.ledger import read_connection
from arbstr.ledger.model import Filter
from arbstr.ledger.queries import Queries
from arbstr.ledger.read_connection import ReadConnection
from arbstr.ledger.reader import LedgerReader
from arbstr.ledger.writer import LedgerWriter
from tests.support.ledger_builders import NOON, first_ledger, record, write
from tests.support.patience import PATIENCE_S

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n"


def endless(queries: Queries) -> object:
    assert isinstance(queries, ReadConnection)
    return queries._connection.execute(ENDLESS).fetchone()


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    await write(tmp_path / "arbstr.db", [record(received_at_ms=NOON + number) for number in range(1000)])
    return tmp_path / "arbstr.db"


@pytest.fixture
async def reader(path: Path) -> AsyncIterator[LedgerReader]:
    reader = LedgerReader(path)
    yield reader
    await reader.close()


async def test_many_questions_at_once_are_all_answered(reader: LedgerReader) -> None:
    answers = await asyncio.gather(*(reader.count(Filter(since_ms=NOON + number)) for number in range(50)))
    assert answers == [1000 - number for number in range(50)]


async def test_all_kinds_of_queries_are_passed_on(reader: LedgerReader) -> None:
    assert (await reader.stats(Filter(), "model")).groups["gpt-4o"].total == 1000
    page = await reader.page(Filter(), "timestamp", "asc", 2, 10)
    assert (page.total, page.entries[0].id) == (1000, 11)
    newest = await reader.slice(Filter(), before=None, limit=2)
    older = await reader.slice(Filter(), before=newest[-1], limit=1)
    assert [entry.id for entry in (*newest, *older)] == [1000, 999, 998]
    detail = await reader.request(newest[0].request_id)
    assert detail is not None
    assert detail.entry == newest[0]
    assert await reader.known("model", "GPT-4O")


async def test_an_export_is_of_one_moment_whatever_is_written_meanwhile(path: Path, reader: LedgerReader) -> None:
    found: list[int] = []
    async for entry in reader.entries(Filter(), "timestamp", "asc", None):
        if not found:
            await write(path, [record(received_at_ms=NOON + 5000)])
        found.append(entry.id)
    assert found == list(range(1, 1001))
    assert await reader.count(Filter()) == 1001


async def test_an_export_can_be_left_and_cut(reader: LedgerReader) -> None:
    export = reader.entries(Filter(), "timestamp", "desc", None)
    assert (await anext(export)).id == 1000
    assert isinstance(export, AsyncGenerator)
    await export.aclose()
    assert [entry.id async for entry in reader.entries(Filter(), "cost_sats", "desc", 3)] == [1000, 999, 998]


async def test_an_export_that_is_cancelled_lets_go(reader: LedgerReader) -> None:
    async def read() -> None:
        async for _ in reader.entries(Filter(), "timestamp", "desc", None):
            await asyncio.sleep(0)

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.005)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_an_export_that_is_cancelled_while_it_is_opened_leaves_no_connection(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, opening, go_on = LedgerReader(path), asyncio.Event(), threading.Event()
    loop, connect = asyncio.get_running_loop(), reader._backend.connect
    opened: list[Queries] = []

    def slow() -> Queries:
        loop.call_soon_threadsafe(opening.set)
        go_on.wait(PATIENCE_S)
        opened.append(connect())
        return opened[-1]

    monkeypatch.setattr(reader._backend, "connect", slow)
    reading = asyncio.ensure_future(anext(reader.entries(Filter(), "timestamp", "desc", None)))
    await opening.wait()
    reading.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await reader.close()
    [connection] = opened
    with pytest.raises(LedgerUnavailable, match="closed database"):
        connection.count(Filter())


async def test_a_question_that_is_given_up_frees_its_thread(tmp_path: Path) -> None:
    path = tmp_path / "long.db"
    await write(path, [record(error_message="x" * 1000) for _ in range(100)])
    reader = LedgerReader(path)
    for _ in range(10):
        asking = asyncio.create_task(reader._ask(endless))
        await asyncio.sleep(0.002)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert await reader.count(Filter()) == 100
    await reader.close()


async def test_a_ledger_that_was_replaced_is_read_again(path: Path, reader: LedgerReader) -> None:
    assert await reader.count(Filter()) == 1000
    for file in path.parent.glob("arbstr.db*"):
        file.unlink()
    with pytest.raises(LedgerUnavailable, match="No ledger at"):
        await reader.count(Filter())
    await write(path, [record()])
    assert await reader.count(Filter()) == 1


async def test_the_loop_and_other_questions_go_on_while_a_long_one_is_asked(reader: LedgerReader) -> None:
    long = asyncio.create_task(reader._ask(endless))
    for number in range(20):
        assert await reader.count(Filter(since_ms=NOON + number)) == 1000 - number
    assert not long.done()
    long.cancel()
    await asyncio.wait([long])


async def test_a_writer_that_cannot_write_does_not_hold_questions_up(path: Path) -> None:
    ledger = LedgerWriter(path.parent / "missing" / "arbstr.db")
    with pytest.raises(LedgerUnavailable):
        await ledger.start()
    reader = LedgerReader(path, settle=ledger.settle)
    assert await reader.count(Filter()) == 1000
    await reader.close()


def test_what_is_not_committed_is_never_read_also_where_the_file_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_connection, "_BUSY_S", 0.05)
    path = tmp_path / "old.db"
    first_ledger(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerUnavailable, match="locked"):
            ReadConnection(path)
        other.execute("ROLLBACK")
    ReadConnection(path).close()
