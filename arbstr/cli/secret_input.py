"""Reads a secret from the terminal without showing it, or from a pipe."""

from __future__ import annotations

import os
import sys

from arbstr.errors import UnusableInput

MOST_BYTES = 1024 * 1024
_ERASE = (b"\x7f", b"\x08")
_END_OF_INPUT = b"\x04"


def read_secret(prompt: str) -> str:
    """Return a line typed or pasted at a prompt, or all that a pipe has. Raises UnusableInput for too much."""
    if sys.stdin.isatty():
        return _typed(prompt, sys.stdin.fileno())
    data = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise UnusableInput(f"more than {MOST_BYTES:,} bytes came on stdin; that is no token")
    return data.decode(errors="replace")


def _typed(prompt: str, terminal: int) -> str:
    """Read a line key by key: a terminal that collects lines cuts them at 4,095 bytes, and tokens are longer."""
    import termios
    import tty

    modes = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSADRAIN)  # neither echo nor lines; Ctrl-C goes on to interrupt
        print(prompt, end="", file=sys.stderr, flush=True)
        return _line(terminal)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, modes)
        print(file=sys.stderr, flush=True)


def _line(terminal: int) -> str:
    line = bytearray()
    while len(line) < MOST_BYTES:
        key = os.read(terminal, 1)
        if key in (b"", b"\n", b"\r", _END_OF_INPUT):
            break
        if key in _ERASE:
            del line[-1:]
        else:
            line += key
    return line.decode(errors="replace")
