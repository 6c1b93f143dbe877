"""The dashboard of an arbstr that runs elsewhere: it only watches, and its end ends nothing else."""

from __future__ import annotations

import os

from arbstr.errors import ArbstrError
from arbstr.logs import setup
from arbstr.redaction import Redactor, Secret
from arbstr.runtime import process
from arbstr.runtime.lifecycle import ShutdownSignal, habits_file, run


def attach(url: str, token: Secret | None, *, theme: str | None = None) -> int:
    """Show the arbstr at a URL until the user quits; return the exit status.

    Raises `NotWatchable` and `LinkLost` if there is none to watch, and `ArbstrError` if the dashboard fails.
    """
    return run(_attach(url, token, theme), eager_tasks=True)  # Textual makes them


async def _attach(url: str, token: Secret | None, theme: str | None) -> int:
    from arbstr.monitoring.remote_source import remote_source  # noqa: PLC0415 - not for a dashboard of this process
    from tui.model.habits import Habits  # noqa: PLC0415 - as below
    from tui.model.options import Options  # noqa: PLC0415 - as below
    from tui.run import run_dashboard  # noqa: PLC0415 - Textual is loaded for the dashboard only

    stop = ShutdownSignal()
    options = Options(theme=theme, habits=Habits(habits_file(os.environ)), asks_to_quit=False)
    redactor = Redactor([] if token is None else [token])
    async with remote_source(url, token) as source:
        log = setup.configure("warning", stderr=False, redactor=redactor, ring=source.log)
        try:
            end = await run_dashboard(
                source,
                log=source.log,
                stop=stop.requested,
                options=options,
                now_ms=source.now_ms,
                on_ready=process.freeze_gc,
            )
        finally:
            log.close()
    if end.how == "crashed":
        raise ArbstrError(f"the dashboard crashed: {end.reason}; {url} goes on")
    return 0
