"""The main figures: spent, saved, requests, latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arbstr.clock import DAY_MS
from arbstr.ledger.model import Aggregate
from arbstr.monitoring.source import Totals
from arbstr.types import BudgetStatus
from tui.format import NOTHING, count, duration, per_second, percent, sats, sats_round, short_count, uptime
from tui.model.ledger_stats import LedgerStats
from tui.model.notices import GLOBAL
from tui.model.request_row import OVERCHARGE
from tui.model.view_model import DashboardView
from tui.render.layout import EMPTY, Line, Role, Span, beside, fit_line, fit_parts, framed, trim
from tui.widgets.panel import Panel
from tui.widgets.spend_by_model import bar

SINCE = "since start"
NEARLY = 0.8  # of a budget: from here on it is worth a warning
FIVE_FROM = 120  # cells: with fewer, four tiles
BOXED = 5  # lines that tiles in boxes take at least; fewer, and they are four plain lines


@dataclass(frozen=True, slots=True)
class Tile:
    """A title, the time it spans, and four lines, the first the one that matters most."""

    title: str
    span: str
    lines: tuple[Line, Line, Line, Line]


def tiles(view: DashboardView, figures: LedgerStats, range_name: str) -> tuple[Tile, ...]:
    """Return the four tiles, and with budgets a fifth: the one of which most is spent."""
    four = (
        _spent(view, figures),
        _saved(view, figures.window, range_name),
        _requests(view),
        _latency(view, figures.window, range_name),
    )
    return (*four, _budget(max(view.budgets, key=budget_share), view.at_ms)) if view.budgets else four


def budget_share(budget: BudgetStatus) -> float:
    """Return the spent share of a budget: 1.0 is all of it."""
    return budget.spent_msats / budget.limit_msats if budget.limit_msats else 1.0


def budget_role(budget: BudgetStatus) -> Role:
    """Return the role of a budget's share."""
    share = budget_share(budget)
    return "bad" if share >= 1 else "warn" if share >= NEARLY else "good"


def saved_role(msats: int) -> Role:
    """Return the role of a saving in msats; below zero it is a loss."""
    return "good" if msats > 0 else "bad" if msats < 0 else "text"


def _budget(budget: BudgetStatus, now_ms: int) -> Tile:
    share, role = budget_share(budget), budget_role(budget)
    spent, limit = sats_round(budget.spent_msats), sats_round(budget.limit_msats)
    return Tile(
        "Budget",
        budget.period if budget.scope == GLOBAL else f"{budget.scope} / {budget.period}",
        (
            ((percent(share, 0), role), (" ", "text"), (bar(min(share, 1), 12), role)),
            ((spent, "text"), (" of ", "text"), (limit, "text"), (" sats", "muted")),
            (("resets in ", "muted"), (uptime(max(budget.resets_at_ms - now_ms, 0)), "text")),
            ((sats_round(max(budget.limit_msats - budget.spent_msats, 0)), "text"), (" sats left", "muted")),
        ),
    )


def _spent(view: DashboardView, figures: LedgerStats) -> Tile:
    # The ledger is asked now and then; a moment ago it can't have known all that was spent since the start.
    least = view.totals.cost_msats if view.started_at_ms >= view.at_ms - view.at_ms % DAY_MS else 0
    today = None if figures.today is None else max(figures.today.cost_msats, least)
    week = None if figures.week is None else max(figures.week.cost_msats, least)
    return Tile(
        "Spent",
        SINCE,
        (
            ((sats(view.totals.cost_msats), "strong"), (" sats", "muted")),
            _sum("today UTC", today),
            _sum("7 days", week),
            by_rates(view.totals.cost_msats, view.totals.list_cost_msats),
        ),
    )


def _sum(label: str, msats: int | None) -> Line:
    figure = NOTHING if msats is None else sats_round(msats)
    return ((f"{label} ", "muted"), (figure, "text"), (" sats", "muted"))


def by_rates(cost_msats: int, listed_msats: int) -> Line:
    """Return what it would have been by the rates, and how much more than that was charged."""
    share, role = over_rates(cost_msats, listed_msats)
    more = f" {share}" if share[:1] in ("+", "-") else ""
    return (
        ("rates ", "muted"),
        (sats_round(listed_msats), "text"),
        (" sats", "muted"),
        (more, role if more else "text"),
    )


def over_rates(cost_msats: int, listed_msats: int) -> Span:
    """Return by what share what was charged exceeds the rates (below 0: less), marked where that should be seen."""
    more = cost_msats - listed_msats
    if not listed_msats:
        return (NOTHING, "muted")
    if abs(more) < 0.0005 * listed_msats:
        return ("0 %", "muted")
    return (f"{more / listed_msats * 100:+,.1f} %", "warn" if more > OVERCHARGE * listed_msats else "text")


def _saved(view: DashboardView, window: Aggregate | None, range_name: str) -> Tile:
    saved, paid = view.totals.saved_vs_median_msats, view.totals.compared_msats
    if not view.totals.requests:
        return Tile("Saved", SINCE, (((NOTHING, "muted"),), (("nothing to compare", "muted"),), EMPTY, EMPTY))
    figure: Line = ((sats(saved), saved_role(saved)), (" sats", "muted"))
    than: Line = (("the median provider", "muted"),)
    recent = None if window is None else window.saved_vs_median_msats
    lately = _sum(f"last {range_name}", recent)
    compared: Line = (("as much as", "muted"),)
    if saved and saved + paid:
        share = percent(abs(saved) / (saved + paid))
        compared = ((share, "text"), (" less than" if saved > 0 else " more than", "muted"))
    return Tile("Saved", SINCE, (figure, compared, than, lately))


def _requests(view: DashboardView) -> Tile:
    totals = view.totals
    rate = totals.succeeded / totals.requests if totals.requests else None
    tokens_in, tokens_out = short_count(totals.input_tokens), short_count(totals.output_tokens)
    return Tile(
        "Requests",
        SINCE,
        (
            ((count(totals.requests), "strong"), (f"   {per_second(view.per_second)}", "text")),
            (
                (percent(rate), _rate_role(rate)),
                (" ok  ", "muted"),
                (count(view.running), "text"),
                (" running", "muted"),
            ),
            ((tokens_in, "text"), (" → ", "muted"), (tokens_out, "text"), (" tokens", "muted")),
            ((_each(totals), "text"), (" sats each", "muted")),
        ),
    )


def _each(totals: Totals) -> str:
    return sats_round(totals.cost_msats / totals.succeeded) if totals.succeeded else NOTHING


def _rate_role(rate: float | None) -> Role:
    if rate is None or rate >= 0.98:
        return "text"
    return "warn" if rate >= 0.9 else "bad"


def _latency(view: DashboardView, window: Aggregate | None, range_name: str) -> Tile:
    known = window is not None and window.total > 0
    half = duration(window.p50_latency_ms) if window is not None and known else NOTHING
    most = duration(window.p95_latency_ms) if window is not None and known else NOTHING
    worst = duration(window.p99_latency_ms) if window is not None and known else NOTHING
    return Tile(
        "Latency",
        f"last {range_name}",
        (
            (("p50 ", "muted"), (half, "strong")),
            (("p95 ", "muted"), (most, "text")),
            (("first byte ", "muted"), (duration(view.first_byte_ms), "text")),
            (("p99 ", "muted"), (worst, "text")),
        ),
    )


class StatTilesPanel(Panel):
    """The tiles side by side in boxes, or a line for each where boxes don't fit."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tiles: tuple[Tile, ...] = ()

    def show(self, view: DashboardView, figures: LedgerStats, range_name: str) -> None:
        """Show other figures."""
        self._tiles = tiles(view, figures, range_name)
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw boxes if they fit, else lines."""
        if not self._tiles:
            return []
        if height < BOXED:
            return [self._plain(tile, width) for tile in self._tiles[:4]]
        return self._boxes(self._tiles if width >= FIVE_FROM else self._tiles[:4], width, height)

    def _boxes(self, shown: tuple[Tile, ...], width: int, height: int) -> list[Line]:
        each, rest = divmod(width, len(shown))
        lines: list[Line] = [EMPTY] * height
        for index, tile in enumerate(shown):
            room = each + (index < rest)
            body = [trim(line, room - 4) for line in tile.lines[: height - 2]]
            title: Line = ((tile.title, "title"), (f"  {tile.span}", "muted"))
            lines = beside(lines, framed(body, room, height, title=title))
        return lines

    def _plain(self, tile: Tile, width: int) -> Line:
        span = f"  {tile.span}" if tile.span != SINCE or tile.title == "Spent" else ""
        first = fit_line(trim((*tile.lines[0], (span, "muted")), 27), 28)
        parts = [(((f" {tile.title:<8} ", "muted"), *first), 0), (fit_line(trim(tile.lines[1], 20), 20), 1)]
        return fit_parts([*parts, (((" ", "text"), *tile.lines[2]), 2)], width)
