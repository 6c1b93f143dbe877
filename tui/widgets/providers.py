"""Providers' health in one line each."""

from __future__ import annotations

from collections.abc import Sequence

from arbstr.source import ProviderStatus
from tui.format import NOTHING, duration, percent
from tui.lines import Column, Layout, Line, Span, cells, framed, lay_out, ruled
from tui.state import ProviderView
from tui.widgets.panel import Panel

COLUMNS = (
    Column("mark", 1),
    Column("name", 10, share=2, most=24),
    Column("state", 9, share=1, most=12),
    Column("success", 6, "right"),
    Column("latency", 7, "right"),
    Column("running", 9, "right"),
    Column("error", 0, share=3, above=70),
)
_NAMED = 3  # columns that a provider which is not asked keeps; its last error takes the place of the others


def health(status: ProviderStatus, now_ms: int) -> tuple[Span, Span]:
    """A provider's state: symbol and word."""
    if not status.in_rotation:
        return ("○", "muted"), ("taken out", "muted")
    if status.state == "open":
        left = None if status.open_until_ms is None else max(status.open_until_ms - now_ms, 0)
        return ("✕", "bad"), ("open" if left is None else f"open {-(-left // 1000)} s", "bad")
    if status.state == "half_open":
        return ("◐", "warn"), ("probing", "warn")
    return ("●", "good"), ("ok", "good")


def serving(providers: Sequence[ProviderView]) -> int:
    """How many providers may be asked."""
    return sum(each.status.in_rotation and each.status.state != "open" for each in providers)


def row_cells(view: ProviderView, now_ms: int) -> dict[str, Span]:
    """A provider's spans by column."""
    status = view.status
    mark, word = health(status, now_ms)
    rate = status.success_rate
    return {
        "mark": mark,
        "name": (status.name, "text"),
        "state": word,
        "success": (percent(rate), "text" if rate is None or rate >= 0.9 else "warn" if rate >= 0.5 else "bad"),
        "latency": (duration(status.latency_ms), "text"),
        "running": (f"{status.in_flight:,} running", "text") if status.in_flight else (NOTHING, "muted"),
        "error": (status.last_error or "", "muted"),
    }


def provider_line(view: ProviderView, layout: Layout, now_ms: int) -> Line:
    """A provider's line; of one that is not asked, the last error instead of figures."""
    row = row_cells(view, now_ms)
    if view.status.state != "open" or not view.status.last_error:
        return cells(layout, row)
    return (*cells(layout[:_NAMED], row), ("  ", "text"), (view.status.last_error, "muted"))


class ProvidersPanel(Panel):
    """All providers: state, success rate, latency, requests in flight, last error."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._providers: Sequence[ProviderView] = ()
        self._now_ms = 0

    def show(self, providers: Sequence[ProviderView], now_ms: int) -> None:
        """Show other states."""
        self._providers, self._now_ms = providers, now_ms
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """One line a provider; the last line tells of those that did not fit."""
        boxed = self.screen.size.width >= 100
        room = height - 2 if boxed else height - 1
        layout = lay_out(COLUMNS, width - 4 if boxed else width - 1)
        body = [provider_line(each, layout, self._now_ms) for each in self._providers]
        if len(body) > room > 0:
            body[room - 1 :] = [((f"… and {len(body) - room + 1} more: key 3", "muted"),)]
        title: Line = (("Providers", "title"),)
        if boxed:
            return framed(body, width, height, title=title)
        return ruled(body, width, height, title=title)
