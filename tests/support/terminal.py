"""A real pseudo-terminal with an emulator behind it: what a person would see and type."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import pyte

from tests.support.fork_server import ForkedProcess
from tests.support.paths import TOP
from tests.support.patience import PATIENCE_S
from tests.support.processes import end

ROOT = TOP
_LAST = b"\x1b]0;the last\x07"  # a title, which is drawn nowhere
_AGAIN_S = 3.0


class Terminal:
    """Runs a program in a pty. Nothing is read from it but in `pump` and what waits, so it can also be left unread."""

    def __init__(
        self, command: Sequence[str], *, columns: int = 120, rows: int = 36, env: dict[str, str] | None = None
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = bytearray()
        self._master, slave = pty.openpty()
        self._size(slave, columns, rows)
        self.modes_before = termios.tcgetattr(slave)
        self._state = tempfile.TemporaryDirectory(prefix="arbstr-state-")  # what one remembers is not the next one's
        self.process: subprocess.Popen[bytes] = ForkedProcess(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env={
                **_environment(),
                "TERM": "xterm-256color",
                "COLORTERM": "truecolor",
                "TZ": "UTC",
                "XDG_STATE_HOME": self._state.name,
                **(env or {}),
            },
            start_new_session=True,
        )
        self._slave = slave
        self._open = True

    def pump(self, seconds: float = 0.02) -> bool:
        """Read what has been written, waiting at most so long for it; whether there was anything."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        data = os.read(self._master, 65536)
        self.raw += data
        self._stream.feed(data)
        return True

    def wait(self, true: Callable[[], bool], what: str) -> None:
        """Read until it is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come true; the screen:\n{self.text}")
            self.pump()

    def wait_for(self, text: str) -> None:
        """Read until the text is on the screen."""
        self.wait(lambda: text in self.text, repr(text))

    def wait_gone(self, text: str) -> None:
        """Read until the text is on the screen no more."""
        self.wait(lambda: text not in self.text, f"the end of {text!r}")

    def wait_end(self) -> int:
        """Read until the program has ended; its exit status."""
        self.wait(lambda: self.process.poll() is not None, "the end")
        self._read_all()
        return self.process.returncode

    def _read_all(self) -> None:
        """Read what a program that has ended has written: a busy machine takes its time to bring it."""
        os.set_blocking(self._slave, False)
        left = _LAST
        while left:
            with suppress(BlockingIOError):  # full
                left = left[os.write(self._slave, left) :]
            self.pump()
        self.wait(lambda: self.raw.endswith(_LAST), "the last of what it wrote")
        del self.raw[-len(_LAST) :]

    @property
    def text(self) -> str:
        """The screen as lines."""
        return "\n".join(self.screen.display)

    @property
    def modes(self) -> list[object]:
        """The terminal's modes now."""
        return termios.tcgetattr(self._slave)

    def check_restored(self) -> None:
        """Check that it is as it was: its modes, the cursor, the first screen, no mouse reports, no marks of pastes."""
        assert self.modes == self.modes_before
        raw = bytes(self.raw)
        for on, off in ((b"?1049h", b"?1049l"), (b"?25l", b"?25h"), (b"?1003h", b"?1003l"), (b"?2004h", b"?2004l")):
            assert raw.rfind(b"\x1b[" + off) >= raw.rfind(b"\x1b[" + on), "or it was never switched on"

    def type(self, keys: str | bytes) -> None:
        """Type characters, or whatever bytes a terminal may send."""
        os.write(self._master, keys if isinstance(keys, bytes) else keys.encode())

    def hang_up(self) -> None:
        """Go away, as a terminal window that is killed. No signal tells of it: it controls no session."""
        os.close(self._master)
        os.close(self._slave)
        self._open = False

    def resize(self, columns: int, rows: int) -> None:
        """Change the window's size, as a person dragging its corner."""
        self.screen.resize(rows, columns)
        self._size(self._slave, columns, rows)
        os.kill(self.process.pid, signal.SIGWINCH)

    def interrupt(self) -> None:
        """Interrupt the program until it has ended: Python misses a signal in the instant before it waits for a key."""
        again_s = 0.0

        def ended() -> bool:
            nonlocal again_s
            if time.monotonic() > again_s:
                self.process.send_signal(signal.SIGINT)
                again_s = time.monotonic() + _AGAIN_S
            return self.process.poll() is not None

        self.wait(ended, "the end")

    def close(self) -> None:
        """End the program if it has not ended, and let go."""
        end(self.process)
        if self._open:
            os.close(self._master)
            os.close(self._slave)
        self._state.cleanup()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _size(fd: int, columns: int, rows: int) -> None:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def url_of(terminal: Terminal) -> str:
    """The address that arbstr says, in a dashboard's top line or in its log."""
    found = re.search(r"127\.0\.0\.1:\d+", "".join(terminal.screen.display))
    assert found is not None, terminal.text
    return f"http://{found[0]}"


def python(*arguments: str) -> list[str]:
    """The command that runs this Python with those arguments."""
    return [sys.executable, *arguments]


def _environment() -> dict[str, str]:
    """This process's own, without the size of whatever it runs in: the terminal's is what counts."""
    return {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
