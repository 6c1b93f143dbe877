"""Runs arbstr's commands in processes that kill themselves, with SIGKILL, before the nth of their steps.

A step is what others can see of it: a file that is written, renamed or deleted, a request that goes out, an
answer that comes in, a line on the terminal. Nothing in arbstr knows of it. One process loads all modules and forks the
others, so that a run takes a few hundredths of a second.

With `power_fails` the machine goes with it: of the directory there is only what had been synchronized.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.paths import TOP
from tests.support.processes import end

_STEPS = ("write", "replace", "unlink")  # what is opened has changed nothing yet


@dataclass(frozen=True)
class Ended:
    """A run that has ended: its exit status, negative for a signal, what it printed, the step that it died before."""

    status: int
    out: str
    err: str
    step: str

    @property
    def was_killed(self) -> bool:
        return self.status == -signal.SIGKILL


class CommandRunner:
    """Runs commands in directories; inside `with`."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.kill_points"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=TOP,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(TOP)},
            text=True,
        )
        return self

    def __exit__(self, *raised: object) -> None:
        end(self._process)

    def run(
        self, directory: Path, *arguments: str, stdin: str = "", kill_at: int = 0, power_fails: bool = False
    ) -> Ended:
        """Run a command; with `kill_at` it dies before the step of that number, if it has so many."""
        asked = {"directory": str(directory), "arguments": arguments, "stdin": stdin, "kill_at": kill_at}
        asked["power_fails"] = power_fails
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


def main() -> None:
    _load()
    gc.freeze()  # else every fork copies what its collector touches
    for line in sys.stdin:
        print(json.dumps(_forked(json.loads(line))), flush=True)


def _load() -> None:
    """Import what commands import when they run."""
    import rich.console
    import segno

    from arbstr import cli
    from arbstr.config import loader, settings
    from arbstr.market import funding, recovery
    from arbstr.transport import pool

    assert all((rich.console, segno, cli, loader, settings, funding, recovery, pool))


def _forked(asked: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, name) for name in ("in", "out", "err", "step")]
        for file in files:
            file.write_text(asked["stdin"] if file.name == "in" else "")
        child = os.fork()
        if not child:
            _run(asked, *files)
        _, status = os.waitpid(child, 0)
        _, out, err, step = (file.read_text() for file in files)
    return {"status": os.waitstatus_to_exitcode(status), "out": out, "err": err, "step": step}


def _run(asked: dict[str, Any], given: Path, out: Path, err: Path, step: Path) -> None:
    """Be the command, and end."""
    from arbstr import cli

    for number, file, flags in ((0, given, os.O_RDONLY), (1, out, os.O_WRONLY), (2, err, os.O_WRONLY)):
        os.dup2(os.open(file, flags), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 - the child's own
    os.chdir(asked["directory"])
    if asked["kill_at"]:
        _set_kill_points(asked["kill_at"], step, _Disk(Path.cwd()).lose_power if asked["power_fails"] else lambda: None)
    status = 1
    try:
        status = cli.run(asked["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Disk:
    """What of a directory is on its disk: what was there at first, and what has been synchronized since."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open, self._close, self._fsync = os.open, os.close, os.fsync
        self._unlink, self._names, self._texts = os.unlink, dict[str, int](), dict[int, bytes]()
        self._held = [self._open(entry, os.O_RDONLY) for entry in os.scandir(directory)]  # no inode is used again
        for descriptor in self._held:
            self._keep(descriptor)
        self._keep_names()
        os.fsync = self._synchronized  # type: ignore[assignment]  # arbstr gives it descriptors alone

    def _synchronized(self, descriptor: int) -> None:
        self._fsync(descriptor)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self._keep_names()
        else:
            self._held.append(os.dup(descriptor))
            self._keep(descriptor)

    def _keep(self, descriptor: int) -> None:
        self._texts[os.fstat(descriptor).st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def _keep_names(self) -> None:
        self._names = {entry.name: entry.inode() for entry in os.scandir(self._directory)}

    def lose_power(self) -> None:
        """Leave the directory as it is found when the machine starts again."""
        for entry in list(os.scandir(self._directory)):
            self._unlink(entry)
        for name, inode in self._names.items():
            file = self._directory / name
            file.touch(0o600)
            file.write_bytes(self._texts.get(inode, b""))


def _set_kill_points(kill_at: int, note: Path, lose: Callable[[], None]) -> None:
    from arbstr.transport.pool import PooledTransport

    taken = 0
    write, kill = os.write, os.kill
    journal = os.open(note, os.O_WRONLY)

    def step(name: str) -> None:
        nonlocal taken
        taken += 1
        if taken == kill_at:
            write(journal, name.encode())
            lose()
            kill(os.getpid(), signal.SIGKILL)

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            step(name)
            return call(*arguments, **named)

        return called

    for name in _STEPS:
        setattr(os, name, counted(name, getattr(os, name)))
    send = PooledTransport.handle_async_request

    async def sent(self: PooledTransport, request: Any) -> Any:
        step(f"before {request.method} {request.url.path}")
        response = await send(self, request)
        step(f"after {request.method} {request.url.path}")
        return response

    PooledTransport.handle_async_request = sent  # type: ignore[method-assign]  # in this process alone
    sys.stdout.flush = counted("print", sys.stdout.flush)  # type: ignore[method-assign]  # likewise


if __name__ == "__main__":
    main()
