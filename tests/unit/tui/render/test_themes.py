"""Which theme a terminal gets, and what every theme has."""

from __future__ import annotations

import pytest
from textual.color import Color
from textual.theme import Theme

from tui.render.layout import Role
from tui.render.themes import (
    DARK,
    FRAME,
    LABEL,
    LIGHT,
    PART,
    READ,
    TERMINAL,
    THEME_NAMES,
    contrast,
    strip_cache_for,
    theme_for,
    theme_named,
)


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


def test_contrast_is_counted_from_1_to_21() -> None:
    black, white, grey = Color(0, 0, 0), Color(255, 255, 255), Color(119, 119, 119)
    assert contrast(black, white) == contrast(white, black) == 21
    assert contrast(grey, grey) == 1
    assert contrast(grey, white) == pytest.approx(4.48, abs=0.01)


LEAST: dict[Role, float] = {
    "muted": LABEL,
    "cursor-muted": LABEL,
    "accent-2": LABEL,
    "accent-3": PART,
    "faint": FRAME,  # frames alone; nothing is to be read in it
}


@pytest.mark.parametrize("name", THEME_NAMES)
def test_every_pair_of_colours_can_be_read_in_every_theme(name: str) -> None:
    theme = theme_named(name)
    assert theme is not None
    if theme.ansi:  # whose colours only the terminal knows
        return
    for role, style in strip_cache_for(theme.name).styles.items():
        assert style.color is not None
        assert style.bgcolor is not None
        found = contrast(Color.parse(style.color.name), Color.parse(style.bgcolor.name))
        assert found >= LEAST.get(role, READ), f"{role}: {style}"


@pytest.mark.parametrize("name", THEME_NAMES)
def test_states_differ_in_every_theme(name: str) -> None:
    theme = theme_named(name)
    assert theme is not None
    styles = strip_cache_for(theme.name).styles
    assert len({styles[role].color for role in ("text", "good", "warn", "bad")}) == 4
    assert len({styles[role].color for role in ("accent", "accent-2", "accent-3")}) == 3 or theme.ansi
