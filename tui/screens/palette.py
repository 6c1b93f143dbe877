"""The palette: every command by its name. Textual's, in a frame that says what windows say of what is below."""

from __future__ import annotations

from textual.command import CommandPalette
from textual.containers import Horizontal

from tui.screens.overlay import say_frozen


class Palette(CommandPalette):
    """The palette. Its input's frame says so if what is below is frozen."""

    def on_mount(self) -> None:
        """Mark the line to type in, which is there however many commands are found."""
        say_frozen(self.app, self.query_one("#--input", Horizontal))
