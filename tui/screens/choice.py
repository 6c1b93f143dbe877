"""A small question with a few answers: by a key of their own, by the arrows, or by a click."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.render.widths import cell_len
from tui.screens.overlay import Dialog, leave


class ChoiceScreen(Dialog[str | None]):
    """A question with a key for each answer; ends with that key, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Back", show=False),
        Binding("j", "highlight(1)", "Next answer", show=False),
        Binding("k", "highlight(-1)", "Previous answer", show=False),
    ]

    def __init__(self, question: str, answers: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._question = question
        self._answers = answers

    def compose(self) -> ComposeResult:
        """Compose the question in a box."""
        box = Vertical(classes="choice")
        box.styles.width = max(cell_len(self._question) + 6, *(cell_len(label) + 9 for _, label in self._answers), 40)
        with box:
            yield Static(Content(self._question), classes="question")
            yield OptionList(*(Option(_answer(*each), id=each[0]) for each in self._answers), compact=True)
            yield Static(Content("its key, or ↑ ↓ ↵; Esc goes back"), classes="hint")

    def on_mount(self) -> None:
        """Begin with no answer highlighted: Enter, pressed by habit, is none."""
        self.query_one(OptionList).highlighted = None

    def on_key(self, event: events.Key) -> None:
        """Answer by its key."""
        if any(event.key == key for key, _ in self._answers):
            event.stop()
            event.prevent_default()
            leave(self, event.key)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        leave(self, event.option_id)

    def action_highlight(self, by: int) -> None:
        """Highlight another answer."""
        answers = self.query_one(OptionList)
        answers.action_cursor_down() if by > 0 else answers.action_cursor_up()

    def action_leave(self) -> None:
        """Leave without an answer."""
        leave(self)


def _answer(key: str, label: str) -> Content:
    return Content.assemble((f" {key} ", "bold $primary"), f" {label}")
