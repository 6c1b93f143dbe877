"""Starts of Python programs without the start of an interpreter: forks of one process that has loaded arbstr.

`ForkedProcess` takes the place of `subprocess.Popen` for commands of this Python that run a module or a text. What a
program sees is what a start would give it: its arguments, directory, environment, standard streams and session, no
other open file, and the test as its parent. It spares what is the same each time, the imports, a quarter of a second of
CPU. A start that is itself what is tested (its imports, their time and memory, limits, `sitecustomize`) is made by
`subprocess`, and so is each that a fork would differ from.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, AnyStr

from tests.support.modules import load_all
from tests.support.paths import TOP

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: whose ancestors have ended becomes this process's child
REQUEST_BYTES = 1 << 20
PYTHONS_OWN = ("PYTHON", "LANG", "LC_")  # what begins so in the environment is for Python's start
TAKEN_OVER = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
UTF_8 = "C.UTF-8"  # also the locale that Python takes where none is named
LOCALES = ("LC_ALL", "LC_CTYPE", "LANG")
LOADED_LATER = ("rich.console", "segno", "textual.app", "uvloop")  # by what a command runs


class ForkedProcess(subprocess.Popen[AnyStr]):
    """A program of this Python, forked where that differs in nothing from a start; else started."""

    def _execute_child(self, args: Any, *others: Any) -> None:
        (
            executable, preexec_fn, _close_fds, pass_fds, cwd, env, _startupinfo, _flags, shell,
            p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite,
            _restore_signals, gid, gids, uid, umask, start_new_session, process_group,
        ) = others  # fmt: skip
        unusual = (executable, preexec_fn, pass_fds, shell, gid, gids, uid)
        environ = dict(os.environ if env is None else env)
        server = _server() if _is_ours(args) and _starts_alike(environ) else None
        if server is None or any(unusual) or umask >= 0 or process_group not in (None, -1):
            super()._execute_child(args, *others)  # type: ignore[misc]  # typeshed leaves it out
            return
        request = {
            "arguments": [str(argument) for argument in args],
            "directory": os.path.abspath(cwd or "."),  # noqa: PTH100 - links stay
            "environ": environ,
            "leads_session": bool(start_new_session),
        }
        streams = [stream if stream != -1 else number for number, stream in enumerate((p2cread, c2pwrite, errwrite))]
        self.pid = server.fork(request, streams)
        self._child_created = True
        close_pipes = self._close_pipe_fds  # type: ignore[attr-defined]  # typeshed leaves it out
        close_pipes(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)


def _is_ours(command: Any) -> bool:
    """Whether it is this Python with a module or a text to run."""
    return (
        not isinstance(command, str)
        and len(command) > 2
        and command[0] == sys.executable
        and command[1] in ("-m", "-c")
    )


def _starts_alike(environ: Mapping[str, str]) -> bool:
    """Whether nothing in it is for the start of Python but what a fork takes over as well."""
    return all(
        name in TAKEN_OVER or value == (str(TOP) if name == "PYTHONPATH" else UTF_8)
        for name, value in environ.items()
        if name.startswith(PYTHONS_OWN)
    )


class ForkServer:
    """The process that others are forked from; it ends with this one."""

    _one_at_a_time = threading.Lock()

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {name: value for name, value in os.environ.items() if not name.startswith(PYTHONS_OWN)}
        environ["COVERAGE_PROCESS_CONFIG"] = ""
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
                cwd=TOP,
                env=environ,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BYTES)
        self._adopt = ctypes.CDLL(None, use_errno=True).prctl

    def fork(self, request: Mapping[str, Any], streams: Sequence[int]) -> int:
        """Have a program forked with these standard streams; the id of the process, a child of this one."""
        with self._one_at_a_time:
            if self._adopt(SUBREAPER, 1, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")
            try:
                socket.send_fds(self._socket, [json.dumps(request).encode()], streams)
                answer = self._socket.recv(64)
            finally:
                self._adopt(SUBREAPER, 0, 0, 0, 0)
        if not answer:
            raise RuntimeError("the fork server has ended; what it said is on stderr")
        return int(answer)

    def end(self) -> None:
        """End it; what was forked goes on."""
        self._socket.close()
        self._process.wait()


@cache
def _server() -> ForkServer | None:
    """The one of this process, None where there can be none."""
    if sys.platform != "linux":
        return None
    server = ForkServer()
    atexit.register(server.end)
    return server


# ── in the server ──


def main(number: int) -> None:
    """Fork a program for each request until the other end is closed; in a fork, be the program."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a server's end by Ctrl-C is no news
    _load()
    gc.collect()
    gc.freeze()  # else every fork copies what its collector touches
    with socket.socket(fileno=number) as requests:
        while True:
            said, streams, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 3)
            if not said:
                return
            child = _fork()
            if not child:
                break
            requests.send(str(child).encode())
            for stream in streams:
                os.close(stream)
    _become(json.loads(said), streams)


def _load() -> None:
    """Import all of arbstr, and what it imports when it runs."""
    load_all()
    for name in LOADED_LATER:
        import_module(name)


def _fork() -> int:
    """Fork a grandchild and let the child between end: the grandchild's id, or 0 in it once it is the test's child."""
    (name, named), (start, started) = os.pipe(), os.pipe()
    if between := os.fork():
        os.close(named)
        child = int(os.read(name, 64))
        os.waitpid(between, 0)
        for end in (name, start, started):
            os.close(end)
        return child
    if child := os.fork():
        os.write(named, str(child).encode())
        os._exit(0)
    os.close(started)
    os.read(start, 1)  # ends as the server closes its end
    return 0


def _become(request: Mapping[str, Any], streams: Sequence[int]) -> None:
    """Be the program as if this had been its start."""
    if request["leads_session"]:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environ"])
    if not any(map(os.environ.get, LOCALES)):
        os.environ["LC_CTYPE"] = UTF_8
    time.tzset()
    _open_streams()
    if os.environ.get("COVERAGE_PROCESS_CONFIG"):
        import coverage

        coverage.process_startup()
    try:
        _run(*request["arguments"][1:])
    except SystemExit as ended:
        if isinstance(ended.code, int):
            _leave(ended.code)
        raise
    _leave(0)


def _leave(status: int) -> None:
    """End as Python does, but for its clearing away of all modules, which takes longer than most commands."""
    threading._shutdown()  # type: ignore[attr-defined]  # typeshed leaves it out
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)


def _open_streams() -> None:
    """Make Python's streams as at its start."""
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        binary = open(number, "wb" if number else "rb", buffering=0 if unbuffered and number else -1, closefd=False)  # noqa: SIM115 - for good
        stream = io.TextIOWrapper(
            binary,
            encoding="utf-8",
            errors="backslashreplace" if number == 2 else "surrogateescape",
            line_buffering=not unbuffered and (number == 2 or os.isatty(number)),
            write_through=unbuffered,
        )
        stream.mode = "w" if number else "r"  # type: ignore[misc]  # Python sets it so
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _run(kind: str, text: str, *arguments: str) -> None:
    sys.argv = [kind, *arguments]
    sys.path[0] = "" if kind == "-c" else os.getcwd()  # noqa: PTH109 - as Python has it
    if "PYTHONPATH" in os.environ:
        sys.path[:] = [sys.path[0], str(TOP), *(each for each in sys.path[1:] if each != str(TOP))]
    if kind == "-m":
        runpy.run_module(text, run_name="__main__", alter_sys=True)
        return
    program = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(text, "<string>", "exec"), vars(program))


if __name__ == "__main__":
    main(int(sys.argv[1]))
