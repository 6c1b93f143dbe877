"""Sums by outcome: a ledger in SQLite that an earlier arbstr has written gets them, and answers meanwhile."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from arbstr.ledger.model import Filter, Stats
from arbstr.ledger.read_connection import ReadConnection
from arbstr.ledger.write_connection import WriteConnection
from arbstr.types import RequestRecord
from tests.support.ledger_builders import DAY, HOUR, NOON, read, record, write

CELLS = (
    "SELECT f.name, r.span_ms, r.start_ms, r.total, r.cost_msats, r.latencies FROM rollups r "
    "LEFT JOIN facets f ON f.id = r.facet ORDER BY 1, 2, 3"
)
FILTERS = (Filter(success=False), Filter(streaming=True), Filter(NOON - DAY, success=True, streaming=False))


def some_rows(seed: int) -> list[RequestRecord]:
    random = Random(seed)
    return [
        record(
            received_at_ms=NOON - random.randint(0, 80) * HOUR,
            model=random.choice(["gpt-4o", "claude"]),
            success=random.random() < 0.7,
            streaming=random.random() < 0.5,
            cost_msats=random.randint(0, 1000),
            latency_ms=random.randint(0, 9000),
        )
        for _ in range(60)
    ]


async def written_before(path: Path, rows: list[RequestRecord]) -> None:
    """A ledger of the schema before."""
    await write(path, rows)
    with closing(sqlite3.connect(path)) as database, database:
        outcomes = "(SELECT id FROM facets WHERE grain = 'outcome')"
        database.execute(f"DELETE FROM rollups WHERE facet IN {outcomes}")
        database.execute("DELETE FROM facets WHERE grain = 'outcome'")
        database.execute("PRAGMA user_version = 10")


def answers(path: Path) -> list[Stats]:
    with closing(ReadConnection(path, exact=0)) as queries:
        return [queries.stats(where, group) for where in FILTERS for group in (None, "hour", "day")]


async def test_sums_by_outcome_are_made_day_by_day_and_answers_stay_right(tmp_path: Path) -> None:
    path, own = tmp_path / "arbstr.db", tmp_path / "own.db"
    rows, more = some_rows(1), some_rows(2)
    await write(own, rows)
    await written_before(path, rows)
    assert answers(path) == answers(own), "before anything is migrated"
    steps = 0
    connection, _ = await WriteConnection.open(path)
    while await connection.absorb():
        await connection.close()  # as if killed after each step
        for ledger in (path, own):
            await write(ledger, [more[steps]])
        assert answers(path) == answers(own)
        connection, _ = await WriteConnection.open(path)
        steps += 1
    await connection.close()
    assert steps >= 2
    assert read(path, CELLS) == read(own, CELLS)


async def test_a_new_ledger_lacks_none(tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    await write(path, some_rows(1))
    assert read(path, "SELECT 1 FROM ledger_state WHERE name = 'outcomes_before'") == []
    assert read(path, "SELECT COUNT(*) FROM facets WHERE grain = 'outcome'") == [(4,)]


@pytest.mark.parametrize("where", FILTERS)
async def test_filters_by_outcome_read_few_sums(tmp_path: Path, where: Filter) -> None:
    path = tmp_path / "arbstr.db"
    await write(path, some_rows(1))
    with closing(sqlite3.connect(path)) as database, database:
        finer = "(SELECT id FROM facets WHERE grain <> 'outcome')"
        database.execute(f"DELETE FROM rollups WHERE facet IN {finer}")
    with closing(ReadConnection(path, exact=0)) as queries:
        assert queries.stats(where, "hour").overall.total == queries.count(where) > 0
