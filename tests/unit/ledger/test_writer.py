"""The one writer: every finished request gets its row, soon, once, and whatever happens to the database."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from arbstr.errors import LedgerUnavailable
from arbstr.ledger import writer
from arbstr.ledger.learned import LearnedState
from arbstr.ledger.model import Filter
from arbstr.ledger.reader import LedgerReader
from arbstr.ledger.row_mapping import COLUMNS, facet_key, row_of, storable
from arbstr.ledger.writer import LedgerWriter
from arbstr.types import Attempt, RequestRecord
from tests.support.ledger_builders import DAY, HOUR, MINUTE, NOON, insert, read, record, write
from tests.support.patience import PATIENCE_S

States = list[tuple[bool, str]]


@asynccontextmanager
async def running(path: Path, states: States | None = None, **options: Any) -> AsyncIterator[LedgerWriter]:
    events = [] if states is None else states
    ledger = LedgerWriter(path, on_state=lambda ok, said: events.append((ok, said)), **options)
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.close()


async def until(true: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Wait for something that comes about by itself."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.002)


RUIN = b"this is no database " * 10_000


def ruin(path: Path, start: int) -> None:
    """Overwrite a file from some byte on."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.seek(start)
        file.write(RUIN)


def is_there(database: sqlite3.Connection, row: RequestRecord) -> bool:
    return bool(database.execute("SELECT 1 FROM requests WHERE correlation_id = ?", (row.request_id,)).fetchall())


def move(path: Path) -> Path:
    return path.rename(path.with_name("moved.db"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arbstr.db"


async def test_a_finished_request_becomes_a_row_of_the_promised_columns(path: Path) -> None:
    row = record(
        model="gpt-4o",
        policy="code",
        streaming=True,
        cost_msats=1_234,
        provider_cost_msats=1_500,
        stream_duration_ms=1200,
        attempts=(Attempt("alpha", 0, 310, None, 200),),
    )
    await write(path, [row])
    promised = (
        "id, correlation_id, timestamp, model, provider, policy, streaming, input_tokens, output_tokens, cost_sats, "
        "provider_cost_sats, latency_ms, stream_duration_ms, success, error_status, error_message"
    )
    [found] = read(path, f"SELECT {promised} FROM requests")
    assert found[:7] == (1, row.request_id, "2026-01-01T12:00:00.000Z", "gpt-4o", "alpha", "code", 1)
    assert found[7:] == (12, 9, 1.234, 1.5, 310, 1200, 1, None, None)


async def test_a_row_is_committed_within_a_tenth_of_a_second_without_being_asked_for(path: Path) -> None:
    """On a busy machine some take longer: all would, if it were the ledger that waits."""
    in_time, until_s = 0, time.monotonic() + PATIENCE_S
    async with running(path) as ledger:
        with closing(sqlite3.connect(path)) as database:
            while in_time < 3:
                row = record()
                ledger.append(row)
                began = time.monotonic()
                assert began < until_s
                await until(partial(is_there, database, row))
                in_time += time.monotonic() - began < 0.1


async def test_a_question_sees_every_request_that_finished_before_it(path: Path) -> None:
    async with running(path) as ledger:
        reader = LedgerReader(path, settle=partial(ledger.settle, PATIENCE_S))
        for total in range(1, 30):
            ledger.append(record())
            assert (await reader.stats(Filter())).overall.total == total
        await reader.close()


async def test_rows_that_come_together_are_committed_together(path: Path) -> None:
    async with running(path) as ledger:
        with closing(sqlite3.connect(path)) as database:
            seen = set()
            for _ in range(500):
                ledger.append(record())
            while (count := database.execute("SELECT COUNT(*) FROM requests").fetchone()[0]) < 500:
                seen.add(count)
                await asyncio.sleep(0.001)
    assert seen == {0}


async def test_an_open_row_is_marked_and_neither_listed_nor_counted(path: Path) -> None:
    stream = record(streaming=True, input_tokens=None, output_tokens=None, cost_msats=None)
    async with running(path) as ledger:
        reader = LedgerReader(path, settle=lambda: ledger.settle(5))
        ledger.begin(stream)
        assert (await reader.stats(Filter())).overall.total == 0
        assert (await reader.page(Filter(), "timestamp", "desc", 1, 20)).entries == []
        assert await reader.request(stream.request_id) is None
        assert read(path, "SELECT correlation_id, open > 0 FROM requests") == [(stream.request_id, 1)]

        ledger.append(record(request_id=stream.request_id, streaming=True, cost_msats=777))
        assert (await reader.stats(Filter())).overall.cost_msats == 777
        assert read(path, "SELECT id, open, cost_sats FROM requests") == [(1, 0, 0.777)]
        await reader.close()


async def test_a_stream_that_ends_at_once_is_written_once(path: Path) -> None:
    async with running(path) as ledger:
        stream = record(streaming=True)
        ledger.begin(stream)
        ledger.append(stream)
        await ledger.settle(PATIENCE_S)
        assert read(path, "SELECT id, open FROM requests") == [(1, 0)]


async def test_an_open_row_that_was_deleted_meanwhile_is_written_again(path: Path) -> None:
    stream = record(streaming=True)
    async with running(path) as ledger:
        ledger.begin(stream)
        await ledger.settle(PATIENCE_S)
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("DELETE FROM requests")
        ledger.append(stream)
    assert read(path, "SELECT correlation_id, open FROM requests") == [(stream.request_id, 0)]


async def test_while_the_database_is_locked_rows_wait_and_it_is_said_once(path: Path) -> None:
    states: States = []
    async with running(path, states) as ledger:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(3):
                ledger.append(record())
                await until(lambda: len(states) == 1)
            await ledger.settle()  # which the lock does not hold up for ever
            other.execute("ROLLBACK")
        await until(lambda: len(states) == 2)
        assert read(path, "SELECT COUNT(*) FROM requests") == [(3,)]
    assert [ok for ok, _ in states] == [False, True]
    assert "locked" in states[0][1]


async def test_a_writer_starts_on_a_locked_database_and_writes_when_that_is_free(path: Path) -> None:
    await write(path, [record()])
    states: States = []
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        async with running(path, states) as ledger:
            ledger.append(record())
            assert await ledger.load_learned() == LearnedState()
            assert [ok for ok, _ in states] == [False]
            assert ledger.problem == states[0][1]
            other.execute("ROLLBACK")
            await until(lambda: len(states) == 2)
            assert ledger.problem is None
    assert read(path, "SELECT COUNT(*) FROM requests") == [(2,)]


async def test_rows_that_come_faster_than_they_can_be_put_aside_are_given_up_and_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_WAITING", 10)
    states: States = []
    rows = [record() for _ in range(15)]
    async with running(path, states) as ledger:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for row in rows:
                ledger.append(row)
            await until(lambda: len(states) == 1)
            other.execute("ROLLBACK")
        await until(lambda: len(states) == 2)
    found = read(path, "SELECT correlation_id FROM requests")
    assert sorted(found) == sorted((row.request_id,) for row in rows[5:])
    assert "5 rows were lost" in states[1][1]


def unwritten_files(path: Path, count: int) -> bool:
    return len(list(path.parent.glob("*-unwritten-*"))) == count


async def test_rows_beyond_half_the_bound_wait_beside_the_ledger_and_none_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_WAITING", 10)
    states: States = []
    rows = [record() for _ in range(15)]
    async with running(path, states) as ledger:
        stream = record(streaming=True)
        ledger.begin(stream)
        await ledger.settle(PATIENCE_S)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            ledger.append(stream)
            for number in range(3):
                for row in rows[number * 5 : number * 5 + 5]:
                    ledger.append(row)
                await until(partial(unwritten_files, path, number + 1))
            other.execute("ROLLBACK")
        await until(lambda: len(states) == 2)
        await until(lambda: read(path, "SELECT COUNT(*) FROM requests WHERE facet IS NOT NULL") == [(16,)])
    found = read(path, "SELECT correlation_id FROM requests")
    assert sorted(found) == sorted((row.request_id,) for row in [stream, *rows])
    assert read(path, "SELECT total, cost_msats FROM rollups WHERE facet = 0") == [(16, 16 * 420)] * 2
    assert list(path.parent.glob("*-unwritten-*")) == []


async def close_on_a_locked_one(path: Path, *records: RequestRecord, states: States | None = None) -> None:
    """Append records to a ledger that another process has locked, and close it."""
    states = [] if states is None else states
    ledger = LedgerWriter(path, on_state=lambda ok, message: states.append((ok, message)))
    await ledger.start()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for each in records:
            ledger.append(each)
        await ledger.close()
        other.execute("ROLLBACK")


async def sum_up(path: Path) -> None:
    """Let arbstr run until all rows are in the sums."""
    async with running(path):
        await until(lambda: read(path, "SELECT COUNT(*) FROM requests WHERE facet IS NULL") == [(0,)])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_CLOSE_S", 0.2)


@pytest.mark.usefixtures("impatient")
async def test_rows_that_can_not_be_written_at_the_end_come_back_at_the_next_start_once(path: Path) -> None:
    states: States = []
    full = record(
        policy="code",
        streaming=True,
        stream_duration_ms=1200,
        provider_cost_msats=500,
        error_message="half a pair \ud83d \0",
        attempts=(Attempt("alpha", 0, 310, None, 200),),
    )
    await close_on_a_locked_one(path, full, record(), states=states)
    [beside] = path.parent.glob("arbstr.db-unwritten-*.jsonl")
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    assert "2 of them are in files beside it" in states[-1][1]
    kept = beside.read_bytes()
    await write(path, [record()])
    assert not beside.exists()
    beside.write_bytes(kept)  # as if arbstr had been killed before it was gone
    await write(path, [record()])
    assert list(path.parent.glob("arbstr.db-*")) == []
    assert read(path, "SELECT COUNT(*), COUNT(DISTINCT correlation_id) FROM requests") == [(4, 4)]
    await sum_up(path)
    assert read(path, "SELECT total, cost_msats FROM rollups WHERE facet = 0") == [(4, 4 * 420)] * 2
    found = read(path, f"SELECT {', '.join(COLUMNS)} FROM requests WHERE correlation_id = ?", full.request_id)
    row_id, facet = found[0][0], found[0][COLUMNS.index("facet")]
    assert isinstance(row_id, int)
    assert isinstance(facet, int)
    assert found == [row_of(storable(full), facet_key(full), row_id, facet, 0)]


@pytest.mark.usefixtures("impatient")
async def test_a_stream_that_was_open_has_the_end_that_waited_beside_the_ledger(path: Path) -> None:
    ended, cut = (record(streaming=True) for _ in range(2))
    ledger = LedgerWriter(path)
    await ledger.start()
    ledger.begin(ended)
    ledger.begin(cut)
    await ledger.settle(PATIENCE_S)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ledger.append(ended)
        fresh = record(streaming=True, stream_duration_ms=5)
        ledger.begin(fresh)
        await ledger.close()
        other.execute("ROLLBACK")
    await write(path, [])
    found = "SELECT correlation_id, success, error_status, open, cost_sats FROM requests ORDER BY id"
    assert read(path, found) == [
        (ended.request_id, 1, None, 0, 0.42),
        (cut.request_id, 0, 500, 0, 0.42),
        (fresh.request_id, 0, 500, 0, 0.42),
    ]
    await sum_up(path)
    assert read(path, "SELECT total, success FROM rollups WHERE facet = 0") == [(3, 1)] * 2


@pytest.mark.usefixtures("impatient")
async def test_a_damaged_line_beside_the_ledger_harms_no_other(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await close_on_a_locked_one(path, record(), record())
    [beside] = path.parent.glob("arbstr.db-unwritten-*.jsonl")
    lines = beside.read_bytes().splitlines(keepends=True)
    beside.write_bytes(lines[0] + b'[]\nnull\n{"correlation_id":5}\n\xff\n' + lines[1][:40])
    await write(path, [])
    assert read(path, "SELECT COUNT(*) FROM requests") == [(1,)]
    assert "5 lines" in caplog.text


@pytest.mark.usefixtures("impatient")
async def test_where_nothing_can_be_left_beside_it_the_rows_that_are_lost_are_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "put_aside", full)
    states: States = []
    await close_on_a_locked_one(path, record(), states=states)
    assert "1 are lost" in states[-1][1]


async def test_a_file_that_vanishes_is_created_again(path: Path) -> None:
    states: States = []
    async with running(path, states) as ledger:
        ledger.append(record())
        await ledger.settle(PATIENCE_S)
        for file in path.parent.glob("arbstr.db*"):
            if "session" not in file.name:
                file.unlink()
        kept = record()
        ledger.append(kept)
        await until(lambda: len(states) == 2)
    assert read(path, "SELECT correlation_id FROM requests ORDER BY id") == [(kept.request_id,)]
    assert "deleted or replaced" in states[0][1]


async def test_a_file_put_in_its_place_is_gone_on_with_as_it_is(path: Path) -> None:
    saved = path.with_name("saved.db")
    await write(saved, [record() for _ in range(3)])
    async with running(path) as ledger:
        reader = LedgerReader(path, settle=partial(ledger.settle, PATIENCE_S))
        for _ in range(50):
            ledger.append(record())
        assert (await reader.stats(Filter())).overall.total == 50
        saved.rename(path)
        ledger.append(record())
        async with asyncio.timeout(PATIENCE_S):
            while (await reader.stats(Filter())).overall.total < 4:
                pass  # it notices, and opens the other file
        await reader.close()
    assert read(path, "SELECT COUNT(*) FROM requests") == [(4,)]
    assert read(path, "PRAGMA integrity_check") == [("ok",)]


async def test_a_file_that_is_moved_away_takes_all_its_rows_along(path: Path) -> None:
    states: States = []
    async with running(path, states) as ledger:
        for _ in range(50):
            ledger.append(record())
        await ledger.settle(PATIENCE_S)
        moved = move(path)
        ledger.append(record())
        await until(lambda: len(states) == 2)
    assert read(path, "SELECT COUNT(*) FROM requests") == [(1,)]
    assert read(moved, "SELECT COUNT(*) FROM requests") == [(50,)]
    assert read(moved, "PRAGMA integrity_check") == [("ok",)]


async def test_a_corrupt_file_is_set_aside_and_kept_and_that_is_said_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ruin(path, 0)
    states: States = []
    async with running(path, states) as ledger:
        ledger.append(record())
        await ledger.settle(2)
    [aside] = path.parent.glob("arbstr.db.corrupt-*")
    assert aside.read_bytes() == RUIN
    [(ok, said)] = states
    assert ok
    assert str(aside) in said
    [line] = caplog.records
    assert str(aside) in line.getMessage()
    assert read(path, "SELECT COUNT(*) FROM requests") == [(1,)]


@pytest.mark.parametrize("name", ["notes.txt", "config.toml"])
async def test_a_file_that_never_was_a_ledger_is_refused_and_stays(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    ruin(path, 0)
    with pytest.raises(LedgerUnavailable, match="not a database"):
        await LedgerWriter(path).start()
    assert list(path.parent.glob("*")) == [path]
    assert path.read_bytes() == RUIN


async def test_a_file_that_becomes_corrupt_is_set_aside_and_no_row_is_lost_that_waits(path: Path) -> None:
    await write(path, [record() for _ in range(2000)])
    states: States = []
    async with running(path, states) as ledger:
        ruin(path, 8192)
        rows = [record() for _ in range(3)]
        for row in rows:
            ledger.append(row)
        await until(lambda: len(states) == 2)
    assert [ok for ok, _ in states] == [False, True]
    assert len(list(path.parent.glob("arbstr.db.corrupt-*"))) >= 1
    assert read(path, "SELECT correlation_id FROM requests ORDER BY id") == [(row.request_id,) for row in rows]


@pytest.mark.parametrize(
    "hostile",
    [
        {"model": "gpt\ud83d", "error_message": "\udfff"},
        {"model": "nul\0nul", "provider": "\x1b]0;owned\x07"},
        {"input_tokens": 10**30, "output_tokens": -(10**30), "cost_msats": 10**40, "latency_ms": 10**25},
        {"attempts": (Attempt("alpha\ud83d", 0, 10**30, "timeout", None, "\ud83d"),)},
    ],
)
async def test_absurd_words_and_numbers_are_stored_as_well_as_can_be(path: Path, hostile: dict[str, object]) -> None:
    rows = [record(), record(**hostile), record()]
    await write(path, rows)
    async with running(path) as ledger:
        reader = LedgerReader(path, settle=partial(ledger.settle, PATIENCE_S))
        assert (await reader.stats(Filter(), "model")).overall.total == 3
        assert await reader.request(rows[1].request_id) is not None
        await reader.close()


async def test_a_row_that_cannot_be_stored_does_not_take_others_with_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [record(), record(latency_ms="a while"), record()]
    await write(path, rows)
    assert read(path, "SELECT correlation_id FROM requests ORDER BY id") == [
        (rows[0].request_id,),
        (rows[2].request_id,),
    ]
    assert rows[1].request_id in caplog.text


async def test_what_was_learned_is_there_after_a_restart(path: Path) -> None:
    async with running(path) as ledger:
        ledger.save_learned({"code": (2.5, 10)}, {("charge", "alpha"): "1.0", ("latency", "alpha"): "[1]"})
        ledger.save_learned({"chat": (0.5, 1)}, {("charge", "alpha"): "1.1"})
        await ledger.settle(PATIENCE_S)
        ledger.save_learned({"code": (2.6, 11)}, {})
    async with running(path) as ledger:
        assert await ledger.load_learned() == LearnedState(
            {"code": (2.6, 11), "chat": (0.5, 1)}, {("charge", "alpha"): "1.1", ("latency", "alpha"): "[1]"}
        )
    assert read(path, "SELECT * FROM token_ratios ORDER BY policy") == [("chat", 0.5, 1), ("code", 2.6, 11)]


async def test_old_rows_go_and_their_sums_stay(path: Path) -> None:
    now = NOON + 10 * DAY
    rows = [record(received_at_ms=NOON + n * HOUR, cost_msats=1000 + n) for n in range(10 * 24)]
    kept = rows[6 * 24 + 12 :]  # from the first midnight that three days reach
    await write(path, rows)
    async with running(path, keep_days=3, clock=lambda: now / 1000) as ledger:
        await until(lambda: read(path, "SELECT COUNT(*) FROM requests") == [(len(kept),)])
        reader = LedgerReader(path, settle=partial(ledger.settle, PATIENCE_S))
        everything = await reader.stats(Filter(), "day")
        assert everything.overall.total == len(rows)
        assert everything.overall.cost_msats == sum(row.cost_msats or 0 for row in rows)
        assert await reader.count(Filter()) == len(kept)
        page = await reader.page(Filter(), "timestamp", "asc", 1, 10)
        assert (page.total, page.entries[0].request_id) == (len(kept), kept[0].request_id)
        old = Filter(since_ms=NOON + HOUR - 1, until_ms=NOON + 2 * HOUR)
        assert (await reader.stats(old)).overall.total == 2
        await reader.close()
    async with running(path, keep_days=3, clock=lambda: now / 1000) as ledger:
        reader = LedgerReader(path, settle=partial(ledger.settle, PATIENCE_S))
        assert (await reader.stats(Filter())).overall.total == len(rows)
        await reader.close()


async def test_a_clock_that_is_fifty_years_ahead_deletes_a_day_at_most(path: Path) -> None:
    now = NOON + 51 * DAY
    rows = [record(received_at_ms=NOON + n * DAY) for n in range(51)]
    await write(path, rows)

    async def one_run(at_ms: int) -> set[int]:
        async with running(path, keep_days=30, clock=lambda: at_ms / 1000) as ledger:
            ledger.append(record(received_at_ms=at_ms))
            await ledger.settle(PATIENCE_S)
            await until(lambda: ledger._prune_at > 0)
            reader = LedgerReader(path, settle=partial(ledger.settle, PATIENCE_S))
            listed = {entry.at_ms async for entry in reader.entries(Filter(), "timestamp", "asc", None)}
            assert (await reader.stats(Filter())).overall.total >= len(listed)
            await reader.close()
        return listed

    first = await one_run(now)
    assert first == {now, *(row.received_at_ms for row in rows[21:])}
    ahead = now + 50 * 365 * DAY
    assert await one_run(ahead) == first - {min(first)} | {ahead}
    assert await one_run(now + MINUTE) == first - {min(first)} | {ahead, now + MINUTE}
    assert await one_run(now + DAY) == first - {min(first)} | {ahead, now + MINUTE, now + DAY}


async def test_rows_that_a_wrong_clock_hid_are_listed_again(path: Path) -> None:
    """A ledger whose cutoff lies ahead, as earlier versions could leave it."""
    await write(path, [record(received_at_ms=NOON + n * HOUR) for n in range(3)])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO ledger_state VALUES ('pruned_before_ms', ?)", (NOON + 20_000 * DAY,))
    async with running(path, clock=lambda: (NOON + DAY) / 1000) as ledger:
        reader = LedgerReader(path, settle=partial(ledger.settle, PATIENCE_S))
        assert await reader.count(Filter()) == 3
        assert (await reader.page(Filter(), "timestamp", "desc", 1, 20)).total == 3
        await reader.close()


async def test_rows_that_another_program_adds_count_in_the_next_answer(path: Path) -> None:
    async with running(path) as ledger:
        reader = LedgerReader(path, settle=partial(ledger.settle, PATIENCE_S))
        ledger.append(record())
        for total in range(2, 6):
            await asyncio.to_thread(insert, path, cost_sats=1.5)
            answer = (await reader.stats(Filter(since_ms=NOON), "model")).overall
            assert answer.total == total
            assert answer.cost_msats == 420 + 1500 * (total - 1)
            assert (await reader.page(Filter(), "cost_sats", "asc", 1, 20)).total == total
        ledger.append(record())  # the writer looks for rows of others when it has some of its own
        await until(lambda: read(path, "SELECT COUNT(*) FROM requests WHERE facet IS NULL") == [(0,)])
        await reader.close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.parent.rmdir(), "does not exist"),
        (lambda path: sqlite3.connect(path).execute("CREATE TABLE songs (title TEXT)"), "another program's"),
        (lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 99"), "newer arbstr"),
        (lambda path: sqlite3.connect(path).execute("CREATE TABLE requests (id INTEGER)"), "lacks"),
    ],
)
async def test_what_no_waiting_will_mend_is_said_in_a_sentence(
    path: Path, make: Callable[[Path], sqlite3.Connection | None], said: str
) -> None:
    made = make(path)
    if made is not None:
        made.connection.close()  # type: ignore[attr-defined]  # a cursor
    with pytest.raises(LedgerUnavailable, match=said):
        await LedgerWriter(path).start()
