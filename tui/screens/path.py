"""A question for a file's path, with one to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Static

from tui.screens.overlay import Dialog, leave


class PathScreen(Dialog[Path | None]):
    """A question for a file's path; ends with the path, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Back", show=False)]

    def __init__(self, question: str, path: Path) -> None:
        super().__init__()
        self._question = question
        self._path = path

    def compose(self) -> ComposeResult:
        """Compose the question and the input."""
        with Vertical(id="path"):
            yield Static(f" {self._question}", markup=False)
            yield Input(str(self._path), id="to", compact=True, select_on_focus=False)
            yield Static(" Enter writes it, Esc does not", id="path-keys", markup=False)

    def on_mount(self) -> None:
        """Focus the input."""
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def _chosen(self, event: Input.Submitted) -> None:
        event.stop()
        typed = event.value.strip()
        leave(self, Path(typed).expanduser() if typed else None)

    def action_leave(self) -> None:
        """Leave without a path."""
        leave(self)
