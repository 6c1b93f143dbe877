"""What a market of ten Routstr nodes with 340 models each takes: `python -m tests.perf.bench.market`.

Prints how soon an arbstr answers that has their lists from its last run, its memory once it has read them again, how
much of the loop's time one list takes, and how long choosing among the ten nodes takes; it fails when one of them is
beyond its limit. The best of several starts counts: other programs only make them slower.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from arbstr.config.schema import Config, Provider
from arbstr.engine.node_funds import NodeFunds
from arbstr.engine.routing.router import Router
from arbstr.market.model_lists import read_priced
from arbstr.redaction import Secret
from arbstr.types import Balance
from tests.perf.bench import process
from tests.perf.bench.routing import requests_of
from tests.support.patience import PATIENCE_S

NODES = 10
MODELS = 340
STARTS = 5
READS = 4  # of each list before memory is looked at
REQUESTS = 2000
ROUNDS = 7
START_S, MEMORY_MB, CHOICE_US = 0.6, 90.0, 30.0

_BALANCE = {"balance": 1_000_000, "reserved": 0, "total_spent": 0, "total_requests": 0}


def listed(node: int) -> dict[str, Any]:
    """Return a node's list, some 1.1 KB a model."""
    return {"data": [_model(node, number) for number in range(MODELS)]}


def _model(node: int, number: int) -> dict[str, Any]:
    prompt, completion = (1 + number % 7) * (1 + node / 20) * 1e-4, (1 + number % 5) * (1 + node / 20) * 4e-4
    prices = {"prompt": prompt, "completion": completion, "request": 0.001, "image": 0.0, "web_search": 0.0}
    costs = {"max_prompt_cost": 128_000 * prompt, "max_completion_cost": 16_384 * completion}
    most = {"max_cost": 128_000 * prompt + 16_384 * completion, "input_cache_read": prompt / 10}
    return {
        "id": f"model-{number}",
        "name": f"Vendor: Model {number}",
        "description": "word " * 80,
        "context_length": 128_000,
        "pricing": {name: price / 1000 for name, price in prices.items()},
        "sats_pricing": {**prices, **costs, **most},
        "top_provider": {"context_length": 128_000, "max_completion_tokens": 16_384, "is_moderated": False},
        "enabled": True,
        "canonical_slug": f"vendor/model-{number}-2025-01-01",
        "alias_ids": [f"vendor/model-{number}", f"model-{number}-latest"],
    }


@contextmanager
def nodes() -> Iterator[tuple[int, Counter[str]]]:
    """Serve the nodes, each below a path of its own; the port, and how often each list was read."""
    reads = Counter[str]()
    lists = [json.dumps(listed(node)).encode() for node in range(NODES)]

    class Served(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, node, path = self.path.split("/", 2)
            others: dict[str, Any] = {"v1/info": {"version": "0.4.5"}, "v1/balance/info": _BALANCE}
            reads[node] += path == "v1/models"
            body = lists[int(node)] if path == "v1/models" else json.dumps(others[path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # an arbstr that ends asks for no more
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Served) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], reads
        server.shutdown()


def _write_config(directory: Path, port: int) -> None:
    tables = (
        f'[[providers]]\nname = "node-{node}"\nurl = "http://127.0.0.1:{port}/{node}/v1"\nkind = "routstr"\n'
        f'api_key = "sk-{node:064x}"\nrefresh = 2\n'
        for node in range(NODES)
    )
    config = directory / "config.toml"
    config.write_text('[server]\nlisten = "127.0.0.1:0"\n' + "".join(tables))
    config.chmod(0o600)


@contextmanager
def running(directory: Path) -> Iterator[tuple[str, int]]:
    """An arbstr; its URL once it listens, and its process."""
    program = Path(sys.executable).with_name("arbstr")
    with (directory / "log").open("w") as log:
        arbstr = subprocess.Popen([program, "serve", "-c", "config.toml"], cwd=directory, stderr=log)
        try:
            until = time.monotonic() + PATIENCE_S
            while "base URL for clients: " not in (said := (directory / "log").read_text()):
                assert time.monotonic() < until, said
                time.sleep(0.002)
            yield said.partition("base URL for clients: ")[2].partition("/v1")[0], arbstr.pid
        finally:
            arbstr.terminate()
            arbstr.wait(20)


def _models(url: str) -> int:
    with urllib.request.urlopen(f"{url}/v1/models", timeout=PATIENCE_S) as answer:
        return sum(len(model["arbstr"]["providers"]) == NODES for model in json.load(answer)["data"])


def measure_start(directory: Path) -> tuple[float, float]:
    """Return the seconds until all models are served, by the lists of the run before, and those of CPU time."""
    began = time.perf_counter()
    with running(directory) as (url, pid):
        found = _models(url)
        took, cpu = time.perf_counter() - began, process.cpu_s(pid) or float("nan")
    assert found == MODELS, f"{found} models"
    return took, cpu


def measure_memory(directory: Path, reads: Counter[str]) -> float | None:
    """Return the resident memory in MB once all lists have been read, and read again."""
    with running(directory) as (url, pid):
        until = time.monotonic() + PATIENCE_S
        while _models(url) < MODELS or min(reads.values()) < READS:
            assert time.monotonic() < until, "the lists were not read"
            time.sleep(0.1)
        return process.resident_mb(pid)


def measure_choice() -> tuple[float, float]:
    """Return the microseconds of a choice among the nodes, balances counted; and the milliseconds to learn a list."""
    providers = tuple(
        Provider(name=f"node-{node}", url=f"http://127.0.0.1:1/{node}/v1", kind="routstr", api_key=Secret("sk-bench"))
        for node in range(NODES)
    )
    funds = {provider.name: NodeFunds(time.monotonic) for provider in providers}
    router = Router(Config(providers=providers), clock=time.monotonic, random=lambda: 0.5, funds=funds)
    learning = []
    for node, provider in enumerate(providers):
        document = json.dumps(listed(node))
        began = time.process_time()
        router.names.learn(provider, read_priced(json.loads(document), str.isprintable))
        learning.append(time.process_time() - began)
        funds[provider.name].learn(Balance("known", 1_000_000, 0, 0, 0, 1), funds[provider.name].begin_reading())
    batch = [replace(one, model=f"model-{number % MODELS}") for number, one in enumerate(requests_of(REQUESTS))]
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for one in batch:
            router.route(one).candidates[0]
        best = min(best, time.process_time() - began)
    return best / REQUESTS * 1e6, statistics.median(learning) * 1000


def main() -> int:
    """The command."""
    choice_us, learn_ms = measure_choice()
    with nodes() as (port, reads), TemporaryDirectory() as place:
        directory = Path(place)
        _write_config(directory, port)
        memory_mb = measure_memory(directory, reads)
        starts = [measure_start(directory) for _ in range(STARTS)]
    print(f"{NODES} nodes of {MODELS} models")
    start_s, cpu_s = map(min, zip(*starts, strict=True))
    print(f"start    {start_s:.2f} s, {cpu_s:.2f} s of CPU time (at most {START_S})")
    print(f"memory   {memory_mb or float('nan'):.0f} MB (at most {MEMORY_MB:.0f})")
    print(f"choice   {choice_us:.1f} µs (at most {CHOICE_US:.0f}); a list takes {learn_ms:.1f} ms of the loop")
    return int(start_s > START_S or (memory_mb or 0) > MEMORY_MB or choice_us > CHOICE_US)


if __name__ == "__main__":
    sys.exit(main())
