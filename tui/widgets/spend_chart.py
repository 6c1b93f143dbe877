"""Spending over time, drawn in Braille dots."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from arbstr.clock import DAY_MS, MINUTE_MS
from tui.format import moment, sats_round
from tui.model.ledger_stats import Range
from tui.model.time_series import Chart
from tui.render.layout import EMPTY, Line, fit, spread
from tui.widgets.panel import Panel

_LEFT = (0x40, 0x44, 0x46, 0x47)  # the lowest 1 to 4 dots of a cell's left column
_RIGHT = (0x80, 0xA0, 0xB0, 0xB8)
_BLANK = 0x2800


def area(values: Sequence[int | None], width: int, height: int) -> list[str]:
    """Return values as a filled curve of `width` by `height` cells, each four dots high and two wide; top line first.

    Scaled to the highest value; anything above nothing shows as one dot at least.
    """
    dots = _columns([value or 0 for value in values], width * 2)
    peak = max(dots, default=0) or 1
    full = height * 4
    heights = [0 if dot <= 0 else max(1, round(dot * full / peak)) for dot in dots]
    return ["".join(_cell(heights, x, row) for x in range(width)) for row in range(height - 1, -1, -1)]


def _columns(values: Sequence[int], count: int) -> list[int]:
    """Return a value for each column: repeated, or the highest of several."""
    length = len(values)
    if not length:
        return [0] * count
    return [
        max(values[x * length // count : max((x + 1) * length // count, x * length // count + 1)]) for x in range(count)
    ]


def _cell(heights: Sequence[int], x: int, row: int) -> str:
    left = min(max(heights[2 * x] - 4 * row, 0), 4)
    right = min(max(heights[2 * x + 1] - 4 * row, 0), 4)
    bits = (_LEFT[left - 1] if left else 0) | (_RIGHT[right - 1] if right else 0)
    return chr(_BLANK | bits) if bits else " "


class SpendChart(Panel):
    """Spending over the chosen range, with its peak, and times below where there is room."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._chart: Chart | None = None
        self._range: Range | None = None
        self._zone: tzinfo | None = None

    def show(self, chart: Chart | None, range_: Range, zone: tzinfo | None) -> None:
        """Show other values."""
        self._chart, self._range, self._zone = chart, range_, zone
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw a title, the curve, and from five lines on a line of times."""
        if self._range is None:
            return []
        values = () if self._chart is None else self._chart.values
        peak = max((value or 0 for value in values), default=0)
        lines = [_title(self._range, peak, width)]
        with_times = height >= 5
        rows = height - 1 - with_times
        if peak:
            lines += [((" ", "text"), (text, "accent")) for text in area(values, width - 2, rows)]
        else:
            lines += [EMPTY] * (rows // 2) + [((fit(self._nothing(), width), "muted"),)]
            lines += [EMPTY] * (rows - len(lines) + 1)
        if with_times and self._chart is not None:
            lines.append(self._times(self._chart, width))
        return lines

    def _nothing(self) -> str:
        name = self._range.name if self._range else ""
        return " asking the ledger …" if self._chart is None else f" nothing spent in the last {name}"

    def _times(self, chart: Chart, width: int) -> Line:
        """Return the times under the curve, about every 20 cells, and `now` at its end."""
        room = width - 2
        span = chart.width_ms * len(chart.values)
        shape = "%d %b %H:%M" if span > DAY_MS else "%H:%M" if span > 10 * MINUTE_MS else "%H:%M:%S"
        text = ""
        for x in range(0, room - 16, 20):
            at = moment(chart.start_ms + span * x // room, self._zone)
            text = text.ljust(x) + f"╵{at:{shape}}"
        return ((" " + text.ljust(room - 4) + "now╵", "muted"),)


def _title(range_: Range, peak: int, width: int) -> Line:
    left: Line = ((" Spending", "title"), (f"  sats per {range_.per}, last {range_.name}", "muted"))
    right: Line = (("peak ", "muted"), (sats_round(peak), "text"), (" sats ", "muted")) if peak else EMPTY
    return spread(left, right, width)
