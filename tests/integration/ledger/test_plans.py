"""What PostgreSQL reads for a question: by which indexes, and how much of the ledger."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, get_args

import pytest

from arbstr.ledger import paging, session_groups
from arbstr.ledger.model import Filter, Order
from arbstr.ledger.postgres import read_connection
from arbstr.ledger.postgres.connection import PostgresConnection
from arbstr.ledger.queries import Queries
from arbstr.places import PostgresPlace
from arbstr.types import RequestRecord
from tests.support.ledger_builders import DAY, HOUR, MINUTE, NOON, record
from tests.support.ledgers import opened, write_rows
from tests.support.postgres import PostgresServer

ROWS = 3_000
SPAN = 20 * DAY


def rows() -> list[RequestRecord]:
    """A row in ten minutes; a tenth has no session, the others are in sessions of nine; one in twenty has failed."""
    return [
        record(
            received_at_ms=NOON + n * SPAN // ROWS,
            model=f"model-{n % 10}",
            streaming=n % 2 == 0,
            success=n % 20 > 0,
            cost_msats=n * 7919 % ROWS,
            latency_ms=n * 104_729 % 5000,
            session=f"{n // 10 * 7919:016x}" if n % 10 else None,
        )
        for n in range(ROWS)
    ]


async def fill(place: PostgresPlace) -> None:
    await write_rows(place, rows())
    ledger = await opened(place)
    while await ledger.absorb():
        pass
    await ledger.close()


class Plans:
    """Plans of all statements that a question takes: which indexes they use, and how many rows they look at."""

    def __init__(self, place: PostgresPlace, ask: Callable[[Queries], object]) -> None:
        self.indexes: set[str] = set()
        self.looked_at: Counter[str] = Counter()
        execute = read_connection._Bounded.execute

        def explained(db: Any, sql: str, values: Sequence[Any] = ()) -> Any:
            [(plan,)] = execute(db, f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", values).fetchall()
            self._note(plan[0]["Plan"])
            return execute(db, sql, values)

        with closing(read_connection.PostgresReadConnection(place, exact=0)) as queries:
            with queries._view() as view:
                tables = view.all("SELECT inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits")
            self._parents = dict(tables)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(read_connection._Bounded, "execute", explained)
                ask(queries)

    def _note(self, node: dict[str, Any]) -> None:
        if name := node.get("Index Name"):
            self.indexes.add(self._parents.get(name, name))
        if name := node.get("Relation Name"):
            rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            self.looked_at[self._parents.get(name, name)] += rows * node["Actual Loops"]
        for each in node.get("Plans", ()):
            self._note(each)


@pytest.fixture(scope="module")
def place(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> PostgresPlace:
    """A ledger that is large enough for the planner to think of indexes."""
    place = PostgresPlace.at(postgres.new_database(), tmp_path_factory.mktemp("plans") / "arbstr.db")
    asyncio.run(fill(place))
    with closing(PostgresConnection(place)) as db:
        db.execute("VACUUM ANALYZE")
    return place


@pytest.mark.parametrize(
    "ask", [lambda q: q.slice(Filter(sessions=(None,)), None, 20), lambda q: q.count(Filter(sessions=(None,)))]
)
def test_rows_without_a_session_have_an_index_of_their_own(
    place: PostgresPlace, ask: Callable[[Queries], object]
) -> None:
    plans = Plans(place, ask)
    assert "requests_without_session" in plans.indexes
    assert plans.looked_at["requests"] <= 3 * ROWS // 10, "those rows, counted a few times, and no others"


@pytest.mark.parametrize(
    "where", [Filter(streaming=True), Filter(success=False), Filter(success=True, streaming=False)]
)
def test_outcomes_have_a_sum_for_each_hour(place: PostgresPlace, where: Filter) -> None:
    plans = Plans(place, lambda q: q.stats(where, "hour"))
    assert plans.looked_at["rollups"] <= 4 * SPAN // HOUR
    assert plans.looked_at["requests"] <= 10, "the first and the last one"


def test_of_sessions_only_the_rows_of_the_dearest_are_read(
    place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_groups, "NAMED_SESSIONS", 10)
    window = Filter(since_ms=NOON + DAY + 20 * MINUTE, until_ms=NOON + 9 * DAY + 20 * MINUTE)
    plans = Plans(place, lambda q: q.stats(window, "session"))
    assert {"requests_by_session", "session_costs_by_day"} <= plans.indexes
    named, edges = 10 * 9, 4 * 12
    assert plans.looked_at["requests"] <= named + 3 * edges
    assert plans.looked_at["session_costs"] <= ROWS // 10 * 2


@pytest.mark.parametrize("order", get_args(Order))
def test_a_page_deep_in_a_filtered_list_by_cost_is_found_in_an_index_of_facets_and_costs(
    place: PostgresPlace, monkeypatch: pytest.MonkeyPatch, order: Order
) -> None:
    monkeypatch.setattr(paging, "_NEAR", 10)
    plans = Plans(place, lambda q: q.page(Filter(success=False), "cost_sats", order, 4, 10))
    assert "requests_by_facet_and_cost" in plans.indexes
    assert plans.looked_at["requests"] <= 40 * 4 + 40


@pytest.mark.parametrize("where", [Filter(), Filter(streaming=True), Filter(model="model-3")])
def test_pages_deep_in_time_are_found_by_hours(
    place: PostgresPlace, monkeypatch: pytest.MonkeyPatch, where: Filter
) -> None:
    monkeypatch.setattr(paging, "_NEAR", 10)
    plans = Plans(place, lambda q: q.page(where, "timestamp", "desc", 20, 10))
    assert plans.looked_at["requests"] <= 200
