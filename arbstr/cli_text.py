"""Plain text for a terminal or a pipe: aligned tables, without colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from arbstr.text import plain


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], alignment: str = "") -> list[str]:
    """Lines with columns as wide as their widest cell, two spaces apart; `alignment` is a `<` or `>` for each."""
    cells = [list(headers), *([plain(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = alignment.ljust(len(widths), "<")
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in cells
    ]


def counted(number: int, noun: str) -> str:
    """`1 provider`, `2 providers`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
