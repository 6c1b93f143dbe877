"""Spending over time, drawn in Braille dots, the dearest models in shades of their own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from arbstr.clock import DAY_MS, MINUTE_MS
from tui.format import moment, sats_alike, zone_name
from tui.model.ledger_stats import RANGES, Range
from tui.model.time_series import Chart
from tui.render.layout import EMPTY, Line, Part, Role, Span, fit, fit_parts, merged, spread_parts
from tui.render.widths import cell_len
from tui.widgets.panel import Panel

LOOKS: tuple[Role, ...] = ("accent", "accent-2", "accent-3")  # of the dearest model, the next, all others
SHORTEST = 6  # a chart is this part of its range at least
_SAMPLE = "▇"
_LEFT = (0x40, 0x44, 0x46, 0x47)  # the lowest 1 to 4 dots of a cell's left column
_RIGHT = (0x80, 0xA0, 0xB0, 0xB8)
_BLANK = 0x2800
_FULL = "⣿"


def stacked(values: Sequence[int | None], layers: Sequence[Sequence[int]], width: int, height: int) -> list[Line]:
    """Return values as a filled curve of `width` by `height` cells, each four dots high and two wide; top line first.

    Scaled to the highest value; anything above nothing shows as one dot at least. The `layers` are parts of the values
    and marked as such, the first at the bottom; what they leave is the last's.
    A cell has one look: that of the part in the middle of its higher column.
    """
    heights = _dots(values, width, height)
    higher = [2 * x + (heights[2 * x + 1] > heights[2 * x]) for x in range(width)]
    bounds = _bounds(values, layers, [(column, heights[column]) for column in higher], 2 * width)
    return [_row(heights, higher, bounds, row) for row in range(height - 1, -1, -1)]


def _row(heights: Sequence[int], higher: Sequence[int], bounds: Sequence[Sequence[float]], row: int) -> Line:
    """Return a line of a stacked curve. `bounds` has for each cell up to where its parts reach, in dots."""
    spans: list[Span] = []
    text, look, base = "", LOOKS[0], 4 * row
    for x, column in enumerate(higher):
        top = heights[column]
        if top <= base:
            text += " "
            continue
        middle = (base + min(top, base + 4)) / 2
        layer = 0
        for bound in bounds[x]:
            layer += middle >= bound
        if LOOKS[layer] != look:
            spans.append((text, look))
            text, look = "", LOOKS[layer]
        full = top >= base + 4 and heights[2 * x] == heights[2 * x + 1]
        text += _FULL if full else _cell(heights, x, row)
    return merged([*spans, (text, look)])


def _bounds(
    values: Sequence[int | None], layers: Sequence[Sequence[int]], columns: Sequence[tuple[int, int]], count: int
) -> list[list[float]]:
    """Return for each cell how high its parts but the last reach; `columns` are their columns of dots, of
    `count`, and the heights of these.
    """
    length, bounds = len(values), []
    for column, height in columns:
        first = column * length // count
        place = first
        for other in range(first + 1, (column + 1) * length // count):  # the highest of those that fall together
            place = other if (values[other] or 0) > (values[place] or 0) else place
        below, reach = 0, []
        for layer in layers if height else ():
            below += layer[place]
            reach.append(below / (values[place] or 1) * height)
        bounds.append(reach)
    return bounds


def _dots(values: Sequence[int | None], width: int, height: int) -> list[int]:
    dots = _columns([value or 0 for value in values], width * 2)
    peak = max(dots, default=0) or 1
    full = height * 4
    return [0 if dot <= 0 else max(1, round(dot * full / peak)) for dot in dots]


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
    """Spending over the chosen range by model, with an axis, and times below where there is room."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._chart: Chart | None = None
        self._range: Range | None = None
        self._zone: tzinfo | None = None

    def show(self, chart: Chart | None, range_: Range, zone: tzinfo | None) -> None:
        """Show other values."""
        self._chart, self._range, self._zone = None if chart is None else begun(chart), range_, zone
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw a title, the curve, and from five lines on a line of times."""
        if self._range is None:
            return []
        chart = self._chart
        values = () if chart is None else chart.values
        peak = max((value or 0 for value in values), default=0)
        with_times = height >= 5
        rows = height - 1 - with_times
        lines = [self._title(chart, peak, width)]
        labels = _axis(values, rows)
        margin = len(labels[0])
        if chart is not None and peak:
            layers = list(chart.models.values())[: len(LOOKS) - 1]
            curve = stacked(values, layers, width - margin - 1, rows)
            lines += [((label, "muted"), *line) for label, line in zip(labels, curve, strict=True)]
        else:
            lines += [EMPTY] * (rows // 2) + [((fit(self._nothing(), width), "muted"),)]
            lines += [EMPTY] * (rows - len(lines) + 1)
        if with_times and chart is not None:
            lines.append(self._times(chart, width, margin if peak else 1))
        return lines

    def _nothing(self) -> str:
        name = self._range.name if self._range else ""
        return " asking the ledger …" if self._chart is None else f" nothing spent in {name}"

    def _title(self, chart: Chart | None, peak: int, width: int) -> Line:
        """Return what is shown, whose parts are which, and the figures of the whole."""
        range_ = self._range or RANGES[0]
        title: Part = (((" Spending", "title"), (f"  sats per {range_.per}, last {range_.name}", "muted")), 0)
        if chart is None or not peak:
            return fit_parts([title], width)
        names = list(chart.models)[: len(LOOKS) - 1]
        others = sum(value or 0 for value in chart.values) > sum(sum(chart.models[name]) for name in names)
        legend: list[Part] = [
            (((f"  {_SAMPLE} ", look), (fit(name, min(cell_len(name), 20)), "muted")), 3)
            for name, look in zip([*names, *(["others"] if others else [])], LOOKS, strict=False)
        ]
        figures = _figures(chart, peak, self._zone)
        return spread_parts([title, *legend], figures, width - 1, gap=2)

    def _times(self, chart: Chart, width: int, margin: int) -> Line:
        """Return the times under the curve, about every 20 cells, and `now` in its zone at its end."""
        room = width - margin - 1
        span = chart.width_ms * len(chart.values)
        shape = "%d %b %H:%M" if span > DAY_MS else "%H:%M" if span > 20 * MINUTE_MS else "%H:%M:%S"
        text = ""
        for x in range(0, room - 16, 20):
            at = moment(chart.start_ms + span * x // room, self._zone)
            text = text.ljust(x) + f"╵{at:{shape}}"
        end = f"now {zone_name(chart.start_ms + span, self._zone)}╵"
        return ((" " * margin + text.ljust(room - len(end)) + end, "muted"),)


def begun(chart: Chart) -> Chart:
    """Return a chart without the time before its first value, but for a sixth of it at least."""
    length = len(chart.values)
    first = next((place for place, value in enumerate(chart.values) if value), 0)
    first = min(first, length - -(-length // SHORTEST))
    models = {name: values[first:] for name, values in chart.models.items()}
    return Chart(chart.start_ms + first * chart.width_ms, chart.width_ms, chart.values[first:], models)


def _figures(chart: Chart, peak: int, zone: tzinfo | None) -> list[Part]:
    """Return the whole, the mean and the peak of what is shown."""
    whole, mean, highest = sats_alike(_sums(chart.values))
    place = next(place for place, value in enumerate(chart.values) if value == peak)
    at = moment(chart.start_ms + place * chart.width_ms, zone)
    return [
        (((whole, "text"), (" sats", "muted")), 1),
        (((" · mean ", "muted"), (mean, "text")), 4),
        (((" · peak ", "muted"), (highest, "text")), 2),
        (((f" at {at:{'%H:%M' if chart.width_ms >= MINUTE_MS else '%H:%M:%S'}}", "muted"),), 5),
    ]


def _sums(values: Sequence[int | None]) -> tuple[float, float, int]:
    """Return the whole, the mean and the peak."""
    whole = sum(value or 0 for value in values)
    return whole, whole / max(len(values), 1), max((value or 0 for value in values), default=0)


def _axis(values: Sequence[int | None], rows: int) -> list[str]:
    """Return what stands left of each row, top first: the peak, its half and nothing, as precise as the title."""
    whole, _, peak = _sums(values)
    middle = rows // 2
    _, highest, half, nothing = sats_alike([whole, peak, peak * (rows - middle) / rows, 0])
    marked = {0: highest, rows - 1: nothing} | ({middle: half} if rows >= 5 else {})
    widest = max(map(len, marked.values()))
    return [f" {marked.get(row, ''):>{widest}}{'┤' if row in marked else '│'}" for row in range(rows)]
