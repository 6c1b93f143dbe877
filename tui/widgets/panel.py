"""The base of every piece of a screen: lines in, strips out, and only what changed is painted.

Textual's own rendering of borders, padding and markup is passed by. It lays out and styles again what did not change,
which costs the proxy milliseconds a frame, and it would read foreign text as markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.theme import Theme
from textual.widget import Widget

from tui.render.edges import said_below
from tui.render.layout import EMPTY, Line
from tui.render.themes import StripCache, strip_cache_for


class Panel(Widget):
    """A rectangle of lines. Subclasses draw plain values in `draw`, and call `redraw` after each change."""

    ALLOW_SELECT = False

    class Picked(Message):
        """Posted for a click on a line; `index` counts lines from the panel's top, `column` cells from its left."""

        def __init__(self, panel: Panel, index: int, column: int, *, twice: bool) -> None:
            super().__init__()
            self.panel = panel
            self.index = index
            self.column = column
            self.twice = twice

        @property
        def control(self) -> Panel:
            """The panel, for `@on` selectors."""
            return self.panel

    class Wheeled(Message):
        """Posted when the mouse wheel turns, with the number of lines."""

        def __init__(self, panel: Panel, by: int) -> None:
            super().__init__()
            self.panel = panel
            self.by = by

        @property
        def control(self) -> Panel:
            """The panel, for `@on` selectors."""
            return self.panel

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[Line] = []
        self._strips: list[Strip] = []
        self._faded = False
        self._more: Line = EMPTY
        self.says_more = False  # whether its edge has room for that

    def fade(self, faded: bool) -> None:
        """Show everything without colour, or as it is: what is out of date must not look current."""
        if faded != self._faded:
            self._faded = faded
            self._strips = []
            self.redraw()

    def say_more(self, more: Line) -> None:
        """Say on the edge that there is more than what is in sight, or no longer."""
        if more != self._more:
            self._more = more
            self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Return the panel's lines for a size; missing ones are blank."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw again, and have painted what came out different."""
        width, height = self.size
        if not width or not height:
            return
        lines = list(self.draw(width, height)[:height])
        lines += [EMPTY] * (height - len(lines))
        edged = said_below(lines, self._more) if self._more else None
        self.says_more, lines = edged is not None, lines if edged is None else edged
        cache = self._strip_cache
        if len(self._strips) != height or self._strips[0].cell_length != width:
            changed = list(range(height))
        else:
            changed = [y for y in range(height) if lines[y] != self._lines[y]]
        if not changed:
            return
        strips = self._strips if len(self._strips) == height else [Strip.blank(width)] * height
        for y in changed:
            strips[y] = cache.strip(lines[y], width)
        self._lines, self._strips = lines, strips
        self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the strips of a region, for Textual's compositor."""
        width, height = self.size
        if len(self._strips) != height or self._strips[0].cell_length != width:
            self.redraw()
        strips = self._strips[crop.y : crop.bottom]
        for each in self.get_line_filters():
            strips = [strip.apply_filter(each, self._strip_cache.background) for strip in strips]
        if crop.column_span != (0, width):
            strips = [strip.crop(*crop.column_span) for strip in strips]
        return strips

    @property
    def _strip_cache(self) -> StripCache:
        return strip_cache_for(self.app.theme, faded=self._faded)

    def on_mount(self) -> None:
        """Follow the theme."""
        self.app.theme_changed_signal.subscribe(self, self._on_theme)

    def _on_theme(self, _theme: Theme) -> None:
        self._strips = []
        self.redraw()

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """Post `Picked` for the clicked line."""
        self.post_message(self.Picked(self, event.y, event.x, twice=event.chain > 1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Post `Wheeled`."""
        event.stop()
        self.post_message(self.Wheeled(self, 3))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Post `Wheeled`."""
        event.stop()
        self.post_message(self.Wheeled(self, -3))
