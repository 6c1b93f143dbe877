"""The Money screen's pieces: sums by group, budgets, learned ratios."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo

from arbstr.ledger.model import Aggregate, GroupBy
from arbstr.types import BudgetStatus, LearnedRatio
from tui.format import NOTHING, clock, count, moment, percent, sats, sats_alike, sats_round, short_count, uptime
from tui.model.ledger_stats import Groups, LedgerStats
from tui.model.view_model import DashboardView
from tui.render.layout import Column, Line, Part, Span, cells, fit_parts, framed, header, lay_out
from tui.widgets.panel import Panel
from tui.widgets.spend_by_model import bar
from tui.widgets.stat_tiles import budget_role, budget_share, by_rates, over_rates, saved_role

COLUMNS = (
    Column("name", 14, share=1, most=32),
    Column("requests", 8, "right", rank=2),
    Column("sats", 7, "right"),
    Column("share", 5, "right", rank=5),
    Column("", 5, share=4, most=40, rank=6),
    Column("cached", 6, "right", rank=4),
    Column("charged", 7, "right", rank=3),
    Column("saved", 7, "right", rank=1),
)
BUDGET_COLUMNS = (
    Column("budget", 12, share=1, most=26),
    Column("", 8, share=4, most=40, rank=4),
    Column("share", 5, "right", rank=3),
    Column("spent of limit", 14, "right", rank=1),
    Column("resets in", 9, "right", rank=2),
)
RATIO_COLUMNS = (
    Column("policy", 14, share=1, most=30),
    Column("out per in", 10, "right"),
    Column("samples", 9, "right"),
)


def group_lines(groups: Groups, by: GroupBy, width: int, rows: int) -> list[Line]:
    """Return a line for each group with requests, most expensive or newest first; the last sums the others."""
    present = [(name, group) for name, group in groups.items() if group.total or by == "day"]
    order = sorted(present, key=lambda pair: int(pair[0]) if by == "day" else pair[1].cost_msats, reverse=True)
    whole = sum(group.cost_msats for _, group in order)
    room = rows - 1
    fits = order if len(order) <= room else order[: room - 1]
    table = _rows([(_label(name, by), group) for name, group in fits], whole)
    layout = lay_out(COLUMNS, width, table)
    bars = next((cells_ for column, cells_ in layout if not column.title), 0)
    for row, (_, group) in zip(table, fits, strict=True):
        row[""] = (bar(group.cost_msats / whole if whole else 0.0, bars), "accent")
    lines = [header(layout), *(cells(layout, row) for row in table)]
    if len(fits) < len(order):
        cost = sum(group.cost_msats for _, group in order[len(fits) :])
        lines.append(((f"{len(order) - len(fits)} others, {sats_round(cost)} sats", "muted"),))
    return lines


def _label(name: str, by: GroupBy) -> str:
    return f"{moment(int(name), UTC):%a %d %b}" if by == "day" else name


def _rows(groups: Sequence[tuple[str, Aggregate]], whole: int) -> list[dict[str, Span]]:
    spent = sats_alike([group.cost_msats for _, group in groups])
    saved = sats_alike([group.saved_vs_median_msats for _, group in groups])
    return [_row(*each, whole, *sums) for each, *sums in zip(groups, spent, saved, strict=True)]


def _row(name: str, group: Aggregate, whole: int, spent: str, saved: str) -> dict[str, Span]:
    share = group.cost_msats / whole if whole else 0.0
    return {
        "name": (name, "text"),
        "requests": (count(group.total), "text" if group.total else "muted"),
        "sats": (spent, "text" if group.cost_msats else "muted"),
        "cached": (percent(group.cached_share, 0), "text") if group.cache_hit_tokens else (NOTHING, "muted"),
        "charged": over_rates(group.cost_msats, group.list_cost_msats),
        "share": (percent(share, 0) if whole else NOTHING, "text" if share else "muted"),
        "saved": (saved, saved_role(group.saved_vs_median_msats) if group.saved_vs_median_msats else "muted"),
    }


class GroupTable(Panel):
    """Spending and savings by model, provider, policy or day."""

    def __init__(self, by: GroupBy, id: str | None = None) -> None:
        super().__init__(id=id)
        self._by = by
        self._groups: Groups | None = None
        self._span = ""

    def show(self, groups: Groups | None, span: str) -> None:
        """Show other sums; None while they are being asked for."""
        self._groups, self._span = groups, span
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw the groups in a box."""
        title: Line = ((f"By {self._by}", "title"), (f"  sats, {self._span}", "muted"))
        if self._groups is None:
            body: list[Line] = [(("asking the ledger …", "muted"),)]
        else:
            body = group_lines(self._groups, self._by, width - 4, height - 2)
        if len(body) == 1 and self._groups is not None:
            body = [((f"no requests in the {self._span}", "muted"),)]
        return framed(body, width, height, title=title)


class Summary(Panel):
    """The totals of the chosen range, in three lines."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._figures = LedgerStats()
        self._range = ""
        self._zone: tzinfo | None = None

    def show(self, figures: LedgerStats, range_name: str, zone: tzinfo | None) -> None:
        """Show other sums."""
        self._figures, self._range, self._zone = figures, range_name, zone
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw what was spent, what was saved against two other choices, and what caches had to do with it."""
        window = self._figures.window
        if window is None:
            return [((f" Last {self._range}: asking the ledger …", "muted"),)]
        left = fit_parts([*_spent(window, self._range), (self._as_of(), 1)], width)
        return [left, fit_parts(_saved(window), width), fit_parts(_caches(window), width)]

    def _as_of(self) -> Line:
        at_ms = self._figures.as_of_ms
        return () if at_ms is None else ((f"   as of {clock(at_ms, self._zone)}", "muted"),)


def _spent(window: Aggregate, range_name: str) -> list[Part]:
    tokens_in, tokens_out = short_count(window.input_tokens), short_count(window.output_tokens)
    return [
        (((f" Last {range_name}  ", "muted"), (sats(window.cost_msats), "strong"), (" sats", "muted")), 0),
        *_unexplained(window),
        (((f"  for {count(window.total)} requests", "muted"),), 2),
        ((("  ", "muted"), *by_rates(window.cost_msats, window.list_cost_msats)), 3),
        (((f", {tokens_in} → {tokens_out} tokens", "muted"),), 4),
    ]


def _unexplained(window: Aggregate) -> list[Part]:
    if not window.unexplained_msats:
        return []
    return [(((f", {sats(window.unexplained_msats)} of them for no request that is known", "warn"),), 1)]


def _saved(window: Aggregate) -> list[Part]:
    if not window.total:
        return [(((" Saved: nothing to compare yet", "muted"),), 0)]
    parts: list[Part] = [(((" Saved", "muted"),), 0)]
    choices = (("the median provider", window.saved_vs_median_msats), ("the dearest", window.saved_vs_dearest_msats))
    for rank, (name, saved) in enumerate(choices):
        share = f" ({percent(saved / (saved + window.cost_msats))})" if saved > 0 else ""
        figure: Line = ((f"  {sats_round(saved)}", saved_role(saved)), (f" sats{share} vs {name}", "muted"))
        parts.append((figure, rank))
    return parts


def _caches(window: Aggregate) -> list[Part]:
    saved, lost = window.saved_by_cache_msats, window.lost_by_switching_msats
    if not window.total:
        return []
    return [
        (((" Caches  ", "muted"), (percent(window.cached_share), "text"), (" of the tokens in", "muted")), 0),
        (((", saved ", "muted"), (sats_round(saved), saved_role(saved)), (" sats", "muted")), 1),
        (((", switching cost ", "muted"), (sats_round(lost), "text"), (" sats", "muted")), 2),
    ]


class Budgets(Panel):
    """The budgets and how much of each is spent."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._budgets: tuple[BudgetStatus, ...] = ()
        self._now_ms = 0

    def show(self, view: DashboardView) -> None:
        """Show other budgets."""
        self._budgets, self._now_ms = view.budgets, view.at_ms
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw a line for each."""
        table = [_budget(each, self._now_ms) for each in self._budgets]
        layout = lay_out(BUDGET_COLUMNS, width - 4, table)
        bars = next((cells_ for column, cells_ in layout if not column.title), 0)
        for row, each in zip(table, self._budgets, strict=True):
            row[""] = (bar(min(budget_share(each), 1), bars), budget_role(each))
        body = [header(layout), *(cells(layout, row) for row in table)]
        if not self._budgets:
            body = [(("not configured", "muted"),), (("[budget] max_sats_per_day = 1000 sets one", "muted"),)]
        return framed(body, width, height, title=(("Budgets", "title"), ("  sats", "muted")))


def _budget(budget: BudgetStatus, now_ms: int) -> dict[str, Span]:
    return {
        "budget": (f"{budget.scope} / {budget.period}", "text"),
        "share": (percent(budget_share(budget), 0), budget_role(budget)),
        "spent of limit": (f"{sats_round(budget.spent_msats)} of {sats_round(budget.limit_msats)}", "text"),
        "resets in": (uptime(max(budget.resets_at_ms - now_ms, 0)), "muted"),
    }


class Ratios(Panel):
    """The learned lengths of answers by policy."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ratios: tuple[LearnedRatio, ...] = ()

    def show(self, ratios: tuple[LearnedRatio, ...]) -> None:
        """Show other ratios."""
        self._ratios = ratios
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw a line for each."""
        table = [_ratio(each) for each in self._ratios]
        layout = lay_out(RATIO_COLUMNS, width - 4, table)
        body = [header(layout), *(cells(layout, row) for row in table)]
        if not self._ratios:
            body = [(("no data yet", "muted"),)]
        title: Line = (("Learned lengths", "title"), ("  tokens out per token in", "muted"))
        return framed(body, width, height, title=title)


def _ratio(ratio: LearnedRatio) -> dict[str, Span]:
    return {
        "policy": (ratio.policy or "(none)", "text"),
        "out per in": (f"{ratio.ratio:.2f}", "strong"),
        "samples": (count(ratio.samples), "muted"),
    }
