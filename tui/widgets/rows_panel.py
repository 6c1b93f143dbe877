"""Tables of which a row can be selected and leads somewhere: the pieces of the Money screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tui.render.layout import (
    EMPTY,
    Column,
    Layout,
    Line,
    Span,
    cells,
    counted,
    framed,
    header,
    lay_out,
    ruled,
    title_at,
    under_cursor,
)
from tui.widgets.panel import Panel
from tui.widgets.scroll_panel import thumb

BAR = ""  # the title of a column of bars, which are as long as there is room


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its cells by column, and a `bar` for the width that it has.

    It is of the requests that pass the filter `finds` (empty: no filter says that), or of one of them. `key` tells it
    from the others, however they are sorted.
    """

    key: str
    cells: dict[str, Span]
    finds: str = ""
    request_id: str = ""
    bar: Callable[[int], Span] | None = None


class RowsPanel(Panel):
    """A box, or on small terminals a rule, with a table in it. While `active`, one of its rows is under the cursor."""

    def __init__(self, columns: tuple[Column, ...], id: str | None = None) -> None:
        super().__init__(id=id)
        self._columns = columns
        self._rows: Sequence[Row] = ()
        self._title: Line = EMPTY
        self._note: Line = EMPTY
        self._hint = ""
        self._sorted_by, self._arrow = "", ""
        self._key: str | None = None
        self._place = 0
        self._top = 0
        self._layout: Layout = ()  # as drawn
        self.active = False

    def show_rows(
        self,
        rows: Sequence[Row],
        title: Line,
        *,
        note: Line = EMPTY,
        hint: str = "",
        sorted_by: str = "",
        arrow: str = "▼",
    ) -> None:
        """Show other rows; `hint` where there are none."""
        self._rows, self._title, self._note, self._hint = rows, title, note, hint
        self._sorted_by, self._arrow = sorted_by, arrow
        self._find_selected()
        self.redraw()

    # ── the selection ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def selected(self) -> Row | None:
        """The row under the cursor, None without any."""
        return self._rows[self._place] if self._rows else None

    @property
    def finds(self) -> str:
        """The filter of the requests of the selected row; empty where none says that."""
        return "" if self.selected is None else self.selected.finds

    def finds_at(self, x: int, y: int) -> str:
        """Return the filter of the requests of the row that is drawn there."""
        place = self.row_at(y)
        return "" if place is None else self._rows[place].finds

    @property
    def is_moved(self) -> bool:
        """Whether the cursor is on another row than the first."""
        return self._place > 0

    def move(self, by: int) -> None:
        """Select another row, as far as there are any."""
        self.select(self._place + by)

    def select(self, place: int) -> None:
        """Select the row at that place, or the nearest one."""
        self._place = min(max(place, 0), max(len(self._rows) - 1, 0))
        self._key = self._rows[self._place].key if self._rows else None

    def deselect(self) -> None:
        """Select the first row again, whichever it will be."""
        self._place, self._key = 0, None

    def _find_selected(self) -> None:
        """Keep the selection on its row, which may have moved."""
        places = (place for place, row in enumerate(self._rows) if row.key == self._key)
        self._place = next(places, min(self._place, max(len(self._rows) - 1, 0)))

    def row_at(self, line: int) -> int | None:
        """Return the place of the row on a line of the panel."""
        place = line - self._above + self._top
        return place if line >= self._above and place < len(self._rows) else None

    def column_at(self, line: int, cell: int) -> str | None:
        """Return the title of the column whose title is at a place of the panel; None for what is no title."""
        return title_at(self._layout, cell - self._left) if self.titled and line == 1 else None

    # ── drawing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _boxed(self) -> bool:
        return self.app.size.width >= 100

    @property
    def titled(self) -> bool:
        """Whether there is room for the columns' titles."""
        return self._boxed or self.size.height >= 6

    @property
    def _above(self) -> int:
        return 1 + self.titled

    @property
    def _left(self) -> int:
        return 1 + self._boxed

    @property
    def page(self) -> int:
        """The number of rows that fit."""
        return max(self.size.height - self._above - self._boxed, 1)

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw the rows in sight under their columns' titles."""
        page = max(height - self._above - self._boxed, 1)
        self._scroll(page)
        body = self._body(width - 4 if self._boxed else width - 2, page)
        title, note = counted(self._title, self._note, len(self._rows) - page, width)
        if not self._boxed:
            return ruled(body, width, height, title=title, note=note)
        track = thumb(self._top, page, len(self._rows))
        bar = None if track is None else (track[0] + 1, track[1] + 1)
        return framed(body, width, height, title=title, note=note, thumb=bar)

    def _scroll(self, page: int) -> None:
        self._top = min(max(self._top, self._place - page + 1), self._place, max(len(self._rows) - page, 0))

    def _body(self, width: int, page: int) -> list[Line]:
        self._layout = ()
        if not self._rows:
            return [((self._hint, "muted"),)]
        shown = self._rows[self._top : self._top + page]
        layout = self._layout = lay_out(self._columns, width, [row.cells for row in shown], sorted_by=self._sorted_by)
        lines = [self.line(row, layout) for row in shown]
        if self.active:
            place = self._place - self._top
            lines[place] = under_cursor(lines[place])
        return [header(layout, self._sorted_by, self._arrow), *lines] if self.titled else lines

    def line(self, row: Row, layout: Layout) -> Line:
        """Return the line of a row."""
        return cells(layout, _with_bar(row, layout))


def _with_bar(row: Row, layout: Layout) -> dict[str, Span]:
    """Return a row's cells with its bar, if there is a column for it."""
    room = next((width for column, width in layout if column.title == BAR), 0)
    return {**row.cells, BAR: row.bar(room)} if row.bar is not None and room else row.cells
