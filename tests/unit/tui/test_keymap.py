"""Keys have one source: the Bindings, which the bottom line, the help and the palette read."""

from __future__ import annotations

import pytest

from arbstr.dashboard_keys import DEFAULT_KEYS
from tests.support.dashboard_fakes import lived_in
from tests.support.dashboard_pilot import dashboard_pilot
from tui.app import Dashboard
from tui.keymap import FILTERS, bindings_of, key_lines, shown_key
from tui.screens.base import LIST_KEYS
from tui.screens.detail import DetailScreen
from tui.screens.help import KEYS_WIDTH
from tui.screens.live import LiveScreen
from tui.screens.log import LogScreen
from tui.screens.money import MoneyScreen
from tui.screens.providers import ProvidersScreen
from tui.screens.requests import RequestsScreen
from tui.widgets.bars import KeyBar, KeyHint

ALL = (Dashboard, LiveScreen, RequestsScreen, ProvidersScreen, MoneyScreen, LogScreen, DetailScreen)


def test_every_key_that_can_be_changed_does_something_and_the_other_way_round() -> None:
    assert {each.id for kind in ALL for each in bindings_of(kind) if each.id} == set(DEFAULT_KEYS)


@pytest.mark.parametrize("kind", ALL)
def test_no_key_does_two_things_on_one_screen(kind: type[Dashboard]) -> None:
    names = {each.id: DEFAULT_KEYS[each.id] for kind in {kind, Dashboard} for each in bindings_of(kind) if each.id}
    keys = [key for keys in names.values() for key in keys]
    assert sorted(keys) == sorted(set(keys))


@pytest.mark.parametrize(
    ("key", "shown"),
    [("f", "f"), ("G", "G"), ("ctrl+p", "Ctrl-P"), ("shift+tab", "Shift-Tab"), ("f5", "F5"), ("+", "+"), ("down", "↓")],
)
def test_how_keys_are_shown(key: str, shown: str) -> None:
    assert shown_key(key) == shown


def test_keys_that_belong_together_have_one_line() -> None:
    lines = [(line.keys, line.does) for line in key_lines(LIST_KEYS, DEFAULT_KEYS)]
    assert lines == [
        ("j ↓ k ↑", "Next row, the one before"),
        ("PgDn Ctrl-D PgUp Ctrl-U", "A page down, up"),
        ("g Home G End", "First row, last row"),
    ]


HINTS = [
    KeyHint("/", "filter", "", rank=1),
    KeyHint("s", "sort", "", rank=3),
    KeyHint("e", "export", "", rank=4),
    KeyHint("f", "freeze", "", rank=2),
    KeyHint("u", "UTC", "", rank=101),
    KeyHint("?", "help", ""),
    KeyHint("q", "quit", ""),
]
SCREENS = [KeyHint("1", "Live", "", current=True), KeyHint("2", "Requests", ""), KeyHint("3", "Providers", "")]


@pytest.mark.parametrize(
    ("width", "shown", "gone"),
    [
        (120, ("Requests", "sort", "export", "freeze", "UTC"), ()),
        (90, ("Requests", "sort", "export", "freeze"), ("UTC",)),
        (75, ("Requests", "freeze"), ("export", "UTC")),
        (60, ("Requests", "filter"), ("sort", "freeze")),
        (50, ("Live", "filter"), ("Requests", "sort")),
        (34, ("help", "quit"), ("sort", "export")),
    ],
)
def test_where_room_is_short_the_bottom_line_keeps_what_matters_most(
    width: int, shown: tuple[str, ...], gone: tuple[str, ...]
) -> None:
    bar = KeyBar()
    bar.show(SCREENS, HINTS)
    (line,) = bar.draw(width, 1)
    text = "".join(text for text, _ in line)
    assert all(word in text for word in shown)
    assert not any(word in text for word in gone)


async def test_the_bottom_line_offers_what_can_be_done_now() -> None:
    async with dashboard_pilot(lived_in(), size=(140, 36)) as each:
        await each.hides("y copy")
        await each.press("j")
        await each.shows("↵ open", "y copy")
        await each.press("3")
        await each.shows("space take out", "r close breaker")
        await each.press("space")
        await each.shows("space put back")


def test_no_line_of_the_help_is_wrapped_in_eighty_columns() -> None:
    lines = [line for kind in ALL for line in key_lines(bindings_of(kind), DEFAULT_KEYS)]
    assert not [line for line in (*lines, *FILTERS) if len(f" {line.keys:<{KEYS_WIDTH}}{line.does}") > 75]
