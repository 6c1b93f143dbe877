"""For how long each screen holds the proxy's loop at once, under load, in CPU time of the loop's thread.

    python -m tests.perf.bench.holds [--seconds S] [--views NAME ...] [--keys]

What a request waits for the dashboard at most is the longest of these holds. Unlike latencies they are the same on a
machine that other programs share, but for caches that they fill. The loop is asyncio's own, whose callbacks can be
measured one by one. `in` is what was running: a screen's paint is in `RefreshLoop.run`, Textual's part of a frame in a
`_process_messages_loop`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.perf.bench import targets
from tests.perf.bench.dashboard import PER_SECOND, VIEWS, Watched, percentile, running
from tests.perf.bench.load import Job
from tests.perf.bench.proxy import Cores, measure_once

KEYS_EVERY_S = 0.1
_OF_DASHBOARD = ("Worker._run", "Timer._run_timer", "App.run_async", "MessagePump._process_messages")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser("python -m tests.perf.bench.holds", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8, help="measured, each time")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=list(VIEWS), metavar="NAME", help=", ".join(VIEWS))
    parser.add_argument("--keys", action="store_true", help="press keys meanwhile: next rows")
    options = parser.parse_args()
    cores = Cores.share_out()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arbstr-bench-")))
        upstream = stack.enter_context(targets.direct(cores.rest, 1))
        watched = stack.enter_context(running("tui-held", upstream, cores, directory))
        time.sleep(2)
        _load(watched, 2)
        print(f"{PER_SECOND} requests/s; CPU ms for which the loop was held at once\n")
        print(f"{'':10} {'p50':>6} {'p99':>6} {'longest':>8}  in")
        for name in options.views:
            watched.look_at(VIEWS[name])
            watched.ask()
            _load(watched, options.seconds, "j" if options.keys else "")
            print(_row(name, watched))
        print(f"\n64 connections, live: {_share(watched, options.seconds):.1%} of the loop's CPU is the dashboard's")


def _share(watched: Watched, seconds: float) -> float:
    """What applying events, painting and Textual take of the loop, where nothing else is left to be taken."""
    watched.look_at(VIEWS["live"])
    watched.ask()
    measure_once(Job("json", watched.port, 64, seconds))
    sums: dict[str, float] = watched.ask()["sums_ms"]
    probe = sum(took for name, took in sums.items() if name.startswith("Probe."))
    spent = sum(sums.get(name, 0.0) for name in _OF_DASHBOARD)
    return spent / (sum(sums.values()) - probe)


def _load(watched: Watched, seconds: float, keys: str = "") -> None:
    command = [sys.executable, "-m", "tests.perf.bench.steady", str(watched.port), str(PER_SECOND), str(seconds)]
    load = subprocess.Popen(command, cwd=targets.ROOT, stdout=subprocess.DEVNULL)
    while load.poll() is None:
        watched.type(keys)
        time.sleep(KEYS_EVERY_S)


def _row(name: str, watched: Watched) -> str:
    probe = watched.ask()
    held, longest = probe["held_ms"], probe["longest_ms"]
    by_length = sorted(longest, key=longest.__getitem__, reverse=True)[:5]
    worst = ", ".join(f"{each} {longest[each]:.1f}" for each in by_length)
    return f"{name:10} {percentile(held, 0.5):6.2f} {percentile(held, 0.99):6.2f} {max(held, default=0):8.2f}  {worst}"


if __name__ == "__main__":
    main()
