"""Keys: each is a Binding, named as in the keymap. The bottom line, the help and the palette read the Bindings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from textual.binding import Binding
from textual.dom import DOMNode

from arbstr.dashboard_keys import DEFAULT_KEYS, Keymap

_SHOWN = {
    "enter": "↵",
    "escape": "Esc",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "space": "space",
}


def key(name: str, action: str, does: str, word: str = "", group: str = "", *, priority: bool = False) -> Binding:
    """Return the Binding of a key of the keymap.

    `does` says what it does in the help and the palette, `word` in the bottom line, which lacks it without one. The
    help has one line for neighbours of the same `group`, which is what they do together.
    """
    return Binding(
        ",".join(map(bound_key, DEFAULT_KEYS[name])),
        action,
        word,
        show=bool(word),
        tooltip=does,
        id=name,
        priority=priority,
        group=Binding.Group(group) if group else None,
    )


def bound_key(key_: str) -> str:
    """Return a key as Textual has it in lists of keys."""
    return "comma" if key_ == "," else key_


def shown_key(key_: str) -> str:
    """Return a key as it is shown: `f`, `Ctrl-P`, `PgDn`, `→`."""
    *modifiers, last = key_.split("+") if len(key_) > 1 else [key_]
    last = _SHOWN.get(last, last if len(last) == 1 and not modifiers else last.capitalize())
    return "-".join([*(each.capitalize() for each in modifiers), last])


def keys_of(binding: Binding, keymap: Keymap) -> Sequence[str]:
    """Return the keys of a Binding: the keymap's, or its own if it can't be changed."""
    return keymap[binding.id] if binding.id else binding.key.split(",")


@cache
def bindings_of(kind: type[DOMNode]) -> Sequence[Binding]:
    """Return the Bindings of a screen or an application that are explained, in their order; what it inherits first."""
    found: dict[str, Binding] = {}
    for each in reversed([one for one in kind.__mro__ if not one.__module__.startswith("textual.")]):
        own = [one for one in each.__dict__.get("BINDINGS", ()) if isinstance(one, Binding) and one.tooltip]
        found |= {one.id or one.key: one for one in own}
    return tuple(found.values())


@cache
def shown_bindings(screen: type[DOMNode], app: type[DOMNode]) -> Sequence[tuple[str, Binding]]:
    """Return those of a screen, then of the application, that the bottom line shows, with their actions in full."""
    return [
        (full_action(each, namespace), each)
        for kind, namespace in ((screen, "screen"), (app, "app"))
        for each in bindings_of(kind)
        if each.show
    ]


def full_action(binding: Binding, namespace: str) -> str:
    """Return a Binding's action such that it means the same wherever it is run from."""
    is_full = "." in binding.action.partition("(")[0]
    return binding.action if is_full else f"{namespace}.{binding.action}"


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A line of the help: keys as shown, what they do, and the action, if there is one for all of them."""

    keys: str
    does: str
    action: str = ""


def key_lines(bindings: Iterable[Binding], keymap: Keymap, namespace: str = "screen") -> list[KeyLine]:
    """Return the help's lines for Bindings, one for neighbours of the same group."""
    lines = []
    for group, members in groupby(bindings, key=lambda each: each.group or each):
        together = list(members)
        keys = " ".join(dict.fromkeys(shown_key(key) for each in together for key in keys_of(each, keymap)))
        if isinstance(group, Binding):
            lines.append(KeyLine(keys, group.tooltip, full_action(group, namespace)))
        else:
            lines.append(KeyLine(keys, group.description))
    return lines


def _term(typed: str, meaning: str) -> KeyLine:
    return KeyLine(typed, meaning, "screen.filter")


FILTERS: Sequence[KeyLine] = (
    _term("model:gpt", "models whose name contains it; -model:gpt all others"),
    _term('model:"gpt-4o"', "that model and no other"),
    _term("provider:alpha", "the provider that was asked last; named twice, either"),
    _term("policy:code", "the rule that held; policy:- where none did"),
    _term("status:error", "failed ones; also ok, left, 502, 5xx"),
    _term("session:1f3a", "one conversation, by how its id begins; session:- none"),
    _term("client:ci", "who asked; dialect:messages, in which dialect"),
    _term("kind:stream", "streams; kind:json the others"),
    _term("since:2025-03-14", "from that day on, UTC; until:2025-03-14T13 to that hour"),
    _term(">5sats <2s", "cost, and time to the last byte; also >= <= ms min"),
    _term("timeout", "any other word in names, ids, errors; -timeout without"),
    _term('"charges more"', "words as they stand"),
    _term("Tab ↑ ↓", "in the line: complete, earlier filters, later ones"),
)
