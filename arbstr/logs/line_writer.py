"""Where lines of the log are written: a descriptor, or a file that is opened again once rotation has moved it."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from arbstr.errors import ConfigError
from arbstr.fd_writer import FdWriter
from arbstr.logs.lines import Layout
from arbstr.sanitize import sanitize

WAITING_CHARACTERS = 1024 * 1024  # some thousand lines
CLOSE_WITHIN_S = 1.0
_TEXT = Layout()
_LOGGER = "arbstr.logs.setup"  # by which what is said here has always been filtered


class LineWriter(FdWriter):
    """Writes lines. How many were dropped or could not be written is logged as soon as writing goes on."""

    def __init__(self, fd: int, layout: Layout = _TEXT, capacity: int = WAITING_CHARACTERS) -> None:
        self._layout = layout
        super().__init__(fd, "arbstr-log", capacity)

    def reopen(self) -> None:
        """Open what is written to again, where that can be done."""

    def close(self, within_s: float = CLOSE_WITHIN_S) -> None:
        """Write what is queued and close the descriptor; give up on a reader that has stopped."""
        self.end()
        if self.join(within_s):
            os.close(self._fd)

    def _failed(self, texts: int) -> None:
        self._count_dropped(texts)

    def _recovered(self, dropped: int) -> None:
        message = f"{dropped} log lines were dropped here, as they could not be written fast enough"
        if not self._written(self._layout.line(logging.WARNING, _LOGGER, message, {}, time.time())):
            self._count_dropped(dropped)


class FileWriter(LineWriter):
    """Writes lines to a file. If it has moved, or `reopen` is called, they go to a new one of its name.

    Raises ConfigError when the file can't be opened. One that can't be opened again later is written to where it is.
    """

    def __init__(self, path: str, layout: Layout) -> None:
        self._path = path
        self._reopens = False
        try:
            fd = _open(path)
        except OSError as error:
            raise ConfigError([f"logging.file cannot be opened ({error.strerror}): {sanitize(path)}"]) from None
        super().__init__(fd, layout)

    def reopen(self) -> None:
        """Open the file again, soon."""
        self._reopens = True
        self._wake()

    def _written(self, text: str) -> bool:
        if self._reopens or not self._is_in_place():
            self._reopens = False
            with suppress(OSError):
                new = _open(self._path)
                os.dup2(new, self._fd, inheritable=False)
                os.close(new)
        return super()._written(text)

    def _is_in_place(self) -> bool:
        """Check whether the file that is written to still has its name."""
        try:
            return os.path.samestat(Path(self._path).stat(), os.fstat(self._fd))
        except OSError:
            return False


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
