"""Runs a soak: prints memory as it goes, then what was wrong; the exit status says whether anything was."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import aiohttp

from tests.perf.bench.process import resident_mb
from tests.perf.soak.clients import Clients
from tests.perf.soak.verdict import faults_of_clients, faults_of_ledger, sockets_and_files
from tests.support.serve_process import ServeProcess

SELLER = '[[mock.providers]]\nname = "{}"\nmodels = ["{}"]\ninput_rate = {}\ndelay_ms = 5\ntokens_per_second = 0\n'
# The bad one is cheapest, so that it is asked first for what only it does badly; it has nothing else to sell.
SELLERS = SELLER.format("a", "gpt-4o", 2) + SELLER.format("b", "gpt-4o", 2) + SELLER.format("bad", "nothing", 1)
CONFIG = f"""{SELLERS}
[server]
max_request_mb = 0.5
[retry]
backoff = 0.01
[breaker]
open_for = 0.2
max_open_for = 1
[logging]
log_requests = false
"""
REPORTS = 20
KEPT_S = 75.0  # so long may the pool of connections to providers keep idle ones
FLAT = 1.1  # what memory may grow by after warm-up


async def load(arbstr: ServeProcess, total: int, concurrency: int) -> tuple[Clients, list[float]]:
    """Everything that the clients saw, and memory in MB from the beginning to the end."""
    clients = Clients(f"{arbstr.url}/v1/chat/completions", total)
    curve: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        crowd = asyncio.gather(*(clients.client(session) for _ in range(concurrency)))
        while not crowd.done():
            if total - clients.left >= len(curve) * total / REPORTS:
                curve.append(resident_mb(arbstr.process.pid) or 0)
                print(f"{total - clients.left:>8} asked  {curve[-1]:6.1f} MB", flush=True)
            await asyncio.wait([crowd], timeout=0.05)
        await crowd
    return clients, curve


def left_over(arbstr: ServeProcess, before: Counter[str]) -> list[str]:
    """Sockets and files that were not there before, once idle connections are given up; requests in flight."""
    deadline = time.monotonic() + KEPT_S
    while (more := sockets_and_files(arbstr.process.pid) - before) and time.monotonic() < deadline:
        time.sleep(1)
    in_flight = {name: one["in_flight"] for name, one in arbstr.get("/health")["providers"].items()}
    found = (
        [f"{count} more of {kind}" for kind, count in (sockets_and_files(arbstr.process.pid) - before).items()]
        if more
        else []
    )
    return found + [f"{count} in flight at {name}" for name, count in in_flight.items() if count]


def growth(curve: list[float]) -> list[str]:
    """Whether memory was not flat after the first third."""
    warm = curve[len(curve) // 3]
    return [f"memory grew from {warm:.1f} to {max(curve):.1f} MB"] if max(curve) > warm * FLAT else []


def soak(home: Path, total: int, concurrency: int) -> list[str]:
    """Run it; returns what was wrong."""
    (home / "config.toml").write_text(CONFIG)
    (temporary := home / "tmp").mkdir()
    ledger = home / "arbstr.db"
    env = {"DATABASE_URL": str(ledger), "ARBSTR_LOG": "error,arbstr.runtime.compose=info", "TMPDIR": str(temporary)}
    with ServeProcess(home, "-c", "config.toml", "--mock", env=env, forked=False) as arbstr:
        arbstr.get("/v1/stats")  # opens what reading the ledger takes
        before = sockets_and_files(arbstr.process.pid)
        began = time.monotonic()
        clients, curve = asyncio.run(load(arbstr, total, concurrency))
        print(f"{total / (time.monotonic() - began):.0f} requests/s; open before: {dict(before)}", flush=True)
        print("seen:", dict(Counter(f"{each.kind} {each.status}" for each in clients.seen)), flush=True)
        wrong = faults_of_clients(clients.seen) + growth(curve) + left_over(arbstr, before)
        status = arbstr.stop()
        wrong += [f"exit status {status}"] if status else []
        wrong += [line for line in arbstr.stderr.splitlines() if "listens on" not in line]
    wrong += faults_of_ledger(ledger, clients.seen)
    return wrong + [f"{path} is left over" for path in temporary.iterdir()]


def main(total: int = 50_000, concurrency: int = 100) -> int:
    """The command."""
    with tempfile.TemporaryDirectory() as directory:
        wrong = soak(Path(directory), total, concurrency)
    print("\n".join(wrong[:40]) or "nothing wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
