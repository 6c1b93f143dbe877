"""What only ledgers in SQLite have: indexes by name, rows of other programs. Answers: tests/integration/ledger."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from arbstr.ledger import id_search, paging
from arbstr.ledger.model import Filter, Order, Sort
from arbstr.ledger.read_connection import ReadConnection
from arbstr.ledger.write_connection import WriteConnection
from arbstr.types import RequestRecord
from tests.support.ledger_builders import MINUTE, NOON, insert, record, write


@pytest.mark.parametrize("most", [1000, 2], ids=["few", "too many to be kept"])
async def test_a_page_of_a_text_that_may_be_an_id_searches_all_ids_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(id_search, "MOST_FOUND", most)
    ids = [f"{n:08x}-0000-4000-8000-00000000abcd" for n in range(5)]
    rows = [record(request_id=each, cost_msats=n) for n, each in enumerate(ids)] + [record(), record()]
    searches: list[str] = []
    await write(tmp_path / "arbstr.db", rows)
    with closing(ReadConnection(tmp_path / "arbstr.db")) as questions:
        questions._connection.set_trace_callback(searches.append)
        page = questions.page(Filter(texts=("ABCD",)), "cost_sats", "desc", 1, 20)
    assert [entry.request_id for entry in page.entries] == ids[::-1]
    assert page.total == 5
    if most == 1000:
        assert sum("requests_by_correlation" in search for search in searches) == 1


async def test_what_a_search_of_ids_has_found_is_kept_and_new_rows_are_looked_at_alone(tmp_path: Path) -> None:
    path, where = tmp_path / "arbstr.db", Filter(texts=("abcd",))
    searches: list[str] = []
    await write(path, [record(request_id=f"{n:08x}-0000-4000-8000-00000000abcd") for n in range(3)])
    with closing(ReadConnection(path)) as questions:
        questions._connection.set_trace_callback(searches.append)
        assert questions.count(where) == len(questions.slice(where, None, 10)) == 3
        await write(path, [record(request_id="0000000a-0000-4000-8000-00000000ABCD"), record()])
        assert questions.count(where) == 4
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("DELETE FROM requests WHERE id <= 2")
        assert len(questions.slice(where, None, 10)) == 2
    assert sum("requests_by_correlation" in search for search in searches) == 1


async def test_many_ids_are_searched_in_halves_whose_rows_are_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ids = tmp_path / "arbstr.db", [f"{n:x}0000000-0000-4000-8000-0000000abcd{n:x}" for n in range(16)]
    await write(path, [record(request_id=each) for each in [*ids, ids[0].upper(), "ABCD of another program"]])
    monkeypatch.setattr(id_search, "ALONE", 0)
    with closing(ReadConnection(path)) as questions:
        found = questions.slice(Filter(texts=("abcd",)), None, 50)
        assert questions.count(Filter(texts=("abcd",))) == 18
    assert sorted(entry.request_id for entry in found) == sorted([*ids, ids[0].upper(), "ABCD of another program"])


class Watched:
    """A ledger's questions, of which it notes how SQLite answers them."""

    def __init__(self, path: Path) -> None:
        self.questions = ReadConnection(path)
        self._said: list[str] = []
        self.questions._connection.set_trace_callback(self._said.append)

    def plans(self) -> list[str]:
        """Return how SQLite has looked for single rows since the last time."""
        looks = ("SELECT id,", "SELECT COUNT(*) FROM (SELECT 1")
        said = [each for each in self._said if each.startswith(looks) and " WHERE id IN " not in each]
        plans = [self.questions._connection.execute(f"EXPLAIN QUERY PLAN {each}").fetchall() for each in said]
        self._said.clear()
        return [next(step for *_, step in plan if "requests" in step) for plan in plans]


async def indexed(path: Path, rows: list[RequestRecord]) -> None:
    """A ledger of these rows that has all its indexes."""
    await write(path, rows)
    connection, _ = await WriteConnection.open(path)
    while await connection.absorb():
        pass
    await connection.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A ledger of requests of which half are dear, half are slow, and none is both; one is dearer than all others."""
    path = tmp_path_factory.mktemp("ledger") / "arbstr.db"
    rows = [
        record(
            received_at_ms=NOON - n * MINUTE,
            provider=("alpha", "beta")[n % 3 == 0],
            cost_msats=99_000 if n == 777 else (1000 if n % 2 else 50_000),
            latency_ms=9000 if n % 2 else 100,
        )
        for n in range(1200)
    ]
    asyncio.run(indexed(path, rows))
    each = Watched(path)
    yield each
    each.questions.close()


SCAN = "USING COVERING INDEX requests_along_time"
DEAR_AND_SLOW = Filter(min_cost_msats=50_000, min_took_ms=9000, max_cost_msats=98_000)


@pytest.mark.parametrize(
    "where", [DEAR_AND_SLOW, replace(DEAR_AND_SLOW, provider="alpha")], ids=["all", "a provider's"]
)
@pytest.mark.parametrize("sort", get_args(Sort))
@pytest.mark.parametrize("order", get_args(Order))
def test_what_no_index_narrows_is_found_along_time_without_reading_rows(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, where: Filter, sort: Sort, order: Order
) -> None:
    monkeypatch.setattr(paging, "_NEAR", 3)  # so that few rows are near the beginning of an order
    watched.plans()
    assert watched.questions.slice(where, None, 10, sort, order) == []
    assert SCAN in watched.plans()[-1]
    assert watched.questions.count(where) == 0
    assert SCAN in watched.plans()[-1]


@pytest.mark.parametrize("sort", get_args(Sort))
def test_few_by_one_figure_are_found_by_its_index_in_any_order(watched: Watched, sort: Sort) -> None:
    where = Filter(min_cost_msats=60_000, min_took_ms=9000, without_texts=("refused",))
    watched.plans()
    assert len(watched.questions.slice(where, None, 10, sort)) == 1
    assert {plan.split("INDEX ")[1] for plan in watched.plans()} == {"requests_by_cost (cost_sats>?)"}
    assert watched.questions.count(where) == 1


def test_a_place_far_down_a_filtered_list_is_found_without_reading_the_rows_before(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "_WALKED", 50)
    watched.plans()
    [entry] = watched.questions.slice(Filter(texts=("a",), min_took_ms=200), None, 1, "timestamp", "desc", 300)
    assert entry.at_ms == NOON - 601 * MINUTE
    assert "INDEX requests_along_time" in watched.plans()[-1]
    [entry] = watched.questions.slice(Filter(min_cost_msats=40_000), None, 1, "cost_sats", "desc", 300)
    assert "USING COVERING INDEX requests_by_cost (cost_sats>" in watched.plans()[-1]


async def test_ids_of_other_programs_are_searched_whatever_they_look_like(tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    await write(path, [record()])
    with closing(ReadConnection(path)) as questions:
        assert questions.count(Filter(texts=("_zz%",))) == 0
    insert(path, correlation_id="Req_ZZ%", model="plain")
    for _ in range(2):  # loose, then adopted
        with closing(ReadConnection(path)) as questions:
            assert questions.count(Filter(texts=("_zz%",))) == 1
            assert questions.count(Filter(texts=("_zz%", "plain"))) == 1
        connection, _ = await WriteConnection.open(path)
        while await connection.absorb():
            pass
        await connection.close()
