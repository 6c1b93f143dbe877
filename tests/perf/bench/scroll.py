"""Scrolling through a large ledger: how long the loop is held up meanwhile.

`python -m tests.perf.bench.scroll [--rows N]`.

Pages, jumps to both ends and to random places by the scroll bar, single rows, sorts and filters, at 160x50, over a real
ledger; lateness is that of a ticker of 1 ms in the same loop.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path
from time import perf_counter

import uvloop
from textual.drivers.headless_driver import HeadlessDriver

from arbstr.ledger.reader import LedgerReader
from arbstr.logs.ring import LogRing
from tests.perf.bench import ledger
from tests.support.dashboard_fakes import FakeSource
from tui.app import Dashboard
from tui.model.filter_language import parse
from tui.screens.requests import RequestsScreen

TICK_S = 0.001


class Blind(HeadlessDriver):
    """A terminal that takes everything that is painted, and shows it to nobody."""

    @property
    def is_headless(self) -> bool:
        return False

    def write(self, data: str) -> None:
        pass

    def flush(self) -> None:
        pass


class Ticker:
    """Notes how late it is woken, in milliseconds."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []

    async def run(self) -> None:
        while True:
            began = perf_counter()
            await asyncio.sleep(TICK_S)
            self.late_ms.append((perf_counter() - began - TICK_S) * 1000)

    def report(self, what: str, took_s: float) -> None:
        late = sorted(self.late_ms)
        half, most = late[len(late) // 2], late[int(len(late) * 0.99)]
        line = f"{what:34} late p50 {half:6.2f}  p99 {most:6.2f}  most {late[-1]:6.1f} ms   took {took_s:5.2f} s"
        print(line, file=sys.__stdout__, flush=True)
        self.late_ms.clear()


@asynccontextmanager
async def browsing(path: Path) -> AsyncIterator[Dashboard]:
    """A dashboard on its Requests screen, over the ledger."""
    source = FakeSource(now_ms=time.time_ns() // 1_000_000)
    reader = LedgerReader(path)
    source.ledger = reader  # type: ignore[assignment]  # the real one where its fake is declared
    app = Dashboard(source, log=LogRing(), now_ms=lambda: ledger.NOW, zone=UTC, driver_class=Blind)
    running = asyncio.create_task(app.run_async(size=(160, 50)))
    while not app.is_running or app.screen.name != "live":  # noqa: ASYNC110 - Textual has no event for it
        await asyncio.sleep(0.01)
    app.switch_mode("requests")
    await filled(app)
    try:
        yield app
    finally:
        app.exit()
        await running
        await reader.close()


async def filled(app: Dashboard) -> float:
    """Until everything in sight is there; how long that took, in seconds."""
    began = perf_counter()
    await asyncio.sleep(0)
    while not (isinstance(app.screen, RequestsScreen) and _is_filled(app.screen)):  # noqa: ASYNC110 - nor for this
        await asyncio.sleep(0.002)
    return perf_counter() - began


def _is_filled(screen: RequestsScreen) -> bool:
    rows, page = screen._rows, screen._panel.page
    in_sight = range(rows.top, min(rows.top + page, rows.total or 0))
    return rows.total is not None and all(rows.row(index) is not None for index in in_sight)


async def scroll(path: Path) -> None:
    """All ways to move, each measured."""
    chance, ticker = random.Random(1), Ticker()
    async with browsing(path) as app:
        screen = app.screen
        assert isinstance(screen, RequestsScreen)
        print(f"{screen._rows.total:,} rows", file=sys.__stdout__)
        ticking = asyncio.create_task(ticker.run())

        async def each(what: str, times: int, act: Callable[[], object], pause_s: float = 0.02) -> None:
            took = 0.0
            for _ in range(times):
                act()
                took += await filled(app)
                await asyncio.sleep(pause_s)
            ticker.report(f"{times} x {what}", took / times)

        async def asked(what: str, question: Awaitable[None]) -> None:
            began = perf_counter()
            await question
            screen.repaint()
            ticker.report(f"{what}: {screen._rows.total:,}", perf_counter() - began)

        def jump() -> None:
            screen._rows.scroll(chance.randrange(screen._rows.total or 1) - screen._rows.top, screen._panel.page)
            screen._moved()

        await each("a row down", 300, lambda: screen.action_move(1), 0.01)
        await each("a page down", 200, lambda: screen.action_page(1))
        await each("a page up", 100, lambda: screen.action_page(-1))
        await each("to an end", 20, lambda: screen.action_ends(chance.random() < 0.5))
        await each("a jump anywhere", 40, jump)
        for typed in ("model:model-1", "provider:alp status:error", ">40sats", "refused"):
            await asked(f"filter {typed}", screen._rows.narrow(parse(typed)))
            await each("a page down in it", 20, lambda: screen.action_page(1))
        await asked("no filter", screen._rows.narrow(parse("")))
        for _ in range(5):
            screen._rows.next_sort()
            await asked("the next sort", screen._rows.restart())
            await each("a page down in it", 20, lambda: screen.action_page(1))
        ticking.cancel()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser("python -m tests.perf.bench.scroll", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--keep", type=Path, help="where the ledger is made, or lies already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="arbstr-bench-") as directory:
        path = options.keep or Path(directory) / "ledger.db"
        if not path.exists():
            began = perf_counter()
            ledger.build(path, options.rows)
            print(f"built in {perf_counter() - began:.0f} s")
        uvloop.run(scroll(path))


if __name__ == "__main__":
    main()
