"""`[dashboard] keymap`: other keys for what the dashboard does."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbstr.config.loader import load
from arbstr.dashboard_keys import DEFAULT_KEYS, is_key, with_changes
from arbstr.errors import ConfigError

PROVIDER = '[[providers]]\nname = "a"\nurl = "http://127.0.0.1:1/v1"\n'


def keymap(tmp_path: Path, text: str) -> dict[str, tuple[str, ...]]:
    """All keys in force with this table in the file."""
    file = tmp_path / "config.toml"
    file.write_text(f"{PROVIDER}[dashboard]\nkeymap = {text}\n")
    return dict(load(file, {}).config.dashboard.keys)


def test_one_key_or_several_take_the_place_of_an_actions_own(tmp_path: Path) -> None:
    keys = keymap(tmp_path, '{ freeze = "F", sort = ["o", "f6"], next_screen = "ctrl+n" }')
    assert keys == {**DEFAULT_KEYS, "freeze": ("F",), "sort": ("o", "f6"), "next_screen": ("ctrl+n",)}


def test_two_actions_may_change_places(tmp_path: Path) -> None:
    keys = keymap(tmp_path, '{ freeze = "t", range = "f" }')
    assert (keys["freeze"], keys["range"]) == (("t",), ("f",))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{ frezze = "F" }', 'has "frezze", which is no action of the dashboard; did you mean "freeze"?'),
        ('{ zzzz = "F" }', "the actions are live, requests, providers"),
        ('{ freeze = "f99" }', 'gives freeze the key "f99", which is no key\'s name; write it like f, F, /, space'),
        ("{ freeze = [] }", 'gives freeze the key "", which is no key'),
        ('{ freeze = "t" }', 'gives freeze the key "t", which is range\'s; choose another, or move range'),
        ('{ freeze = "X", sort = "X" }', 'gives freeze the key "X", which is sort\'s'),
        ('{ quit = "ctrl+c" }', "gives quit the key ctrl+c, which does the same everywhere"),
        ("{ freeze = 3 }", "dashboard.keymap.freeze is 3; it must be a list"),
        ("3", "dashboard.keymap is 3; it must be a table of keys"),
    ],
)
def test_what_can_not_be_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        keymap(tmp_path, text)
    assert problem in str(refused.value)


@pytest.mark.parametrize("key", ["f", "F", "/", "+", ",", "é", "space", "f24", "ctrl+f", "ctrl+alt+x", "shift+tab"])
def test_how_keys_are_written(key: str) -> None:
    assert is_key(key)


@pytest.mark.parametrize("key", ["", " ", "\n", "ff", "f25", "shift+f", "ctrl+F", "meta+f", "ctrl+", "ctrl+ctrl+f+g"])
def test_what_is_no_key(key: str) -> None:
    assert not is_key(key)


def test_without_changes_keys_are_their_own() -> None:
    assert with_changes({}) == DEFAULT_KEYS
