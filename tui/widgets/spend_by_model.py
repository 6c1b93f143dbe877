"""Spending by name as bars: who takes how much of the whole."""

from __future__ import annotations

from collections.abc import Sequence

from tui.format import percent, sats_alike
from tui.model.ledger_stats import Groups
from tui.render.layout import Column, Line, Span, cells, framed, lay_out
from tui.widgets.panel import Panel

COLUMNS = (
    Column("name", 12, share=1, most=28),
    Column("sats", 8, "right"),
    Column("bar", 4, share=3, rank=2),
    Column("share", 5, "right", rank=1),
)


def bar(share: float, width: int) -> str:
    """Return a bar of `share` of `width` cells, to half a cell; anything above nothing shows."""
    halves = min(max(round(share * width * 2), 1 if share > 0 else 0), width * 2)
    return "━" * (halves // 2) + "╸" * (halves % 2)


def share_lines(groups: Groups, width: int, rows: int) -> list[Line]:
    """Return a line for each name with requests, most expensive first; the last sums those that don't fit."""
    spent = sorted(((group.cost_msats, name) for name, group in groups.items() if group.total), reverse=True)
    whole = sum(cost for cost, _ in spent)
    shown, rest = (spent, []) if len(spent) <= rows else (spent[: rows - 1], spent[rows - 1 :])
    if rest:
        shown = [*shown, (sum(cost for cost, _ in rest), f"{len(rest)} others")]
    amounts = sats_alike([cost for cost, _ in shown])
    table: list[dict[str, Span]] = [
        {
            "name": (name, "text"),
            "sats": (amount, "text"),
            "share": (percent(cost / whole if whole else 0.0, 0), "text"),
        }
        for (cost, name), amount in zip(shown, amounts, strict=True)
    ]
    layout = lay_out(COLUMNS, width, table)
    room = next((cells_ for column, cells_ in layout if column.title == "bar"), 0)
    for row, (cost, _) in zip(table, shown, strict=True):
        row["bar"] = (bar(cost / whole if whole else 0.0, room), "accent")
    return [cells(layout, row) for row in table]


class SpendByModelPanel(Panel):
    """Spending by model over the chosen range."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._groups: Groups | None = None
        self._range = ""

    def show(self, groups: Groups | None, range_name: str) -> None:
        """Show other sums; None while they are being asked for."""
        self._groups, self._range = groups, range_name
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw the bars in a box."""
        title: Line = (("Spend by model", "title"), (f"  sats, last {self._range}", "muted"))
        if self._groups is None:
            body: list[Line] = [(("asking the ledger …", "muted"),)]
        else:
            body = share_lines(self._groups, width - 4, height - 2)
            body = body or [((f"no requests in the last {self._range}", "muted"),)]
        return framed(body, width, height, title=title)
