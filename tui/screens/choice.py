"""A small question with a few answers, each by a key or a click."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from tui.render.layout import EMPTY, Line, framed
from tui.screens.overlay import leave
from tui.widgets.panel import Panel


class ChoiceScreen(ModalScreen[str | None]):
    """A question with a key for each answer; ends with that key, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "leave", "Back", show=False)]

    def __init__(self, question: str, answers: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._question = question
        self._answers = answers

    def compose(self) -> ComposeResult:
        """Compose the question in a box."""
        yield Question(self._question, self._answers)

    def on_key(self, event: events.Key) -> None:
        """Answer by its key."""
        if any(event.key == key for key, _ in self._answers):
            event.stop()
            leave(self, event.key)

    @on(Panel.Picked)
    def _picked(self, event: Panel.Picked) -> None:
        if 0 <= event.index - 2 < len(self._answers):
            leave(self, self._answers[event.index - 2][0])

    def action_leave(self) -> None:
        """Leave without an answer."""
        leave(self)


class Question(Panel):
    """The question's box."""

    def __init__(self, question: str, answers: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._question = question
        self._answers = answers
        self.styles.height = len(answers) + 4
        self.styles.width = max(len(question) + 6, *(len(label) + 9 for _, label in answers), 40)
        self.styles.max_width = "100%"

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw a line for each answer."""
        body: list[Line] = [EMPTY, *(((f" {key} ", "key"), (label, "text")) for key, label in self._answers)]
        note: Line = (("Esc", "key"), (" back", "muted"))
        return framed(body, width, height, title=((self._question, "title"),), note=note)
