"""Providers in one line each: health, speed, and what they ask now."""

from __future__ import annotations

from collections.abc import Sequence

from arbstr.clock import HOUR_MS
from arbstr.monitoring.source import ProviderStatus
from tui.format import NOTHING, countdown, duration, percent, sats_alike, sats_round, spark, uptime
from tui.model.price_board import BoardRow, PriceBoard
from tui.model.provider_view import ProviderView
from tui.render.layout import Cells, Column, Layout, Line, Role, Span, cells, framed, lay_out, ruled
from tui.widgets.panel import Panel

COLUMNS = (
    Column("", 1, exact=True),
    Column("name", 10, share=2, most=24),
    Column("state", 9, exact=True),
    Column("price", 7, "right", rank=1),
    Column("health", 6, "right", rank=2),
    Column("first", 7, "right", rank=3),
    Column("lately", 8, rank=6),
    Column("balance", 8, rank=4, exact=True),
    Column("running", 9, "right", rank=5),
    Column("speed", 8, "right", rank=7),
    Column("error", 16, share=3, rank=8),
)
CHEAPEST = "★"
NO_PRICES = PriceBoard()
_NAMED = 3  # columns that a provider which is not asked keeps; its last error takes the place of the others


def health(view: ProviderView, now_ms: int) -> tuple[Span, Span]:
    """Return a provider's state as symbol and word."""
    status = view.status
    if status.inert:
        return ("○", "muted"), ("no key", "muted")
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
        "first": (duration(status.latency_ms if view.speeds.half_ms is None else view.speeds.half_ms), "text"),
        "running": (f"{status.in_flight:,} running", "text") if status.in_flight else (NOTHING, "muted"),
        "error": (status.last_error or "", "muted"),
    }


def rate_role(rate: float | None) -> Role:
    """Return the role of a success rate."""
    return "text" if rate is None or rate >= 0.9 else "warn" if rate >= 0.5 else "bad"


def live_cells(view: ProviderView, now_ms: int, board: PriceBoard) -> dict[str, Span]:
    """Return a provider's spans by column, with its price for the model that is bought most often."""
    speed = view.speeds.tokens_per_second
    row = board.usual
    return {
        **row_cells(view, now_ms),
        "price": (NOTHING, "muted") if row is None else price_of(row, view),
        "lately": (spark(view.speeds.history), "muted"),
        "speed": (NOTHING, "muted") if speed is None else (f"{speed:,.0f} tok/s", "text"),
        "balance": balance_of(view),
    }


def price_of(row: BoardRow, view: ProviderView) -> Span:
    """Return what a provider asks for a model's usual request; the cheapest has a star."""
    price = row.prices.get(view.key)
    if price is None:
        return (f"{NOTHING}  ", "muted")
    (text,) = sats_alike([price])
    if view.key == row.cheapest:
        return (f"{text} {CHEAPEST}", "strong")
    return (f"{text}  ", "text" if view.serves else "muted")


def balance_of(view: ProviderView) -> Span:
    """Return how long the balance at a provider lasts, else what it is; nothing where there is none to read."""
    known = view.status.balance
    if known is None or known.free_msats is None:
        return (NOTHING, "muted")
    if known.runway_hours is not None and known.free_msats > 0:
        return runway_of(view)
    return (f"{sats_round(known.free_msats)} sats", "text" if known.free_msats > 0 else "bad")


LOW_H = 12.0  # hours that a balance lasts: with less it is worth a warning


def runway_of(view: ProviderView) -> Span:
    """Return how long the balance at a provider lasts at this rate."""
    known = view.status.balance
    hours = None if known is None else known.runway_hours
    if hours is None:
        return (NOTHING, "muted")
    return (f"lasts {uptime(hours * HOUR_MS)}", "warn" if hours < LOW_H else "text")


def provider_lines(
    providers: Sequence[ProviderView], width: int, now_ms: int, board: PriceBoard = NO_PRICES
) -> list[Line]:
    """Return a line for each provider; one that gets no requests has its last error for figures."""
    table = [live_cells(each, now_ms, board) for each in providers]
    layout = lay_out(_columns(providers, board), width, table)
    return [_line(each.status, row, layout) for each, row in zip(providers, table, strict=True)]


def _columns(providers: Sequence[ProviderView], board: PriceBoard) -> tuple[Column, ...]:
    """Return the columns without those that would be empty."""
    empty = {
        "price": not board.rows,
        "balance": all(each.status.balance is None for each in providers),
        "lately": not any(each.speeds.first_byte_ms for each in providers),
        "speed": not any(each.speeds.per_second for each in providers),
    }
    return tuple(column for column in COLUMNS if not empty.get(column.title))


def _line(status: ProviderStatus, row: Cells, layout: Layout) -> Line:
    if status.state != "open" or not status.last_error:
        return cells(layout, row)
    return (*cells(layout[:_NAMED], row), ("  ", "text"), (status.last_error, "muted"))


class ProvidersPanel(Panel):
    """All providers: state, price, success rate, time to first byte, speed, requests in flight, last error."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._providers: Sequence[ProviderView] = ()
        self._board = NO_PRICES
        self._now_ms = 0

    def show(self, providers: Sequence[ProviderView], now_ms: int, board: PriceBoard) -> None:
        """Show other states and prices."""
        self._providers, self._now_ms, self._board = providers, now_ms, board
        self.redraw()

    def name_at(self, line: int) -> str | None:
        """Return the provider on a line of the panel."""
        place = line - 1
        return self._providers[place].status.name if 0 <= place < len(self._providers) else None

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw a line for each provider; the last one counts those that did not fit."""
        boxed = self.screen.size.width >= 100
        room = height - 2 if boxed else height - 1
        body = provider_lines(self._providers, width - 4 if boxed else width - 1, self._now_ms, self._board)
        if len(body) > room > 0:
            body[room - 1 :] = [((f"… and {len(body) - room + 1} more: key 3", "muted"),)]
        title: Line = (("Providers", "title"), (f"  {self._priced()}", "muted"))
        if boxed:
            return framed(body, width, height, title=title)
        return ruled(body, width, height, title=title)

    def _priced(self) -> str:
        """Return what the prices are for."""
        usual = self._board.usual
        if usual is None:
            return "health, first byte"
        return f"sats for {'your' if self._board.bought else 'a'} {usual.model} request"
