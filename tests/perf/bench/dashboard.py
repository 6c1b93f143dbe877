"""What the dashboard costs the proxy: the same load with it off, and on with every screen in front, in turns.

    python -m tests.perf.bench.dashboard [--rounds N] [--seconds S] [--views NAME ...] [--quick]

Both run as processes of their own on one core, the dashboard in a pseudo-terminal of 160x50 that is read all the time;
load and provider run on the others. Each view is measured right after a headless run, and what it adds is the median of
the differences of such pairs: other programs share the machine. Where they are many, put `chrt --fifo 50` before the
command, which all its processes inherit. How late the proxy's loop was is measured in that loop itself.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.perf.bench import process, targets
from tests.perf.bench.load import Job
from tests.perf.bench.proxy import Cores, measure_once

# The keys that lead to each, from wherever; a screen's key closes what lies over another.
VIEWS = {
    "live": "1",
    "requests": "2",
    "detail": "2j\r",
    "copy menu": "2jy",
    "providers": "3",
    "money": "4",
    "log": "5",
    "help": "1?",
    "palette": "1\x10",
}
LEAVE = "\x1b"  # what lies over a screen takes its key for its own
PER_SECOND = 300
STALL_S = 6.0


@dataclass
class Watched:
    """A running arbstr, its probe's report, and the terminal it paints on, if any."""

    name: str
    port: int
    pid: int
    report: Path
    master: int | None = None
    reading: threading.Event = field(default_factory=threading.Event)
    seen: bytearray = field(default_factory=bytearray)

    def type(self, keys: str) -> None:
        if self.master is not None:
            os.write(self.master, keys.encode())

    def look_at(self, keys: str) -> None:
        """Press keys, one at a time, after leaving what lies over the screen."""
        for key in LEAVE + keys:
            self.type(key)
            time.sleep(0.3)

    def ask(self) -> dict[str, Any]:
        """The probe's figures since the last time."""
        self.report.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        while not self.report.exists():
            time.sleep(0.005)
        answer: dict[str, Any] = json.loads(self.report.read_text())
        return answer

    def read(self) -> None:
        """Read the terminal for ever, but for when `reading` is not set."""
        assert self.master is not None
        while True:
            self.reading.wait()
            try:
                if select.select([self.master], [], [], 0.1)[0]:
                    self.seen += os.read(self.master, 65536)
                    del self.seen[:-65536]
            except OSError:
                return


@contextmanager
def running(kind: str, upstream: targets.Target, cores: Cores, directory: Path) -> Iterator[Watched]:
    """arbstr, headless or with the dashboard, once it answers."""
    port = targets._free_port()
    config, report = directory / f"{kind}.toml", directory / f"{kind}.json"
    (directory / kind).mkdir()
    place = (directory / kind).as_posix()
    config.write_text(targets._CONFIG.format(port=port, directory=place, upstream=upstream.port))
    config.chmod(0o600)
    command = [sys.executable, "-m", "tests.perf.bench.watched", kind, str(config), str(report)]
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    running_ = subprocess.Popen(
        command, cwd=targets.ROOT, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    )
    os.close(slave)
    process.pin(running_.pid, cores.proxy)
    watched = Watched(kind, port, running_.pid, report, master)
    watched.reading.set()
    threading.Thread(target=watched.read, daemon=True).start()
    try:
        targets._first_answer(kind, running_, port)
        yield watched
    finally:
        running_.terminate()
        running_.wait(20)
        os.close(master)


def percentile(values: list[float], share: float) -> float:
    """Of any values; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


@dataclass
class Sample:
    """One scenario in one round. Times in ms."""

    p50: float
    p99: float
    late_p99: float
    late_max: float
    hold_p50: float
    hold_p99: float
    cpu_ms: float
    errors: int


def steady(watched: Watched, seconds: float) -> Sample:
    """So many requests a second for so long."""
    watched.ask()
    before = process.cpu_s(watched.pid) or 0.0
    command = [sys.executable, "-m", "tests.perf.bench.steady", str(watched.port), str(PER_SECOND), str(seconds)]
    done = subprocess.run(command, cwd=targets.ROOT, stdout=subprocess.PIPE, check=True)
    cpu = (process.cpu_s(watched.pid) or 0.0) - before
    probe, answer = watched.ask(), json.loads(done.stdout)
    latencies, late, holds = answer["latencies_ms"], probe["late_ms"], probe["holds_ms"]
    return Sample(
        percentile(latencies, 0.5),
        percentile(latencies, 0.99),
        percentile(late, 0.99),
        max(late, default=0.0),
        percentile(holds, 0.5),
        percentile(holds, 0.99),
        cpu * 1000 / max(len(latencies), 1),
        answer["errors"],
    )


def main() -> None:
    """The command."""
    options = _options()
    cores = Cores.share_out()
    process.pin(os.getpid(), cores.rest)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arbstr-bench-")))
        upstream = stack.enter_context(targets.direct(cores.rest, 1))
        off = stack.enter_context(running("serve", upstream, cores, directory))
        on = stack.enter_context(running("tui", upstream, cores, directory))
        print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {cores}; load before {os.getloadavg()[0]:.2f}")
        time.sleep(2)
        if not on.ask()["holds_ms"]:
            raise SystemExit("the dashboard paints nothing")
        _steady_table(off, on, options)
        _throughput_table(off, on, options)
        _stall(on, options)
        _idle(off, on)
    _first_paint(cores, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.perf.bench.dashboard", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.5, help="measured, each time")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=list(VIEWS), metavar="NAME", help=", ".join(VIEWS))
    parser.add_argument("--quick", action="store_true", help="one short round")
    if parser.parse_args().quick:
        parser.set_defaults(seconds=2, rounds=1)
    return parser.parse_args()


def _steady_table(off: Watched, on: Watched, options: argparse.Namespace) -> None:
    pairs: dict[str, list[tuple[Sample, Sample]]] = {name: [] for name in options.views}
    for _ in range(options.rounds):
        for name, each in pairs.items():
            headless = steady(off, options.seconds)
            on.look_at(VIEWS[name])
            each.append((headless, steady(on, options.seconds)))
    print(f"\n{PER_SECOND} requests/s, medians of {options.rounds}; ms")
    print(_HEAD)
    print(_row("off", [before for each in pairs.values() for before, _ in each], []))
    for name, each in pairs.items():
        print(_row(name, [after for _, after in each], [after.p99 - before.p99 for before, after in each]))


_HEAD = (
    f"{'':10} {'p50':>7} {'p99':>7} {'added p99':>9} {'late p99':>8} {'latest':>7} {'frame p50':>9} {'p99':>6}"
    f" {'cpu/req':>8}"
)


def _row(name: str, each: list[Sample], added: list[float]) -> str:
    figures = (
        f"{_median(each, 'p50'):7.2f}",
        f"{_median(each, 'p99'):7.2f}",
        f"{median(added):+9.2f}" if added else f"{'':9}",
        f"{_median(each, 'late_p99'):8.2f}",
        f"{_median(each, 'late_max'):7.1f}",
        f"{_median(each, 'hold_p50'):9.2f}",
        f"{_median(each, 'hold_p99'):6.2f}",
        f"{_median(each, 'cpu_ms'):8.3f}",
        "ERRORS" if any(sample.errors for sample in each) else "",
    )
    return f"{name:10} {' '.join(figures)}"


def _median(samples: list[Sample], name: str) -> float:
    values: list[float] = [getattr(sample, name) for sample in samples]
    return median(values)


def _throughput_table(off: Watched, on: Watched, options: argparse.Namespace) -> None:
    on.look_at(VIEWS["live"])
    pairs = [
        [
            measure_once(Job("json", each.port, 64, options.seconds, watch=each.pid)).per_second
            for each in ((off, on) if turn % 2 else (on, off))
        ][:: 1 if turn % 2 else -1]
        for turn in range(options.rounds * 2)
    ]
    off_rate, on_rate = (median(rates) for rates in zip(*pairs, strict=True))
    share = median(with_it / without for without, with_it in pairs)
    print(f"\nthroughput at 64 connections: off {off_rate:,.0f}/s, on {on_rate:,.0f}/s; of pairs {share:.1%}")


def _stall(on: Watched, options: argparse.Namespace) -> None:
    """The terminal stops reading while requests come in and screens are switched."""
    on.ask()
    on.reading.clear()
    command = [sys.executable, "-m", "tests.perf.bench.steady", str(on.port), str(PER_SECOND), str(STALL_S)]
    load = subprocess.Popen(command, cwd=targets.ROOT, stdout=subprocess.DEVNULL)
    until = time.monotonic() + STALL_S
    presses = 0
    while time.monotonic() < until:
        on.type(str(presses % 5 + 1))
        presses += 1
        time.sleep(0.1)
    load.wait()
    late = on.ask()["late_ms"]
    on.reading.set()
    print(f"\na terminal that does not read for {STALL_S:g} s: the loop was {max(late):.0f} ms late at worst")


def _idle(off: Watched, on: Watched) -> None:
    """CPU with nothing going on, beside what the probe alone takes."""
    on.look_at(VIEWS["live"])
    time.sleep(13)  # the rate of requests runs down over ten seconds
    before = [process.cpu_s(each.pid) or 0.0 for each in (off, on)]
    time.sleep(10)
    off_share, on_share = (
        ((process.cpu_s(each.pid) or 0.0) - cpu) * 10 for each, cpu in zip((off, on), before, strict=True)
    )
    print(f"idle: {on_share:.1f} % CPU with the probe, {off_share:.1f} % headless with it")


def _first_paint(cores: Cores, options: argparse.Namespace) -> None:
    """From the start of the process to the first whole screen, compiled as an installed program is."""
    with tempfile.TemporaryDirectory(prefix="arbstr-bench-") as compiled:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled}
        times = []
        for _ in range(max(options.rounds, 3) + 1):
            with tempfile.TemporaryDirectory(prefix="arbstr-bench-") as directory:
                times.append(_paint_once(Path(directory), cores, environment))
    print(f"first paint after {median(times[1:]):.2f} s")


def _paint_once(directory: Path, cores: Cores, environment: dict[str, str]) -> float:
    config = directory / "config.toml"
    config.write_text(targets._CONFIG.format(port=targets._free_port(), directory=directory.as_posix(), upstream=9))
    config.chmod(0o600)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    began = time.perf_counter()
    command = [sys.executable, "-m", "arbstr", "tui", "-c", str(config)]
    running_ = subprocess.Popen(
        command, cwd=targets.ROOT, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    )
    process.pin(running_.pid, cores.proxy)
    seen = b""
    while "▶ live".encode() not in seen:
        seen += os.read(master, 65536)
    took = time.perf_counter() - began
    running_.terminate()
    while running_.poll() is None:
        if select.select([master], [], [], 0.05)[0]:
            os.read(master, 65536)
    os.close(master)
    os.close(slave)
    return took


if __name__ == "__main__":
    main()
