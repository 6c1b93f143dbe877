"""What opens on top of a screen, what it says of that, and how it is left: once, however often it is asked to."""

from __future__ import annotations

from typing import TypeVar

from textual.app import App
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widget import Widget

T = TypeVar("T")


class Dialog(ModalScreen[T]):
    """A window on top of a screen. Its frame says so if what is below is frozen: the top bar is out of its light."""

    def on_mount(self) -> None:
        """Mark the window, a Vertical."""
        say_frozen(self.app, self.query_one(Vertical))


def say_frozen(app: App[object], window: Widget) -> None:
    """Mark a window as what the application says of itself: its sub-title is empty while live."""
    if said := app.sub_title:
        window.border_title = f"{window.border_title} {said}" if window.border_title else said
        window.add_class("frozen")


def leave(screen: Screen[T], result: T | None = None) -> None:
    """Close a screen. The second of two keys that come at once must not close what is below it."""
    if screen.is_current:
        screen.dismiss(result)
