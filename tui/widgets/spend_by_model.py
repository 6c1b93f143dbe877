"""Spending by name as bars: who takes how much of the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from arbstr.ledger.model import Aggregate
from tui.format import percent, sats_alike, spark
from tui.model.filter_language import term
from tui.model.groups import Groups
from tui.render.layout import Column, Line, Span
from tui.widgets.rows_panel import BAR, Row, RowsPanel

COLUMNS = (
    Column("model", 12, share=1, most=28),
    Column("sats", 7, "right"),
    Column(BAR, 4, share=3, most=60, rank=4),
    Column("share", 5, "right", rank=3),
    Column("each", 5, "right", rank=1),
    Column("trend", 8, rank=2),
)
_EIGHTHS: tuple[str, ...] = ("", *"▏▎▍▌▋▊▉")
TREND = 8  # cells


def bar(share: float, width: int) -> str:
    """Return a bar of `share` of `width` cells, to an eighth of one; anything above nothing shows."""
    eighths = min(max(round(share * width * 8), 1 if share > 0 else 0), width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8]


def share_rows(
    groups: Groups, rows: int, trends: Mapping[str, Sequence[int]] | None = None, finds: str = ""
) -> list[Row]:
    """Return a row for each name with requests, most expensive first; the last sums those that don't fit.

    Bars are scaled to the largest; `each` is what an answered request cost. `finds` is the filter of all requests.
    """
    spent = sorted(((group.cost_msats, name) for name, group in groups.items() if group.total), reverse=True)
    whole = sum(cost for cost, _ in spent)
    shown, rest = (spent, []) if len(spent) <= rows else (spent[: rows - 1], spent[rows - 1 :])
    others = f"{len(rest)} others"
    if rest:
        shown = [*shown, (sum(cost for cost, _ in rest), others)]
    amounts = sats_alike([cost for cost, _ in shown])
    each = sats_alike([_each(groups.get(name)) for _, name in shown])
    largest = max((cost for cost, _ in shown), default=0)
    return [
        Row(
            name,
            {
                "model": (name, "text"),
                "sats": (amount, "text"),
                "share": (percent(cost / whole if whole else 0.0, 0), "muted"),
                "each": (price, "text"),
                "trend": (spark(buckets((trends or {}).get(name, ()), TREND)), "muted"),
            },
            finds="" if rest and name == others else f"{term('model', name)} {finds}".strip(),
            bar=bar_of(cost / largest if largest else 0.0),
        )
        for (cost, name), amount, price in zip(shown, amounts, each, strict=True)
    ]


def bar_of(share: float) -> Callable[[int], Span]:
    """Return what draws a bar of a share of the width that it has."""
    return lambda width: (bar(share, width), "muted")


def _each(group: Aggregate | None) -> float | None:
    return group.cost_msats / group.success if group is not None and group.success else None


def buckets(values: Sequence[int], count: int) -> list[int]:
    """Return the sums of `count` equal parts of the values; fewer values are returned as they are."""
    length = len(values)
    if length <= count:
        return list(values)
    return [sum(values[place * length // count : (place + 1) * length // count]) for place in range(count)]


class SpendByModelPanel(RowsPanel):
    """Spending by model over the chosen range, what a request costs, and how that went."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(COLUMNS, id=id)

    def show(self, groups: Groups | None, range_name: str, trends: Mapping[str, Sequence[int]], finds: str) -> None:
        """Show other sums; None while they are being asked for. `trends` are values over time."""
        title: Line = (("Spend by model", "title"), (f"  sats, last {range_name}", "muted"))
        hint = "asking the ledger …" if groups is None else f"no requests in {range_name}"
        self.show_rows(share_rows(groups or {}, self.page, trends, finds), title, hint=hint)
