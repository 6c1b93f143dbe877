"""QR codes in a terminal: black on white whatever its colours are, two rows of modules to a line."""

from __future__ import annotations

import sys

_BLACK_ON_WHITE = "\x1b[38;5;16;48;5;231m"  # of the 256 colours, which no theme redefines
_PLAIN = "\x1b[0m"
_QUIET = 4  # modules around the code that scanners want
_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def qr_lines(text: str, width: int) -> list[str]:
    """Return the lines of a text's code, none if it is wider than `width` or the terminal has not the characters."""
    import segno

    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        return []
    code = segno.make_qr(text.upper(), error="l", boost_error=False)  # capitals take half the room
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=_QUIET)]
    if len(rows[0]) > width:
        return []
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return [
        f"{_BLACK_ON_WHITE}{''.join(_HALVES[above, below] for above, below in zip(*pair, strict=True))}{_PLAIN}"
        for pair in pairs
    ]
