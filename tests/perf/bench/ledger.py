"""How answers from the ledger, and writing to it, scale.

`python -m tests.perf.bench.ledger [--rows 10000 1000000 10000000]`.

Builds a ledger of each size (30 days of requests to 10 models of 4 providers under 4 policies, two thirds of them in
sessions of 20; the oldest tenth of the sessions begins alike), asks it what endpoints and screens ask, and prints
milliseconds of CPU for each size, for other load on the machine does not count, and how many times longer the largest
takes than the smallest. With `--limit-s 0.3` it fails if anything takes longer but sums, which screens show piece by
piece. `tests.perf.bench.listing` has many more filters.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from arbstr.ledger import write_connection
from arbstr.ledger.model import Filter
from arbstr.ledger.queries import Queries
from arbstr.ledger.read_connection import ReadConnection
from arbstr.ledger.reader import LedgerReader
from arbstr.ledger.writer import LedgerWriter
from arbstr.types import Attempt, Candidate, RequestRecord, Routing

NOW = 1_767_268_800_000
HOUR, DAY = 3_600_000, 86_400_000
MODELS = [f"model-{number}" for number in range(10)]
PROVIDERS = ["alpha", "beta", "gamma", "delta"]
POLICIES = ["code", "chat", "bulk", None]
REPEATS = 5
SUMMED = ("stats", "sums")  # how questions begin whose answers come piece by piece

_FILL = f"""
WITH RECURSIVE numbers(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :last),
drawn AS (SELECT n, ABS(RANDOM()) AS a, ABS(RANDOM()) AS b, ABS(RANDOM()) AS c FROM numbers)
INSERT INTO requests (correlation_id, timestamp, model, provider, policy, streaming, input_tokens, output_tokens,
    cost_sats, latency_ms, stream_duration_ms, success, error_status, error_message, dearest_msats, median_msats,
    attempts, routing, session, list_cost_sats)
SELECT LOWER(HEX(RANDOMBLOB(4)) || '-' || HEX(RANDOMBLOB(2)) || '-4' || SUBSTR(HEX(RANDOMBLOB(2)), 2) || '-8' ||
        SUBSTR(HEX(RANDOMBLOB(2)), 2) || '-' || HEX(RANDOMBLOB(6))),
    STRFTIME('%Y-%m-%dT%H:%M:%fZ', ({NOW - 30 * DAY} + n * {30 * DAY}.0 / :rows) / 1000.0, 'unixepoch'),
    CASE WHEN a % 100000 = 7 THEN 'rare' ELSE 'model-' || (a % 10) END,
    CASE b % 4 WHEN 0 THEN 'alpha' WHEN 1 THEN 'beta' WHEN 2 THEN 'gamma' ELSE 'delta' END,
    CASE c % 4 WHEN 0 THEN 'code' WHEN 1 THEN 'chat' WHEN 2 THEN 'bulk' END,
    a / 10 % 2, a / 7 % 3000, b / 7 % 900, c / 7 % 50000 / 1000.0, CAST(EXP(4 + c % 1000 / 140.0) AS INTEGER),
    1200, b / 9 % 100 > 0, CASE WHEN b / 9 % 100 = 0 THEN 502 END,
    CASE WHEN b / 9 % 100 = 0 THEN 'connection refused' END, 60000, 40000,
    '[{{"provider":"alpha","started_ms":1,"duration_ms":300,"failure":null,"status":200,"message":""}}]', :routing,
    CASE WHEN n / 20 % 3 THEN PRINTF('%08x%08x', IIF(n < :rows / 10, 0, n / 20 * 2654435761 & 4294967295), n / 20) END,
    c / 7 % 50000 / 1000.0
FROM drawn
"""
ROUTING = (
    '{"model":"model-1","policy":"code","strategy":"cheapest","expected_input_tokens":120,"expected_output_tokens":256,'
    '"candidates":[{"provider":"alpha","expected_cost_sats":1.2,"weight_sats":1.2,"reason":"number 1 by expected price"'
    '},{"provider":"beta","expected_cost_sats":1.4,"weight_sats":1.4,"reason":"number 2 by expected price"}],'
    '"excluded":[]}'
)


def build(path: Path, rows: int) -> None:
    """A ledger of so many rows, adopted as those of another program are."""

    async def run() -> None:
        writer, _ = await write_connection.WriteConnection.open(path)
        with closing(sqlite3.connect(path, timeout=60)) as database:
            for first in range(0, rows, 200_000):
                last = min(first + 200_000, rows)
                with database:
                    database.execute(_FILL, {"first": first, "last": last, "rows": rows, "routing": ROUTING})
        while await writer.absorb():
            pass
        await writer.close()

    asyncio.run(run())


MONTH = Filter(since_ms=NOW - 30 * DAY + 20 * 60_000, until_ms=NOW)
ALPHA_1 = Filter(since_ms=MONTH.since_ms, until_ms=NOW, model="Model-1", provider="alpha")
DEAR_AND_LONG = Filter(min_cost_msats=25_000, min_took_ms=3_600_000)
Question = Callable[[Queries], Any]
QUESTIONS: dict[str, Question] = {
    "stats, 30 days": lambda q: q.stats(MONTH),
    "stats, 30 days by model": lambda q: q.stats(MONTH, "model"),
    "stats, 30 days by provider": lambda q: q.stats(MONTH, "provider"),
    "stats, 30 days by policy": lambda q: q.stats(MONTH, "policy"),
    "stats, 30 days by day": lambda q: q.stats(MONTH, "day"),
    "stats, 30 days by hour": lambda q: q.stats(MONTH, "hour"),
    "stats, 30 days by session": lambda q: q.stats(MONTH, "session"),
    "stats, 30 days, a model by session": lambda q: q.stats(Filter(MONTH.since_ms, NOW, model="model-1"), "session"),
    "stats, 30 days, a model at a provider": lambda q: q.stats(ALPHA_1),
    "stats, the same by hour": lambda q: q.stats(ALPHA_1, "hour"),
    "stats, 30 days, failed, by model": lambda q: q.stats(Filter(MONTH.since_ms, NOW, success=False), "model"),
    "stats, 24 hours": lambda q: q.stats(Filter(NOW - DAY + 20 * 60_000, NOW)),
    "stats, 1 hour": lambda q: q.stats(Filter(NOW - HOUR + 20 * 60_000, NOW)),
    "page 1": lambda q: q.page(MONTH, "timestamp", "desc", 1, 20),
    "page in the middle": lambda q: q.page(MONTH, "timestamp", "desc", q.count(MONTH) // 40, 20),
    "last page": lambda q: q.page(MONTH, "timestamp", "desc", q.count(MONTH) // 20, 20),
    "page 1, failed": lambda q: q.page(Filter(MONTH.since_ms, NOW, success=False), "timestamp", "desc", 1, 20),
    "page 1, a rare model": lambda q: q.page(Filter(MONTH.since_ms, NOW, model="rare"), "timestamp", "desc", 1, 20),
    "middle page, a model": lambda q: q.page(ALPHA_1, "timestamp", "asc", q.count(ALPHA_1) // 40, 20),
    "page 1 by cost": lambda q: q.page(MONTH, "cost_sats", "desc", 1, 20),
    "page 1 by latency, a model": lambda q: q.page(ALPHA_1, "latency_ms", "desc", 1, 20),
    "page 1 by cost, 24 hours": lambda q: q.page(Filter(NOW - DAY, NOW), "cost_sats", "asc", 1, 20),
    "page 1 by cost, a text that may be an id": lambda q: q.page(Filter(texts=("abcd",)), "cost_sats", "desc", 1, 20),
    "page 500 by latency": lambda q: q.page(MONTH, "latency_ms", "desc", 500, 20),
    "slice, newest": lambda q: q.slice(Filter(), None, 100),
    "slice, a rare model": lambda q: q.slice(Filter(model="rare"), None, 100),
    "slice, a common text": lambda q: q.slice(Filter(texts=("refused",)), None, 100),
    "slice, a text that is not there": lambda q: q.slice(Filter(NOW - DAY, texts=("nowhere",)), None, 100),
    "count, a common text": lambda q: q.count(Filter(texts=("refused",))),
    "count, a text that may be an id": lambda q: q.count(Filter(texts=("abcd",))),
    "slice, a text that may be an id": lambda q: q.slice(Filter(texts=("abcd",)), None, 100),
    "count, without a text": lambda q: q.count(Filter(without_texts=("refused",))),
    "count, a tenth by cost": lambda q: q.count(Filter(min_cost_msats=45_000)),
    "count, half by cost": lambda q: q.count(Filter(min_cost_msats=25_000)),
    "slice, a tenth by cost": lambda q: q.slice(Filter(min_cost_msats=45_000), None, 100),
    "slice, few by cost": lambda q: q.slice(Filter(min_cost_msats=49_990), None, 100),
    "slice, dear ones with a text": lambda q: q.slice(Filter(min_cost_msats=45_000, texts=("refused",)), None, 100),
    "count, a status": lambda q: q.count(Filter(statuses=(502,))),
    "count, without a session": lambda q: q.count(Filter(sessions=(None,))),
    "count, with a session": lambda q: q.count(Filter(without_sessions=(None,))),
    "slice, without a session": lambda q: q.slice(Filter(sessions=(None,)), None, 100),
    "slice, sessions that are all old": lambda q: q.slice(Filter(sessions=("00000000",)), None, 100),
    "slice, some sessions": lambda q: q.slice(Filter(sessions=("a",)), None, 100),
    "count, some sessions and longer than 2 s": lambda q: q.count(Filter(sessions=("a",), min_took_ms=2001)),
    "slice, dear and longer than an hour": lambda q: q.slice(DEAR_AND_LONG, None, 100),
    "slice, the same by cost": lambda q: q.slice(DEAR_AND_LONG, None, 100, "cost_sats", "desc"),
    "slice, the same at a provider, oldest first": lambda q: q.slice(
        replace(DEAR_AND_LONG, provider="alpha"), None, 100, "timestamp", "asc"
    ),
    "count, half by cost and longer than 2 s": lambda q: q.count(Filter(min_cost_msats=25_000, min_took_ms=2001)),
    "slice, without any provider's name": lambda q: q.slice(Filter(without_texts=tuple(PROVIDERS)), None, 100),
    "slice, few by cost without a text, by latency": lambda q: q.slice(
        Filter(min_cost_msats=49_990, without_texts=("refused",)), None, 100, "latency_ms", "asc"
    ),
    "slice, the middle of half by cost": lambda q: q.slice(
        Filter(min_cost_msats=25_000), None, 100, "cost_sats", "desc", q.count(Filter()) // 4
    ),
    "slice, longer than 1.3 s, by cost": lambda q: q.slice(Filter(min_took_ms=1301), None, 100, "cost_sats", "desc"),
    "count, longer than 2 s": lambda q: q.count(Filter(min_took_ms=2001)),
    "slice, longer than an hour": lambda q: q.slice(Filter(min_took_ms=3_600_000), None, 100),
    "sums, a common text": lambda q: q.stats(Filter(texts=("refused",))),
    "sums, without a text": lambda q: q.stats(Filter(without_texts=("refused",))),
    "sums, a status": lambda q: q.stats(Filter(statuses=(502,))),
    "sums, few by cost": lambda q: q.stats(Filter(min_cost_msats=49_990)),
    "a request by its id": lambda q: q.request("00000000-0000-4000-8000-000000000000"),
    "known model": lambda q: q.known("model", "MODEL-3"),
}


@dataclass(frozen=True, slots=True)
class Written:
    """How writing went: rows a second as fast as it goes, and what a row costs."""

    per_second: float
    cpu_us: float
    while_writing_ms: float


def measure(path: Path) -> dict[str, float]:
    """Milliseconds of CPU for each question: the median of a few, each on a connection of its own."""
    found: dict[str, float] = {}
    for name, ask in QUESTIONS.items():
        times = []
        for _ in range(REPEATS):
            with closing(ReadConnection(path)) as questions:
                began = time.thread_time()
                ask(questions)
                times.append((time.thread_time() - began) * 1000)
        found[name] = statistics.median(times)
    return found


def a_record(random: Random) -> RequestRecord:
    candidates = (Candidate("alpha", 123.0, 123.0), Candidate("beta", 140.0, 150.0))
    return RequestRecord(
        request_id=str(uuid.UUID(int=random.getrandbits(128), version=4)),
        received_at_ms=NOW + random.randrange(60_000),
        model=random.choice(MODELS),
        streaming=random.random() < 0.5,
        success=random.random() < 0.99,
        latency_ms=int(random.lognormvariate(6.5, 1)),
        provider=random.choice(PROVIDERS),
        policy=random.choice(POLICIES),
        input_tokens=random.randrange(3000),
        output_tokens=random.randrange(900),
        cost_msats=random.randrange(50_000),
        dearest_msats=60_000,
        median_msats=40_000,
        attempts=(Attempt("alpha", 1, 300, None, 200),),
        routing=Routing("cheapest", "code", "model-1", 120, 256, candidates),
    )


async def write(path: Path, batches: int = 60, size: int = 150) -> Written:
    """Batches as they come at 3000 requests a second, committed one after the other; a reader asks meanwhile."""
    random = Random(1)
    ledger = LedgerWriter(path)
    await ledger.start()
    records = [[a_record(random) for _ in range(size)] for _ in range(batches)]
    await ledger.settle(5)
    began, cpu = time.perf_counter(), time.process_time()
    for batch in records:
        for each in batch:
            ledger.append(each)
        await ledger.settle(5)
    spent, cpu = time.perf_counter() - began, time.process_time() - cpu
    while_writing = await _ask_while_writing(path, ledger, random)
    await ledger.close()
    return Written(batches * size / spent, cpu / batches / size * 1e6, while_writing)


async def _ask_while_writing(path: Path, ledger: LedgerWriter, random: Random) -> float:
    reader = LedgerReader(path, settle=ledger.settle)
    stop = asyncio.Event()

    async def keep_writing() -> None:
        while not stop.is_set():
            for _ in range(30):
                ledger.append(a_record(random))
            await asyncio.sleep(0.01)

    writing = asyncio.create_task(keep_writing())
    times = []
    for _ in range(20):
        began = time.perf_counter()
        await reader.stats(MONTH, "model")
        times.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.02)
    stop.set()
    await writing
    await reader.close()
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--keep", type=Path, help="a directory to keep the ledgers in, and to find them in again")
    parser.add_argument("--limit-s", type=float, help="fail if an answer other than sums takes longer")
    options = parser.parse_args()
    answers: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for rows in options.rows:
            path = (options.keep or Path(scratch)) / f"ledger-{rows}.db"
            if not path.exists():
                began = time.perf_counter()
                build(path, rows)
                print(f"{rows:,} rows: built in {time.perf_counter() - began:.1f} s", flush=True)
            size = path.stat().st_size / rows
            answers.append(measure(path))
            written = asyncio.run(write(path))
            print(
                f"{rows:,} rows: {size:.0f} bytes a row; {written.per_second:,.0f} rows/s written at "
                f"{written.cpu_us:.0f} µs of CPU each; stats by model while writing {written.while_writing_ms:.1f} ms",
                flush=True,
            )
    _report(options.rows, answers)
    late = [name for name in QUESTIONS if not name.startswith(SUMMED) and _is_late(name, answers, options.limit_s)]
    if late:
        sys.exit(f"longer than {options.limit_s} s: {'; '.join(late)}")


def _is_late(name: str, answers: list[dict[str, float]], limit_s: float | None) -> bool:
    return limit_s is not None and any(answer[name] > limit_s * 1000 for answer in answers)


def _report(sizes: list[int], answers: list[dict[str, float]]) -> None:
    print(f"\n{'ms of CPU at so many rows':50}" + "".join(f"{rows:>14,}" for rows in sizes) + f"{'ratio':>9}")
    for name in QUESTIONS:
        times = [answer[name] for answer in answers]
        print(f"{name:50}" + "".join(f"{ms:14.2f}" for ms in times) + f"{times[-1] / times[0]:9.1f}")


if __name__ == "__main__":
    main()
