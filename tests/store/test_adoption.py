"""A database of an earlier arbstr: its rows stay, and count in every answer, before it is migrated and after."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from arbstr.query import Filter, GroupBy, Order, Sort
from arbstr.store.database import open_writable
from arbstr.store.pen import Pen
from arbstr.store.place import LATEST_VERSION, migrations
from arbstr.store.queries import Questions
from arbstr.store.reader import Reader
from arbstr.store.rows import parse_ms
from arbstr.store.writer import LearnedState, Ledger
from tests.store.builders import HOUR, NOON, first_ledger, insert, read, record, write

SCHEMA_2 = Path(__file__).parents[1] / "data" / "ledgers" / "schema_2.sql"
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


def check_answers(questions: Questions) -> None:
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


def test_it_can_be_read_as_it_is(path: Path) -> None:
    before = path.read_bytes()
    with closing(Questions(path)) as questions:
        check_answers(questions)
    assert path.read_bytes() == before


async def test_its_rows_are_in_the_answers_after_it_was_adopted(path: Path) -> None:
    await write(path, [])
    with closing(Questions(path)) as questions:
        check_answers(questions)
    ledger = Ledger(path)
    await ledger.start()
    await ledger.settle()
    await ledger.close()
    assert read(path, "SELECT COUNT(*) FROM requests WHERE facet IS NULL") == [(0,)]
    with closing(Questions(path)) as questions:
        check_answers(questions)


async def test_new_rows_come_after_its_own(path: Path) -> None:
    await write(path, [record()])
    assert read(path, "SELECT MAX(id) FROM requests WHERE correlation_id IS NOT NULL") == [(6,)]
    assert read(path, "SELECT COUNT(*) FROM requests") == [(6,)]


async def test_its_learned_ratios_are_known(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO token_ratios VALUES ('code', 1.5, 7)")
    ledger = Ledger(path)
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
    ledger = Ledger(path)
    await ledger.start()
    reader = Reader(path, settle=ledger.settle)
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
    with closing(Questions(path)) as questions:
        raw = questions.stats(Filter(), "model").overall
    ledger = Ledger(path)
    await ledger.start()
    await ledger.settle()
    await ledger.close()
    with closing(Questions(path, exact=0)) as questions:
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
    pen, _ = await Pen.open(path)
    progress: list[tuple[int, int]] = []
    await pen.rebuild(lambda done, total: progress.append((done, total)))
    await pen.close()
    assert progress[0][0] == 0
    assert progress[-1] == (1505, 1505)
    assert read(path, "SELECT total, cost_msats FROM rollups WHERE facet = 0 AND span_ms = 3600000 LIMIT 0") == []
    assert read(path, "SELECT SUM(total) FROM rollups WHERE facet = 0 AND span_ms = 3600000") == wanted
    with closing(Questions(path, exact=0)) as questions:
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
    with closing(Questions(path)) as questions:
        check_answers(questions)
    await write(path, [])
    with closing(Questions(path)) as questions:
        check_answers(questions)


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
    with closing(Questions(path)) as questions:
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
    with closing(Questions(path, exact=exact)) as questions:
        for group, name in (("dialect", "chat"), ("client", "(none)"), ("session", "(none)")):
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
    with closing(Questions(path, exact=0)) as questions:
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


async def test_every_ledger_has_a_key_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    keys = []
    for name in ("one.db", "two.db", "one.db"):
        ledger = Ledger(tmp_path / name)
        assert await ledger.session_key() == b""
        await ledger.start()
        keys.append(await ledger.session_key())
        await ledger.close()
    assert keys[0] == keys[2] != keys[1]
    assert {len(key) for key in keys} == {16}
