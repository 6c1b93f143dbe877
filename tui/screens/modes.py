"""The five screens by their names, each loaded when it is first shown: the first frame waits for no other's modules."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from tui.model.dashboard import DashboardModel
from tui.screens.base import DashboardScreen


def make_screen(name: str, dashboard: DashboardModel) -> DashboardScreen:
    """Make one of `DashboardScreen.NAMES`."""
    make: Callable[[DashboardModel], DashboardScreen]
    make = getattr(import_module(f"tui.screens.{name}"), f"{name.capitalize()}Screen")
    return make(dashboard)
