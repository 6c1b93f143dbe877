"""What the palette offers: every key's command by name, and choices that have no key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial

from textual.app import App, SystemCommand
from textual.screen import Screen

from arbstr.dashboard_keys import Keymap
from tui.keymap import bindings_of, full_action, keys_of, shown_key
from tui.model.ledger_stats import RANGES, Range
from tui.render.themes import THEME_NAMES
from tui.screens.base import LIST_KEYS


def key_commands(app: App[None], screen: Screen[object], keymap: Keymap) -> Iterator[SystemCommand]:
    """Yield the actions that have keys: the screen's, then the application's."""
    in_lists = {each.id for each in LIST_KEYS}
    for kind, namespace, where in ((type(screen), "screen", "Here"), (type(app), "app", "Everywhere")):
        for each in bindings_of(kind):
            if each.id and each.id not in in_lists and each.id != "palette":
                keys = " ".join(shown_key(key) for key in keys_of(each, keymap))
                action = partial(app.run_action, full_action(each, namespace))
                yield SystemCommand(each.tooltip, f"{where}, key {keys}", action)


def choices(
    providers: Iterable[str],
    *,
    choose_range: Callable[[Range], None],
    show_provider: Callable[[str], Awaitable[None]],
    choose_mouse: Callable[[bool], None],
    choose_theme: Callable[[str], None],
) -> Iterator[SystemCommand]:
    """Yield what there is to choose from: time ranges, providers, the mouse, themes."""
    for each in RANGES:
        yield SystemCommand(f"Time range: {each.name}", "On every screen that has one", partial(choose_range, each))
    for name in providers:
        yield SystemCommand(f"Provider: {name}", "Its prices, health and history", partial(show_provider, name))
    yield SystemCommand("Mouse: off", "Leave the mouse to the terminal", partial(choose_mouse, False))
    yield SystemCommand("Mouse: on", "Take clicks and the wheel", partial(choose_mouse, True))
    for name in THEME_NAMES:
        yield SystemCommand(f"Theme: {name}", "Change the colours", partial(choose_theme, name))
