"""Themes: dark, light, the terminal's own sixteen colours, and Textual's; and what each role looks like in one."""

from __future__ import annotations

from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.cache import LRUCache
from textual.color import Color
from textual.strip import Strip
from textual.theme import BUILTIN_THEMES, Theme

from tui.render.layout import Line, Role, fit_line, width_of

DARK = Theme(
    name="arbstr-dark",
    primary="#7aa7f7",
    secondary="#8a93a3",
    accent="#f5a742",
    success="#6cc58b",
    warning="#e5d05b",
    error="#f0716a",
    foreground="#d5dae2",
    background="#101318",
    surface="#161a21",
    panel="#1d222b",
    dark=True,
)
LIGHT = Theme(
    name="arbstr-light",
    primary="#0b5cad",
    secondary="#5c6570",
    accent="#a85400",
    success="#1a7f37",
    warning="#7d5f00",
    error="#c4291f",
    foreground="#20252b",
    background="#fbfaf7",
    surface="#f1efe9",
    panel="#e8e5dd",
    dark=False,
)
TERMINAL = Theme(
    name="arbstr-terminal",
    primary="ansi_blue",
    secondary="ansi_default",
    accent="ansi_cyan",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    ansi=True,
    variables={
        "ansi-background": "ansi_default",
        "ansi-foreground": "ansi_default",
        "block-cursor-foreground": "ansi_black",
        "block-cursor-background": "ansi_white",
        "input-cursor-background": "ansi_default",
        "input-cursor-foreground": "ansi_default",
        "input-cursor-text-style": "reverse",
        "input-selection-background": "ansi_blue",
        "input-selection-foreground": "ansi_white",
        "border": "ansi_default",
        "border-blurred": "ansi_default",
    },
)
THEMES = (DARK, LIGHT, TERMINAL)
_OURS = {theme.name.removeprefix("arbstr-"): theme for theme in THEMES}
THEME_NAMES = (*_OURS, *BUILTIN_THEMES)
MANY_COLOURS = ("truecolor", "256")  # Rich's names for what a terminal can show
_LIGHT_GROUNDS = ("7", *map(str, range(9, 16)))  # colours of a background, as COLORFGBG has them


def theme_named(name: str | None) -> Theme | None:
    """Return the theme of one of `THEME_NAMES`, None for any other."""
    return _OURS.get(name or "") or BUILTIN_THEMES.get(name or "")


def theme_for(colour_system: str | None, colorfgbg: str = "") -> Theme:
    """Return the theme for a terminal's colours, by Rich's name for them (None has no colour) and its COLORFGBG.

    Of sixteen colours only their owner knows what they look like: one of ours would come out as a neighbour of another
    meaning, money as an error.
    """
    if colour_system not in MANY_COLOURS:
        return TERMINAL
    return LIGHT if colorfgbg.rpartition(";")[2] in _LIGHT_GROUNDS else DARK


_TONES: dict[Role, str] = {"good": "success", "warn": "warning", "bad": "error"}  # by their names in themes
_STRIPS_KEPT = 2048


class StripCache:
    """Turns lines into strips in one theme's colours, and caches them."""

    def __init__(self, theme: Theme, *, faded: bool = False) -> None:
        self.styles = _terminal_styles() if theme.ansi else _styles(theme)
        if faded:
            self.styles = {role: self.styles["faint" if role == "faint" else "muted"] for role in self.styles}
        self.background = Color.parse("ansi_default" if theme.ansi else _hex(theme, "background"))
        self._strips: LRUCache[tuple[Line, int], Strip] = LRUCache(_STRIPS_KEPT)

    def strip(self, line: Line, width: int) -> Strip:
        """Return the line in exactly `width` cells."""
        key = (line, width)
        strip = self._strips.get(key)
        if strip is None:
            fitted = line if width_of(line) == width else fit_line(line, width)
            strip = Strip([Segment(text, self.styles[role]) for text, role in fitted if text], width)
            self._strips[key] = strip
        return strip


@lru_cache(32)
def strip_cache_for(name: str, *, faded: bool = False) -> StripCache:
    """Return the strip cache of the theme of that name: one of ours or of Textual's own; `faded` has no colours."""
    return StripCache(theme_named(name.removeprefix("arbstr-")) or DARK, faded=faded)


def _hex(theme: Theme, name: str) -> str:
    """Return one of a theme's colours; those it leaves open as Textual derives them."""
    return theme.to_color_system().generate()[name]


# Least contrasts, as WCAG counts them: of what must be read, of labels beside it, of parts of a chart.
READ, LABEL, PART, FRAME = 4.5, 3.0, 1.8, 1.3
_STEPS = 20  # from a colour to black or white, to find one that can be read


def contrast(one: Color, other: Color) -> float:
    """Return the contrast of two colours by WCAG: from 1 (the same) to 21 (black and white)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: Color) -> float:
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in color.normalized
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _readable(color: Color, ground: Color, least: float = READ) -> Color:
    """Return the colour, as much nearer to black or white as that contrast with the ground needs."""
    end = max((Color(0, 0, 0), Color(255, 255, 255)), key=lambda each: contrast(each, ground))
    nearer = (color.blend(end, step / _STEPS) for step in range(_STEPS))
    return next((each for each in nearer if contrast(each, ground) >= least), end)


def _styles(theme: Theme) -> dict[Role, Style]:
    variables = theme.to_color_system().generate()
    ground, own_text, primary = (Color.parse(variables[name]) for name in ("background", "foreground", "primary"))
    cursor = ground.blend(primary, 0.25)
    text = _readable(own_text, ground)
    tones = {role: Color.parse(variables[name]) for role, name in _TONES.items()}
    warn, bad = _readable(tones["warn"], ground), _readable(tones["bad"], ground)
    looks: dict[Role, tuple[Color, Color, bool]] = {
        "text": (text, ground, False),
        "strong": (text, ground, True),
        "muted": (_readable(ground.blend(text, 0.62), ground, LABEL), ground, False),
        "faint": (ground.blend(text, 0.24), ground, False),
        # Money has no hue: those are for states.
        "accent": (_readable(ground.blend(text, 0.85), ground), ground, False),
        "accent-2": (_readable(ground.blend(text, 0.5), ground, LABEL), ground, False),
        "accent-3": (_readable(ground.blend(text, 0.3), ground, PART), ground, False),
        "good": (_readable(tones["good"], ground), ground, False),
        "warn": (warn, ground, False),
        "bad": (bad, ground, False),
        "title": (text, ground, True),
        "key": (_readable(primary, ground), ground, True),
        "badge": (ground, warn, True),
        "alarm": (ground, bad, True),
        "cursor": (_readable(text, cursor), cursor, True),
        "cursor-muted": (_readable(cursor.blend(text, 0.72), cursor, LABEL), cursor, False),
        "cursor-good": (_readable(tones["good"], cursor), cursor, True),
        "cursor-warn": (_readable(tones["warn"], cursor), cursor, True),
        "cursor-bad": (_readable(tones["bad"], cursor), cursor, True),
        "cursor-accent": (_readable(text, cursor), cursor, True),
    }
    return {role: Style(color=fore.hex, bgcolor=back.hex, bold=bold) for role, (fore, back, bold) in looks.items()}


def _terminal_styles() -> dict[Role, Style]:
    """Return styles for sixteen colours of the terminal's owner: only attributes and six hues are surely readable."""
    looks: dict[Role, str] = {
        "text": "default on default",
        "strong": "bold default on default",
        "muted": "dim default on default",
        "faint": "dim default on default",
        "accent": "bold default on default",
        "accent-2": "default on default",
        "accent-3": "dim default on default",
        "good": "green on default",
        "warn": "yellow on default",
        "bad": "red on default",
        "title": "bold default on default",
        "key": "bold default on default",
        "badge": "bold reverse yellow on default",
        "alarm": "bold reverse red on default",
        "cursor": "bold reverse default on default",
        "cursor-muted": "bold reverse default on default",
        "cursor-good": "bold reverse default on default",
        "cursor-warn": "bold reverse default on default",
        "cursor-bad": "bold reverse default on default",
        "cursor-accent": "bold reverse default on default",
    }
    return {role: Style.parse(look) for role, look in looks.items()}
