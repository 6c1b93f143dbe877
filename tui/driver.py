"""A terminal driver whose writes never wait: a terminal that stops reading must not stop the proxy."""

from __future__ import annotations

import os
import selectors
import signal
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from textual.app import ScreenStackError
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from arbstr.fd_writer import FdWriter
from tui.intake import Intake

if TYPE_CHECKING:
    from textual.app import App

BACKLOG = 64 * 1024  # characters that may be queued; a full frame of a large terminal is about half of it
SHORT = 256  # writes this short set the terminal's modes and are never dropped
GONE_WITHIN_S = 1.0
STDERR = 2  # where Textual paints
LOOK_UP_S = 0.1  # how often the thread that reads keys looks whether it is to end
KEYS_AT_A_TIME = 1024  # bytes
MOST_WAITING = 64  # messages; further keys stay in the terminal until these have been handled


class TerminalWriter(FdWriter):
    """Writes to the terminal. After a drop `on_recovered` is called, on the writer's thread, once the queue has been
    written; a terminal that is gone takes everything.
    """

    def __init__(self, fd: int, on_recovered: Callable[[], None]) -> None:
        self._on_recovered = on_recovered
        super().__init__(fd, "arbstr-terminal", BACKLOG, kept=SHORT)

    @property
    def stalled(self) -> bool:
        """Whether dropped text has not been repainted yet, or more than a frame or two is queued."""
        return self._dropped > 0 or self._queued > BACKLOG

    def _recovered(self, dropped: int) -> None:
        self._on_recovered()


class NonBlockingDriver(LinuxDriver):
    """Textual's driver for Linux and macOS, with a `TerminalWriter` in place of its bounded queue and an `Intake` in
    front of its parser.

    SIGTSTP is ignored, since it would stop the proxy too.
    """

    class Lost(Message):
        """Keys can't be read any more, for the given `reason`."""

        def __init__(self, reason: str) -> None:
            super().__init__()
            self.reason = reason

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._outlet = TerminalWriter(STDERR, self._recovered)
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        signal.signal(signal.SIGCONT, lambda *_: self._recovered())

    def ask_background(self) -> None:
        """Ask the terminal for the colour of its background. A `Background` follows, if it answers."""
        self.write("\x1b]11;?\x1b\\")

    @property
    def stalled(self) -> bool:
        """Whether the terminal has stopped reading."""
        return self._outlet.stalled

    def write(self, data: str) -> None:
        """Queue the text. Never waits."""
        self._outlet.write(data)

    def set_mouse(self, *, on: bool) -> None:
        """Take mouse events, or leave the mouse to the terminal."""
        if on:
            self._mouse = True
            self._enable_mouse_support()
        else:
            self._disable_mouse_support()
            self._mouse = False

    def _get_terminal_size(self) -> tuple[int, int]:
        """Return the size of the terminal painted on: Textual asks stdout and `COLUMNS`, both of which may be stale."""
        try:
            columns, lines = os.get_terminal_size(STDERR)
        except OSError:
            columns = lines = 0
        return columns or 80, lines or 24

    def disable_input(self) -> None:
        """Stop reading keys. Unlike Textual's own, does not wait for the reading thread, which may take 100 ms."""
        if not self.exit_event.is_set():
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
            self._disable_mouse_support()
            self.exit_event.set()

    def close(self) -> None:
        """Stop. Does not wait for a terminal that has stopped reading."""
        super().close()
        self._outlet.end()

    def join(self, within_s: float = GONE_WITHIN_S) -> None:
        """Wait, on a thread other than the loop's, until no keys are read and all queued text is written."""
        if self._key_thread is not None:
            self._key_thread.join(within_s)
        with suppress(termios.error):
            termios.tcflush(self.fileno, termios.TCIFLUSH)  # mouse reports on their way would end up in the shell
        self._outlet.join(within_s)

    # ── keys, on a thread of their own ──────────────────────────────────────────────────────────────────────────────

    def _run_input_thread(self) -> None:
        """Read keys until asked to end, or until the terminal is gone, which posts `Lost`."""
        try:
            self.run_input_thread()
        except Exception as error:  # an outside edge: whatever a terminal can do wrong, the loop is to hear of it
            with suppress(RuntimeError):  # the loop has ended
                self.send_message(self.Lost(str(error) or type(error).__name__))

    def run_input_thread(self) -> None:
        """Read keys until asked to end. Raises EOFError or OSError when the terminal is gone."""
        intake = Intake()
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                found = intake.feed(self._read()) if selector.select(LOOK_UP_S) else []
                found += intake.tick()
                for message in found:
                    self.process_message(message)
                if found:
                    self._let_them_be_handled()

    def _read(self) -> bytes:
        data = os.read(self.fileno, KEYS_AT_A_TIME)
        if not data:
            raise EOFError("its input has ended")
        return data

    def _let_them_be_handled(self) -> None:
        """Wait while the dashboard is behind: keys come from outside, and may come in any number."""
        posted = threading.Event()
        self._loop.call_soon_threadsafe(posted.set)
        while not (posted.is_set() and self._waiting() <= MOST_WAITING) and not self.exit_event.wait(0.005):
            pass

    def _waiting(self) -> int:
        """Return the longest message queue of the application, its screen and the focused widget."""
        try:
            pumps = [self._app, self._app.screen, self._app.focused]
        except ScreenStackError:  # while it starts and ends
            return 0
        return max(pump.message_queue_size for pump in pumps if pump is not None)

    def _query_in_band_window_resize(self) -> None:
        """Do nothing: sizes that come with the keys could be typed. SIGWINCH reports them."""

    def _recovered(self) -> None:
        """Repaint: the terminal reads again and has missed text."""
        self._loop.call_soon_threadsafe(self._app.refresh)
