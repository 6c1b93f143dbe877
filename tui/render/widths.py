"""How many cells text takes, measured fast: nearly all that is shown has one cell a character.

Rich looks up every character of a text with one that is not plain ASCII. A page of log lines, each cut with an
ellipsis, would hold the proxy up for 5 ms.
"""

from __future__ import annotations

import re

from rich import cells

# ASCII and Latin, dashes and ellipsis, arrows, frames, blocks and marks, Braille: all that the dashboard itself draws.
_NARROW = re.compile(
    "[ -~\u00a0-\u00ac\u00ae-\u02ff\u2010-\u2027\u2190-\u21ff\u2500-\u25fc\u2713-\u2718\u2800-\u28ff]*"
)


def cell_len(text: str) -> int:
    """Return how many cells a text takes."""
    return len(text) if _NARROW.fullmatch(text) else cells.cell_len(text)


def beginning(text: str, width: int) -> str:
    """Return the beginning of a text in exactly `width` cells; a space stands for half a wide character."""
    return text[:width] if len(text) >= width and _NARROW.fullmatch(text) else cells.set_cell_size(text, width)
