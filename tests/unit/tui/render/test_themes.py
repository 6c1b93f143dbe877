"""Which theme a terminal gets, and what every theme has."""

from __future__ import annotations

import pytest
from textual.theme import Theme

from tui.render.themes import DARK, LIGHT, TERMINAL, THEME_NAMES, strip_cache_for, theme_for, theme_named


@pytest.mark.parametrize(
    ("colours", "colorfgbg", "theme"),
    [
        ("truecolor", "", DARK),
        ("256", "15;0", DARK),
        ("256", "0;15", LIGHT),
        ("truecolor", "0;default;7", LIGHT),
        ("truecolor", "0;default", DARK),
        ("standard", "0;15", TERMINAL),
        (None, "", TERMINAL),
    ],
)
def test_the_first_theme_is_guessed_from_what_the_terminal_says(
    colours: str | None, colorfgbg: str, theme: Theme
) -> None:
    assert theme_for(colours, colorfgbg) is theme


@pytest.mark.parametrize("name", THEME_NAMES)
def test_every_theme_can_be_named_and_has_all_looks(name: str) -> None:
    theme = theme_named(name)
    assert theme is not None
    assert "alarm" in strip_cache_for(theme.name).styles


def test_money_is_never_the_colour_of_a_failure() -> None:
    for name in THEME_NAMES:
        theme = theme_named(name)
        assert theme is not None
        styles = strip_cache_for(theme.name).styles
        assert styles["accent"].color != styles["bad"].color
