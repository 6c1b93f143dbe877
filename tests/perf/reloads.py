"""100 reloads under 500 requests a second, mixed answers and streams: whether anything is lost.

    python -m tests.perf.reloads [REQUESTS_A_SECOND] [RELOADS]

Each reload swaps the providers, their rates, the rules and the token of the metrics. The exit status is 1 if a request
failed, a stream had no proper end, or the ledger lacks a row. Where the machine can't keep up, fewer are asked.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp

from arbstr.config.schema import Config, Mock, MockProvider
from arbstr.mock import FakeFleet
from tests.perf.bench.process import resident_mb
from tests.support.patience import PATIENCE_S
from tests.support.serve_process import ServeProcess, chat

EVERY_S = 0.3  # between reloads
MOST_AT_A_TIME = 200
_PROVIDER = '[[providers]]\nname = "{}"\nurl = "{}"\napi_key = "key"\nmodels = ["gpt-4o"]\ninput_rate = {}\n'


class Load:
    """Requests at a steady rate, every other one a stream; `outcomes` counts how they ended.

    Where `MOST_AT_A_TIME` are under way some are left out: what an overloaded machine refuses says nothing of reloads.
    """

    def __init__(self, url: str, per_second: float) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._per_second = per_second
        self.outcomes: Counter[str] = Counter()
        self.times_ms: list[float] = []
        self.ended = asyncio.Event()
        self._under_way = 0

    async def run(self) -> None:
        """Ask until `ended` is set, and wait for what is under way."""
        began, asked = time.perf_counter(), 0
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
            asyncio.TaskGroup() as all_,
        ):
            while not self.ended.is_set():
                due = int((time.perf_counter() - began) * self._per_second)
                for number in range(asked, min(due, asked + MOST_AT_A_TIME - self._under_way)):
                    self._under_way += 1
                    all_.create_task(self._ask(session, streams=number % 2 == 0))
                asked = max(asked, due)
                await asyncio.sleep(0.002)

    async def _ask(self, session: aiohttp.ClientSession, *, streams: bool) -> None:
        began = time.perf_counter()
        try:
            async with session.post(self._url, json=chat(stream=streams)) as response:
                text = await response.text()
            complete = '"arbstr":{' in text and text.endswith("data: [DONE]\n\n") if streams else bool(json.loads(text))
            outcome = f"{response.status}" if complete else f"{response.status}, {text[-200:]}"
        except (aiohttp.ClientError, ValueError) as error:
            outcome = type(error).__name__
        self._under_way -= 1
        self.outcomes[outcome] += 1
        self.times_ms.append((time.perf_counter() - began) * 1000)


def text(number: int, urls: list[str]) -> str:
    """One of many configurations: which providers there are, what they ask, which rule and token."""
    one, other = (_PROVIDER.format(f"p{i}", url, 1 + (number + i) % 3) for i, url in enumerate(urls))
    providers = (one, other, one + other)[number % 3]
    return (
        f'[server]\nmetrics_token = "metrics-token-{number}"\n[logging]\nlog_requests = false\n{providers}'
        f'[[policies.rules]]\nname = "rule-{number}"\nkeywords = ["hi"]\n'
    )


@asynccontextmanager
async def fakes() -> AsyncIterator[list[str]]:
    """Two fake providers; their URLs."""
    quick = [MockProvider(name=name, models=("gpt-4o",), delay_ms=5, tokens_per_second=0) for name in ("a", "b")]
    async with FakeFleet(Config(mock=Mock(providers=tuple(quick)))) as fleet:
        yield [provider.url for provider in fleet.config.providers]


async def reload(arbstr: ServeProcess, path: Path, number: int, urls: list[str]) -> None:
    """Put another configuration there, and wait until it is in force."""
    path.with_suffix(".new").write_text(text(number, urls))
    path.with_suffix(".new").replace(path)
    arbstr.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(PATIENCE_S):
        while arbstr.stderr.count("configuration reloaded") < number:  # noqa: ASYNC110 - a process, not a task
            await asyncio.sleep(0.01)
    await asyncio.sleep(EVERY_S)


async def run(home: Path, per_second: float, reloads: int) -> list[str]:
    """Run the load; return what was wrong."""
    path = home / "config.toml"
    async with fakes() as urls:
        path.write_text(text(0, urls))
        starting = ServeProcess(home, "-c", str(path), forked=False)
        with await asyncio.to_thread(starting.__enter__) as arbstr:
            load = Load(arbstr.url, per_second)
            asking = asyncio.create_task(load.run())
            await asyncio.sleep(1)
            began, before = time.perf_counter(), len(load.times_ms)
            before_mb = resident_mb(arbstr.process.pid) or 0
            for number in range(1, reloads + 1):
                await reload(arbstr, path, number, urls)
            rate = (len(load.times_ms) - before) / (time.perf_counter() - began)
            after_mb = resident_mb(arbstr.process.pid) or 0
            load.ended.set()
            await asking
            status = await asyncio.to_thread(arbstr.stop)
    times = sorted(load.times_ms)
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    print(f"{len(times)} requests, {rate:.0f}/s, {reloads} reloads")
    print(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {times[-1]:.0f} ms")
    print(f"memory {before_mb:.1f} MB before, {after_mb:.1f} MB after; outcomes {dict(load.outcomes)}")
    return [*faults(load, home / "arbstr.db"), *([f"it ended with {status}"] if status else [])]


def faults(load: Load, ledger: Path) -> list[str]:
    """What was lost: answers, or rows of the ledger."""
    wrong = [f"{count} requests ended so: {how}" for how, count in load.outcomes.items() if how != "200"]
    with closing(sqlite3.connect(ledger)) as db:
        sql = "SELECT COUNT(DISTINCT correlation_id), COALESCE(SUM(success), 0), COUNT(DISTINCT provider) FROM requests"
        rows, successes, providers = db.execute(sql).fetchone()
    if not rows == successes == len(load.times_ms):
        wrong.append(f"{rows} rows, {successes} of them successes, for {len(load.times_ms)} requests")
    return wrong if providers == 2 else [*wrong, f"{providers} providers served"]


def main() -> int:
    """Run the program."""
    per_second, reloads = (*map(float, sys.argv[1:]), *(500.0, 100.0)[len(sys.argv) - 1 :])
    with tempfile.TemporaryDirectory(prefix="arbstr-reloads-") as home:
        wrong = asyncio.run(run(Path(home), per_second, int(reloads)))
    print("\n".join(wrong) or "nothing was lost")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
