"""The figures one looks for first: spent, saved, requests, latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arbstr.query import Aggregate
from tui.figures import DAY, Figures
from tui.format import NOTHING, count, duration, per_second, percent, sats, sats_round, short_count
from tui.lines import EMPTY, Line, Role, beside, fit_line, framed
from tui.state import View
from tui.widgets.panel import Panel

SINCE = "since start"
BOXED = 5  # lines that tiles in boxes take; fewer, and they are four plain lines


@dataclass(frozen=True, slots=True)
class Tile:
    """A title, the time it spans, and three lines, the first the one that matters most."""

    title: str
    span: str
    lines: tuple[Line, Line, Line]


def tiles(view: View, figures: Figures, range_name: str) -> tuple[Tile, ...]:
    """The four tiles."""
    return _spent(view, figures), _saved(view), _requests(view), _latency(view, figures.window, range_name)


def _spent(view: View, figures: Figures) -> Tile:
    # The ledger is asked now and then; a moment ago it can't have known all that was spent since the start.
    least = view.totals.cost_msats if view.started_at_ms >= view.at_ms - view.at_ms % DAY else 0
    today = None if figures.today is None else max(figures.today.cost_msats, least)
    week = None if figures.week is None else max(figures.week.cost_msats, least)
    return Tile(
        "Spent",
        SINCE,
        (
            ((sats(view.totals.cost_msats), "accent"), (" sats", "muted")),
            _sum("today UTC", today),
            _sum("7 days", week),
        ),
    )


def _sum(label: str, msats: int | None) -> Line:
    figure = NOTHING if msats is None else sats_round(msats)
    return ((f"{label} ", "muted"), (figure, "text"), (" sats", "muted"))


def _saved(view: View) -> Tile:
    saved, paid = view.totals.saved_vs_median_msats, view.totals.compared_msats
    if not view.totals.requests:
        return Tile("Saved", SINCE, (((NOTHING, "muted"),), (("nothing to compare", "muted"),), EMPTY))
    figure: Line = ((sats(saved), "good" if saved > 0 else "text"), (" sats", "muted"))
    compared: Line = (("compared with", "muted"),)
    if saved > 0:
        compared = ((percent(saved / (saved + paid)), "text"), (" less than", "muted"))
    return Tile("Saved", SINCE, (figure, compared, (("the median seller", "muted"),)))


def _requests(view: View) -> Tile:
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
        ),
    )


def _rate_role(rate: float | None) -> Role:
    if rate is None or rate >= 0.98:
        return "text"
    return "warn" if rate >= 0.9 else "bad"


def _latency(view: View, window: Aggregate | None, range_name: str) -> Tile:
    known = window is not None and window.total > 0
    half = duration(window.p50_latency_ms) if window is not None and known else NOTHING
    most = duration(window.p95_latency_ms) if window is not None and known else NOTHING
    return Tile(
        "Latency",
        f"last {range_name}",
        (
            (("p50 ", "muted"), (half, "strong")),
            (("p95 ", "muted"), (most, "text")),
            (("first byte ", "muted"), (duration(view.first_byte_ms), "text")),
        ),
    )


class TilesPanel(Panel):
    """The tiles side by side in boxes, or one line each where there is no room for boxes."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tiles: tuple[Tile, ...] = ()

    def show(self, view: View, figures: Figures, range_name: str) -> None:
        """Show other figures."""
        self._tiles = tiles(view, figures, range_name)
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Boxes if they fit, else lines."""
        if not self._tiles:
            return []
        return self._boxes(width) if height >= BOXED else [self._plain(tile, width) for tile in self._tiles]

    def _boxes(self, width: int) -> list[Line]:
        each, rest = divmod(width, len(self._tiles))
        lines: list[Line] = [EMPTY] * BOXED
        for index, tile in enumerate(self._tiles):
            box = framed(
                tile.lines, each + (index < rest), BOXED, title=((tile.title, "title"), (f"  {tile.span}", "muted"))
            )
            lines = beside(lines, box)
        return lines

    def _plain(self, tile: Tile, width: int) -> Line:
        first = (*tile.lines[0], (f"  {tile.span}" if tile.span != SINCE or tile.title == "Spent" else "", "muted"))
        parts = (fit_line(first, 28), fit_line(tile.lines[1], 20), ((" ", "text"), *tile.lines[2]))
        line: Line = ((f" {tile.title:<8} ", "muted"), *(span for part in parts for span in part))
        return fit_line(line, width)
