"""Spending by name as bars: who takes how much of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from arbstr.ledger.model import Aggregate
from tui.format import NOTHING, percent, sats_alike, spark
from tui.model.groups import Groups
from tui.render.layout import Column, Line, Span, cells, framed, lay_out
from tui.widgets.panel import Panel

COLUMNS = (
    Column("name", 12, share=1, most=28),
    Column("sats", 8, "right"),
    Column("bar", 4, share=3, most=60, rank=2),
    Column("share", 4, "right", rank=1),
    Column("each", 5, "right", rank=3),
    Column("trend", 8, rank=4),
)
_EIGHTHS: tuple[str, ...] = ("", *"▏▎▍▌▋▊▉")
TREND = 8  # cells


def bar(share: float, width: int) -> str:
    """Return a bar of `share` of `width` cells, to an eighth of one; anything above nothing shows."""
    eighths = min(max(round(share * width * 8), 1 if share > 0 else 0), width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8]


def share_lines(groups: Groups, width: int, rows: int, trends: Mapping[str, Sequence[int]] | None = None) -> list[Line]:
    """Return a line for each name with requests, most expensive first; the last sums those that don't fit.

    Bars are scaled to the largest; `each` is what an answered request cost.
    """
    spent = sorted(((group.cost_msats, name) for name, group in groups.items() if group.total), reverse=True)
    whole = sum(cost for cost, _ in spent)
    shown, rest = (spent, []) if len(spent) <= rows else (spent[: rows - 1], spent[rows - 1 :])
    if rest:
        shown = [*shown, (sum(cost for cost, _ in rest), f"{len(rest)} others")]
    amounts = sats_alike([cost for cost, _ in shown])
    each = sats_alike([_each(groups.get(name)) for _, name in shown])
    table: list[dict[str, Span]] = [
        {
            "name": (name, "text"),
            "sats": (amount, "text"),
            "share": (percent(cost / whole if whole else 0.0, 0), "muted"),
            "each": ("" if price == NOTHING else f"{price} each", "text"),
            "trend": (spark(buckets((trends or {}).get(name, ()), TREND)), "muted"),
        }
        for (cost, name), amount, price in zip(shown, amounts, each, strict=True)
    ]
    largest = max((cost for cost, _ in shown), default=0)
    layout = lay_out(COLUMNS, width, table)
    room = next((cells_ for column, cells_ in layout if column.title == "bar"), 0)
    for row, (cost, _) in zip(table, shown, strict=True):
        row["bar"] = (bar(cost / largest if largest else 0.0, room), "muted")
    return [cells(layout, row) for row in table]


def _each(group: Aggregate | None) -> float | None:
    return group.cost_msats / group.success if group is not None and group.success else None


def buckets(values: Sequence[int], count: int) -> list[int]:
    """Return the sums of `count` equal parts of the values; fewer values are returned as they are."""
    length = len(values)
    if length <= count:
        return list(values)
    return [sum(values[place * length // count : (place + 1) * length // count]) for place in range(count)]


class SpendByModelPanel(Panel):
    """Spending by model over the chosen range, what a request costs, and how that went."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._groups: Groups | None = None
        self._trends: Mapping[str, Sequence[int]] = {}
        self._range = ""
        self._names: list[str] = []

    def show(self, groups: Groups | None, range_name: str, trends: Mapping[str, Sequence[int]]) -> None:
        """Show other sums; None while they are being asked for. `trends` are values over time."""
        self._groups, self._range, self._trends = groups, range_name, trends
        names = sorted(
            ((group.cost_msats, name) for name, group in (groups or {}).items() if group.total), reverse=True
        )
        self._names = [name for _, name in names]
        self.redraw()

    def name_at(self, line: int) -> str | None:
        """Return the model on a line of the panel; the last line may stand for several."""
        place, rows = line - 1, self.size.height - 2
        hidden = len(self._names) > rows and place == rows - 1
        return self._names[place] if 0 <= place < min(len(self._names), rows) and not hidden else None

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw the bars in a box."""
        title: Line = (("Spend by model", "title"), (f"  sats, last {self._range}", "muted"))
        if self._groups is None:
            body: list[Line] = [(("asking the ledger …", "muted"),)]
        else:
            body = share_lines(self._groups, width - 4, height - 2, self._trends)
            body = body or [((f"no requests in the last {self._range}", "muted"),)]
        return framed(body, width, height, title=title)
