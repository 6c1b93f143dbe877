"""Room for notices that need more than the one line that they may lie on."""

from __future__ import annotations

from textual.screen import Screen
from textual.widget import Widget

MOST = 6  # lines of notices: as many as the stylesheet lets there be


def make_room(screen: Screen[None], bar: Widget) -> None:
    """Have what is above the bottom line give way to notices of several lines, for as long as they are there.

    The first line of a notice lies where no figures are; each other one would hide a row of a list.
    """

    def give_way(_screen: Screen[object]) -> None:
        lines = sum(each.region.height for each in screen.query("Toast"))
        above = max(min(lines, MOST) - 1, 0)
        if bar.styles.margin.top != above:
            bar.styles.margin = (above, 0, 0, 0)

    screen.screen_layout_refresh_signal.subscribe(screen, give_way)
