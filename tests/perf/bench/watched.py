"""arbstr with a probe in its loop: `python -m tests.perf.bench.watched serve|tui CONFIG REPORT`.

On SIGUSR1 it writes to REPORT how late the loop was since the last time, and for how long painting held it, in
milliseconds, and starts over.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

TICK_S = 0.002


class Probe:
    """Sleeps again and again and notes how late it was woken."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._late_ms: list[float] = []
        self.frame_budget: Any = None

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.tell)
        while True:
            began = perf_counter()
            await asyncio.sleep(TICK_S)
            self._late_ms.append((perf_counter() - began - TICK_S) * 1000)

    def tell(self) -> None:
        holds = [] if self.frame_budget is None else [seconds * 1000 for seconds in self.frame_budget.holds]
        half = self._report.with_suffix(".half")
        half.write_text(json.dumps({"late_ms": self._late_ms, "holds_ms": holds}))
        half.rename(self._report)
        self._late_ms = []
        if self.frame_budget is not None:
            self.frame_budget.holds.clear()


async def watched(kind: str, config: Path, report: Path) -> int:
    """Run as `arbstr serve` or `arbstr tui` do, with the probe beside."""
    from arbstr.config.settings import resolve
    from arbstr.runtime import lifecycle

    probe = Probe(report)
    if kind == "tui":
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
        return await (lifecycle._tui(load(), load) if kind == "tui" else lifecycle._serve(load(), load))
    finally:
        task.cancel()


def main() -> int:
    """The command."""
    from arbstr.runtime import lifecycle

    return lifecycle.run(watched(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))


if __name__ == "__main__":
    sys.exit(main())
