"""The main figures: spent, burn, budget, saved, requests, latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo

from arbstr.clock import DAY_MS, HOUR_MS
from arbstr.ledger.model import Aggregate
from arbstr.monitoring.source import Totals
from arbstr.types import CLIENT_CLOSED, BudgetStatus
from tui.format import (
    NOTHING,
    count,
    day_or_time,
    duration,
    per_second,
    percent,
    sats_alike,
    sats_round,
    short_count,
    short_durations,
    uptime,
)
from tui.model.burn import Burn, Pace
from tui.model.ledger_stats import LedgerStats
from tui.model.notices import GLOBAL
from tui.model.request_row import OVERCHARGE
from tui.model.view_model import DashboardView
from tui.render.layout import EMPTY, Line, Part, Role, Span, beside, fit, fit_line, fit_parts, framed, width_of
from tui.render.widths import cell_len
from tui.widgets.budget_pace import budget_role, lasts, pace_bar, tightest
from tui.widgets.panel import Panel
from tui.widgets.provider_health import LOW_H

SINCE_START = "since start"
FAST = 3.0  # times the day's mean: so is spending that fast
BOXES_FROM = 110  # cells: with fewer, lines
SIX_FROM = 144  # with fewer, five boxes
BOXED = 5  # lines that tiles in boxes take at least
PLAIN = 6  # tiles, in a line each
MOST_FORECAST = 10.0  # of a budget: more only says that the first minutes were no usual ones
_PACE_CELLS = 12


@dataclass(frozen=True, slots=True)
class Tile:
    """A title, the time it spans, and its lines, the first the one that matters most."""

    title: str
    span: str
    lines: tuple[Line, ...]


def tiles(
    view: DashboardView, figures: LedgerStats, burn: Burn | None, range_name: str, zone: tzinfo | None = UTC
) -> tuple[Tile, ...]:
    """Return the tiles in order of weight; without budgets there is none of them."""
    budgets = [_budget(*tightest(view, burn), view.at_ms, zone)] if view.budgets else []
    return (
        _spent(view, figures, zone),
        _burning(view, burn),
        *budgets,
        _saved(view, figures.window, range_name, zone),
        _requests(view, figures.window, zone),
        _latency(view, figures.window, range_name),
    )


def saved_role(msats: int) -> Role:
    """Return the role of a saving in msats; below zero it is a loss."""
    return "good" if msats > 0 else "bad" if msats < 0 else "text"


def _since(view: DashboardView, zone: tzinfo | None) -> str:
    """Return since when the counters count: `start`, `14:02`, `01 Dec 14:02`."""
    return "start" if view.reset is None else day_or_time(view.reset.at_ms, view.at_ms, zone)


def _budget(budget: BudgetStatus, going: Pace, now_ms: int, zone: tzinfo | None) -> Tile:
    role = budget_role(budget)
    left, limit = sats_alike([max(budget.limit_msats - budget.spent_msats, 0), budget.limit_msats])
    ends = f"resets in {uptime(max(budget.resets_at_ms - now_ms, 0))}"
    at_reset: Line = ((ends, "muted"),)
    if going.at_reset is not None:
        share = percent(going.at_reset, 0) if going.at_reset < MOST_FORECAST else f">{MOST_FORECAST * 100:.0f} %"
        at_reset = ((share, "text"), (" at the reset", "muted"))
    return Tile(
        "Budget",
        budget.period if budget.scope == GLOBAL else f"{budget.scope} / {budget.period}",
        (
            ((pace_bar(going, _PACE_CELLS), role), (" ", "text"), (percent(going.share, 0), role)),
            lasts(going, now_ms, zone),
            ((left, "text"), (" of ", "muted"), (limit, "text"), (" left", "muted")),
            at_reset,
            ((ends, "muted"),),
        ),
    )


def _burning(view: DashboardView, burn: Burn | None) -> Tile:
    each = _each(view.counted)
    if burn is None:
        return Tile("Burn", "10 min", (((NOTHING, "muted"),), EMPTY, *_runway(view), EMPTY, each))
    lately, mean = sats_alike([burn.per_minute, burn.mean_per_minute])
    day: Line = ((f"24 h {NOTHING}", "muted"),)
    if burn.mean_per_minute is not None:
        day = (("24 h ", "muted"), (mean, "text"), (" /min", "muted"), *_times(burn.times_mean))
    return Tile(
        "Burn",
        "10 min",
        (
            ((lately, "strong"), (" sats/min", "muted")),
            day,
            *_runway(view),
            ((sats_round(burn.per_minute * 60), "text"), (" an hour", "muted")),
            each,
        ),
    )


def _each(totals: Totals) -> Line:
    figure = sats_round(totals.cost_msats / totals.succeeded) if totals.succeeded else NOTHING
    return ((figure, "text"), (" sats each", "muted"))


def _runway(view: DashboardView) -> list[Line]:
    """Return how long the balance lasts that is empty first; nothing where none is known to go down."""
    known = [(each.status.balance, each) for each in view.providers if each.serves]
    ends = [(held.runway_hours, each) for held, each in known if held is not None and held.runway_hours is not None]
    if not ends:
        return []
    hours, first = min(ends, key=lambda end: end[0])
    name = fit(first.status.name, min(cell_len(first.status.name), 8))
    return [((f"{name} lasts ", "muted"), (uptime(hours * HOUR_MS), "warn" if hours < LOW_H else "text"))]


def _times(times: float | None) -> Line:
    """Return how fast is being spent, beside the day's mean."""
    if times is None or 0.9 < times < 1.1:
        return ()
    number = f"{times:.1f}" if times < 99.5 else f"{times:,.0f}"
    return ((f" {'▲' if times > 1 else '▼'} {number}×", "warn" if times >= FAST else "text"),)


def _spent(view: DashboardView, figures: LedgerStats, zone: tzinfo | None) -> Tile:
    # The ledger is asked now and then; a moment ago it can't have known all that was spent since the start.
    totals, began_today = view.totals, view.started_at_ms >= view.at_ms - view.at_ms % DAY_MS
    least = totals.cost_msats if began_today else 0
    today = None if figures.today is None else max(figures.today.cost_msats, least)
    week = None if figures.week is None else max(figures.week.cost_msats, least)
    listed = None if figures.today is None else max(figures.today.list_cost_msats, totals.list_cost_msats * began_today)
    figure, by_list, in_week, counted = sats_alike([today, listed, week, view.counted.cost_msats])
    return Tile(
        "Spent",
        "today UTC",
        (
            ((figure, "strong"), (" sats", "muted")),
            by_rates(today or 0, listed or 0, by_list),
            _sum("7 days", in_week),
            _sum(_since(view, zone), counted),
        ),
    )


def _sum(label: str, amount: str) -> Line:
    return ((f"{label} ", "muted"), (amount, "text"), (" sats", "muted"))


def by_rates(cost_msats: int, listed_msats: int, listed: str) -> Line:
    """Return what it would have been by the rates, which is `listed`, and how much more than that was charged."""
    share, role = over_rates(cost_msats, listed_msats)
    more = f" {share}" if share[:1] in ("+", "-") else ""
    return (("rates ", "muted"), (listed, "text"), (more, role if more else "text"))


def over_rates(cost_msats: int, listed_msats: int) -> Span:
    """Return by what share what was charged exceeds the rates (below 0: less), marked where that should be seen."""
    more = cost_msats - listed_msats
    if not listed_msats:
        return (NOTHING, "muted")
    if abs(more) < 0.0005 * listed_msats:
        return ("0 %", "muted")
    return (f"{more / listed_msats * 100:+,.1f} %", "warn" if more > OVERCHARGE * listed_msats else "text")


def _saved(view: DashboardView, window: Aggregate | None, range_name: str, zone: tzinfo | None) -> Tile:
    totals, since = view.counted, f"since {_since(view, zone)}"
    saved, paid = totals.saved_vs_median_msats, totals.compared_msats
    if not totals.requests:
        return Tile("Saved", since, (((NOTHING, "muted"),), (("nothing to compare", "muted"),), EMPTY, EMPTY))
    recent = None if window is None else window.saved_vs_median_msats
    amount, lately, gain, loss = sats_alike([saved, recent, totals.cache_saved_msats, totals.switching_msats])
    figure: Line = ((amount, saved_role(saved)), (" sats", "muted"))
    caches = _caches(totals, gain, loss)
    compared = _below_median(saved, paid) if caches else _less_than_median(saved, paid)
    return Tile("Saved", since, (figure, *compared, *caches, _sum(f"last {range_name}", lately)))


def _less_than_median(saved: int, paid: int) -> tuple[Line, Line]:
    than: Line = (("the median provider", "muted"),)
    if not saved or not saved + paid:
        return ((("as much as", "muted"),), than)
    share = percent(abs(saved) / (saved + paid))
    return (((share, "text"), (" less than" if saved > 0 else " more than", "muted")), than)


def _below_median(saved: int, paid: int) -> tuple[Line]:
    """Return the same in one line: caches take the other."""
    if not saved or not saved + paid:
        return ((("as the median", "muted"),),)
    share = percent(abs(saved) / (saved + paid))
    return (((share, "text"), (" below" if saved > 0 else " above", "muted"), (" median", "muted")),)


def _caches(totals: Totals, saved: str, lost: str) -> tuple[Line, ...]:
    """Return what prompt caches had of the input and saved, and what switching cost; nothing where there were none."""
    if not totals.cached_tokens and not totals.switching_msats:
        return ()
    share: Line = ((percent(totals.cached_share, 0), "text"), (" cached", "muted"))
    return (
        (*share, (f"  {saved}", saved_role(totals.cache_saved_msats)), (" sats", "muted")),
        (("switching", "muted"), (" cost", "muted"), (f" {lost}", "text"), (" sats", "muted")),
    )


def _requests(view: DashboardView, window: Aggregate | None, zone: tzinfo | None) -> Tile:
    totals = view.counted
    rate = totals.succeeded / totals.requests if totals.requests else None
    tokens_in, tokens_out = short_count(totals.input_tokens), short_count(totals.output_tokens)
    half, most = short_durations(*_percentiles(window))
    ok: Line = ((percent(rate), _rate_role(rate)), (" ok  ", "muted"))
    running: Line = ((count(view.running), "text"), (" running", "muted"))
    return Tile(
        "Requests",
        f"since {_since(view, zone)}",
        (
            ((count(totals.requests), "strong"), (f"   {per_second(view.per_second)}", "text")),
            (*ok, *running),
            _failures(totals.failures),
            ((tokens_in, "text"), (" → ", "muted"), (tokens_out, "text"), (" tokens", "muted")),
            (("p50 ", "muted"), (half, "text"), (" p95 ", "muted"), (most, "text")),
        ),
    )


def _failures(failures: Mapping[int, int]) -> Line:
    """Return how many failed by their status, the commonest first."""
    if not failures:
        return (("no failures", "muted"),)
    kinds = sorted(failures.items(), key=lambda kind: (-kind[1], kind[0]))
    words = [f"{'left' if status == CLIENT_CLOSED else status or 'other'}·{count(many)}" for status, many in kinds]
    most = min(len(words), 3)
    more = f" +{len(words) - most}" if len(words) > most else ""
    return (("failed ", "muted"), (" ".join(words[:most]) + more, "text"))


def _rate_role(rate: float | None) -> Role:
    if rate is None or rate >= 0.98:
        return "text"
    return "warn" if rate >= 0.9 else "bad"


def _percentiles(window: Aggregate | None) -> tuple[float | None, float | None]:
    """Return the median and the 95th percentile of latencies in ms."""
    if window is None or not window.total:
        return None, None
    return window.p50_latency_ms, window.p95_latency_ms


def _latency(view: DashboardView, window: Aggregate | None, range_name: str) -> Tile:
    half, most = _percentiles(window)
    worst = window.p99_latency_ms if window is not None and window.total else None
    return Tile(
        "Latency",
        f"last {range_name}",
        (
            (("p50 ", "muted"), (duration(half), "strong")),
            (("p95 ", "muted"), (duration(most), "text")),
            (("first byte ", "muted"), (duration(view.first_byte_ms), "text")),
            (("p99 ", "muted"), (duration(worst), "text")),
        ),
    )


class StatTilesPanel(Panel):
    """The tiles side by side in boxes, or a line for each where boxes don't fit."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tiles: tuple[Tile, ...] = ()

    def show(
        self, view: DashboardView, figures: LedgerStats, burn: Burn | None, range_name: str, zone: tzinfo | None
    ) -> None:
        """Show other figures."""
        self._tiles = tiles(view, figures, burn, range_name, zone)
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw boxes if they fit, else lines."""
        if not self._tiles:
            return []
        if width < BOXES_FROM or height < BOXED:
            return plain_lines(_most_wanted(self._tiles, height), width)
        return self._boxes(self._tiles[: 6 if width >= SIX_FROM else 5], width, height)

    def _boxes(self, shown: tuple[Tile, ...], width: int, height: int) -> list[Line]:
        each, rest = divmod(width, len(shown))
        lines: list[Line] = [EMPTY] * height
        for index, tile in enumerate(shown):
            room = each + (index < rest)
            body = [squeezed(line, room - 4) for line in tile.lines[: height - 2]]
            title: Line = ((tile.title, "title"), (f"  {tile.span}", "muted"))
            lines = beside(lines, framed(body, room, height, title=title))
        return lines


def squeezed(line: Line, width: int) -> Line:
    """Return what of a line fits: labels and units go first, from its end, then figures; none is cut or joined."""
    spans = list(line)
    while width_of(tuple(spans)) > width:
        loose = [place for place in range(len(spans)) if _can_go(spans, place)]
        if loose:
            del spans[loose[-1]]
        elif len(spans) > 1:
            del spans[-1]
        else:
            break
    return tuple(spans)


def _can_go(spans: Sequence[Span], place: int) -> bool:
    """Check whether a span is a label or a unit, and no other's words would run together without it."""
    if spans[place][1] != "muted" or len(spans) == 1:
        return False
    return place in (0, len(spans) - 1) or spans[place + 1][0].startswith(" ")


def _most_wanted(shown: Sequence[Tile], count: int) -> list[Tile]:
    """Return the tiles for which there are lines: latency can be missed first, then what was saved."""
    gone = ("Latency", "Saved")[: max(len(shown) - count, 0)]
    return [tile for tile in shown if tile.title not in gone][:count]


_PLAIN_CELLS = (21, 21, 22, 20, 20)  # of the lines of a tile, side by side


def plain_lines(shown: Sequence[Tile], width: int) -> list[Line]:
    """Return a line for each tile; where the terminal is narrow its last figures go."""
    return [_plain(tile, width) for tile in shown]


def _plain(tile: Tile, width: int) -> Line:
    # What a title leaves to be guessed is said with the first figure.
    figure, *others = tile.lines[0]
    span = f"  {tile.span}"
    if tile.title in ("Spent", "Budget"):
        others.append((span, "muted"))
    elif tile.span.startswith("since ") and tile.span != SINCE_START:
        others.insert(0, (span, "text"))
    first = fit_line(squeezed((figure, *others), _PLAIN_CELLS[0]), _PLAIN_CELLS[0])
    parts: list[Part] = [(((f" {tile.title:<8} ", "muted"), *first), 0)]
    for rank, (line, cells) in enumerate(zip(tile.lines[1:], _PLAIN_CELLS[1:], strict=False), 1):
        parts.append((((" ", "text"), *fit_line(squeezed(line, cells), cells)), rank))
    return fit_parts(parts, width)
