"""Lines of styled text as plain values: what a widget shows, before any terminal is involved.

A span is a text and its role (what it means, not how it looks); a line is a tuple of spans. Widths are in cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rich.cells import cell_len, chop_cells, set_cell_size

Role = Literal[
    "text",  # ordinary words and figures
    "strong",  # the figure one looks for first
    "muted",  # labels, units, what stands back
    "faint",  # frames and separators
    "accent",  # money
    "good",
    "warn",
    "bad",
    "title",
    "key",  # a key to press
    "badge",  # a state that must not be overlooked: frozen, filtered
    "cursor",  # the selected row
    "cursor-muted",
    "cursor-good",
    "cursor-warn",
    "cursor-bad",
    "cursor-accent",
]
Span = tuple[str, Role]
Line = tuple[Span, ...]
Align = Literal["left", "right"]

EMPTY: Line = ()


@lru_cache(16_384)
def fit(text: str, width: int, align: Align = "left") -> str:
    """The text in exactly `width` cells: padded, or cut with an ellipsis."""
    length = cell_len(text)
    if length > width:
        text = set_cell_size(text, max(width - 1, 0)) + "…" if width > 0 else ""
        length = cell_len(text)
    padding = " " * (width - length)
    return text + padding if align == "left" else padding + text


def width_of(line: Line) -> int:
    """How many cells a line takes."""
    return sum(cell_len(text) for text, _ in line)


def fit_line(line: Line, width: int, role: Role = "text") -> Line:
    """The line in exactly `width` cells: padded at the end with spaces of `role`, or cut with an ellipsis."""
    fitted: list[Span] = []
    left = width
    for text, span_role in line:
        length = cell_len(text)
        if length > left:
            fitted.append((fit(text, left), span_role))
            return tuple(fitted)
        fitted.append((text, span_role))
        left -= length
    if left > 0:
        fitted.append((" " * left, role))
    return tuple(fitted)


def wrapped(text: str, width: int) -> list[str]:
    """The text in one or more lines of at most `width` cells, broken between words unless one is longer than a line."""
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines += chop_cells(word, width)
    return lines or [""]


def spread(left: Line, right: Line, width: int) -> Line:
    """Two lines as one of `width` cells, at its ends; the right one goes when there is no room for both."""
    gap = width - width_of(left) - width_of(right)
    if gap < 1:
        return fit_line(left, width)
    return (*left, (" " * gap, "text"), *right)


_UNDER_CURSOR: dict[Role, Role] = {
    "muted": "cursor-muted",
    "faint": "cursor-muted",
    "accent": "cursor-accent",
    "good": "cursor-good",
    "warn": "cursor-warn",
    "bad": "cursor-bad",
}


def under_cursor(line: Line) -> Line:
    """The line as the selected row."""
    return tuple((text, _UNDER_CURSOR.get(role, "cursor")) for text, role in line)


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column: its least width in cells, its share of what is left over (0: none), and from which table
    width on it is shown."""

    title: str
    width: int
    align: Align = "left"
    share: int = 0
    most: int = 200
    above: int = 0


Layout = tuple[tuple[Column, int], ...]
GAP = 2


@lru_cache(256)
def lay_out(columns: tuple[Column, ...], width: int) -> Layout:
    """Which columns a table of `width` cells shows, and how wide each is; two cells stand between columns."""
    present = [column for column in columns if width >= column.above]
    free = width - sum(column.width for column in present) - GAP * max(len(present) - 1, 0)
    widths = [column.width for column in present]
    shares = sum(column.share for column in present)
    if free > 0 and shares:
        for index, column in enumerate(present):
            widths[index] = min(column.width + free * column.share // shares, max(column.most, column.width))
    return tuple(zip(present, widths, strict=True))


def header(layout: Layout, sorted_by: str | None = None, arrow: str = "") -> Line:
    """A table's line of titles; the column it is sorted by carries the arrow."""
    titles = [
        fit(f"{column.title} {arrow}" if column.title == sorted_by else column.title, width, column.align)
        for column, width in layout
    ]
    return (("  ".join(titles), "muted"),)


def cells(layout: Layout, row: dict[str, Span]) -> Line:
    """A table's line: `row` holds each column's span by title; what it lacks stays empty."""
    spans: list[Span] = []
    for column, width in layout:
        text, role = row.get(column.title, ("", "text"))
        if spans:
            spans.append(("  ", "text"))
        spans.append((fit(text, width, column.align), role))
    return merged(spans)


def merged(spans: Sequence[Span]) -> Line:
    """The spans with neighbours of one role joined: fewer pieces are cheaper to paint."""
    joined: list[Span] = []
    for text, role in spans:
        if joined and (joined[-1][1] == role or not text.strip()):
            joined[-1] = (joined[-1][0] + text, joined[-1][1])
        elif text:
            joined.append((text, role))
    return tuple(joined)


def framed(
    body: Sequence[Line],
    width: int,
    height: int,
    *,
    title: Line = EMPTY,
    note: Line = EMPTY,
    thumb: tuple[int, int] | None = None,
) -> list[Line]:
    """A box of `width` by `height` cells around the body, title at its upper left and note at its upper right.

    `thumb` are the first and last content line beside which the right edge is thick: a scroll bar.
    """
    inner = width - 4
    lines = [_edge(title, note, width, "╭", "╮")]
    for y in range(height - 2):
        content = fit_line(body[y] if y < len(body) else EMPTY, inner)
        edge = "┃" if thumb is not None and thumb[0] <= y <= thumb[1] else "│"
        lines.append((("│ ", "faint"), *content, (f" {edge}", "faint" if edge == "│" else "muted")))
    lines.append((("╰" + "─" * (width - 2) + "╯", "faint"),))
    return lines


def ruled(body: Sequence[Line], width: int, height: int, *, title: Line = EMPTY, note: Line = EMPTY) -> list[Line]:
    """The body under a rule that bears title and note: a frame for small terminals."""
    lines = [_edge(title, note, width, "─", "─")]
    lines += [fit_line(((" ", "text"), *line), width) for line in body[: height - 1]]
    lines += [fit_line(EMPTY, width)] * (height - len(lines))
    return lines


def beside(left: Sequence[Line], right: Sequence[Line]) -> list[Line]:
    """Two blocks of the same height as one."""
    return [(*one, *other) for one, other in zip(left, right, strict=True)]


def _edge(title: Line, note: Line, width: int, left: str, right: str) -> Line:
    """The upper edge of a box, with what stands in it; the note goes first when room is short."""
    label: Line = ((" ", "faint"), *title, (" ", "faint")) if title else EMPTY
    remark: Line = ((" ", "faint"), *note, (" ─", "faint")) if note else EMPTY
    room = width - 2 - width_of(label) - width_of(remark)
    if room < 1 and remark:
        return _edge(title, EMPTY, width, left, right)
    if room < 0:
        label, room = fit_line(label, width - 2), 0
    return ((left, "faint"), *label, ("─" * room, "faint"), *remark, (right, "faint"))
