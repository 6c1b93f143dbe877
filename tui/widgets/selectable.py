"""Panels whose text can be selected with the mouse, and then copied with Ctrl-C."""

from __future__ import annotations

from textual.geometry import Region
from textual.selection import Selection
from textual.strip import Strip

from tui.widgets.panel import Panel

_FRAME = " │┃╭╮╰╯─"


class SelectablePanel(Panel):
    """A panel whose text can be selected with the mouse.

    A selection is of places, not of lines: subclasses call `forget_selection` when other lines come to stand there.
    """

    ALLOW_SELECT = True

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the strips of a region with offsets, the selection marked."""
        strips = [strip.apply_offsets(crop.x, y) for y, strip in enumerate(super().render_lines(crop), crop.y)]
        selection = self.text_selection
        if selection is None:
            return strips
        return [self._marked(strip, selection, y, crop.x) for y, strip in enumerate(strips, crop.y)]

    def render_line(self, y: int) -> Strip:
        """Return a line's strip, for Textual to find the text under the mouse."""
        strips = self.render_lines(Region(0, y, self.size.width, 1))
        return strips[0] if strips else Strip.blank(self.size.width)

    def _marked(self, strip: Strip, selection: Selection, y: int, left: int) -> Strip:
        span = selection.get_span(y)
        if span is None:
            return strip
        first, last = max(span[0] - left, 0), strip.cell_length if span[1] == -1 else max(span[1] - left, 0)
        style = self.screen.get_component_rich_style("screen--selection")
        return Strip.join([strip.crop(0, first), strip.crop(first, last).apply_style(style), strip.crop(last)])

    def get_selection(self, selection: Selection) -> tuple[str, str]:
        """Return the selected text, without the frame around it."""
        text = "\n".join("".join(text for text, _ in line) for line in self._lines)
        lines = selection.extract(text).splitlines()
        return "\n".join(line.strip(_FRAME) for line in lines).strip("\n"), "\n"

    def forget_selection(self) -> None:
        """Drop the selection: other lines are here now."""
        if self.is_mounted and self.text_selection is not None:
            self.screen.clear_selection()
