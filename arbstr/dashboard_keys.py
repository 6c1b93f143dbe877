"""The dashboard's keys, by the names that `[dashboard] keymap` gives them."""

from __future__ import annotations

from collections.abc import Mapping

Keymap = Mapping[str, tuple[str, ...]]

DEFAULT_KEYS: Keymap = {
    "live": ("1",),
    "requests": ("2",),
    "providers": ("3",),
    "money": ("4",),
    "log": ("5",),
    "next_screen": ("tab",),
    "previous_screen": ("shift+tab",),
    "filter": ("/",),
    "freeze": ("f",),
    "range": ("t",),
    "zone": ("u",),
    "help": ("?", "f1"),
    "palette": ("ctrl+p",),
    "quit": ("q",),
    "down": ("j", "down"),
    "up": ("k", "up"),
    "page_down": ("pagedown", "ctrl+d"),
    "page_up": ("pageup", "ctrl+u"),
    "first": ("g", "home"),
    "last": ("G", "end"),
    "open": ("enter",),
    "copy": ("y",),
    "next_request": ("n", "right"),
    "previous_request": ("p", "left"),
    "sort": ("s",),
    "export": ("e",),
    "rotation": ("space",),
    "close_breaker": ("r",),
    "next_table": ("right", "l"),
    "previous_table": ("left", "h"),
    "next_panel": ("w",),
    "previous_panel": ("W",),
    "reverse": ("S",),
    "level": ("l",),
    "debug": ("d",),
    "info": ("i",),
    "warnings": ("w",),
    "errors": ("e",),
    "next_warning": ("n",),
    "previous_warning": ("N",),
    "wrap": ("W",),
}
