"""The totals of the chosen range: spent, saved, failed, cached."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from arbstr.ledger.model import Aggregate
from tui.format import clock, count, percent, sats, sats_alike, sats_round, short_count, zone_name
from tui.model.ledger_stats import LedgerStats
from tui.render.layout import Line, Part, fit_parts
from tui.widgets.group_table import each_msats, thousand_tokens_msats
from tui.widgets.panel import Panel
from tui.widgets.stat_tiles import by_rates, saved_role


class Summary(Panel):
    """The totals of the chosen range, in three lines; the first one matters most."""

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
        parts = ([*_spent(window, self._range), (self._as_of(), 1)], _saved(window), _caches(window))
        return [fit_parts(line, width) for line in parts]

    def _as_of(self) -> Line:
        at_ms = self._figures.as_of_ms
        return (
            () if at_ms is None else ((f"   as of {clock(at_ms, self._zone)} {zone_name(at_ms, self._zone)}", "muted"),)
        )


def _spent(window: Aggregate, range_name: str) -> list[Part]:
    return [
        (((f" Last {range_name}  ", "muted"), (_sum(window.cost_msats), "strong"), (" sats", "muted")), 0),
        *_unexplained(window),
        *_by_rates(window),
        ((("  ", "muted"), (count(window.total), "text"), (" requests", "muted")), 2),
        *_price("each", each_msats(window), 4),
        *_price("per 1k tokens", thousand_tokens_msats(window), 5),
    ]


def _sum(msats: int) -> str:
    return sats(msats) if msats else "0"


def _by_rates(window: Aggregate) -> list[Part]:
    if not window.cost_msats and not window.list_cost_msats:
        return []
    return [((("  ", "muted"), *by_rates(window.cost_msats, window.list_cost_msats, sats(window.list_cost_msats))), 3)]


def _price(label: str, msats: float | None, rank: int) -> list[Part]:
    if msats is None:
        return []
    return [(((" · ", "muted"), (sats_round(msats), "text"), (f" {label}", "muted")), rank)]


def _unexplained(window: Aggregate) -> list[Part]:
    if not window.unexplained_msats:
        return []
    return [(((f", {sats(window.unexplained_msats)} of them for no request that is known", "warn"),), 1)]


def _saved(window: Aggregate) -> list[Part]:
    if not window.total:
        return [(((" Saved: nothing to compare yet", "muted"),), 0)]
    parts: list[Part] = [(((" Saved", "muted"),), 0)]
    choices = (("the median provider", window.saved_vs_median_msats), ("the dearest", window.saved_vs_dearest_msats))
    for rank, ((name, saved), amount) in enumerate(
        zip(choices, sats_alike([saved for _, saved in choices]), strict=True)
    ):
        share = f" ({percent(saved / (saved + window.cost_msats))})" if saved > 0 else ""
        figure: Line = ((f"  {amount}", saved_role(saved)), (f" sats{share} vs {name}", "muted"))
        parts.append((figure, rank))
    failed = window.total - window.success
    if failed:
        parts.append((((f"  {count(failed)}", "text"), (" failed", "muted")), 2))
    return parts


def _caches(window: Aggregate) -> list[Part]:
    saved, lost = window.saved_by_cache_msats, window.lost_by_switching_msats
    if not window.total:
        return []
    tokens_in, tokens_out = short_count(window.input_tokens), short_count(window.output_tokens)
    gain, loss = sats_alike([saved, lost])
    return [
        (((" Caches  ", "muted"), (percent(window.cached_share), "text"), (" of the tokens in", "muted")), 0),
        (((", saved ", "muted"), (gain, saved_role(saved)), (" sats", "muted")), 1),
        (((", switching cost ", "muted"), (loss, "text"), (" sats", "muted")), 2),
        (((f"  {tokens_in} → {tokens_out}", "text"), (" tokens", "muted")), 3),
    ]
