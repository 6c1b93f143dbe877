"""What is measured, each started as a process of its own: the instant provider, the bare pass-through, arbstr."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter, sleep

from tests.perf.bench import process, wire
from tests.support.paths import TOP

ROOT = TOP
_START_WITHIN_S = 20.0

_CONFIG = """
[server]
listen = "127.0.0.1:{port}"

[database]
path = "{directory}/ledger.db"

[[providers]]
name = "bench-cheap"
url = "http://127.0.0.1:{upstream}/v1"
api_key = "sk-bench-0123456789abcdef"
models = ["bench-model", "bench-paced", "gpt-4o"]
input_rate = 10
output_rate = 30
base_fee = 1

[[providers]]
name = "bench-dear"
url = "http://localhost:{upstream}/v1"
api_key = "sk-bench-fedcba9876543210"
models = ["bench-model", "bench-paced", "gpt-4o-mini"]
input_rate = 12
output_rate = 40
base_fee = 1

[[providers]]
name = "bench-chat-only"
url = "http://127.0.0.1:{upstream}/v1"
models = ["bench-translated"]
input_rate = 10
output_rate = 30
dialects = ["chat"]

[[policies.rules]]
name = "code_generation"
allowed_models = ["bench-model", "bench-paced", "gpt-4o"]
strategy = "lowest_cost"
max_sats_per_1k_output = 50
keywords = ["code", "function", "implement"]

[[policies.rules]]
name = "small_talk"
strategy = "cheapest"
keywords = ["weather", "holiday"]
"""


class TargetFailed(Exception):
    """A target did not start, or gives wrong answers; the text says which and why."""


@dataclass(frozen=True)
class Target:
    """A server that answers on `port`. `pid` is the process whose CPU and memory count; the provider has none that do.

    `start_s` is from its start to its first whole answer, in seconds.
    """

    name: str
    port: int
    pid: int | None = None
    start_s: float | None = None


@contextmanager
def direct(cores: list[int], processes: int) -> Iterator[Target]:
    """The instant provider: so many processes behind one listening socket."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        port = listening.getsockname()[1]
        descriptor = listening.fileno()
        command = [sys.executable, "-m", "tests.perf.bench.upstream", str(descriptor)]
        running = [_start(command, cores, pass_fds=(descriptor,)) for _ in range(processes)]
        try:
            _first_answer("the provider", running[0], port)
            yield Target("direct", port)
        finally:
            for one in running:
                _stop(one)


@contextmanager
def bare(upstream: Target, cores: list[int]) -> Iterator[Target]:
    """The pass-through before the provider."""
    port = _free_port()
    url = f"http://127.0.0.1:{upstream.port}{wire.PATH}"
    with _measured("bare", [sys.executable, "-m", "tests.perf.bench.bare", str(port), url], port, cores) as target:
        yield target


@contextmanager
def arbstr(upstream: Target, cores: list[int], directory: Path) -> Iterator[Target]:
    """arbstr as people run it: two providers, two rules, ledger and log on, all else by default."""
    port = _free_port()
    config = directory / "config.toml"
    config.write_text(_CONFIG.format(port=port, directory=directory.as_posix(), upstream=upstream.port))
    config.chmod(0o600)
    program = Path(sys.executable).with_name("arbstr")
    command = [str(program)] if program.exists() else [sys.executable, "-m", "arbstr"]
    with _measured("arbstr", [*command, "serve", "-c", str(config)], port, cores) as target:
        yield target


@contextmanager
def _measured(name: str, command: list[str], port: int, cores: list[int]) -> Iterator[Target]:
    began = perf_counter()
    running = _start(command, cores)
    try:
        _first_answer(name, running, port)
        yield Target(name, port, running.pid, perf_counter() - began)
    finally:
        _stop(running)


def _start(command: list[str], cores: list[int], pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    running = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=pass_fds
    )
    process.pin(running.pid, cores)
    return running


def _stop(running: subprocess.Popen[bytes]) -> None:
    running.terminate()
    try:
        running.wait(10)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()


def _first_answer(name: str, running: subprocess.Popen[bytes], port: int) -> None:
    """Return once a question is answered as it should be."""
    deadline = monotonic() + _START_WITHIN_S
    while monotonic() < deadline:
        if running.poll() is not None:
            raise TargetFailed(f"{name} ended at once, with status {running.returncode}")
        try:
            status, body = _ask(port)
        except OSError:
            sleep(0.005)
            continue
        if status == 200 and wire.is_whole_answer(body):
            return
        raise TargetFailed(f"{name} answered {status}: {body[:300].decode(errors='replace')}")
    raise TargetFailed(f"{name} did not answer within {_START_WITHIN_S:g} s")


def _ask(port: int) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", wire.PATH, wire.request_body("json"), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise TargetFailed(f"port {port} does not speak HTTP: {error!r}") from error
    finally:
        connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
