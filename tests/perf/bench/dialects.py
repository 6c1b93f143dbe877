"""What each dialect costs arbstr beside chat: `python -m tests.perf.bench.dialects`. CPU per answer, in turns."""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.perf.bench import process, spoken, targets, wire
from tests.perf.bench.load import Job
from tests.perf.bench.proxy import Cores, measure_once

_KINDS: tuple[wire.Kind, ...] = ("json", "stream")


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        "python -m tests.perf.bench.dialects", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="measured, each time")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--dialect", nargs="+", default=list(spoken.ALL), choices=list(spoken.ALL))
    options = parser.parse_args(arguments)
    cores = Cores.share_out()
    process.pin(os.getpid(), cores.rest)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arbstr-bench-")))
        upstream = stack.enter_context(targets.direct(cores.rest, max(1, len(cores.rest) - 1)))
        target = stack.enter_context(targets.arbstr(upstream, cores.proxy, directory))
        for kind in _KINDS:
            names = [name for name in dict.fromkeys(["chat", *options.dialect]) if kind == "json" or _streams(name)]
            _print(kind, _measure(kind, names, target, options))


def _streams(name: str) -> bool:
    return bool(spoken.ALL[name].events)


def _measure(
    kind: wire.Kind, names: list[str], target: targets.Target, options: argparse.Namespace
) -> dict[str, list[float]]:
    """CPU in ms by dialect, of each round. Raises ValueError for wrong answers."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            sample = measure_once(
                Job(kind, target.port, options.connections, options.seconds, watch=target.pid, dialect=name)
            )
            if sample.errors:
                raise ValueError(f"{name}: {sample.first_error}")
            found[name].append(sample.cpu_ms or 0.0)
    return found


def _print(kind: wire.Kind, found: dict[str, list[float]]) -> None:
    base = median(found["chat"])
    print(f"\n### {'Whole answers' if kind == 'json' else 'Instant streams'}: CPU ms each, of chat")
    for name, times in found.items():
        print(f"{name:24} {median(times):.3f}  {median(times) / base:.2f}")


if __name__ == "__main__":
    main()
