"""The real `arbstr serve` in a process of its own, for tests of what only a whole process does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.fork_server import ForkedProcess
from tests.support.paths import TOP
from tests.support.patience import PATIENCE_S
from tests.support.processes import end, stop


def eventually(true: Callable[[], Any]) -> Any:
    """Wait until something holds, and return it."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := true()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)
    return value


class ServeProcess:
    """A running `arbstr serve`; inside `with` it listens at `url`. What it says on stderr is in `said`.

    `ulimit` is what bash's command of that name takes, such as `-n 1024`; `under` is a command that runs it all;
    `forked` says that it need be no start of Python's: its memory, and how `ps` shows it, are then others.
    """

    def __init__(
        self,
        home: Path,
        *options: str,
        env: dict[str, str] | None = None,
        ulimit: str | None = None,
        under: Sequence[str] = (),
        forked: bool = True,
    ) -> None:
        self._forked = forked
        self._stderr = home / f"stderr-{time.monotonic_ns()}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ARBSTR", "DATABASE"))}
        limited = ["bash", "-c", f'ulimit {ulimit}; exec "$@"', "-"] if ulimit else []
        with self._stderr.open("wb") as stderr:
            start: type[subprocess.Popen[bytes]] = ForkedProcess if forked else subprocess.Popen
            self.process = start(
                [*under, *limited, sys.executable, "-m", "arbstr", "serve", "-l", "127.0.0.1:0", *options],
                cwd=home,
                env={**inherited, "PYTHONPATH": str(TOP), **(env or {})},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        self.url = ""

    @property
    def stderr(self) -> str:
        return self._stderr.read_text()

    def __enter__(self) -> Self:
        try:
            found = eventually(
                lambda: re.search(r"listens on (http://[^\s\"]+)", self.stderr) or self.process.poll() is not None
            )
            assert isinstance(found, re.Match), self.stderr
        except BaseException:
            end(self.process)
            raise
        self.url = found[1]
        return self

    def __exit__(self, *raised: object) -> None:
        end(self.process)

    def refuses_to_start(self) -> int:
        """Wait for the end of one that is not entered; returns its exit status."""
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            end(self.process)

    def chat(self, model: str = "gpt-4o", **fields: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/chat/completions", json=chat(model, **fields), timeout=PATIENCE_S)

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, timeout=PATIENCE_S).json()

    def peak_mb(self) -> float:
        """The most memory it has had, in MB."""
        assert not self._forked, "a fork has the memory of what it was forked from"
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; returns its exit status."""
        return stop(self.process, number)


def chat(model: str = "gpt-4o", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
