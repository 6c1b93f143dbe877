"""A database of an earlier arbstr: its rows stay, and count in every answer, before it is migrated and after."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from arbstr.clock import format_ms
from arbstr.ledger import adoption
from arbstr.ledger.database import open_writable
from arbstr.ledger.files import LATEST_VERSION, migrations
from arbstr.ledger.learned import LearnedState
from arbstr.ledger.model import Aggregate, Filter, GroupBy, Order, Sort
from arbstr.ledger.progress import WORTH_SAYING, Progress, ProgressReport
from arbstr.ledger.read_connection import ReadConnection
from arbstr.ledger.reader import LedgerReader
from arbstr.ledger.row_mapping import parse_ms
from arbstr.ledger.write_connection import WriteConnection
from arbstr.ledger.writer import LedgerWriter
from arbstr.types import RequestRecord
from tests.support.ledger_builders import DAY, HOUR, MINUTE, NOON, first_ledger, insert, read, record, write
from tests.support.paths import DATA

SCHEMA_2 = DATA / "ledgers" / "schema_2.sql"
NAMED: tuple[GroupBy, ...] = ("model", "provider", "policy", "client", "dialect")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "arbstr.db"
    first_ledger(path)
    insert(path, timestamp="2026-01-01T12:00:00Z", cost_sats=0.1, latency_ms=100)
    insert(path, timestamp="2026-01-01T13:00:00.123456+00:00", cost_sats=0.2, latency_ms=200, provider=None)
    insert(path, timestamp="2026-01-01T16:30:00+02:30", cost_sats=None, success=0, error_status=502, streaming=1)
    insert(path, timestamp="2026-01-01 15:00:00", cost_sats=0.7, model="GPT-4O", policy="code")
    insert(path, timestamp="a long time ago", cost_sats=1000)
    return path


IN_WINDOW = Filter(since_ms=NOON, until_ms=NOON + 3 * HOUR)


def check_answers(questions: ReadConnection) -> None:
    stats = questions.stats(IN_WINDOW, "model")
    assert (stats.overall.total, stats.overall.success, stats.overall.streaming) == (4, 3, 1)
    assert stats.overall.cost_msats == 1000
    assert (stats.overall.p50_latency_ms, stats.overall.p99_latency_ms) == (200, 310)
    assert {name: group.total for name, group in stats.groups.items()} == {"gpt-4o": 3, "GPT-4O": 1}
    assert questions.stats(Filter()).overall.cost_msats == 1_001_000
    assert questions.count(Filter(model="Gpt-4o", success=True)) == 4
    assert questions.known("model", "GPT-4o")
    assert not questions.known("provider", "beta")
    orders: list[tuple[Sort, Order, list[int]]] = [
        ("timestamp", "desc", [4, 3, 2, 1]),
        ("timestamp", "asc", [1, 2, 3, 4]),
        ("cost_sats", "asc", [1, 2, 4, 3]),
        ("latency_ms", "desc", [4, 3, 2, 1]),
    ]
    for sort, order, ids in orders:
        page = questions.page(IN_WINDOW, sort, order, 1, 20)
        assert ([entry.id for entry in page.entries], page.total) == (ids, 4)
    newest, *_ = questions.slice(IN_WINDOW, None, 10)
    assert newest.timestamp == "2026-01-01T15:00:00.000Z"
    detail = questions.request(newest.request_id)
    assert detail is not None
    assert (detail.entry, detail.attempts, detail.routing) == (newest, None, None)


def test_an_earlier_ledger_can_be_read_without_changing_it(path: Path) -> None:
    before = path.read_bytes()
    with closing(ReadConnection(path)) as questions:
        check_answers(questions)
    assert path.read_bytes() == before


async def test_an_earlier_ledgers_rows_are_in_the_answers_after_its_adoption(path: Path) -> None:
    await write(path, [])
    with closing(ReadConnection(path)) as questions:
        check_answers(questions)
    ledger = LedgerWriter(path)
    await ledger.start()
    await ledger.settle()
    await ledger.close()
    assert read(path, "SELECT COUNT(*) FROM requests WHERE facet IS NULL") == [(0,)]
    with closing(ReadConnection(path)) as questions:
        check_answers(questions)


async def test_new_rows_come_after_an_earlier_ledgers_own(path: Path) -> None:
    await write(path, [record()])
    assert read(path, "SELECT MAX(id) FROM requests WHERE correlation_id IS NOT NULL") == [(6,)]
    assert read(path, "SELECT COUNT(*) FROM requests") == [(6,)]


async def test_an_earlier_ledgers_learned_ratios_are_known(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO token_ratios VALUES ('code', 1.5, 7)")
    ledger = LedgerWriter(path)
    await ledger.start()
    assert await ledger.load_learned() == LearnedState({"code": (1.5, 7)}, {})
    await ledger.close()


async def test_a_large_one_is_adopted_bit_by_bit_while_answers_are_right_all_the_time(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            "INSERT INTO requests (correlation_id, timestamp, model, latency_ms, success, cost_sats) "
            "VALUES (?, ?, 'gpt-4o', 10, 1, 0.5)",
            [(str(n), f"2026-01-01T14:{n % 60:02}:00Z") for n in range(5000)],
        )
    ledger = LedgerWriter(path)
    await ledger.start()
    reader = LedgerReader(path, settle=lambda: ledger.settle(5))
    rounds = 0
    while read(path, "SELECT COUNT(*) FROM requests WHERE facet IS NULL") != [(0,)]:
        assert (await reader.stats(IN_WINDOW)).overall.total == 5004 + rounds
        ledger.append(record(received_at_ms=NOON + HOUR))
        rounds += 1
    assert rounds > 1
    assert (await reader.stats(IN_WINDOW)).overall.total == 5004 + rounds
    await reader.close()
    await ledger.close()


async def test_rows_of_another_program_with_odd_values_do_no_harm(path: Path) -> None:
    insert(path, model=b"\xff\xfe", provider=5, cost_sats="much", latency_ms="long", input_tokens="7", timestamp=0)
    insert(path, cost_sats=9e999, latency_ms=-5, input_tokens=2**62, output_tokens=2**62, success="true")
    insert(path, cost_sats=9e999, latency_ms=1.5, input_tokens=2**62, output_tokens=2**62)
    with closing(ReadConnection(path)) as questions:
        raw = questions.stats(Filter(), "model").overall
    ledger = LedgerWriter(path)
    await ledger.start()
    await ledger.settle()
    await ledger.close()
    with closing(ReadConnection(path, exact=0)) as questions:
        adopted = questions.stats(Filter(), "model").overall
        assert len(questions.page(Filter(), "timestamp", "desc", 1, 20).entries) == 8
    assert adopted.total == 8
    assert adopted == replace(
        raw,
        p50_latency_ms=adopted.p50_latency_ms,
        p95_latency_ms=adopted.p95_latency_ms,
        p99_latency_ms=adopted.p99_latency_ms,
    )


async def test_rebuilding_makes_the_same_sums_again(path: Path) -> None:
    rows = [record(received_at_ms=NOON + n * HOUR, cost_msats=n) for n in range(1500)]
    await write(path, rows)
    wanted = read(path, "SELECT COUNT(*) FROM requests")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE rollups SET cost_msats = 1, total = 7")
    connection, _ = await WriteConnection.open(path)
    progress: list[tuple[int, int]] = []
    await connection.rebuild(lambda done, total: progress.append((done, total)))
    await connection.close()
    assert progress[0][0] == 0
    assert progress[-1] == (1505, 1505)
    assert read(path, "SELECT total, cost_msats FROM rollups WHERE facet = 0 AND span_ms = 3600000 LIMIT 0") == []
    assert read(path, "SELECT SUM(total) FROM rollups WHERE facet = 0 AND span_ms = 3600000") == wanted
    with closing(ReadConnection(path, exact=0)) as questions:
        assert questions.stats(Filter()).overall.cost_msats == sum(range(1500)) + 1_001_000


async def test_migrations_are_applied_in_order_and_once(tmp_path: Path) -> None:
    numbers = [number for number, _ in migrations()]
    assert numbers == list(range(1, LATEST_VERSION + 1))
    for _ in range(2):
        db, aside = await open_writable(tmp_path / "new.db")
        assert aside is None
        await db.close()
    assert read(tmp_path / "new.db", "PRAGMA user_version") == [(LATEST_VERSION,)]
    assert read(tmp_path / "new.db", "PRAGMA journal_mode") == [("wal",)]


async def test_a_migration_that_was_cut_short_is_done_again(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA user_version = 1")
    with closing(ReadConnection(path)) as questions:
        check_answers(questions)
    await write(path, [])
    with closing(ReadConnection(path)) as questions:
        check_answers(questions)


def old_rows(path: Path, rows: int = 900) -> None:
    """Requests of three weeks in the first schema, in an order that is nearly that of time; some of another kind."""
    random = Random(7)
    columns = (
        "correlation_id, timestamp, model, provider, policy, streaming, input_tokens, output_tokens, cost_sats, "
        "provider_cost_sats, latency_ms, success, error_status, error_message"
    )
    with closing(sqlite3.connect(path)) as database, database:
        for n in range(rows):
            at_ms = NOON + n * 21 * DAY // rows + random.randint(-HOUR, HOUR)
            text = format_ms(at_ms)
            failed = random.random() < 0.2
            row = (
                f"{n:08x}-0000-4000-8000-000000000000",
                random.choice([text, text[:-5] + "Z", text[:-1] + "123+00:00", text[:-1], text.replace("T", " ")]),
                random.choice(["gpt-4o", "GPT-4o", "Ünïcode", b"\xff"]),
                random.choice(["alpha", "beta", None]),
                random.choice([None, "code"]),
                random.random() < 0.5,
                *(random.choice([None, 0, random.randrange(3000)]) for _ in range(2)),
                *(random.choice([None, random.randrange(50_000) / 1000]) for _ in range(2)),
                random.randrange(90_000),
                not failed,
                random.choice([502, 404]) if failed else None,
                "connection refused" if failed else None,
            )
            database.execute(f"INSERT INTO requests ({columns}) VALUES ({', '.join('?' * len(row))})", row)
        for odd in ("yesterday", "2026-02-31T12:00:00Z", "2026-13-01T12:00:00Z"):
            database.execute(
                f"INSERT INTO requests ({columns}) "
                f"SELECT {columns.replace('timestamp', '?')} FROM requests WHERE id = 100",
                (odd,),
            )


WINDOWS = [Filter(), Filter(NOON + 2 * DAY + 1234, NOON + 9 * DAY + 77), Filter(NOON + 20 * DAY, None)]
QUESTIONS = [
    replace(window, **narrowed)
    for window in WINDOWS
    for narrowed in (
        {},
        {"model": "gpt-4O"},
        {"provider": "alpha", "success": False},
        {"texts": ("REFUSED",)},
        {"min_cost_msats": 30_000},
    )
]
GROUPINGS: tuple[GroupBy | None, ...] = (None, "model", "policy", "day")
PAGES: tuple[tuple[Sort, Order, int], ...] = (
    ("timestamp", "desc", 1),
    ("timestamp", "asc", 2),
    ("cost_sats", "desc", 2),
)


def all_answers(path: Path) -> list[object]:
    """What a ledger answers to all kinds of questions, percentiles aside."""
    found: list[object] = []
    with closing(ReadConnection(path, exact=0)) as questions:
        for where in QUESTIONS:
            for group in GROUPINGS:
                stats = questions.stats(where, group)
                named = {
                    "": stats.overall,
                    **{name: figures for name, figures in stats.groups.items() if figures.total},
                }
                found.append({name: (figures.total, *sums_of(figures)) for name, figures in named.items()})
            found += [questions.count(where), questions.spent_msats(where)]
            for sort, order, page in PAGES:
                answer = questions.page(where, sort, order, page, 20)
                found.append(([entry.id for entry in answer.entries], answer.total))
            first = questions.slice(where, None, 30)
            found += [first, questions.slice(where, first[-1], 30) if first else []]
        found += [questions.known("model", name) for name in ("gpt-4o", "nobody")]
        found.append(questions.request("00000010-0000-4000-8000-000000000000"))
    return found


def sums_of(figures: Aggregate) -> tuple[object, ...]:
    names = ("total", "success", "streaming", "cost_msats", "input_tokens", "output_tokens", "avg_latency_ms")
    return tuple(getattr(figures, name) for name in names)


def rollups(path: Path) -> list[tuple[object, ...]]:
    """Every cell, with the names of its facet."""
    return read(
        path,
        "SELECT f.name, r.span_ms, r.start_ms, r.total, r.success, r.streaming, r.priced, r.cost_msats, "
        "r.input_tokens, r.output_tokens, r.latency_ms, r.saved_vs_dearest_msats, r.saved_vs_median_msats, "
        "r.cache_hit_tokens, r.saved_by_cache_msats, r.lost_by_switching_msats, r.saved_vs_list_msats, r.latencies "
        "FROM rollups r LEFT JOIN facets f ON f.id = r.facet ORDER BY 1, 2, 3",
    )


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "CHUNK", 60)
    monkeypatch.setattr(adoption, "_COMPLETED_AT_ONCE", 25)
    monkeypatch.setattr(adoption, "_FEW", 5)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.no_cover  # what it runs is covered by others
async def test_answers_are_right_after_each_step_of_the_adoption(tmp_path: Path, *, killed: bool) -> None:
    path = tmp_path / "arbstr.db"
    first_ledger(path)
    old_rows(path)
    wanted = all_answers(path)
    connection, _ = await WriteConnection.open(path)
    steps = 0
    while await connection.absorb():
        if steps % 13 == 0:  # a prime: whatever rhythm the adoption has, each of its beats comes
            assert all_answers(path) == wanted, f"after {steps} steps"
        if killed:
            await connection.close()  # what was not committed is gone, as after a kill
            connection, _ = await WriteConnection.open(path)
            for _ in range(3):
                await connection.absorb()
        steps += 1
    await connection.close()
    assert steps > 10
    assert read(path, "SELECT COUNT(*) FROM requests WHERE facet IS NULL OR at_ms IS NULL") == [(0,)]
    assert read(path, "SELECT COUNT(*) FROM backlog") == [(0,)]
    assert all_answers(path) == wanted


@pytest.mark.usefixtures("small_steps")
async def test_sums_are_bit_for_bit_those_of_a_rebuild_and_of_rows_that_arbstr_writes_itself(tmp_path: Path) -> None:
    path, own = tmp_path / "arbstr.db", tmp_path / "own.db"
    first_ledger(path)
    records = [
        record(
            received_at_ms=NOON + n * 3 * HOUR // 2,
            model=f"model-{n % 3}",
            success=n % 5 > 0,
            policy=[None, "code"][n % 2],
            latency_ms=n * 97 % 50_000,
            cost_msats=None if n % 7 == 0 else n * 1001,
        )
        for n in range(500)
    ]
    await write(own, records)
    for each in records:
        insert(
            path,
            correlation_id=each.request_id,
            timestamp=format_ms(each.received_at_ms),
            model=each.model,
            policy=each.policy,
            success=each.success,
            latency_ms=each.latency_ms,
            input_tokens=12,
            output_tokens=9,
            cost_sats=None if each.cost_msats is None else each.cost_msats / 1000,
        )
    connection, _ = await WriteConnection.open(path)
    while await connection.absorb():
        pass
    adopted = rollups(path)
    assert adopted == rollups(own)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE rollups SET total = total + 1, latencies = X'0102'")
        database.execute("UPDATE requests SET facet = 1, at_ms = at_ms + 3600000")
        database.execute("INSERT INTO facets (name, grain, model) VALUES ('of nobody', 'model', 'nobody')")
    await connection.rebuild(lambda done, total: None)
    await connection.close()
    assert rollups(path) == adopted
    with closing(ReadConnection(path)) as questions:
        assert not questions.known("model", "nobody")
        assert questions.count(Filter()) == 500


@pytest.mark.usefixtures("small_steps")
@pytest.mark.no_cover  # what it runs is covered by others
async def test_a_rebuild_that_is_cut_short_anywhere_is_ended_by_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_rows(path, 300)
    await adopt(path)
    wanted = all_answers(path)
    cells = rollups(path)
    step = WriteConnection._changing
    for cut_after in range(0, 24, 3):
        left = iter(range(cut_after))

        def cut(self: WriteConnection, left: Iterator[int] = left) -> AbstractAsyncContextManager[None]:
            if next(left, None) is None:
                raise sqlite3.OperationalError("killed")
            return step(self)

        connection, _ = await WriteConnection.open(path)
        monkeypatch.setattr(WriteConnection, "_changing", cut)
        with contextlib.suppress(sqlite3.OperationalError):
            await connection.rebuild(lambda done, total: None)
        await connection.close()
        monkeypatch.setattr(WriteConnection, "_changing", step)
        assert all_answers(path) == wanted
        await adopt(path)
        assert rollups(path) == cells


async def adopt(path: Path) -> None:
    connection, _ = await WriteConnection.open(path)
    while await connection.absorb():
        pass
    await connection.close()


@pytest.mark.usefixtures("small_steps")
async def test_new_rows_are_written_between_the_steps_of_an_adoption(tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    first_ledger(path)
    old_rows(path)
    ledger = LedgerWriter(path)
    await ledger.start()
    reader = LedgerReader(path, settle=lambda: ledger.settle(5))
    rounds = 0
    while read(path, "SELECT COUNT(*) FROM requests WHERE facet IS NULL") != [(0,)]:
        ledger.append(record(received_at_ms=NOON + HOUR, model="new"))
        rounds += 1
        assert await reader.count(Filter(model="new")) == rounds
    assert rounds > 5
    assert await reader.count(Filter()) == 903 + rounds
    await reader.close()
    await ledger.close()


@pytest.mark.no_cover  # what it runs is covered by others
async def test_adoption_costs_no_more_than_a_fifth_over_a_rebuild(tmp_path: Path) -> None:
    """A ledger like real ones; the CPU of all threads. The least of up to seven: other processes take caches away."""
    path = tmp_path / "arbstr.db"
    first_ledger(path)
    many_rows(path, 5_000)
    adoptions, rebuilds = [], []
    for n in range(7):
        copy = shutil.copy(path, tmp_path / f"{n}.db")
        connection, _ = await WriteConnection.open(Path(copy))
        began = time.process_time()
        while await connection.absorb():
            pass
        adopted = time.process_time()
        await connection.rebuild(lambda done, total: None)
        adoptions.append(adopted - began)
        rebuilds.append(time.process_time() - adopted)
        await connection.close()
        if n and min(adoptions) <= 1.2 * min(rebuilds):
            return
    raise AssertionError(f"{adoptions} is more than a fifth over {rebuilds}")


def many_rows(path: Path, rows: int) -> None:
    """Three models at two providers over a month, made by SQLite itself."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1) "
            "INSERT INTO requests (correlation_id, timestamp, model, provider, streaming, input_tokens, output_tokens, "
            "cost_sats, latency_ms, success) SELECT LOWER(HEX(RANDOMBLOB(16))), "
            "STRFTIME('%Y-%m-%dT%H:%M:%fZ', ? + i * ?, 'unixepoch'), 'model-' || (i % 3), 'provider-' || (i % 2), "
            "i % 2, i % 3000, i % 900, i % 50000 / 1000.0, i * 7919 % 30000, i % 50 > 0 FROM n",
            (rows, NOON / 1000, 30 * DAY / 1000 / rows),
        )


def test_progress_is_said_at_the_beginning_now_and_then_and_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "arbstr.ledger.progress")
    heard: list[tuple[int, int]] = []
    now = [0.0]
    report = ProgressReport(lambda done, total: heard.append((done, total)), monotonic=lambda: now[0])
    report.update(Progress(0, WORTH_SAYING))
    for done in range(0, 60_000, 1000):
        report.update(Progress(done, 60_000))
        now[0] += 0.2
    report.update(Progress())
    report.update(Progress())
    assert heard[0] == (0, 60_000)
    assert heard[-1] == (60_000, 60_000)
    assert caplog.messages == [
        "adopting 60,000 rows of an earlier arbstr; queries include them meanwhile",
        "adopting rows of an earlier arbstr: 41 % of 60,000",
        "adopting rows of an earlier arbstr: 85 % of 60,000",
        "60,000 rows of an earlier arbstr are adopted, in 12.0 s",
    ]


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-01-01T12:34:56Z",
        "2026-01-01 12:34:56+00:00",
        "2026-01-01T12:34:56.7Z",
        "2026-01-01T12:34:56.789Z",
        "2026-01-01T12:34:56.789999+00:00",
        "2026-01-01T12:34:56.789999999+00:00",
        "2026-01-01T12:34:56.789",
        "2026-01-01T12:34:56+02:00",
        "1969-01-01T00:00:00Z",
        "2026-01-32T25:61:00Z",
        "now",
        "0",
    ],
)
def test_instants_are_the_same_before_and_after_adoption(tmp_path: Path, timestamp: str) -> None:
    path = tmp_path / "arbstr.db"
    first_ledger(path)
    insert(path, timestamp=timestamp)
    with closing(ReadConnection(path)) as questions:
        [entry] = questions.slice(Filter(), None, 1)
    assert entry.at_ms == parse_ms(timestamp)


def ledger_of_schema_2(tmp_path: Path) -> Path:
    """Three rows of the schema before costs by the rates, clients and sessions: two of alpha's, one refused."""
    path = tmp_path / "schema_2.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(SCHEMA_2.read_text())
    return path


@pytest.mark.parametrize("exact", [0, 1000], ids=["from sums", "from rows"])
@pytest.mark.parametrize("migrated", [False, True])
async def test_a_ledger_of_the_schema_before_has_one_dialect_and_no_clients(
    tmp_path: Path, *, migrated: bool, exact: int
) -> None:
    path = ledger_of_schema_2(tmp_path)
    if migrated:
        await write(path, [])
    with closing(ReadConnection(path, exact=exact)) as questions:
        groups: dict[GroupBy, str] = {"dialect": "chat", "client": "(none)", "session": "(none)"}
        for group, name in groups.items():
            stats = questions.stats(Filter(), group)
            assert list(stats.groups) == [name]
            for figures in (stats.overall, stats.groups[name]):
                assert (figures.total, figures.cost_msats, figures.p95_latency_ms) == (3, 1420, 310)
        assert questions.count(Filter(dialect="chat")) == 3
        assert questions.count(Filter(client="laptop")) == questions.count(Filter(session="0" * 16)) == 0
        assert questions.spent_msats(Filter()) == 455 + 1000
        newest, dear, charged = questions.page(Filter(), "timestamp", "desc", 1, 20).entries
    assert (charged.cost_msats, charged.provider_cost_msats, charged.list_cost_msats) == (420, 455, None)
    assert (dear.dialect, dear.cached_tokens, dear.served_model, newest.client) == ("chat", None, None, None)


async def test_new_rows_join_the_sums_of_a_ledger_of_the_schema_before(tmp_path: Path) -> None:
    path = ledger_of_schema_2(tmp_path)
    await write(path, [record(client="laptop"), record(dialect="messages"), record(policy="code")])
    with closing(ReadConnection(path, exact=0)) as questions:
        totals = {
            group: {name: figures.total for name, figures in questions.stats(Filter(), group).groups.items()}
            for group in NAMED
        }
        assert questions.count(Filter(model="GPT-4o", dialect="chat", client="LAPTOP")) == 1
    assert totals == {
        "model": {"gpt-4o": 4, "GPT-4O": 1, "claude": 1},
        "provider": {"alpha": 5, "(none)": 1},
        "policy": {"(none)": 4, "code": 2},
        "client": {"(none)": 5, "laptop": 1},
        "dialect": {"chat": 5, "messages": 1},
    }
    keys = "grain, model_key, provider_key, policy_key, streaming, success, client_key, dialect_key, model"
    assert read(path, f"SELECT 1 FROM facets GROUP BY {keys} HAVING COUNT(*) > 1") == []


# --- one of a schema whose sums had no list costs


def back_to_schema_7(path: Path) -> None:
    """Make a ledger what the schema before list costs would have made of its rows."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP INDEX IF EXISTS requests_by_session")
        for column in ("saved_vs_list_msats", "cache_hit_tokens", "saved_by_cache_msats", "lost_by_switching_msats"):
            database.execute(f"ALTER TABLE rollups DROP COLUMN {column}")
        for column in ("predicted_cached_tokens", "cache_saved_msats", "switching_msats"):
            database.execute(f"ALTER TABLE requests DROP COLUMN {column}")
        database.execute("DELETE FROM ledger_state WHERE name = 'list_costs_upto'")
        database.execute("PRAGMA user_version = 7")


def charged_and_listed() -> list[RequestRecord]:
    """40 requests in 14 hours: charged less than the list says, more, the same, unknown, refused."""
    listed = (500, 300, 420, None)
    return [
        record(
            received_at_ms=NOON + n * 20 * MINUTE,
            model=("gpt-4o", "claude")[n // 3 % 2],
            list_cost_msats=listed[n % 4],
            cost_msats=None if n % 10 == 9 else 420,
            **({"success": False, "error_status": 404} if n % 20 == 1 else {}),
        )
        for n in range(40)
    ]


async def test_a_ledger_whose_sums_have_no_list_costs_is_read_as_if_all_cost_what_the_list_says(tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    await write(path, charged_and_listed())
    back_to_schema_7(path)
    with closing(ReadConnection(path, exact=0)) as questions:
        overall = questions.stats(Filter(), "day").overall
    assert (overall.cost_msats, overall.list_cost_msats) == (36 * 420, 36 * 420)


@pytest.mark.usefixtures("small_steps")
async def test_list_costs_are_added_to_sums_that_have_none_and_new_rows_count_once(tmp_path: Path) -> None:
    path, own = tmp_path / "arbstr.db", tmp_path / "own.db"
    before, after = charged_and_listed(), [record(received_at_ms=NOON + 5, cost_msats=420, list_cost_msats=1000)]
    await write(own, before + after)
    await write(path, before)
    back_to_schema_7(path)
    await write(path, after)
    connection, _ = await WriteConnection.open(path)
    while await connection.absorb():
        await connection.close()  # as if killed after each step
        connection, _ = await WriteConnection.open(path)
    added = rollups(path)
    await connection.rebuild(lambda done, total: None)
    await connection.close()
    assert rollups(path) == added == rollups(own)
    with closing(ReadConnection(path, exact=0)) as questions:
        overall = questions.stats(Filter(), "day").overall
        models = questions.stats(Filter(), "model").groups
    wanted = sum((each.list_cost_msats or 420) for each in before + after if each.cost_msats is not None)
    assert overall.list_cost_msats == sum(group.list_cost_msats for group in models.values()) == wanted


async def test_a_new_ledger_has_no_list_costs_to_add(tmp_path: Path) -> None:
    await write(tmp_path / "new.db", charged_and_listed())
    assert read(tmp_path / "new.db", "SELECT * FROM ledger_state WHERE name = 'list_costs_upto'") == []


async def test_every_ledger_has_a_key_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    keys = []
    for name in ("one.db", "two.db", "one.db"):
        ledger = LedgerWriter(tmp_path / name)
        assert await ledger.session_key() == b""
        await ledger.start()
        keys.append(await ledger.session_key())
        await ledger.close()
    assert keys[0] == keys[2] != keys[1]
    assert {len(key) for key in keys} == {16}


async def test_one_index_by_time_is_left_once_all_rows_are_adopted_and_after_they_were_again(tmp_path: Path) -> None:
    path, by_time = tmp_path / "arbstr.db", "SELECT name FROM sqlite_master WHERE name LIKE 'requests%time'"
    await write(path, [record()])
    connection, _ = await WriteConnection.open(path)
    for _ in range(2):
        while await connection.absorb():
            pass
        assert read(path, by_time) == [("requests_along_time",)]
        await connection.rebuild(lambda done, total: None)
    await connection.close()
