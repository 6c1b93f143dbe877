"""arbstr's life from start to orderly end, with the dashboard or without it, on the fastest loop there is."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from arbstr.config.paths import state_directory
from arbstr.config.settings import Settings
from arbstr.logs.ring import LogRing
from arbstr.runtime import process
from arbstr.runtime.background import run_in_background
from arbstr.runtime.compose import Proxy, running

logger = logging.getLogger(__name__)


def serve(load: Callable[[], Settings], sockets: Sequence[socket.socket] = ()) -> int:
    """Run the proxy until a signal stops it; return the exit status. Raises `ArbstrError` if it can't start.

    `load` returns the settings, now and at each reload; `sockets` are those to listen on, if they are open already.
    """
    return run(_serve(load(), load, sockets))


def run(main: Coroutine[Any, Any, int], *, eager_tasks: bool = False) -> int:
    """Run a coroutine on the fastest loop available; `eager_tasks`: it will need eager tasks of that loop."""
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        factory = None
    else:
        eager = getattr(asyncio, "eager_task_factory", None)  # from Python 3.12 on
        factory = None if eager_tasks and eager and not takes_eager_start(eager) else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def takes_eager_start(factory: Callable[..., Any]) -> bool:
    """Check whether a task factory takes an argument that uvloop passes: those of Python 3.12 and early 3.13 do not."""
    given = inspect.signature(factory).parameters.values()
    return any(one.name == "eager_start" or one.kind is one.VAR_KEYWORD for one in given)


def tui(load: Callable[[], Settings], *, theme: str | None = None, read_only: bool = False) -> int:
    """Run the proxy with the dashboard; takes, returns and raises what `serve` does."""
    return run(_tui(load(), load, theme, read_only=read_only), eager_tasks=True)  # Textual does


async def _serve(settings: Settings, load: Callable[[], Settings], sockets: Sequence[socket.socket] = ()) -> int:
    hangup = asyncio.Event()
    stop = ShutdownSignal(hangup)
    async with running(settings, load=load, sockets=sockets) as proxy, AsyncExitStack() as stack:
        stop.reopen_log = proxy.log.reopen
        run_in_background(stack, _reload_on(hangup, proxy))
        await stop.requested.wait()
        await proxy.drain(stop.forced)
    return int(stop.forced.is_set())


async def _reload_on(hangup: asyncio.Event, proxy: Proxy) -> None:
    while True:
        await hangup.wait()
        hangup.clear()
        await proxy.reloads.reload()


async def _tui(
    settings: Settings, load: Callable[[], Settings], theme: str | None = None, *, read_only: bool = False
) -> int:
    from tui.model.habits import Habits  # noqa: PLC0415 - as below
    from tui.model.options import Options  # noqa: PLC0415 - as below
    from tui.run import run_dashboard  # noqa: PLC0415 - Textual is loaded for the dashboard only

    options = Options(
        theme=theme,
        keymap=settings.config.dashboard.keys,
        habits=Habits(habits_file(os.environ), writes=not settings.mock),
        read_only=read_only,
        asks_to_quit=not settings.demo,
    )
    stop = ShutdownSignal()
    ring = LogRing()
    async with running(settings, ring, load) as proxy, AsyncExitStack() as stack:
        stop.reopen_log = proxy.log.reopen
        if proxy.fleet is not None and settings.demo:
            from arbstr.mock import DemoTraffic  # noqa: PLC0415 - only the demo needs it

            await stack.enter_async_context(DemoTraffic(proxy.url, proxy.fleet, token=proxy.config.server.auth_token))
        end = await run_dashboard(
            proxy.source, log=ring, stop=stop.requested, options=options, on_ready=process.freeze_gc
        )
        goes_on = end.how in ("crashed", "lost")
        proxy.log.take_stderr(requests=goes_on)
        if goes_on:
            what = "crashed" if end.how == "crashed" else "lost its terminal"
            logger.error("the dashboard %s: %s; the proxy continues without it at %s", what, end.reason, proxy.url)
            await stop.requested.wait()
        elif end.how == "quit":
            stop.request()
        await stack.aclose()  # the demo's clients first
        await proxy.drain(stop.forced)
    return 0


def habits_file(environ: Mapping[str, str]) -> Path | None:
    """Return the file in which dashboards remember what was chosen in them."""
    directory = state_directory(environ)
    return None if directory is None else directory / "dashboard.json"


class ShutdownSignal:
    """The shutdown that SIGTERM, SIGINT and SIGHUP request: the first sets `requested`, the second `forced`.

    A signal that was ignored at the start stays ignored: `nohup` and shells that run arbstr in the background mean it.
    SIGUSR1 calls `reopen_log`.
    With a `hangup` SIGHUP sets that instead, unless it means that the terminal arbstr was started from is gone.
    """

    def __init__(self, hangup: asyncio.Event | None = None) -> None:
        self.requested = asyncio.Event()
        self.forced = asyncio.Event()
        self.reopen_log: Callable[[], None] = _do_nothing
        self._hangup = hangup
        self._had_terminal = _has_terminal()
        loop = asyncio.get_running_loop()
        signals = {signal.SIGTERM: self.request, signal.SIGINT: self.request, signal.SIGHUP: self._hung_up}
        for number, act in signals.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, act)
        loop.add_signal_handler(signal.SIGUSR1, self._reopen_log)

    def _reopen_log(self) -> None:
        self.reopen_log()

    def _hung_up(self) -> None:
        if self._hangup is None or (self._had_terminal and not _has_terminal()):
            self.request()
        else:
            self._hangup.set()

    def request(self) -> None:
        """Request an orderly shutdown; a second call forces it."""
        (self.forced if self.requested.is_set() else self.requested).set()


def _do_nothing() -> None:
    """Let a signal pass that has nothing to act on yet; it would end the process otherwise."""


def _has_terminal() -> bool:
    """Check whether this process has a terminal of its own, whatever its streams are."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
