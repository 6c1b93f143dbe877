"""Plain text for a terminal or a pipe: aligned tables, without colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from unicodedata import combining, east_asian_width

from arbstr.sanitize import sanitize


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], alignment: str = "") -> list[str]:
    """Return lines with columns as wide as their widest cell, two spaces apart; `alignment` has `<` or `>` for each."""
    cells = [list(headers), *([sanitize(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_width, column)) for column in zip(*cells, strict=True)]
    columns = list(zip(widths, alignment.ljust(len(widths), "<"), strict=True))
    return [
        "  ".join(
            fit(cell, width, right=side == ">") for cell, (width, side) in zip(row, columns, strict=True)
        ).rstrip()
        for row in cells
    ]


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Cut or pad a text to exactly `width` terminal cells."""
    if cell_width(text) > width:
        while text and cell_width(text) > width - 1:
            text = text[: min(len(text) - 1, width - 1)] if len(text) > width else text[:-1]
        text += "…"
    padding = " " * (width - cell_width(text))
    return padding + text if right else text + padding


def cell_width(text: str) -> int:
    """Return a text's width in terminal cells. Rich can do this too, but takes long to import."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def counted(number: int, noun: str) -> str:
    """`1 provider`, `2 providers`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
