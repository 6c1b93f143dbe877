"""A dashboard over a made-up source beside a ticking task, for tests in a real terminal.

    python -m tests.support.ticking REPORT

The tick stands for the proxy: it goes on until the end and reports in REPORT what it had to wait for, as JSON lines.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

from arbstr.logs.ring import LogRing
from tests.support.dashboard_fakes import Traffic, lived_in
from tui.run import run_dashboard

TICK_S = 0.005


class Tick:
    """The proxy's stand-in: how long others ever worked in its thread while it was due."""

    def __init__(self) -> None:
        self.worst_s = 0.0

    async def run(self) -> None:
        while True:
            began = time.thread_time()  # what other processes do in that time is not the dashboard's fault
            await asyncio.sleep(TICK_S)
            self.worst_s = max(self.worst_s, time.thread_time() - began)


async def main(report: Path) -> int:
    """Run until the dashboard ends."""
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
    loop.call_later(0.0, lambda: loop.add_signal_handler(signal.SIGUSR1, report_tick))
    tell(started=os.getpid())
    end = await run_dashboard(source, log=log, stop=stop, on_ready=lambda: tell(ready=True))
    tell(how=end.how, reason=end.reason, worst_s=tick.worst_s)
    for task in tasks:
        task.cancel()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]))))
