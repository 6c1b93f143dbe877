"""Lines of styled text as plain values: what a widget shows, before any terminal is involved.

A span is a text and its role (what it means, not how it looks); a line is a tuple of spans. Widths are in cells.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rich.cells import chop_cells

from tui.render.widths import beginning, cell_len

Role = Literal[
    "text",  # ordinary words and figures
    "strong",  # the figure one looks for first
    "muted",  # labels, units, what stands back
    "faint",  # frames and separators
    "accent",  # money
    "accent-2",  # other money beside it
    "accent-3",
    "good",
    "warn",
    "bad",
    "title",
    "key",  # a key to press
    "badge",  # a state that must not be overlooked: frozen, filtered
    "alarm",  # a trouble that must not be
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

# A number with its unit, standing alone: half of it would be another number. Digits in a name are not one.
_FIGURE = re.compile(r"(?<![\w.,…-])[-+~<]?\d[\d.,:]*(?: ?(?:%|[kMGT]\b|m?s\b|[mhd]\b|sats\b|tokens\b)(?!=))?(?![\w-])")


@lru_cache(16_384)
def fit(text: str, width: int, align: Align = "left") -> str:
    """Return the text in exactly `width` cells: padded, or cut with an ellipsis; figures are left out, never cut."""
    length = cell_len(text)
    if length > width:
        text = _cut(text, width - 1) + "…" if width > 0 else ""
        length = cell_len(text)
    padding = " " * (width - length)
    return text + padding if align == "left" else padding + text


def _cut(text: str, width: int) -> str:
    """Return the beginning of a longer text, of at most `width` cells."""
    kept = beginning(text, width)
    if kept == text[: len(kept)]:  # else a wide character was halved, which no figure has
        place, figures = len(kept), _FIGURE.finditer(text)
        halved = next((figure for figure in figures if figure.start() < place <= figure.end()), None)
        kept = kept if halved is None else text[: halved.start()]
    return kept


def width_of(line: Line) -> int:
    """Return how many cells a line takes."""
    return sum(cell_len(text) for text, _ in line)


def fit_line(line: Line, width: int, role: Role = "text") -> Line:
    """Return the line in exactly `width` cells: padded at its end with spaces of `role`, or cut with an ellipsis."""
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
    """Return the text in lines of at most `width` cells, broken between words unless one is longer than a line."""
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines += chop_cells(word, width) if cell_len(word) > width else [word]
    return lines or [""]


Part = tuple[Line, int]


def fit_parts(parts: Sequence[Part], width: int) -> Line:
    """Return the parts of a line that fit into `width` cells whole: those of rank 0 always, then by rank.

    Parts of one rank are there together or not at all; where they have no room, those of a higher rank still may.
    """
    widths: dict[int, int] = {0: 0}
    for line, rank in parts:
        widths[rank] = widths.get(rank, 0) + width_of(line)
    present, left = {0}, width - widths.pop(0)
    for rank in sorted(widths):
        if widths[rank] <= left:
            present.add(rank)
            left -= widths[rank]
    return tuple(span for line, rank in parts if rank in present for span in line)


def spread(left: Line, right: Line, width: int) -> Line:
    """Join two lines at the ends of one of `width` cells; the right one is dropped if both do not fit."""
    gap = width - width_of(left) - width_of(right)
    if gap < 1:
        return fit_line(left, width)
    return (*left, (" " * gap, "text"), *right)


_STRETCH: Part = ((("", "text"),), 0)  # between what stands on the left and what on the right


def spread_parts(left: Sequence[Part], right: Sequence[Part], width: int, *, gap: int = 1) -> Line:
    """Return those parts of two that fit whole, as of `fit_parts`, joined at the ends of a line of `width` cells."""
    line = fit_parts([*left, _STRETCH, *right], width - gap)
    place = line.index(_STRETCH[0][0])
    return spread(line[:place], line[place + 1 :], width)


_UNDER_CURSOR: dict[Role, Role] = {
    "muted": "cursor-muted",
    "faint": "cursor-muted",
    "accent": "cursor-accent",
    "good": "cursor-good",
    "warn": "cursor-warn",
    "bad": "cursor-bad",
}


def under_cursor(line: Line) -> Line:
    """Return the line as the selected row."""
    return tuple((text, _UNDER_CURSOR.get(role, "cursor")) for text, role in line)


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column: its least width in cells, its share of the remaining ones (0: none), at most `most` in all.

    Where the table is too narrow the columns of the highest `rank` go first. A column on the right holds figures, and
    so may an `exact` one: they are as wide as what stands in them and never cut.
    """

    title: str
    width: int
    align: Align = "left"
    share: int = 0
    most: int = 200
    rank: int = 0
    exact: bool = False

    @property
    def figures(self) -> bool:
        """Whether its content must not be cut."""
        return self.exact or self.align == "right"


Layout = tuple[tuple[Column, int], ...]
Cells = Mapping[str, Span]  # a row: each column's span by title
GAP = 2
NAME = 18  # cells: what a name of a model or a provider may take before a further column is worth more


def lay_out(columns: tuple[Column, ...], width: int, rows: Sequence[Cells] = (), *, sorted_by: str = "") -> Layout:
    """Choose a table's columns, and the width of each, for `width` cells with two between columns.

    `rows` are those in sight; the column that it is `sorted_by` has an arrow beside its title.
    """
    wants = tuple(_wanted(column, rows, sorted_by) for column in columns)
    return _laid_out(columns, width, wants)


def _wanted(column: Column, rows: Sequence[Cells], sorted_by: str) -> int:
    """Return how many cells a column needs to show everything."""
    title = cell_len(column.title) + (2 if sorted_by and column.title == sorted_by else 0)
    return max([title, *(cell_len(row[column.title][0]) for row in rows if column.title in row)])


@lru_cache(256)
def _laid_out(columns: tuple[Column, ...], width: int, wants: tuple[int, ...]) -> Layout:
    least = [max(column.width, want if column.figures else 0) for column, want in zip(columns, wants, strict=True)]
    present = _present(columns, least, wants, width)
    widths = [least[place] for place in present]
    _shrink([columns[place] for place in present], widths, width)
    shares = [columns[place].share for place in present]
    most = [max(columns[place].most, least[place]) for place in present]
    for limits in ([min(wants[place], limit) for place, limit in zip(present, most, strict=True)], most):
        _grow(widths, limits, shares, width)
    return tuple((columns[place], cells_) for place, cells_ in zip(present, widths, strict=True))


def _taken(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * max(len(widths) - 1, 0)


def _present(columns: Sequence[Column], least: Sequence[int], wants: Sequence[int], width: int) -> list[int]:
    """Return the places of the columns that fit; those of the first rank always stay.

    Before a column of a higher rank is shown, the texts before it have the room that an ordinary name takes.
    """
    ordinary = [max(narrow, min(want, NAME)) for narrow, want in zip(least, wants, strict=True)]
    ranks = sorted({column.rank for column in columns}, reverse=True)
    for last in ranks:
        present = [place for place, column in enumerate(columns) if column.rank <= last]
        if _taken([least[place] if columns[place].rank == last else ordinary[place] for place in present]) <= width:
            break
    return present


def _shrink(columns: Sequence[Column], widths: list[int], width: int) -> None:
    """Shrink text columns until all fit, the widest first."""
    while _taken(widths) > width:
        texts = [place for place, column in enumerate(columns) if not column.figures and widths[place] > 1]
        if not texts:
            break
        widest = max(texts, key=lambda place: widths[place])
        widths[widest] -= 1


def _grow(widths: list[int], limits: Sequence[int], shares: Sequence[int], width: int) -> None:
    """Distribute the remaining cells by shares, up to each column's limit."""
    while (free := width - _taken(widths)) > 0:
        hungry = [place for place, share in enumerate(shares) if share and widths[place] < limits[place]]
        if not hungry:
            break
        whole = sum(shares[place] for place in hungry)
        for place in hungry:
            more = min(max(free * shares[place] // whole, 1), limits[place] - widths[place], width - _taken(widths))
            widths[place] += more


def header(layout: Layout, sorted_by: str = "", arrow: str = "") -> Line:
    """Return a table's line of titles; the sorted column carries the arrow."""
    titles = [
        fit(f"{column.title} {arrow}" if sorted_by and column.title == sorted_by else column.title, width, column.align)
        for column, width in layout
    ]
    return (("  ".join(titles), "muted"),)


def title_at(layout: Layout, cell: int) -> str | None:
    """Return the title of the column that a cell of a table's line belongs to; None beside all columns."""
    left = 0
    for column, width in layout:
        if left <= cell < left + width + GAP:
            return column.title
        left += width + GAP
    return None


def cells(layout: Layout, row: Cells) -> Line:
    """Return a table's line: `row` has each column's span by title; missing ones are blank."""
    spans: list[Span] = []
    for column, width in layout:
        text, role = row.get(column.title, ("", "text"))
        if spans:
            spans.append(("  ", "text"))
        spans.append((fit(text, width, column.align), role))
    return merged(spans)


def cells_until(layout: Layout, row: Cells, titles: Collection[str], words: str, room: int) -> Line | None:
    """Return a table's line with words in place of the last columns, from the first of `titles` on.

    None if there is no such column, or less than `room` cells from it on.
    """
    place = next((place for place, (column, _) in enumerate(layout) if column.title in titles), len(layout))
    cells_ = _taken([width for _, width in layout[place:]])
    if place in (0, len(layout)) or cells_ < room:
        return None
    return (*cells(layout[:place], row), ("  ", "text"), (fit(words, cells_), "muted"))


def wrapped_cells(layout: Layout, row: Cells, title: str, width: int) -> list[Line]:
    """Return a table's lines for a row whose text of one column is wrapped: in it, or below if the column has gone."""
    text, role = row.get(title, ("", "text"))
    room = next((cells_ for column, cells_ in layout if column.title == title), 0)
    if room:
        first, *more = wrapped(text, room)
        return [cells(layout, {**row, title: (first, role)}), *(cells(layout, {title: (each, role)}) for each in more)]
    below = wrapped(text, max(width - GAP, 1)) if text.strip() else []
    return [cells(layout, row), *(((" " * GAP + each, role),) for each in below)]


def merged(spans: Sequence[Span]) -> Line:
    """Join neighbouring spans of one role: fewer pieces are cheaper to paint."""
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
    foot: Line = EMPTY,
) -> list[Line]:
    """Return a box of `width` by `height` cells around the body, title at the upper left, note at the upper right.

    `foot` is in its lower edge, at the left.
    `thumb` are the first and last content line beside which the right edge is thick: a scroll bar.
    """
    inner = width - 4
    lines = [_edge(title, note, width, "╭", "╮")]
    for y in range(height - 2):
        content = fit_line(body[y] if y < len(body) else EMPTY, inner)
        edge = "┃" if thumb is not None and thumb[0] <= y <= thumb[1] else "│"
        lines.append((("│ ", "faint"), *content, (f" {edge}", "faint" if edge == "│" else "muted")))
    lines.append(_edge(foot, EMPTY, width, "╰", "╯") if foot else (("╰" + "─" * (width - 2) + "╯", "faint"),))
    return lines


def ruled(body: Sequence[Line], width: int, height: int, *, title: Line = EMPTY, note: Line = EMPTY) -> list[Line]:
    """Return the body under a rule with title and note: a frame for small terminals."""
    lines = [_edge(title, note, width, "─", "─")]
    lines += [fit_line(((" ", "text"), *line), width) for line in body[: height - 1]]
    lines += [fit_line(EMPTY, width)] * (height - len(lines))
    return lines


def counted(title: Line, note: Line, hidden: int, width: int, what: str = "") -> tuple[Line, Line]:
    """Return title and note for the edge of a box that hides so many rows, or of `what` else, counted in its note.

    Where there is no room for both the rest of the note goes, then what stands in the title after its name.
    """
    if hidden <= 0:
        return title, note
    name = f" {what}{'s' if hidden > 1 else ''}" if what else ""
    more: Line = ((f"… {hidden:,} more{name}", "muted"),)
    both = (*note, ("  ", "text"), *more) if note else more
    note = both if width_of(title) + width_of(both) + _EDGES <= width else more
    return (title if width_of(title) + width_of(note) + _EDGES <= width else title[:1]), note


def beside(left: Sequence[Line], right: Sequence[Line]) -> list[Line]:
    """Join two blocks of the same height side by side."""
    return [(*one, *other) for one, other in zip(left, right, strict=True)]


_EDGES = 8  # cells of an edge beside its title and its note


def _edge(title: Line, note: Line, width: int, left: str, right: str) -> Line:
    """Return the upper edge of a box with its title and note; the note is dropped first."""
    label: Line = ((" ", "faint"), *title, (" ", "faint")) if title else EMPTY
    remark: Line = ((" ", "faint"), *note, (" ─", "faint")) if note else EMPTY
    room = width - 2 - width_of(label) - width_of(remark)
    if room < 1 and remark:
        return _edge(title, EMPTY, width, left, right)
    if room < 0:
        label, room = fit_line(label, width - 2), 0
    return ((left, "faint"), *label, ("─" * room, "faint"), *remark, (right, "faint"))
