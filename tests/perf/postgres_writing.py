"""How fast instances write to one ledger in PostgreSQL, beside a bare COPY of the same rows, and a ledger in SQLite.

    python -m tests.perf.postgres_writing [--rows 20000] [--instances 4] [--per-second 5000]

Each instance is a process with the writer that arbstr has. They write the rows once as fast as it goes, and twice at a
steady rate, after which all must be there: in sessions of 20, and without. A server of the program's own keeps them,
which waits for its disk at each commit. Prints rows a second, the processor time of a row here and at the server, and
how much of the time the server's processes waited for the lock of all sums. The exit status is 1 if a row is missing,
or the rate was not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median

from arbstr.ledger.postgres.connection import PostgresConnection
from arbstr.ledger.postgres.rows import COPIED, of_record
from arbstr.ledger.writer import LedgerWriter
from arbstr.places import Place, PostgresPlace
from arbstr.types import RequestRecord, value_object
from tests.perf.bench.ledger import a_record
from tests.perf.postgres_size import ran_ms
from tests.support.paths import TOP
from tests.support.postgres import MISSING, PostgresServer, programs
from tests.support.processes import end

_STEP_S = 0.01
_IN_SESSION = 20
_SAMPLE_S = 0.02
_BUSY = (
    "SELECT COUNT(*) FILTER (WHERE state <> 'idle'), COUNT(*) FILTER (WHERE wait_event = 'advisory'), "
    "ARRAY_AGG(pid) FROM pg_stat_activity WHERE application_name = 'arbstr' AND pid <> pg_backend_pid() "
    "AND datname = current_database()"
)


@value_object
class Written:
    """How writing went: rows a second, the processor time of a row in µs, and the share of time spent on a lock.

    `behind_ms` is how long after a row was appended it was there, at a rate, in the middle of all looks.
    """

    what: str
    per_second: float
    here_us: float
    there_us: float | None = None
    waited: float | None = None
    behind_ms: float | None = None


def rows(number: int, seed: int, in_session: int = 0) -> list[RequestRecord]:
    """Return so many rows, the same for a seed; if so many of them are in one session, all sessions are under way."""
    random = Random(seed)
    records = [a_record(random) for _ in range(number)]
    if not in_session:
        return records
    sessions = number // in_session
    return [replace(record, session=f"{seed:08x}{n % sessions:08x}") for n, record in enumerate(records)]


async def write(place: Place, records: Sequence[RequestRecord], per_second: float) -> tuple[float, float]:
    """Write rows, at a rate or, with 0, as fast as it goes; return the seconds that it took, and of the processor."""
    ledger = LedgerWriter(place)
    await ledger.start()
    await ledger.change(lambda db, rollups: None)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began, cpu, sent = time.perf_counter(), time.process_time(), 0
    while sent < len(records):
        due = len(records) if not per_second else int((time.perf_counter() - began) * per_second) + 1
        for record in records[sent:due]:
            ledger.append(record)
        sent = min(max(sent, due), len(records))
        if sent < len(records):
            await asyncio.sleep(_STEP_S)
    await ledger.change(lambda db, rollups: "all is written")
    spent = time.perf_counter() - began, time.process_time() - cpu
    print(*spent, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await ledger.close()
    return spent


class Instances:
    """Processes that write at once; `run` returns what came of it."""

    def __init__(self, where: str, instances: int, number: int, per_second: float, in_session: int = 0) -> None:
        self._total = number
        self._per_second = per_second
        self._behind_s: list[float] = []
        command = [sys.executable, "-m", "tests.perf.postgres_writing", "--child", where]
        self._processes = [
            subprocess.Popen(
                [*command, str(number // instances), str(1 + each), str(per_second / instances), str(in_session)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=TOP,
            )
            for each in range(instances)
        ]

    def run(self, what: str, db: PostgresConnection | None) -> Written:
        """Let them write."""
        try:
            for process in self._processes:
                self._line(process)
            began = time.perf_counter()
            self._go_on()
            busy, waiting, there_ms = self._watch(db) if db is not None else (0, 0, 0.0)
            cpu_s = sum(float(self._line(process).split()[1]) for process in self._processes)
            spent_s = time.perf_counter() - began
            self._go_on()
            for process in self._processes:
                process.wait()
        finally:
            for process in self._processes:
                end(process)
        rate, here_us = self._total / spent_s, cpu_s / self._total * 1e6
        if db is None:
            return Written(what, rate, here_us)
        behind_ms = median(self._behind_s) * 1000 if self._behind_s else None
        return Written(what, rate, here_us, there_ms / self._total * 1e3, waiting / max(busy, 1), behind_ms)

    def _watch(self, db: PostgresConnection) -> tuple[int, int, float]:
        """Look at the server's processes until all rows are written."""
        looks, began = [0, 0], time.perf_counter()
        at_first: dict[int, float] = {}
        while True:
            busy, waiting, pids = db.execute(_BUSY).fetchone() or (0, 0, [])
            now = {pid: ran_ms(pid) for pid in pids or []}
            at_first = at_first or now
            looks[0] += busy
            looks[1] += waiting
            [written] = db.execute("SELECT COUNT(*) FROM requests").fetchone() or (0,)
            if self._per_second:
                self._behind_s.append(time.perf_counter() - began - written / self._per_second)
            if written >= self._total:
                return looks[0], looks[1], sum(now.values()) - sum(at_first.values())
            time.sleep(_SAMPLE_S)

    def _go_on(self) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("go on\n")
            process.stdin.flush()

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline()


def copied(db: PostgresConnection, records: Sequence[RequestRecord], *, indexed: bool) -> Written:
    """Write the rows by COPY alone, in one transaction, into a table of its own."""
    with_indexes = " INCLUDING INDEXES" if indexed else ""
    db.execute(f"CREATE TABLE bare (LIKE requests INCLUDING DEFAULTS{with_indexes})")
    values = [row.with_facet({row.key: 0}) for row in map(of_record, records)]
    [pid] = db.execute("SELECT pg_backend_pid()").fetchone() or (0,)
    began, cpu, there = time.perf_counter(), time.process_time(), ran_ms(pid)
    with db.transaction():
        db.copy("bare", COPIED, values)
    spent_s, here_s, there_ms = time.perf_counter() - began, time.process_time() - cpu, ran_ms(pid) - there
    db.execute("DROP TABLE bare")
    what = "bare COPY, with the indexes of the ledger" if indexed else "bare COPY, no indexes"
    return Written(what, len(records) / spent_s, here_s / len(records) * 1e6, there_ms / len(records) * 1e3)


def run(number: int, instances: int, per_second: float, scratch: Path) -> list[Written]:
    """Measure all."""
    binaries = programs()
    if binaries is None:
        sys.exit(MISSING)
    server = PostgresServer(binaries, fsync="on", full_page_writes="on", shared_buffers="128MB", max_wal_size="4GB")
    try:
        done = [Instances(str(scratch / "ledger.db"), 1, number, 0).run("SQLite, one instance", None)]
        for what, rate, in_session in (
            (f"{instances} instances, as fast as it goes", 0.0, 0),
            (f"{instances} at a rate, in sessions of {_IN_SESSION}", per_second, _IN_SESSION),
            (f"{instances} at a rate", per_second, 0),
        ):
            url = server.new_database()
            place = PostgresPlace.at(url, scratch / "here")
            asyncio.run(_made(place))
            with closing(PostgresConnection(place)) as db:
                if not rate:
                    done += [copied(db, rows(number, 1), indexed=indexed) for indexed in (False, True)]
                done.append(Instances(url, instances, number, rate, in_session).run(what, db))
        return done
    finally:
        server.stop()


async def _made(place: Place) -> None:
    ledger = LedgerWriter(place)
    await ledger.start()
    await ledger.close()


def main() -> int:
    """Run the program."""
    if sys.argv[1:2] == ["--child"]:
        where, number, seed, per_second, in_session = sys.argv[2:]
        place = PostgresPlace.at(where, Path(tempfile.gettempdir()) / f"arbstr-{seed}") if "://" in where else where
        asyncio.run(write(place, rows(int(number), int(seed), int(in_session)), float(per_second)))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--instances", type=int, default=4)
    parser.add_argument("--per-second", type=float, default=5_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        done = run(options.rows, options.instances, options.per_second, Path(scratch))
    print(f"{'':44}{'rows/s':>9}{'µs here':>9}{'µs there':>10}{'for lock':>10}{'ms behind':>11}")
    for one in done:
        there = "" if one.there_us is None else f"{one.there_us:.0f}"
        waited = "" if one.waited is None else f"{one.waited:.0%}"
        behind = "" if one.behind_ms is None else f"{one.behind_ms:.0f}"
        print(f"{one.what:44}{one.per_second:9,.0f}{one.here_us:9.0f}{there:>10}{waited:>10}{behind:>11}")
    print(f"load of the machine at the end: {', '.join(f'{each:.1f}' for each in os.getloadavg())}")
    steady = done[-1]
    cores = [(us or 0) * options.per_second / 1e6 for us in (steady.here_us, steady.there_us)]
    print(f"{options.per_second:,.0f} rows/s take {cores[0]:.2f} cores here and {cores[1]:.2f} at the server")
    kept = steady.per_second >= options.per_second * 0.9
    print("the rate was kept" if kept else f"{options.per_second:,.0f} rows/s were not kept")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
