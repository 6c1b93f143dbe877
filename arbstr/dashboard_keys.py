"""The dashboard's keys, by the names that `[dashboard] keymap` gives them."""

from __future__ import annotations

from collections.abc import Mapping

from arbstr.sanitize import quoted
from arbstr.suggest import did_you_mean

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
    "alerts": ("!",),
    "counters": ("z",),
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
    "reverse": ("S",),
    "sort_time": ("T",),
    "sort_cost": ("C",),
    "sort_latency": ("L",),
    "columns": ("c",),
    "export": ("e",),
    "rotation": ("space",),
    "close_breaker": ("r",),
    "next_table": ("right", "l"),
    "previous_table": ("left", "h"),
    "next_panel": ("w",),
    "previous_panel": ("W",),
    "level": ("l",),
    "debug": ("d",),
    "info": ("i",),
    "warnings": ("w",),
    "errors": ("e",),
    "next_warning": ("n",),
    "previous_warning": ("N",),
    "wrap": ("W",),
}
FIXED_KEYS = ("escape", "backspace", "ctrl+c", "ctrl+q", "ctrl+z")  # they do the same everywhere
NAMED_KEYS = (
    "enter", "space", "tab", "up", "down", "left", "right", "home", "end", "pageup", "pagedown", "insert", "delete",
    "escape", "backspace", *(f"f{number}" for number in range(1, 25)),
)  # fmt: skip
MODIFIERS = ("ctrl", "alt", "shift")


def is_key(text: str) -> bool:
    """Check whether a key is written so: `F`, `/`, `space`, `f5`, `ctrl+f`, `shift+tab`."""
    if len(text) == 1:
        return text.isprintable() and not text.isspace()
    *modifiers, key = text.split("+")
    if len(key) == 1 and (not key.isprintable() or key.isspace() or "shift" in modifiers or key != key.lower()):
        return False
    return (len(key) == 1 or key in NAMED_KEYS) and set(modifiers) <= set(MODIFIERS) and len(modifiers) < 3


def with_changes(changes: Keymap) -> Keymap:
    """Return the keys in force with some changed. Raises ValueError with the first problem: `has …`, `gives …`."""
    for name, keys in changes.items():
        if name not in DEFAULT_KEYS:
            hint = did_you_mean(name, DEFAULT_KEYS) or f"the actions are {', '.join(DEFAULT_KEYS)}"
            raise ValueError(f"has {quoted(name)}, which is no action of the dashboard; {hint}")
        for key in keys or ("",):
            if not is_key(key):
                wanted = "write it like f, F, /, space, f5, ctrl+f or shift+tab"
                raise ValueError(f"gives {name} the key {quoted(key)}, which is no key's name; {wanted}")
            if key in FIXED_KEYS:
                raise ValueError(f"gives {name} the key {key}, which does the same everywhere; choose another")
    keymap = {**DEFAULT_KEYS, **changes}
    for name, keys in changes.items():
        for key in keys:
            if other := next((each for each, its in keymap.items() if each != name and key in its), None):
                raise ValueError(
                    f"gives {name} the key {quoted(key)}, which is {other}'s; choose another, or move {other}"
                )
    return keymap
