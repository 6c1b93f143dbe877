"""Which columns a table has: a list of them to tick."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from rich.segment import Segment
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.strip import Strip
from textual.widgets import SelectionList, Static

from tui.screens.overlay import Dialog, leave

TICK = "X"  # as Textual draws it, whether there is one or not


class _Ticks(SelectionList[str]):
    """A list to tick in which no tick is no tick, also without colour."""

    def render_line(self, y: int) -> Strip:
        """Return a line; where nothing is ticked the box is empty."""
        strip = super().render_line(y)
        place = self.scroll_offset.y + y
        if place >= self.option_count or self.get_option_at_index(place).value in self.selected:
            return strip
        box = next((index for index, segment in enumerate(strip) if segment.text == TICK), None)
        return Strip(
            [Segment(" ", each.style) if index == box else each for index, each in enumerate(strip)],
            strip.cell_length,
        )


class ColumnsScreen(Dialog[frozenset[str] | None]):
    """Columns to tick; ends with those that are hidden, None if nothing is to change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Back", show=False),
        Binding("enter,c", "choose", "Choose", show=False, priority=True),
        Binding("j", "move(1)", "Next column", show=False),
        Binding("k", "move(-1)", "Previous column", show=False),
    ]

    def __init__(self, columns: Sequence[str], hidden: Collection[str]) -> None:
        super().__init__()
        self._columns = columns
        self._hidden = hidden

    def compose(self) -> ComposeResult:
        """Compose the list in a box."""
        with Vertical(classes="choice", id="columns"):
            yield Static(Content("Columns, as far as there is room"), classes="question")
            ticks = [(Content(name), name, name not in self._hidden) for name in self._columns]
            yield _Ticks(*ticks, compact=True)
            yield Static(Content("space ticks, ↵ keeps, Esc does not"), classes="hint")

    def action_move(self, by: int) -> None:
        """Go to another column."""
        columns = self.query_one(SelectionList)
        columns.action_cursor_down() if by > 0 else columns.action_cursor_up()

    def action_choose(self) -> None:
        """Leave with the columns that are not ticked."""
        ticked = set(self.query_one(SelectionList).selected)
        leave(self, frozenset(self._columns) - ticked)

    def action_leave(self) -> None:
        """Leave everything as it was."""
        leave(self)
