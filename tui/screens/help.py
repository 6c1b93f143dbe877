"""Help: every key, found by typing."""

from __future__ import annotations

from itertools import groupby
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from tui.keymap import EVERYWHERE, FILTERS, found
from tui.render.layout import EMPTY, Line
from tui.screens.overlay import leave
from tui.widgets.panel import Panel
from tui.widgets.scroll_panel import ScrollPanel

_FILTERS: Line = (("Filters; all that is typed must hold", "title"),)


class HelpScreen(ModalScreen[None]):
    """A window with the keys, and a line to filter them by."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", show=False),
        Binding("down", "scroll(1)", "Down", show=False),
        Binding("up", "scroll(-1)", "Up", show=False),
        Binding("pagedown", "scroll(10)", "Page down", show=False),
        Binding("pageup", "scroll(-10)", "Page up", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._input = Input(placeholder="type to find a key, Esc closes", id="find", compact=True)
        self._scroller = ScrollPanel(id="found")

    def compose(self) -> ComposeResult:
        """Compose the filter line, and the keys below it."""
        with Vertical(id="help"):
            yield self._input
            yield self._scroller

    def on_mount(self) -> None:
        """Show all."""
        self._input.focus()
        self._show("")

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._show(event.value)

    @on(Input.Submitted)
    def action_leave(self) -> None:
        """Close."""
        leave(self)

    def _show(self, typed: str) -> None:
        lines: list[Line] = []
        for where, keys in groupby(found(typed), key=lambda key: key.where):
            if where != EVERYWHERE and not typed and not any(line == _FILTERS for line in lines):
                lines += [EMPTY, _FILTERS]
                lines += [((f"  {term:<15}", "key"), (meaning, "text")) for term, meaning in FILTERS]
            lines += [EMPTY] if lines else []
            lines.append(((where, "title"),))
            lines += [((f"  {key.shown:<15}", "key"), (key.does, "text")) for key in keys]
        self._scroller.show(lines or [(("no such key", "muted"),)], (("Help", "title"),))

    def action_scroll(self, by: int) -> None:
        """Scroll by lines."""
        self._scroller.scroll_lines(by)

    @on(Panel.Wheeled)
    def _wheeled(self, event: Panel.Wheeled) -> None:
        self.action_scroll(event.by)
