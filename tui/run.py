"""The dashboard's life cycle in the proxy's loop: start, end, and the reason for its end.

Even if it crashes, the caller goes on: it gets a `DashboardEnd`, and the terminal as it was.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from textual.worker import WorkerFailed

from arbstr.clock import wall_ms
from arbstr.logs.ring import LogRing
from arbstr.monitoring.source import Source
from tui.app import Dashboard
from tui.model.options import Options

logger = logging.getLogger(__name__)

GONE_WITHIN_S = 5.0  # how long the dashboard may take to leave once it is asked to


@dataclass(frozen=True, slots=True)
class DashboardEnd:
    """Why the dashboard ended: the user quit, `stop` was set, it lost its terminal, or it crashed.

    `reason` says how it was lost, or what crashed and where.
    """

    how: Literal["quit", "stopped", "lost", "crashed"]
    reason: str = ""


async def run_dashboard(
    source: Source,
    *,
    log: LogRing,
    stop: asyncio.Event,
    options: Options | None = None,
    now_ms: Callable[[], int] = wall_ms,
    on_ready: Callable[[], None] = lambda: None,
) -> DashboardEnd:
    """Run the dashboard on the terminal of stdin and stderr until it ends; on the main thread only.

    Set `stop` to end it from outside (a signal). `now_ms` is the source's wall clock; `on_ready` is called after the
    first paint.
    """
    app = Dashboard(source, log=log, now_ms=now_ms, options=options, on_ready=on_ready)
    async with _running(app) as dashboard, _waiting(stop) as stopping:
        await asyncio.wait({dashboard, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not dashboard.done():
            app.exit()
            await asyncio.wait({dashboard}, timeout=GONE_WITHIN_S)
    await app.terminal_left()
    return _end(app, dashboard, stopped=stop.is_set())


@asynccontextmanager
async def _running(app: Dashboard) -> AsyncIterator[asyncio.Task[None]]:
    """The dashboard as a task, gone at the end. Textual sets the loop's task factory: it is set back."""
    loop = asyncio.get_running_loop()
    factory = loop.get_task_factory()
    task = asyncio.create_task(app.run_async(), name="dashboard")
    await asyncio.sleep(0)
    loop.set_task_factory(factory)
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
        await asyncio.wait({task}, timeout=GONE_WITHIN_S)


@asynccontextmanager
async def _waiting(stop: asyncio.Event) -> AsyncIterator[asyncio.Task[Literal[True]]]:
    task = asyncio.create_task(stop.wait(), name="dashboard-stop")
    try:
        yield task
    finally:
        task.cancel()


def _end(app: Dashboard, dashboard: asyncio.Task[None], *, stopped: bool) -> DashboardEnd:
    error: BaseException | None = app.failure
    if error is None and dashboard.done() and not dashboard.cancelled():
        error = dashboard.exception()
    if isinstance(error, WorkerFailed):
        error = error.error
    if error is None:
        return DashboardEnd("stopped") if stopped else DashboardEnd("lost" if app.lost else "quit", app.lost)
    logger.error("the dashboard crashed", exc_info=error)
    return DashboardEnd("crashed", explain(error))


def explain(error: BaseException) -> str:
    """Return an error as one line: what, and where in the dashboard."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(Path(__file__).parent)] or list(frames)
    where = f" ({Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else ""
    text = str(error)
    return f"{type(error).__name__}{': ' if text else ''}{text}{where}"
