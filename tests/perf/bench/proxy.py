"""What arbstr costs: measured beside its provider asked directly and a bare pass-through, in turns, on this machine.

Every target is a process of its own, the proxies pinned to one core, load and provider to the others. Rounds
interleave the targets, so that whatever else the machine does hits all alike; medians over the rounds are shown.
No time is asserted: the figures are for people to compare, ratios and CPU time before requests per second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.perf.bench import process, report, targets, wire
from tests.perf.bench.load import Job, Sample
from tests.perf.bench.report import Measured
from tests.perf.bench.targets import Target, TargetFailed


@dataclass(frozen=True)
class Cores:
    """Which cores the proxies run on, and which load and provider; both empty where nothing can be pinned."""

    proxy: list[int]
    rest: list[int]

    @classmethod
    def share_out(cls) -> Cores:
        """One for the proxies, the others for what is around them."""
        usable = process.cores()
        return cls(usable[-1:], usable[:-1]) if len(usable) > 1 else cls([], [])

    def __str__(self) -> str:
        if not self.proxy:
            return "nothing pinned: figures vary more"
        return f"proxies pinned to core {self.proxy[0]}, load and provider to {', '.join(map(str, self.rest))}"


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    options = _options(arguments)
    cores = Cores.share_out()
    machine = _machine(cores, options)
    process.pin(os.getpid(), cores.rest)
    with _running(options.targets, cores) as running:
        measured = _measure(running, options)
        memory = {target.name: process.resident_mb(target.pid) for target in running if target.pid}
    print(report.markdown(machine, measured, running, memory))
    if options.json:
        document = {
            "machine": machine,
            "measured": [asdict(each) for each in measured],
            "memory_mb": memory,
        }
        options.json.write_text(json.dumps(document, indent=1))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.perf.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.8, help="measured, each time")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64, 256], help="for whole answers")
    parser.add_argument("--stream-connections", type=int, nargs="+", default=[1, 16, 64], help="for streams")
    parser.add_argument(
        "--only", choices=["json", "stream", "paced"], help="whole answers, instant streams, paced ones"
    )
    parser.add_argument("--targets", nargs="+", default=["bare", "arbstr"], choices=["bare", "arbstr"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="every sample, for other programs")
    parser.add_argument("--quick", action="store_true", help="half a minute: fewer rounds, shorter, fewer connections")
    if parser.parse_args(arguments).quick:
        parser.set_defaults(seconds=0.5, rounds=2, connections=[1, 16, 64], stream_connections=[1, 16])
    return parser.parse_args(arguments)


@contextmanager
def _running(wanted: list[str], cores: Cores) -> Iterator[list[Target]]:
    """The provider and the wanted targets; one that fails to start is left out, with a message."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arbstr-bench-")))
        upstream = stack.enter_context(targets.direct(cores.rest, max(1, len(cores.rest) - 1)))
        running = [upstream]
        if "bare" in wanted:
            running.append(stack.enter_context(targets.bare(upstream, cores.proxy)))
        if "arbstr" in wanted:
            try:
                running.append(stack.enter_context(targets.arbstr(upstream, cores.proxy, directory)))
            except TargetFailed as failure:
                print(f"left out: {failure}", file=sys.stderr)
        yield running


def _measure(running: list[Target], options: argparse.Namespace) -> list[Measured]:
    """All samples: round by round, scenario by scenario, the targets in turns."""
    scenarios: list[tuple[wire.Kind, int]] = [
        *(("json", number) for number in options.connections),
        *(("stream", number) for number in options.stream_connections),
        ("paced", 64),
    ]
    measured = []
    for number in range(options.rounds):
        for kind, connections in scenarios:
            if options.only not in (None, kind):
                continue
            for target in running:
                _progress(f"round {number + 1}/{options.rounds}: {kind}, {connections} connections, {target.name}")
                job = Job(kind, target.port, connections, options.seconds, watch=target.pid)
                measured.append(Measured(target.name, measure_once(job)))
    _progress("")
    return measured


def measure_once(job: Job) -> Sample:
    """One run of the load against one target, in a process of its own."""
    command = [sys.executable, "-m", "tests.perf.bench.load", json.dumps(asdict(job))]
    done = subprocess.run(command, cwd=targets.ROOT, stdout=subprocess.PIPE, check=True)
    return Sample(**json.loads(done.stdout))


def _machine(cores: Cores, options: argparse.Namespace) -> str:
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {cores}. "
        f"Medians of {options.rounds} rounds of {options.seconds:g} s each, targets in turns. "
        f"Load average before: {os.getloadavg()[0]:.2f}. Each connection asks again as soon as it is "
        "answered, so that beyond one connection latencies show the queue; a proxy adds what the row of 1 says."
    )


def _progress(text: str) -> None:
    """What is being measured, on one line of the terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
