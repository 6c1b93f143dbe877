"""What the help says: every screen's keys, from their bindings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textual.binding import Binding
from textual.screen import Screen

from arbstr.dashboard_keys import Keymap
from tui.keymap import FILTERS, bindings_of, key_lines
from tui.screens.base import LIST_KEYS, DashboardScreen
from tui.screens.detail import DetailScreen
from tui.screens.help import Section
from tui.screens.live import LiveScreen
from tui.screens.log import LogScreen
from tui.screens.money import MoneyScreen
from tui.screens.providers import ProvidersScreen
from tui.screens.requests import RequestsScreen

DETAIL = "request"
_KINDS: dict[str, tuple[str, type[Screen[None]]]] = {
    "live": ("Live", LiveScreen),
    "requests": ("Requests", RequestsScreen),
    DETAIL: ("A request in full", DetailScreen),
    "providers": ("Providers", ProvidersScreen),
    "money": ("Money", MoneyScreen),
    "log": ("Log", LogScreen),
}


def help_sections(here: str, everywhere: Sequence[Binding], keymap: Keymap) -> list[Section]:
    """Return the keys of the screen in sight, filters, the keys that work everywhere, then the other screens'."""
    general = bindings_of(DashboardScreen)
    own = {
        name: Section(title, key_lines([each for each in bindings_of(kind) if each not in general], keymap), name)
        for name, (title, kind) in _KINDS.items()
    }
    shared = [each for each in general if each not in LIST_KEYS]
    return [
        *([replace(own.pop(here), screen="")] if here in own else []),
        Section("Filters on Live and Requests; all that is typed must hold", FILTERS),
        Section("Everywhere", [*key_lines(everywhere, keymap, "app"), *key_lines(shared, keymap)]),
        Section("Lists", key_lines(LIST_KEYS, keymap)),
        *own.values(),
    ]
