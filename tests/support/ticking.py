"""A dashboard over a made-up source beside a ticking task, for tests in a real terminal.

    python -m tests.support.ticking REPORT [CRASH_AFTER_S]

The tick stands for the proxy: it goes on until the end and reports in REPORT how late it ever was, as JSON lines.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

from arbstr.logs.ring import LogRing
from tests.support.dashboard_fakes import Traffic, lived_in
from tui.run import run_dashboard
from tui.screens.live import LiveScreen

TICK_S = 0.005


class Tick:
    """The proxy's stand-in."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self.count = 0

    async def run(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK_S)
            self.worst_s = max(self.worst_s, time.perf_counter() - began - TICK_S)
            self.count += 1


def crash() -> None:
    """Let the next frame fail."""

    def broken(self: LiveScreen) -> Iterator[None]:
        yield from [None] * int(1 / 0)

    LiveScreen.paint_body = broken  # type: ignore[method-assign]  # no screen fails by itself


async def main(report: Path, crash_after_s: float) -> int:
    """Run until the dashboard ends; after a crash go on for a moment, as a proxy would."""
    logging.getLogger().addHandler(logging.NullHandler())
    source, log, stop, tick = lived_in(), LogRing(), asyncio.Event(), Tick()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    source.now_ms = time.time_ns() // 1_000_000

    def tell(**words: object) -> None:
        with report.open("a") as file:
            file.write(json.dumps(words) + "\n")

    async def traffic() -> None:
        made = Traffic(3)
        while True:
            source.now_ms = time.time_ns() // 1_000_000
            events, end = made.request(source.now_ms)
            for event in (*events, end):
                source.publish(event)
            await asyncio.sleep(0.02)

    def report_tick() -> None:
        tell(worst_s=tick.worst_s)
        tick.worst_s = 0.0

    tasks = [asyncio.create_task(tick.run()), asyncio.create_task(traffic())]
    if crash_after_s:
        loop.call_later(crash_after_s, crash)
    loop.call_later(0.0, lambda: loop.add_signal_handler(signal.SIGUSR1, report_tick))
    tell(started=os.getpid())
    end = await run_dashboard(source, log=log, stop=stop, on_ready=lambda: tell(ready=True))
    before = tick.count
    await asyncio.sleep(0.1)
    tell(how=end.how, reason=end.reason, went_on=tick.count > before, worst_s=tick.worst_s, tz=str(UTC))
    for task in tasks:
        task.cancel()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)))
