"""What opens on top of a screen, and how it is left: once, however often it is asked to."""

from __future__ import annotations

from typing import TypeVar

from textual.screen import Screen

T = TypeVar("T")


def leave(screen: Screen[T], result: T | None = None) -> None:
    """Close a screen. The second of two keys that come at once must not close what is below it."""
    if screen.is_current:
        screen.dismiss(result)
