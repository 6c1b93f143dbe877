"""arbstr with a probe in its loop: `python -m tests.perf.bench.watched serve|tui|tui-held CONFIG REPORT`.

On SIGUSR1 it writes to REPORT how late the loop was since the last time, and for how long painting held it, in
milliseconds, and starts over. `tui-held` also says what held the loop, and for how long, in CPU time: other programs on
the machine make that no longer.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

TICK_S = 0.002
LEAST_HOLD_MS = 0.5  # shorter ones are taken for one another


class Holds:
    """What held the loop: the longest CPU time of a callback or a task's step by its name, the sums, all long ones."""

    def __init__(self) -> None:
        self.longest_ms: dict[str, float] = {}
        self.sums_ms: dict[str, float] = {}
        self.all_ms: list[float] = []
        self._collecting_since = 0.0

    def install(self) -> None:
        """Measure all callbacks of loops in plain Python."""
        run = asyncio.Handle._run

        def measured(handle: Any) -> None:
            began = thread_time()
            run(handle)
            took_ms = (thread_time() - began) * 1000
            name = _name(handle._callback)
            self.sums_ms[name] = self.sums_ms.get(name, 0.0) + took_ms
            if took_ms >= LEAST_HOLD_MS:
                self.longest_ms[name] = max(self.longest_ms.get(name, 0.0), took_ms)
                self.all_ms.append(took_ms)

        gc.callbacks.append(self._collected)
        asyncio.Handle._run = measured  # type: ignore[assignment,method-assign]  # what runs a callback

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        now = thread_time()
        if phase == "stop":
            name = f"a collection of generation {info['generation']}"
            self.longest_ms[name] = max(self.longest_ms.get(name, 0.0), (now - self._collecting_since) * 1000)
        self._collecting_since = now

    def clear(self) -> None:
        self.longest_ms, self.sums_ms, self.all_ms = {}, {}, []


def _name(callback: Any) -> str:
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return str(getattr(task.get_coro(), "__qualname__", task.get_name()))
    return str(getattr(callback, "__qualname__", callback))


class Probe:
    """Sleeps again and again and notes how late it was woken."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._late_ms: list[float] = []
        self.frame_budget: Any = None
        self.holds = Holds()

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.tell)
        while True:
            began = perf_counter()
            await asyncio.sleep(TICK_S)
            self._late_ms.append((perf_counter() - began - TICK_S) * 1000)

    def tell(self) -> None:
        holds = [] if self.frame_budget is None else [seconds * 1000 for seconds in self.frame_budget.holds]
        half = self._report.with_suffix(".half")
        half.write_text(
            json.dumps(
                {
                    "late_ms": self._late_ms,
                    "holds_ms": holds,
                    "held_ms": self.holds.all_ms,
                    "longest_ms": self.holds.longest_ms,
                    "sums_ms": self.holds.sums_ms,
                }
            )
        )
        half.rename(self._report)
        self._late_ms = []
        self.holds.clear()
        if self.frame_budget is not None:
            self.frame_budget.holds.clear()


async def watched(kind: str, config: Path, report: Path) -> int:
    """Run as `arbstr serve` or `arbstr tui` do, with the probe beside."""
    from arbstr.config.settings import resolve
    from arbstr.runtime import lifecycle

    probe = Probe(report)
    if kind == "tui-held":
        probe.holds.install()
    if kind != "serve":
        from tui import run
        from tui.app import Dashboard

        class Probed(Dashboard):
            def __init__(self, *args: Any, **keywords: Any) -> None:
                super().__init__(*args, **keywords)
                probe.frame_budget = self.frame_budget

        run.Dashboard = Probed  # type: ignore[attr-defined]  # a class in the place of the one imported there
    task = asyncio.create_task(probe.run())
    load = partial(resolve, os.environ, config=config)
    try:
        return await (lifecycle._serve(load(), load) if kind == "serve" else lifecycle._tui(load(), load))
    finally:
        task.cancel()


def main() -> int:
    """The command."""
    from arbstr.runtime import lifecycle

    kind, run = sys.argv[1], asyncio.run if sys.argv[1] == "tui-held" else lifecycle.run
    return run(watched(kind, Path(sys.argv[2]), Path(sys.argv[3])))


if __name__ == "__main__":
    sys.exit(main())
