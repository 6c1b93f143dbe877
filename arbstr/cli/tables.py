"""Plain text for a terminal or a pipe: aligned tables, without colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from unicodedata import combining, east_asian_width

from arbstr.sanitize import sanitize

ENDLESS = 10**9
_GAP = "  "


class Column(NamedTuple):
    """A column. Where a table is too wide, those with a `least` width shrink to it, the highest first; then those with
    a `goes` are dropped, the lowest first.
    """

    header: str
    right: bool = False
    least: int | None = None
    goes: int = 0


class Table:
    """Rows in columns as wide as their widest cell, two spaces apart, no wider in all than `width` if that can be.

    `sample` are rows that set the widths; cells of others are cut. Cells are untrusted.
    """

    def __init__(self, columns: Sequence[Column], sample: Iterable[Sequence[str]], width: int = ENDLESS) -> None:
        self._columns = columns
        cells = zip([column.header for column in columns], *sample, strict=True)
        self._widths = [max(cell_width(sanitize(cell, ENDLESS)) for cell in column) for column in cells]
        self._shrink(width)
        self._drop(width)

    @property
    def _total(self) -> int:
        return sum(width + len(_GAP) for width in self._widths if width) - len(_GAP)

    def _shrink(self, width: int) -> None:
        for index, column in sorted(enumerate(self._columns), key=lambda each: -(each[1].least or 0)):
            if column.least is not None:
                over = max(0, self._total - width)
                self._widths[index] = max(min(self._widths[index], column.least), self._widths[index] - over)

    def _drop(self, width: int) -> None:
        for index, column in sorted(enumerate(self._columns), key=lambda each: each[1].goes):
            if column.goes and self._total > width:
                self._widths[index] = 0

    def header(self) -> str:
        """Return the line of the columns' names."""
        return self.line([column.header for column in self._columns])

    def line(self, cells: Sequence[str]) -> str:
        """Return one row as text."""
        fitted = [
            fit(sanitize(cell, ENDLESS), width, right=column.right)
            for column, cell, width in zip(self._columns, cells, self._widths, strict=True)
            if width
        ]
        return _GAP.join(fitted).rstrip()


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a small table, its header first; very long cells are cut."""
    kept = [[sanitize(cell) for cell in row] for row in rows]
    made = Table(columns, kept)
    return [made.header(), *map(made.line, kept)]


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
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
