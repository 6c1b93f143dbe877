"""What is said on the edge of a box, or on a rule, where it has room."""

from __future__ import annotations

from collections.abc import Sequence

from tui.render.layout import Line, width_of

_RULE = "─"
_LAST = 2  # cells that the edge keeps behind what is said on it


def said_below(lines: Sequence[Line], said: Line) -> list[Line] | None:
    """Return a panel's lines with something said on its lower edge, or else on its upper; None without room on either.

    It stands at the right, where the edge is plain.
    """
    room = _RULE * (width_of(said) + 2 + 2 * _LAST)
    for y in (len(lines) - 1, 0):
        for place, (text, role) in reversed(list(enumerate(lines[y]))):
            if room in text:
                end = text.rindex(_RULE) + 1 - _LAST
                before, after = text[: end - width_of(said) - 2], text[end:]
                spans = ((f"{before} ", role), *said, (f" {after}", role))
                return [*lines[:y], (*lines[y][:place], *spans, *lines[y][place + 1 :]), *lines[y + 1 :]]
    return None
