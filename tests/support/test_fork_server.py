"""A program that was forked sees what one that was started sees, and ends as that one does."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.fork_server import ForkedProcess
from tests.support.paths import TOP
from tests.support.patience import PATIENCE_S
from tests.support.processes import end

ENVIRON = {"PATH": os.environ["PATH"], "PYTHONPATH": str(TOP), "HOME": "/", "TZ": "Asia/Tokyo"}
LOOK = """
import gc, json, os, signal, sys, threading, time
streams = [sys.stdin, sys.stdout, sys.stderr]
print(json.dumps({
    "arguments": sys.argv, "path": sys.path, "directory": os.getcwd(), "environ": dict(os.environ), "zone": time.tzname,
    "parent": os.getppid(), "leads": os.getsid(0) == os.getpid(), "group": os.getpgid(0) == os.getpid(),
    "files": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
    "threads": [thread.name for thread in threading.enumerate()], "tasks": len(os.listdir("/proc/self/task")),
    "signals": {each: str(signal.getsignal(each)).split(" at ")[0] for each in range(1, 32)},
    "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "mask": os.umask(0),
    "streams": [[each.encoding, each.errors, each.line_buffering, each.write_through, each.isatty(), each.fileno(),
                 each.mode] for each in streams], "own": [sys.__stdin__ is sys.stdin, sys.__stdout__ is sys.stdout],
    "module": __name__, "main": sys.modules["__main__"].__dict__ is globals(), "input": sys.stdin.read(),
    "collects": gc.isenabled(),
}, sort_keys=True))
"""


def seen(kind: type[subprocess.Popen[Any]], *arguments: str, text: str = "", **how: Any) -> tuple[str, str, int]:
    """What a program of that kind printed, and its exit status."""
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    process = kind([sys.executable, *arguments], text=True, **{"env": ENVIRON, "cwd": "/", **how})
    try:
        out, err = process.communicate(text, timeout=PATIENCE_S)
    finally:
        end(process)
    return out, err, process.returncode


def was_forked(*arguments: str, **how: Any) -> bool:
    """Whether it was no start of Python: then it has what the server has loaded."""
    code = "import sys; print('textual.app' in sys.modules)"
    return seen(ForkedProcess, "-c", code, *arguments, **how)[0] == "True\n"


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"text": "höre"},
        {"cwd": TOP},
        {"start_new_session": True},
        {"env": {**ENVIRON, "PYTHONUNBUFFERED": "1"}},
        {"env": {name: value for name, value in os.environ.items() if not name.startswith("COV")}},  # one is measured
    ],
    ids=lambda how: " ".join(how) or "plain",
)
def test_it_sees_what_a_started_one_sees(how: dict[str, Any]) -> None:
    started, forked = (seen(kind, "-c", LOOK, "one", "-two", **how) for kind in (subprocess.Popen, ForkedProcess))
    assert started[1:] == ("", 0)
    assert forked == started
    assert f'"parent": {os.getpid()}' in forked[0]
    assert was_forked(**how)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise SystemExit(3)", 3),
        ("raise SystemExit(-1)", 255),
        ("raise SystemExit('a reason')", 1),
        ("import os; os._exit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM),
        ("import atexit; atexit.register(print, 'at the end'); print('first')", 0),
        ("import threading, time; threading.Thread(target=lambda: (time.sleep(0.05), print('a thread'))).start()", 0),
        ("import sys; sys.stdout.write('no end of line')", 0),
        ("import sys; sys.excepthook = lambda *_: print('hooked'); 1 / 0", 1),
    ],
)
def test_it_ends_as_a_started_one_does(code: str, status: int) -> None:
    started, forked = (seen(kind, "-c", code) for kind in (subprocess.Popen, ForkedProcess))
    assert forked == started
    assert forked[2] == status


def test_a_module_is_run_as_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "named.py").write_text("import sys; print(__name__, __spec__.name, sys.argv, sys.path[0])")
    started, forked = (seen(kind, "-m", "named", "x", cwd=tmp_path) for kind in (subprocess.Popen, ForkedProcess))
    assert forked == started
    assert forked[2] == 0


def test_ctrl_c_ends_it_as_a_started_one() -> None:
    code = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    for kind in (subprocess.Popen, ForkedProcess):
        _, err, status = seen(kind, "-c", code)
        assert status == -signal.SIGINT
        assert err.endswith("KeyboardInterrupt\n")


def test_on_a_terminal_its_streams_are_that_terminal() -> None:
    code = "import os, sys; print(os.ttyname(0) == os.ttyname(1) == os.ttyname(2), sys.stdout.line_buffering)"
    for kind in (subprocess.Popen, ForkedProcess):
        ours, theirs = pty.openpty()
        process = kind([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRON)
        try:
            assert os.read(ours, 100) == b"True True\r\n"
            assert process.wait(PATIENCE_S) == 0
        finally:
            end(process)
            os.close(ours)
            os.close(theirs)


@pytest.mark.parametrize(
    "how",
    [
        {"env": {**ENVIRON, "PYTHONPATH": "/elsewhere"}},
        {"env": {**ENVIRON, "PYTHONIOENCODING": "ascii"}},
        {"env": {**ENVIRON, "LC_ALL": "C"}},
        {"preexec_fn": os.getpid},
        {"umask": 0o77},
    ],
)
def test_what_a_fork_would_see_otherwise_is_started(how: dict[str, Any]) -> None:
    assert not was_forked(**how)
