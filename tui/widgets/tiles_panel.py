"""Tiles: a few figures each, side by side in boxes, or a line for each where boxes don't fit.

A line of a tile, or a word in it, may be about requests that a filter finds: the cursor and clicks lead to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tui.render.layout import EMPTY, Line, Span, beside, fit_line, framed, under_cursor, width_of
from tui.render.widths import cell_len
from tui.widgets.panel import Panel

SINCE_START = "since start"
BOXES_FROM = 110  # cells: with fewer, lines
SIX_FROM = 144  # with fewer, five boxes
BOXED = 5  # lines that tiles in boxes take at least
PLAIN = 6  # tiles, in a line each
_LABEL = 10  # cells of a tile's title before its line
_PLAIN_CELLS = (21, 21, 22, 20, 20)  # of the lines of a tile, side by side


@dataclass(frozen=True, slots=True)
class Tile:
    """A title, the time it spans, and its lines, the first the one that matters most.

    `finds` are the filters of the requests that its lines are about, `words` those of single words in them.
    """

    title: str
    span: str
    lines: tuple[Line, ...]
    finds: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the tiles that leads to the requests that a filter finds; `key` tells it wherever it is drawn."""

    key: tuple[str, int, str]  # its tile's title, the number of the line there, and the word if it is not all of it
    finds: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A line of a tile as it is drawn: from `x` on, on line `y`. Its tile reaches from `left` to before `right`."""

    tile: Tile
    number: int
    line: Line
    x: int
    y: int
    left: int
    right: int

    def spots(self) -> list[Spot]:
        """Return the places in it that lead to requests: its words that do, else all of it."""
        words: list[Spot] = []
        x = self.x
        for text, _ in self.line:
            if finds := self.tile.words.get(text):
                words.append(Spot((self.tile.title, self.number, text), finds, x, x + cell_len(text) - 1))
            x += cell_len(text)
        finds = self.tile.finds[self.number] if self.number < len(self.tile.finds) else ""
        whole = [Spot((self.tile.title, self.number, ""), finds, self.x, x - 1)] if finds and self.line else []
        return words or whole

    def marked(self, spot: Spot | None) -> Line:
        """Return its line, what is selected in it under the cursor."""
        if spot is None or spot.key[:2] != (self.tile.title, self.number):
            return self.line
        return tuple(under_cursor((span,))[0] if spot.key[2] in ("", span[0]) else span for span in self.line)


class TilesPanel(Panel):
    """The tiles. While `active`, one of the places that lead to requests is under the cursor."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tiles: tuple[Tile, ...] = ()
        self._pieces: Sequence[Piece] = ()  # as drawn
        self._boxed = False
        self._key: tuple[str, int, str] | None = None
        self.active = False

    def show_tiles(self, shown: tuple[Tile, ...]) -> None:
        """Show other figures."""
        self._tiles = shown
        self.redraw()

    @property
    def finds(self) -> str:
        """The filter of the requests that the selected place is about; empty without any."""
        spot = _selected(_spots(self._pieces), self._key)
        return "" if spot is None else spot.finds

    @property
    def is_moved(self) -> bool:
        """Whether another place than the first was selected."""
        return self._key is not None

    def finds_at(self, x: int, y: int) -> str:
        """Return the filter of what is drawn there, else that of the line, else that of the tile."""
        under = [piece for piece in self._pieces if piece.left <= x < piece.right]
        line = [piece for piece in under if piece.y == y]
        tiles = [piece.tile for piece in line or (under if self._boxed else ())]
        hit = [spot for spot in _spots(line) if spot.first <= x <= spot.last]
        others = _spots(piece for piece in self._pieces if piece.tile in tiles[:1])
        return next((spot.finds for spot in (*hit, *_spots(line), *others)), "")

    def move(self, by: int) -> None:
        """Select another place, as far as there are any."""
        spots = _spots(self._pieces)
        if (now := _selected(spots, self._key)) is not None:
            self._key = spots[min(max(spots.index(now) + by, 0), len(spots) - 1)].key

    def deselect(self) -> None:
        """Select the first place again."""
        self._key = None

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw boxes if they fit, else lines."""
        self._boxed = width >= BOXES_FROM and height >= BOXED
        if self._boxed:
            self._pieces = _boxed_pieces(self._tiles[: 6 if width >= SIX_FROM else 5], width, height)
        else:
            self._pieces = _plain_pieces(_most_wanted(self._tiles, height), width)
        spot = _selected(_spots(self._pieces), self._key) if self.active else None
        return _boxes(self._pieces, spot, height) if self._boxed else _plain_lines(self._pieces, spot)


def _spots(pieces: Iterable[Piece]) -> list[Spot]:
    return [spot for piece in pieces for spot in piece.spots()]


def _selected(spots: Sequence[Spot], key: tuple[str, int, str] | None) -> Spot | None:
    """Return the spot of that key, else the first one."""
    return next((spot for spot in spots if spot.key == key), spots[0] if spots else None)


# ── boxes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _boxed_pieces(shown: Sequence[Tile], width: int, height: int) -> list[Piece]:
    pieces: list[Piece] = []
    left = 0
    each, rest = divmod(width, max(len(shown), 1))
    for index, tile in enumerate(shown):
        right = left + each + (index < rest)
        for number, line in enumerate(tile.lines[: height - 2]):
            fitted = squeezed(line, right - left - 4)
            pieces.append(Piece(tile, number, fitted, left + 2, 1 + number, left, right))
        left = right
    return pieces


def _boxes(pieces: Sequence[Piece], spot: Spot | None, height: int) -> list[Line]:
    lines: list[Line] = [EMPTY] * height
    for first in (piece for piece in pieces if piece.number == 0):
        body = [piece.marked(spot) for piece in pieces if piece.tile is first.tile]
        width, name, span = first.right - first.left, first.tile.title, first.tile.span
        gap = "  " if cell_len(name) + 2 + cell_len(span) <= width - 4 else " "
        title: Line = ((name, "title"), (f"{gap}{span}", "muted"))
        lines = beside(lines, framed(body, width, height, title=title))
    return lines


def squeezed(line: Line, width: int) -> Line:
    """Return what of a line fits: labels and units go first, from its end, then figures; none is cut or joined."""
    spans = list(line)
    while width_of(tuple(spans)) > width:
        loose = [place for place in range(len(spans)) if _can_go(spans, place)]
        if loose:
            del spans[loose[-1]]
        elif len(spans) > 1:
            del spans[-1]
        else:
            break
    return tuple(spans)


def _can_go(spans: Sequence[Span], place: int) -> bool:
    """Check whether a span is a label or a unit, and no other's words would run together without it."""
    if spans[place][1] != "muted" or len(spans) == 1:
        return False
    return place in (0, len(spans) - 1) or spans[place + 1][0].startswith(" ")


# ── lines ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _most_wanted(shown: Sequence[Tile], count: int) -> list[Tile]:
    """Return the tiles for which there are lines: latency can be missed first, then what was saved."""
    gone = ("Latency", "Saved")[: max(len(shown) - count, 0)]
    return [tile for tile in shown if tile.title not in gone][:count]


def _plain_pieces(shown: Sequence[Tile], width: int) -> list[Piece]:
    """Return the lines of each tile side by side, as many as fit."""
    pieces: list[Piece] = []
    for y, tile in enumerate(shown):
        x = _LABEL
        for number, (line, cells) in enumerate(zip(tile.lines, _PLAIN_CELLS, strict=False)):
            if number and x + cells > width:
                break
            fitted = squeezed(line if number else _first_line(tile), cells)
            pieces.append(Piece(tile, number, fitted, x, y, x if number else 0, x + cells + 1))
            x += cells + 1
    return pieces


def _first_line(tile: Tile) -> Line:
    """Return a tile's first line; what its title leaves to be guessed is said with the first figure."""
    figure, *others = tile.lines[0]
    span = f"  {tile.span}"
    if tile.title in ("Spent", "Budget"):
        others.append((span, "muted"))
    elif tile.span.startswith("since ") and tile.span != SINCE_START:
        others.insert(0, (span, "text"))
    return (figure, *others)


def _plain_lines(pieces: Sequence[Piece], spot: Spot | None) -> list[Line]:
    lines: list[Line] = []
    for piece in pieces:
        label: Line = ((f" {piece.tile.title:<8} ", "muted"),) if piece.number == 0 else ((" ", "text"),)
        if piece.number == 0:
            lines.append(EMPTY)
        lines[-1] += (*label, *fit_line(piece.marked(spot), _PLAIN_CELLS[piece.number]))
    return lines
