"""Lines of any number in a box, scrolled by keys and wheel."""

from __future__ import annotations

from collections.abc import Sequence

from tui.render.layout import EMPTY, Line, framed
from tui.widgets.selectable import SelectablePanel


def thumb(top: int, page: int, total: int) -> tuple[int, int] | None:
    """Return the first and last line of a scroll bar's thumb on a track of `page` lines; None if all is visible."""
    if total <= page or page <= 0:
        return None
    length = max(page * page // total, 1)
    first = min(round(top * (page - length) / (total - page)), page - length)
    return first, first + length - 1


class ScrollPanel(SelectablePanel):
    """Shows lines from `top` on."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._content: Sequence[Line] = ()
        self._title: Line = EMPTY
        self._note: Line = EMPTY
        self.top = 0

    @property
    def page(self) -> int:
        """The number of lines that fit."""
        return max(self.size.height - 2, 1)

    def show(self, lines: Sequence[Line], title: Line, note: Line = EMPTY) -> None:
        """Show other lines, from the same place on."""
        self._content, self._title, self._note = lines, title, note
        self.scroll_lines(0)

    def scroll_lines(self, by: int) -> None:
        """Move by so many lines, as far as there are any."""
        before, self.top = self.top, min(max(self.top + by, 0), max(len(self._content) - self.page, 0))
        if self.top != before:
            self.forget_selection()
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw the visible lines in a box."""
        return framed(
            self._content[self.top : self.top + height - 2],
            width,
            height,
            title=self._title,
            note=self._note,
            thumb=thumb(self.top, height - 2, len(self._content)),
        )
