"""How answers from a ledger in PostgreSQL scale.

    python -m tests.perf.postgres_size [--rows 1000000 10000000] [--at URL] [--only TEXT]

Builds a ledger of each size, ten million rows to 30 days as `tests.perf.bench.ledger` has them, asks it what endpoints
and screens ask, and prints milliseconds for each size, how many times longer the largest takes than the smallest, and
what takes longer than it may: 200 ms for sums over 30 days, 50 ms for a page. What counts is processor time, here and
at the server, at best of a few times: beside it the clock tells what else the machine does. A server of the program's
own keeps the ledger (in `TMPDIR`, gone afterwards), or the one at the URL does, which must be on this machine: a ledger
that is there already is asked as it is. The exit status is 1 if something takes too long.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import get_args

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.aggregates import AggregateSum, from_columns
from arbstr.ledger.latency_histogram import sketch_text
from arbstr.ledger.model import Filter, GroupBy, Order, Page, Sort, Stats
from arbstr.ledger.postgres import lacking_sums, schema
from arbstr.ledger.postgres.connection import PostgresConnection
from arbstr.ledger.postgres.dialect import POSTGRES
from arbstr.ledger.postgres.months import Months
from arbstr.ledger.postgres.read_connection import PostgresReadConnection
from arbstr.ledger.postgres.rollups import PostgresRollups, Summed
from arbstr.ledger.queries import EXACT, Queries
from arbstr.ledger.row_mapping import FacetKey
from arbstr.places import PostgresPlace
from tests.perf.bench.ledger import (
    DAY,
    HOUR,
    MODELS,
    MONTH,
    NOW,
    POLICIES,
    PROVIDERS,
    QUESTIONS,
    ROUTING,
    Question,
)
from tests.support.postgres import MISSING, PostgresServer, programs

PER_DAY = 10_000_000 // 30
REPEATS = 5
LONG_MS = 3000.0
STATS_MS, PAGE_MS = 200.0, 50.0
_STEP = 500_000
_UUID = "gen_random_uuid()::text"
_NAMES = "CREATE TEMP TABLE named (facet bigint, model int, provider int, policy int, streaming bool, success bool)"
# As the rows of the ledger in SQLite; the facet is one of a table of them all.
_FILL = f"""
INSERT INTO requests (correlation_id, model, provider, policy, streaming, input_tokens, output_tokens, cost_sats,
    latency_ms, stream_duration_ms, success, error_status, error_message, at_ms, facet, dearest_msats, median_msats,
    attempts, routing, session, list_cost_sats, dialect)
SELECT {_UUID}, CASE WHEN d.model < 0 THEN 'rare' ELSE 'model-' || d.model END,
    (ARRAY['alpha', 'beta', 'gamma', 'delta'])[d.provider + 1],
    CASE d.policy WHEN 0 THEN 'code' WHEN 1 THEN 'chat' WHEN 2 THEN 'bulk' END, d.streaming, a / 7 % 3000, b / 7 % 900,
    c / 7 % 50000 / 1000.0, EXP(4 + c % 1000 / 140.0)::bigint, 1200, d.success, CASE WHEN NOT d.success THEN 502 END,
    CASE WHEN NOT d.success THEN 'connection refused' END, at_ms, facet, 60000, 40000,
    '[{{"provider":"alpha","started_ms":1,"duration_ms":300,"failure":null,"status":200,"message":""}}]', ?::text,
    CASE WHEN n / 20 % 3 <> 0 THEN LPAD(TO_HEX(n / 20 * 7919), 16, '0') END, c / 7 % 50000 / 1000.0, 'chat'
FROM (
    SELECT n, at_ms, a, b, c, CASE WHEN a % 100000 = 7 THEN -1 ELSE a % 10 END AS model, b % 4 AS provider,
        c % 4 AS policy, a / 10 % 2 = 1 AS streaming, b / 9 % 100 > 0 AS success
    FROM (
        SELECT n, (?::bigint + n * ?::numeric)::bigint AS at_ms, FLOOR(RANDOM() * 2e9)::bigint AS a,
            FLOOR(RANDOM() * 2e9)::bigint AS b, FLOOR(RANDOM() * 2e9)::bigint AS c
        FROM GENERATE_SERIES(?::bigint, ?::bigint) AS n
    ) AS numbers
) AS d JOIN named USING (model, provider, policy, streaming, success)
"""
_SUMS = (
    f"SELECT facet, at_ms - at_ms % {HOUR}, session IS NOT NULL, {POSTGRES.row_sums}, {POSTGRES.texts('latency_ms')} "
    "FROM requests WHERE at_ms >= ? AND at_ms < ? GROUP BY 1, 2, 3"
)
_SINCE = MONTH.since_ms
# A month, as clients and dashboards may narrow it without asking for what only rows hold; and all there is.
_FILTERS = {
    "30 days": MONTH,
    "all time": Filter(),
    "a model": Filter(_SINCE, NOW, model="Model-1"),
    "a rare model": Filter(_SINCE, NOW, model="rare"),
    "a provider": Filter(_SINCE, NOW, provider="alpha"),
    "without a policy": Filter(_SINCE, NOW, policies=(None,)),
    "a model at a provider": Filter(_SINCE, NOW, model="Model-1", provider="alpha"),
    "failed": Filter(_SINCE, NOW, success=False),
    "streams": Filter(_SINCE, NOW, streaming=True),
    "24 hours": Filter(NOW - DAY + 20 * 60_000, NOW),
}
_INDEXES = (
    "SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE i.indrelid = 'requests'::regclass AND NOT i.indisunique"
)


class Filler:
    """Fills an empty ledger with rows of the days before `NOW`, and with their sums."""

    def __init__(self, db: PostgresConnection, rows: int) -> None:
        self._db = db
        self._rows = rows
        self._rollups = PostgresRollups()
        self._start_ms = NOW - rows * DAY // PER_DAY

    def run(self) -> None:
        """Fill it; indexes are made last."""
        days = range(self._start_ms - self._start_ms % DAY, NOW, DAY)
        Months().make(self._db, days)
        indexes = self._db.execute(_INDEXES).fetchall()
        for name, _ in indexes:
            self._db.execute(f"DROP INDEX {name}")
        facets = self._name_facets()
        self._insert()
        for day in days:
            with self._db.transaction():
                self._rollups.enter(self._db, list(self._sums(facets, day)))
        self._db.execute("SET maintenance_work_mem = '512MB'")
        for _, definition in indexes:
            self._db.execute(definition.replace(" ON ONLY ", " ON "))
        while lacking_sums.add_some(self._db, self._rollups):
            pass  # what each session cost, as in a ledger of an earlier arbstr
        self._db.execute("VACUUM ANALYZE")

    def _name_facets(self) -> dict[int, FacetKey]:
        """Make all facets of rows; return their names."""
        self._db.execute(_NAMES)
        names: dict[int, FacetKey] = {}
        for place in product(range(-1, len(MODELS)), range(4), range(4), (False, True), (False, True)):
            model, provider, policy, streaming, success = place
            called = (MODELS[model] if model >= 0 else "rare", PROVIDERS[provider], POLICIES[policy])
            key = (*called, streaming, success, None, "chat")
            [number] = self._rollups.facets(self._db, [key]).values()
            names[number] = key
            self._db.execute("INSERT INTO named VALUES (?, ?, ?, ?, ?, ?)", (number, *place))
        return names

    def _insert(self) -> None:
        for first in range(0, self._rows, _STEP):
            last = min(first + _STEP, self._rows) - 1
            self._db.execute(_FILL, (ROUTING, self._start_ms, str(DAY / PER_DAY), first, last))

    def _sums(self, facets: dict[int, FacetKey], day: int) -> Iterator[Summed]:
        for facet, start_ms, has_session, *figures, latencies in self._db.execute(_SUMS, (day, day + DAY)).fetchall():
            yield facets[facet], start_ms, has_session, AggregateSum(from_columns(figures), sketch_text(latencies))


def questions(queries: Queries) -> dict[str, Question]:
    """Return what is asked: all that the ledger in SQLite is, and every group and order with what may be filtered."""
    asked = dict(QUESTIONS)
    for (name, where), group_by in product(_FILTERS.items(), (None, *get_args(GroupBy))):
        if group_by != "session":
            asked[f"stats, {name}, by {group_by}"] = partial(_stats, where, group_by)
    for name, where in _FILTERS.items():
        pages = queries.count(where) // 20
        for sort, order in product(get_args(Sort), get_args(Order)):
            # By time any page is found by sums; by a figure it takes a walk there.
            for place, number in (("first", 1), ("deep", pages // 3 if sort == "timestamp" else min(pages // 2, 500))):
                asked[f"page, {name}, by {sort} {order}, {place}"] = partial(_page, where, sort, order, number)
    return asked


def _stats(where: Filter, group_by: GroupBy | None, queries: Queries) -> Stats:
    return queries.stats(where, group_by)


def _page(where: Filter, sort: Sort, order: Order, number: int, queries: Queries) -> Page:
    return queries.page(where, sort, order, max(number, 1), 20)


@dataclass(frozen=True, slots=True)
class Taken:
    """What an answer takes at best, in ms: by the clock, and of processor time here and at the server."""

    clock_ms: float
    cpu_ms: float


def measure(place: PostgresPlace, only: str) -> dict[str, Taken]:
    """Return what each question takes whose name has the text."""
    with closing(PostgresReadConnection(place, exact=EXACT)) as queries:
        with queries._view() as view:  # its server process, without others that help it
            [pid] = view.one("SELECT pg_backend_pid()")
            view.one("SELECT set_config('max_parallel_workers_per_gather', '0', FALSE)")
        asked = {name: ask for name, ask in questions(queries).items() if only in name}
        return {name: _at_best(ask, queries, pid) for name, ask in asked.items()}


def _at_best(ask: Question, queries: Queries, pid: int) -> Taken:
    """Ask a few times, or once where that takes long."""
    taken = [_take(ask, queries, pid)]
    while len(taken) < REPEATS and taken[0].clock_ms < LONG_MS:
        taken.append(_take(ask, queries, pid))
    return _least(taken)


def _least(taken: list[Taken]) -> Taken:
    return Taken(min(each.clock_ms for each in taken), min(each.cpu_ms for each in taken))


def _take(ask: Question, queries: Queries, pid: int) -> Taken:
    began, here, there = time.perf_counter(), time.process_time(), ran_ms(pid)
    with suppress(LedgerUnavailable):  # it took longer than a query may
        ask(queries)
    cpu_ms = (time.process_time() - here) * 1000 + ran_ms(pid) - there
    return Taken((time.perf_counter() - began) * 1000, cpu_ms)


def ran_ms(pid: int) -> float:
    """Return how long a process of this machine has run."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def may_take_ms(name: str) -> float | None:
    """Return what a question may take."""
    if "by session" in name and name != "stats, 30 days by session":
        return None  # of sessions there are no sums by name
    if name.startswith("stats"):
        return STATS_MS
    return PAGE_MS if "page" in name and "text" not in name else None


@contextmanager
def own_server() -> Iterator[str]:
    """Run a server with its ordinary settings; yield the URL of an empty database."""
    binaries = programs()
    if binaries is None:
        sys.exit(MISSING)
    server = PostgresServer(binaries, shared_buffers="128MB", max_wal_size="4GB")
    try:
        yield server.new_database()
    finally:
        server.stop()


@contextmanager
def ledger(rows: int, at: str | None, scratch: Path) -> Iterator[PostgresPlace]:
    """Yield the place of a ledger of that size, built unless it is there."""
    with own_server() if at is None else nullcontext(at) as url:
        place = PostgresPlace.at(url, scratch / "arbstr.db")
        with closing(PostgresConnection(place)) as db:
            schema.migrate(db, place)
            if db.execute("SELECT 1 FROM requests LIMIT 1").fetchone() is None:
                began = time.perf_counter()
                Filler(db, rows).run()
                [size] = db.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
                print(f"{rows:,} rows: {time.perf_counter() - began:.0f} s, {size / rows:.0f} bytes a row", flush=True)
        yield place


def report(sizes: list[int], answers: list[dict[str, Taken]]) -> list[str]:
    """Print all; return what took too long, at any size."""
    print(
        f"\n{'ms of processor time, and by the clock':54}" + "".join(f"{rows:>20,}" for rows in sizes) + f"{'ratio':>8}"
    )
    for name in answers[0]:
        taken = [answer[name] for answer in answers]
        columns = "".join(f"{each.cpu_ms:11.1f}{each.clock_ms:9.1f}" for each in taken)
        print(f"{name:54}{columns}{taken[-1].cpu_ms / taken[0].cpu_ms:8.1f}")
    return [
        f"{name}: {answer[name].cpu_ms:.0f} ms at {rows:,} rows, and {most:.0f} ms are the most"
        for rows, answer in zip(sizes, answers, strict=True)
        for name in answer
        if (most := may_take_ms(name)) is not None and answer[name].cpu_ms > most
    ]


def main() -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--at", help="the URL of a database, for one size")
    parser.add_argument("--only", default="", help="a text in the names of what is asked")
    options = parser.parse_args()
    answers = []
    with tempfile.TemporaryDirectory() as scratch:
        for rows in options.rows:
            with ledger(rows, options.at, Path(scratch)) as place:
                answers.append(measure(place, options.only))
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    wrong = report(options.rows, answers)
    print(f"\nload of the machine at the end: {load}")
    print("\n".join(wrong) or "all within what it may take")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
