"""Mixed requests at a real arbstr for as long as asked: `python -m tests.soak [REQUESTS] [CONCURRENCY]`.

A tenth of them meets a fault. Prints the process's memory as it goes; at the end every request must have its one row,
none may be open, and nothing may be in flight.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import httpx

from tests.bench.process import resident_mb
from tests.served import Served, chat

CONFIG = """
[[mock.providers]]
name = "mock-a"
models = ["gpt-4o"]
delay_ms = 5
tokens_per_second = 0
[[mock.providers]]
name = "mock-b"
models = ["gpt-4o"]
delay_ms = 5
tokens_per_second = 0
[retry]
backoff = 0.01
[breaker]
open_for = 0.2
max_open_for = 1
[logging]
log_requests = false
"""
FAULTS = ("mock-error-503", "mock-error-400", "mock-refuse", "mock-bad-json", "mock-drop-stream", "mock-cut-stream")
REPORTS = 10


class Soak:
    """Clients that share a number of requests; `ends` counts what came of them."""

    def __init__(self, url: str, total: int) -> None:
        self.left = total
        self.ends: Counter[str] = Counter()
        self._url = url
        self._random = Random(1)

    async def client(self, http: httpx.AsyncClient) -> None:
        while self.left > 0:
            self.left -= 1
            fault = self._random.random() < 0.1
            model = self._random.choice(FAULTS) if fault else "gpt-4o"
            asked = chat(model, stream=self._random.random() < 0.5)
            try:
                answer = await http.post(f"{self._url}/v1/chat/completions", json=asked)
                self.ends[str(answer.status_code)] += 1
            except httpx.TransportError as error:
                self.ends[type(error).__name__] += 1


async def load(arbstr: Served, total: int, concurrency: int) -> Soak:
    soak = Soak(arbstr.url, total)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(timeout=60, limits=limits) as http:
        clients = [asyncio.create_task(soak.client(http)) for _ in range(concurrency)]
        everyone = asyncio.gather(*clients)
        due = total
        while not everyone.done():
            if soak.left <= due:
                print(f"{total - soak.left:>8} asked  {resident_mb(arbstr.process.pid):6.1f} MB", flush=True)
                due -= total // REPORTS
            await asyncio.wait([everyone], timeout=0.05)
        await everyone
    print(f"{total:>8} done   {resident_mb(arbstr.process.pid):6.1f} MB")
    return soak


def leftovers(path: Path) -> tuple[int, int, int]:
    """Rows, requests among them, open rows."""
    with closing(sqlite3.connect(path)) as db:
        sql = "SELECT COUNT(*), COUNT(DISTINCT correlation_id), SUM(open <> 0) FROM requests"
        rows, requests, still_open = db.execute(sql).fetchone()
    return rows, requests, still_open


def main(total: int = 50_000, concurrency: int = 100) -> int:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        (home / "config.toml").write_text(CONFIG)
        env = {"DATABASE_URL": str(home / "arbstr.db"), "ARBSTR_LOG": "error,arbstr.runtime=info"}
        with Served(home, "-c", "config.toml", "--mock", env=env) as arbstr:
            began = time.monotonic()
            soak = asyncio.run(load(arbstr, total, concurrency))
            print(f"{total / (time.monotonic() - began):.0f} requests/s; ends: {dict(soak.ends)}")
            in_flight = {name: one["in_flight"] for name, one in arbstr.get("/health")["providers"].items()}
            status = arbstr.stop()
        found = leftovers(home / "arbstr.db")
    print(f"rows, requests, open rows: {found}; in flight at the end: {in_flight}; exit status {status}")
    return int(found != (total, total, 0) or any(in_flight.values()) or status != 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
