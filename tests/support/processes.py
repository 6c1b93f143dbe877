"""Processes that tests start: none outlives its test, so that what fails in one test fails in no other.

Programs of this Python are forked where that differs in nothing from a start: see `fork_server`.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.fork_server import ForkedProcess
from tests.support.patience import PATIENCE_S


@contextmanager
def started(command: Sequence[str], **how: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that speaks text, ended at the end whatever happens; takes what `subprocess.Popen` does."""
    process: subprocess.Popen[str] = ForkedProcess(command, text=True, **how)
    try:
        yield process
    finally:
        end(process)


def run(command: Sequence[str], **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a process that speaks text to its end and return what it said and its exit status."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(command, **{**pipes, **how}) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def end(process: subprocess.Popen[Any]) -> None:
    """Kill a process unless it has ended, and close the pipes to it."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def stop(process: subprocess.Popen[Any], number: int = signal.SIGTERM) -> int:
    """Signal a process and wait for its end; its exit status."""
    process.send_signal(number)
    return process.wait(PATIENCE_S)


def insist_on_end(process: subprocess.Popen[Any], number: int = signal.SIGTERM) -> int:
    """Signal a process once a second until it has ended: of two signals at once a busy one sees one."""
    for _ in range(int(PATIENCE_S)):
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(1)
    raise AssertionError("it did not end")


def wait_asleep(process: subprocess.Popen[Any]) -> None:
    """Wait until a process waits for something in a system call.

    Python notices a signal when such a call is interrupted, but not one that comes in the instant before the call.
    """
    deadline = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        assert time.monotonic() < deadline, "it never waits"
        time.sleep(0.001)
