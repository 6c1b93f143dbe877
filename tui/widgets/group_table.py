"""Spending in one table: by model, provider, policy, session, client, day or hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from arbstr.clock import DAY_MS, HOUR_MS
from arbstr.ledger.model import OTHER_GROUPS, Aggregate, GroupBy
from arbstr.types import NO_GROUP
from tui.format import NOTHING, count, percent, sats_alike, spark
from tui.model.breakdown import TIMES, TREND
from tui.model.filter_language import name_matches, term
from tui.model.filter_times import within
from tui.model.groups import Groups
from tui.render.layout import Column, Line, Span
from tui.widgets.rows_panel import BAR, Row, RowsPanel
from tui.widgets.spend_by_model import bar_of
from tui.widgets.stat_tiles import over_rates, saved_role

UNEXPLAINED = "(unexplained)"  # what was taken for no request that is known, where nobody is to be named
BY: tuple[GroupBy, ...] = ("model", "provider", "policy", "session", "client", "day", "hour")
SortBy = Literal["", "sats", "requests", "each", "/1k tok", "saved"]  # "" is by time, which only days and hours have
SORTS: tuple[SortBy, ...] = ("", "sats", "requests", "each", "/1k tok", "saved")

_FIGURES = (
    Column(BAR, 16, share=4, most=48, rank=5),
    Column("sats", 7, "right"),
    Column("share", 5, "right", rank=4),
    Column("requests", 8, "right", rank=2),
    Column("each", 6, "right", rank=3),
    Column("/1k tok", 7, "right", rank=7),
    Column("charged", 7, "right", rank=6),
    Column("saved", 7, "right", rank=1),
    Column("cached", 6, "right", rank=9),
    Column("failed", 6, "right", rank=10),
    Column("trend", TREND, rank=8, exact=True),
)


@dataclass(frozen=True, slots=True)
class GroupSort:
    """By which column a table is sorted, and whether the largest come first."""

    by: SortBy
    down: bool = True


def group_rows(
    groups: Groups, by: GroupBy, sort: GroupSort, *, typed: str, finds: str, trends: Mapping[str, Sequence[int]]
) -> list[Row]:
    """Return a row for each group with requests whose name has the typed words; `finds` is the filter of them all."""
    present = [
        (name, group)
        for name, group in groups.items()
        if (by in TIMES or name_matches(typed, name)) and (group.total or group.cost_msats or by == "day")
    ]
    present.sort(key=lambda each: each[0])
    present.sort(key=lambda each: _sort_key(sort.by, each), reverse=sort.down)
    whole = sum(group.cost_msats for group in groups.values())
    largest = max((group.cost_msats for _, group in present), default=0)
    figures = _figures([group for _, group in present], whole)
    return [
        Row(
            name,
            {by: (_label(name, by, group), "text"), **each, "trend": (spark(trends.get(name, ())), "muted")},
            finds=_finds(name, by, finds),
            bar=bar_of(group.cost_msats / largest if largest else 0.0),
        )
        for (name, group), each in zip(present, figures, strict=True)
    ]


def _sort_key(by: SortBy, named: tuple[str, Aggregate]) -> float:
    name, group = named
    match by:
        case "":
            return int(name)
        case "sats":
            return group.cost_msats
        case "requests":
            return group.total
        case "each":
            return each_msats(group) or 0
        case "/1k tok":
            return thousand_tokens_msats(group) or 0
        case "saved":
            return group.saved_vs_median_msats


def each_msats(group: Aggregate) -> float | None:
    """Return what an answered request cost, in msats; None where there is none."""
    return group.cost_msats / group.success if group.success else None


def thousand_tokens_msats(group: Aggregate) -> float | None:
    """Return what 1,000 tokens in and out cost, in msats; None without any."""
    tokens = group.input_tokens + group.output_tokens
    return group.cost_msats * 1000 / tokens if tokens else None


def _figures(groups: Sequence[Aggregate], whole: int) -> list[dict[str, Span]]:
    """Return the groups' cells, each column in one precision."""
    spent = sats_alike([group.cost_msats for group in groups])
    saved = sats_alike([group.saved_vs_median_msats for group in groups])
    each = _alike([each_msats(group) for group in groups])
    thousand = _alike([thousand_tokens_msats(group) for group in groups])
    return [
        {
            "sats": (spent[place], "text" if group.cost_msats else "muted"),
            "share": (percent(group.cost_msats / whole, 0) if whole else NOTHING, "muted"),
            "requests": (count(group.total), "text" if group.total else "muted"),
            "each": each[place],
            "/1k tok": thousand[place],
            "charged": over_rates(group.cost_msats, group.list_cost_msats),
            "saved": (
                saved[place],
                saved_role(group.saved_vs_median_msats) if group.saved_vs_median_msats else "muted",
            ),
            "cached": (percent(group.cached_share, 0), "text") if group.cache_hit_tokens else (NOTHING, "muted"),
            "failed": _failed(group.total - group.success),
        }
        for place, group in enumerate(groups)
    ]


def _alike(amounts: Sequence[float | None]) -> list[Span]:
    """Return prices, what is none muted."""
    texts = sats_alike(amounts)
    return [(text, "muted" if amount is None else "text") for text, amount in zip(texts, amounts, strict=True)]


def _failed(failed: int) -> Span:
    return (count(failed), "text") if failed else (NOTHING, "muted")


def _label(name: str, by: GroupBy, group: Aggregate) -> str:
    if by not in TIMES:
        return UNEXPLAINED if name == NO_GROUP and not group.total else name
    at = datetime.fromtimestamp(int(name) / 1000, UTC)
    return f"{at:%a %d %b}" if by == "day" else f"{at:%a %H:%M}"


def _finds(name: str, by: GroupBy, finds: str) -> str:
    if by in TIMES:
        return within(int(name), DAY_MS if by == "day" else HOUR_MS)
    if name == OTHER_GROUPS:
        return ""  # no filter says that
    return f"{term(by, name)} {finds}"


class GroupTable(RowsPanel):
    """The table of the Money screen, and the groupings to choose from."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__((), id=id)

    def show(self, rows: Sequence[Row], by: GroupBy, sort: GroupSort, span: str, hint: str) -> None:
        """Show other rows; `hint` where there are none."""
        self._columns = (Column(by, 14, share=2, most=34), *_FIGURES)
        note: Line = ((f"sats, {span}", "muted"),)
        self.show_rows(
            rows,
            _tabs(by, wide=self.size.width >= 100),
            note=note,
            hint=hint,
            sorted_by=sort.by or by,
            arrow="▼" if sort.down else "▲",
        )

    def group_at(self, line: int, cell: int) -> GroupBy | None:
        """Return the grouping whose name is at a place of the panel's upper edge."""
        left = 2
        for text, _ in self._title if line == 0 else ():
            left += len(text)
            if cell < left:
                return next((each for each in BY if each == text.strip()), None)
        return None


def _tabs(by: GroupBy, *, wide: bool) -> Line:
    """Return the title: what can be grouped by, and by what it is."""
    names = BY if wide else (by,)
    return (("By", "muted"), *((f" {each}", "title" if each == by else "muted") for each in names))


def span_words(by: GroupBy, range_name: str) -> str:
    """Return what time a grouping is of."""
    return {"day": "last 7 days, UTC", "hour": "last 24 h, UTC"}.get(by, f"last {range_name}")
