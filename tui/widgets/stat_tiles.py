"""The main figures: spent, burn, budget, saved, requests, latency."""

from __future__ import annotations

from collections.abc import Mapping
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
from tui.model.alert_text import GLOBAL
from tui.model.burn import SPAN_MS, Burn, Pace
from tui.model.filter_language import term
from tui.model.filter_times import since
from tui.model.ledger_stats import LedgerStats, Range
from tui.model.provider_view import ProviderView
from tui.model.request_row import OVERCHARGE
from tui.model.view_model import DashboardView
from tui.render.layout import EMPTY, Line, Role, Span, fit
from tui.render.widths import cell_len
from tui.widgets.budget_pace import budget_finds, budget_role, lasts, pace_bar, tightest
from tui.widgets.tiles_panel import Tile

FAST = 3.0  # times the day's mean: so is spending that fast
MOST_FORECAST = 10.0  # of a budget: more only says that the first minutes were no usual ones
MOST_KINDS = 3  # of failures
_PACE_CELLS = 12
_TILE_CELLS = 20  # inside of a box on 120 columns
_LEAST_NAME = 8  # cells


def tiles(
    view: DashboardView, figures: LedgerStats, burn: Burn | None, range_: Range, zone: tzinfo | None = UTC
) -> tuple[Tile, ...]:
    """Return the tiles in order of weight; without budgets there is none of them."""
    budgets = [_budget(*tightest(view, burn), view, zone)] if view.budgets else []
    return (
        _spent(view, figures, zone),
        _burning(view, burn),
        *budgets,
        _saved(view, figures.window, range_, zone),
        _requests(view, figures.window, range_, zone),
        _latency(view, figures.window, range_),
    )


def saved_role(msats: int) -> Role:
    """Return the role of a saving in msats; below zero it is a loss."""
    return "good" if msats > 0 else "bad" if msats < 0 else "text"


def _since(view: DashboardView, zone: tzinfo | None) -> str:
    """Return since when the counters count: `start`, `14:02`, `01 Dec 14:02`."""
    return "start" if view.reset is None else day_or_time(view.reset.at_ms, view.at_ms, zone)


def _counted(view: DashboardView) -> str:
    """Return the filter of the requests that the counters count."""
    return since(view.started_at_ms if view.reset is None else view.reset.at_ms)


def _budget(budget: BudgetStatus, going: Pace, view: DashboardView, zone: tzinfo | None) -> Tile:
    role, refuses = budget_role(budget), budget in view.refusing
    left, limit = sats_alike([max(budget.limit_msats - budget.spent_msats, 0), budget.limit_msats])
    ends = f"resets in {uptime(max(budget.resets_at_ms - view.at_ms, 0))}"
    at_reset: Line = ((ends, "muted"),)
    if going.at_reset is not None:
        share = percent(going.at_reset, 0) if going.at_reset < MOST_FORECAST else f">{MOST_FORECAST * 100:.0f} %"
        at_reset = ((share, "text"), (" at the reset", "muted"))
    return Tile(
        "Budget",
        budget.period if budget.scope == GLOBAL else f"{budget.scope} / {budget.period}",
        (
            ((pace_bar(going, _PACE_CELLS), role), (" ", "text"), (percent(going.share, 0), role)),
            lasts(going, view.at_ms, zone, refuses=refuses),
            ((left, "text"), (" left", "text"), (f" of {limit}", "muted")),
            at_reset,
            ((ends, "muted"),) if going.at_reset is not None else EMPTY,
        ),
        (budget_finds(budget),),
    )


def _burning(view: DashboardView, burn: Burn | None) -> Tile:
    each, runway = _each(view.counted), _runway(view)
    finds = (since(view.at_ms - SPAN_MS), since(view.at_ms - DAY_MS), *(where for where, _ in runway), "")
    said = [line for _, line in runway]
    if burn is None:
        return Tile("Burn", "10 min", (((NOTHING, "muted"),), EMPTY, *said, EMPTY, each), finds)
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
            *said,
            ((sats_round(burn.per_minute * 60), "text"), (" an hour", "muted")),
            each,
        ),
        (*finds, _counted(view)),
    )


def _each(totals: Totals) -> Line:
    figure = sats_round(totals.cost_msats / totals.succeeded) if totals.succeeded else NOTHING
    return ((figure, "text"), (" sats each", "muted"))


def _runway(view: DashboardView) -> list[tuple[str, Line]]:
    """Return how long the balance lasts that is empty first, with the filter of its provider's requests.

    There is nothing where no balance is known to go down.
    """
    known = [(each.status.balance, each) for each in view.providers if each.serves]
    ends = [(held.runway_hours, each) for held, each in known if held is not None and held.runway_hours is not None]
    if not ends:
        return []
    hours, first = min(ends, key=lambda end: end[0])
    return [(term("provider", first.status.name), _lasting(first, hours))]


def _lasting(view: ProviderView, hours: float) -> Line:
    left, name = uptime(hours * HOUR_MS), view.status.name
    room = _TILE_CELLS - len(f" lasts {left}")
    room = room if room >= _LEAST_NAME else _TILE_CELLS - len(f" {left}")  # where the word has no room
    name = fit(name, min(cell_len(name), room))
    return ((name, "muted"), (" lasts", "muted"), (f" {left}", "warn" if view.low else "text"))


def _times(times: float | None) -> Line:
    """Return how fast is being spent, beside the day's mean."""
    if times is None or 0.9 < times < 1.1:
        return ()
    number = f"{times:.1f}" if times < 99.5 else f"{times:,.0f}"
    return ((f" {'▲' if times > 1 else '▼'} {number}×", "warn" if times >= FAST else "text"),)


def _spent(view: DashboardView, figures: LedgerStats, zone: tzinfo | None) -> Tile:
    # The ledger is asked now and then; a moment ago it can't have known all that was spent since the start.
    totals, midnight = view.totals, view.at_ms - view.at_ms % DAY_MS
    began_today = view.started_at_ms >= midnight
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
        (since(midnight), since(midnight), since(view.at_ms - 7 * DAY_MS), _counted(view)),
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


def _saved(view: DashboardView, window: Aggregate | None, range_: Range, zone: tzinfo | None) -> Tile:
    totals, span = view.counted, f"since {_since(view, zone)}"
    saved, paid = totals.saved_vs_median_msats, totals.compared_msats
    if not paid and not saved and not totals.cached_tokens:
        return Tile("Saved", span, (((NOTHING, "muted"),), (("nothing to compare", "muted"),), EMPTY, EMPTY))
    recent = None if window is None else window.saved_vs_median_msats
    amount, lately, gain, loss = sats_alike([saved, recent, totals.cache_saved_msats, totals.switching_msats])
    figure: Line = ((amount, saved_role(saved)), (" sats", "muted"))
    caches = _caches(totals, gain, loss)
    compared = _below_median(saved, paid) if caches else _less_than_median(saved, paid)
    lines = (figure, *compared, *caches, _sum(f"last {range_.name}", lately))
    finds = (_counted(view), *[""] * (len(lines) - 2), since(view.at_ms - range_.length_ms))
    return Tile("Saved", span, lines, finds)


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


def _requests(view: DashboardView, window: Aggregate | None, range_: Range, zone: tzinfo | None) -> Tile:
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
        (_counted(view), "", "", "", since(view.at_ms - range_.length_ms)),
        {word: f"status:{status or 'error'} {_counted(view)}" for word, status in _kinds(totals.failures)},
    )


def _kinds(failures: Mapping[int, int]) -> list[tuple[str, str]]:
    """Return how many failed of each status, the commonest first, with the status as filters have it, if they do."""
    kinds = sorted(failures.items(), key=lambda kind: (-kind[1], kind[0]))
    named = [("left" if status == CLIENT_CLOSED else str(status or ""), many) for status, many in kinds]
    return [(f"{status or 'other'}·{count(many)}", status) for status, many in named]


def _failures(failures: Mapping[int, int]) -> Line:
    """Return how many failed by their status, the commonest first."""
    if not failures:
        return (("no failures", "muted"),)
    words = [word for word, _ in _kinds(failures)]
    more = f" +{len(words) - MOST_KINDS}" if len(words) > MOST_KINDS else ""
    first, *others = words[:MOST_KINDS]
    line: list[Span] = [("failed ", "muted"), (first, "text")]
    for word in others:
        line += [(" ", "text"), (word, "text")]
    return (*line, (more, "text")) if more else tuple(line)


def _rate_role(rate: float | None) -> Role:
    if rate is None or rate >= 0.98:
        return "text"
    return "warn" if rate >= 0.9 else "bad"


def _percentiles(window: Aggregate | None) -> tuple[float | None, float | None]:
    """Return the median and the 95th percentile of latencies in ms."""
    if window is None or not window.total:
        return None, None
    return window.p50_latency_ms, window.p95_latency_ms


def _latency(view: DashboardView, window: Aggregate | None, range_: Range) -> Tile:
    half, most = _percentiles(window)
    worst = window.p99_latency_ms if window is not None and window.total else None
    return Tile(
        "Latency",
        f"last {range_.name}",
        (
            (("p50 ", "muted"), (duration(half), "strong")),
            (("p95 ", "muted"), (duration(most), "text")),
            (("first byte ", "muted"), (duration(view.first_byte_ms), "text")),
            (("p99 ", "muted"), (duration(worst), "text")),
        ),
        (since(view.at_ms - range_.length_ms),),
    )
