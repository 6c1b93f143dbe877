"""The Money screen's pieces: sums by group, budgets, learned ratios."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from arbstr.query import Aggregate, GroupBy
from arbstr.source import BudgetStatus, LearnedRatio
from tui.figures import Figures, Groups
from tui.format import NOTHING, count, moment, percent, sats, sats_round, short_count, uptime
from tui.lines import Column, Layout, Line, Role, Span, cells, framed, header, lay_out
from tui.state import View
from tui.widgets.panel import Panel
from tui.widgets.shares import bar

COLUMNS = (
    Column("name", 17, share=3, most=32),
    Column("requests", 8, "right"),
    Column("sats", 8, "right"),
    Column("share", 6, "right", above=62),
    Column("", 5, share=2, most=30, above=54),
    Column("saved", 8, "right"),
)
BUDGET_COLUMNS = (
    Column("budget", 12, share=1, most=26),
    Column("", 8, share=2, most=40, above=66),
    Column("share", 5, "right"),
    Column("spent of limit", 20, "right"),
    Column("resets in", 9, "right"),
)
RATIO_COLUMNS = (
    Column("policy", 14, share=1, most=30),
    Column("out per in", 10, "right"),
    Column("samples", 9, "right"),
)


def group_lines(groups: Groups, by: GroupBy, width: int, rows: int) -> list[Line]:
    """The groups with requests, dearest first, days newest first; those that don't fit as one line."""
    present = [(name, group) for name, group in groups.items() if group.total or by == "day"]
    order = sorted(present, key=lambda pair: int(pair[0]) if by == "day" else pair[1].cost_msats, reverse=True)
    layout = lay_out(COLUMNS, width)
    whole = sum(group.cost_msats for _, group in order)
    bars = next((cells_ for column, cells_ in layout if not column.title), 0)
    room = rows - 1
    fits = order if len(order) <= room else order[: room - 1]
    lines = [cells(layout, _row(_label(name, by), group, whole, bars)) for name, group in fits]
    if len(fits) < len(order):
        cost = sum(group.cost_msats for _, group in order[len(fits) :])
        lines.append(((f"{len(order) - len(fits)} others, {sats_round(cost)} sats", "muted"),))
    return [header(layout), *lines]


def _label(name: str, by: GroupBy) -> str:
    return f"{moment(int(name), UTC):%a %d %b}" if by == "day" else name


def _row(name: str, group: Aggregate, whole: int, bars: int) -> dict[str, Span]:
    share = group.cost_msats / whole if whole else 0.0
    saved = group.saved_vs_median_msats
    return {
        "name": (name, "text"),
        "requests": (count(group.total), "text" if group.total else "muted"),
        "sats": (sats_round(group.cost_msats), "accent" if group.cost_msats else "muted"),
        "share": (percent(share, 0) if whole else NOTHING, "text" if share else "muted"),
        "": (bar(share, bars), "accent"),
        "saved": (sats_round(saved), "good" if saved > 0 else "muted"),
    }


class GroupTable(Panel):
    """Spending and savings by one thing."""

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
        """A box of sums."""
        title: Line = ((f"By {self._by}", "title"), (f"  sats, {self._span}", "muted"))
        if self._groups is None:
            body: list[Line] = [(("asking the ledger …", "muted"),)]
        else:
            body = group_lines(self._groups, self._by, width - 4, height - 2)
        if len(body) == 1 and self._groups is not None:
            body = [((f"no requests in the {self._span}", "muted"),)]
        return framed(body, width, height, title=title)


class Summary(Panel):
    """What the chosen range came to, in two lines."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._figures = Figures()
        self._range = ""

    def show(self, figures: Figures, range_name: str) -> None:
        """Show other sums."""
        self._figures, self._range = figures, range_name
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Spent, and saved against two other choices."""
        window = self._figures.window
        if window is None:
            return [((f" Last {self._range}: asking the ledger …", "muted"),)]
        tokens_in, tokens_out = short_count(window.input_tokens), short_count(window.output_tokens)
        spent: Line = (
            (f" Last {self._range}  ", "muted"),
            (sats(window.cost_msats), "accent"),
            (" sats", "muted"),
            (f"  for {count(window.total)} requests, {tokens_in} → {tokens_out} tokens", "muted"),
        )
        return [spent, _saved(window)]


def _saved(window: Aggregate) -> Line:
    if not window.total:
        return ((" Saved: nothing to compare yet", "muted"),)
    spans: list[Span] = [(" Saved", "muted")]
    choices = (("the median seller", window.saved_vs_median_msats), ("the dearest", window.saved_vs_dearest_msats))
    for name, saved in choices:
        share = f" ({percent(saved / (saved + window.cost_msats))})" if saved > 0 else ""
        role: Role = "good" if saved > 0 else "text"
        spans += [("  ", "text"), (sats_round(saved), role), (f" sats{share} vs {name}", "muted")]
    return tuple(spans)


class Budgets(Panel):
    """How much of each budget is spent."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._budgets: tuple[BudgetStatus, ...] = ()
        self._now_ms = 0

    def show(self, view: View) -> None:
        """Show other budgets."""
        self._budgets, self._now_ms = view.budgets, view.at_ms
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """A line each."""
        layout = lay_out(BUDGET_COLUMNS, width - 4)
        body = [header(layout), *(cells(layout, _budget(each, self._now_ms, layout)) for each in self._budgets)]
        if not self._budgets:
            body = [(("not configured", "muted"),), (("[budget] max_sats_per_day = 1000 sets one", "muted"),)]
        return framed(body, width, height, title=(("Budgets", "title"), ("  sats", "muted")))


def _budget(budget: BudgetStatus, now_ms: int, layout: Layout) -> dict[str, Span]:
    share = budget.spent_msats / budget.limit_msats if budget.limit_msats else 1.0
    role: Role = "bad" if share >= 1 else "warn" if share >= 0.8 else "good"
    bars = next((cells_ for column, cells_ in layout if not column.title), 0)
    return {
        "budget": (f"{budget.scope} / {budget.period}", "text"),
        "": (bar(min(share, 1), bars), role),
        "share": (percent(share, 0), role),
        "spent of limit": (f"{sats_round(budget.spent_msats)} of {sats_round(budget.limit_msats)}", "text"),
        "resets in": (uptime(max(budget.resets_at_ms - now_ms, 0)), "muted"),
    }


class Ratios(Panel):
    """How long answers turn out, by policy."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ratios: tuple[LearnedRatio, ...] = ()

    def show(self, ratios: tuple[LearnedRatio, ...]) -> None:
        """Show other ratios."""
        self._ratios = ratios
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """A line each."""
        layout = lay_out(RATIO_COLUMNS, width - 4)
        body = [header(layout), *(cells(layout, _ratio(each)) for each in self._ratios)]
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
