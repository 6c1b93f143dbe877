"""Providers' health in one line each."""

from __future__ import annotations

from collections.abc import Sequence

from arbstr.monitoring.source import ProviderStatus
from tui.format import NOTHING, countdown, duration, percent
from tui.model.view_model import ProviderView
from tui.render.layout import Cells, Column, Layout, Line, Role, Span, cells, framed, lay_out, ruled
from tui.widgets.panel import Panel

COLUMNS = (
    Column("", 1, exact=True),
    Column("name", 10, share=2, most=24),
    Column("state", 9, exact=True),
    Column("health", 6, "right", rank=1),
    Column("first byte", 7, "right", rank=2),
    Column("running", 9, "right", rank=3),
    Column("error", 16, share=3, rank=4),
)
_NAMED = 3  # columns that a provider which is not asked keeps; its last error takes the place of the others


def health(view: ProviderView, now_ms: int) -> tuple[Span, Span]:
    """Return a provider's state as symbol and word."""
    status = view.status
    if not status.in_rotation:
        return ("○", "muted"), ("taken out", "muted")
    if status.state == "open":
        left = None if status.open_until_ms is None else max(status.open_until_ms - now_ms, 0)
        return ("✕", "bad"), ("open" if left is None else f"open {countdown(left)}", "bad")
    if status.state == "half_open":
        return ("◐", "warn"), ("probing" if status.in_flight else "ready to probe", "warn")
    if view.unfunded:
        return ("✕", "bad"), ("no balance", "bad")
    return ("●", "good"), ("ok", "good")


def row_cells(view: ProviderView, now_ms: int) -> dict[str, Span]:
    """Return a provider's spans by column."""
    status = view.status
    mark, word = health(view, now_ms)
    return {
        "": mark,
        "name": (status.name, "text"),
        "state": word,
        "health": (percent(status.success_rate), rate_role(status.success_rate)),
        "first byte": (duration(status.latency_ms), "text"),
        "running": (f"{status.in_flight:,} running", "text") if status.in_flight else (NOTHING, "muted"),
        "error": (status.last_error or "", "muted"),
    }


def rate_role(rate: float | None) -> Role:
    """Return the role of a success rate."""
    return "text" if rate is None or rate >= 0.9 else "warn" if rate >= 0.5 else "bad"


def provider_lines(providers: Sequence[ProviderView], width: int, now_ms: int) -> list[Line]:
    """Return a line for each provider; one that gets no requests has its last error for figures."""
    table = [row_cells(each, now_ms) for each in providers]
    layout = lay_out(COLUMNS, width, table)
    return [_line(each.status, row, layout) for each, row in zip(providers, table, strict=True)]


def _line(status: ProviderStatus, row: Cells, layout: Layout) -> Line:
    if status.state != "open" or not status.last_error:
        return cells(layout, row)
    return (*cells(layout[:_NAMED], row), ("  ", "text"), (status.last_error, "muted"))


class ProvidersPanel(Panel):
    """All providers: state, success rate, time to first byte, requests in flight, last error."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._providers: Sequence[ProviderView] = ()
        self._now_ms = 0

    def show(self, providers: Sequence[ProviderView], now_ms: int) -> None:
        """Show other states."""
        self._providers, self._now_ms = providers, now_ms
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw a line for each provider; the last one counts those that did not fit."""
        boxed = self.screen.size.width >= 100
        room = height - 2 if boxed else height - 1
        body = provider_lines(self._providers, width - 4 if boxed else width - 1, self._now_ms)
        if len(body) > room > 0:
            body[room - 1 :] = [((f"… and {len(body) - room + 1} more: key 3", "muted"),)]
        title: Line = (("Providers", "title"), ("  health, first byte", "muted"))
        if boxed:
            return framed(body, width, height, title=title)
        return ruled(body, width, height, title=title)
