"""Providers in one line each: health, speed, and what they ask now."""

from __future__ import annotations

from collections.abc import Sequence

from arbstr.clock import HOUR_MS
from tui.format import NOTHING, count, countdown, duration, percent, sats_alike, spark, uptime
from tui.model.filter_language import term
from tui.model.price_board import BoardRow, PriceBoard
from tui.model.provider_view import ProviderView
from tui.render.layout import Column, Layout, Line, Role, Span, cells
from tui.widgets.rows_panel import Row, RowsPanel

COLUMNS = (
    Column("state", 5, exact=True),
    Column("provider", 8, share=2, most=24),
    Column("price", 6, "right", rank=1),
    Column("health", 6, "right", rank=2),
    Column("first", 6, "right", rank=3),
    Column("lately", 8, rank=5),
    Column("tok/s", 5, "right", rank=4),
    Column("balance", 7, rank=6, exact=True),
    Column("run", 3, "right", rank=7),
    Column("error", 16, share=3, rank=8),
)
CHEAPEST = "★"
NO_PRICES = PriceBoard()
_NAMED = 2  # columns that a provider which is not asked keeps; its last error takes the place of the others


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
        return ("◐", "warn"), ("probing" if status.in_flight else "to probe", "warn")
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
        "lately": lately(view),
        "error": (status.last_error or "", "muted"),
    }


def lately(view: ProviderView) -> Span:
    """Return how long the first bytes of a provider's newest streams took; half as high as a cell is the usual."""
    return (spark(view.speeds.history, 2 * (view.speeds.half_ms or 0.0)), "muted")


def rate_role(rate: float | None) -> Role:
    """Return the role of a success rate."""
    return "text" if rate is None or rate >= 0.9 else "warn" if rate >= 0.5 else "bad"


def live_cells(view: ProviderView, now_ms: int, *, named: bool) -> dict[str, Span]:
    """Return a provider's spans by column, without its price and balance. Units go where the columns are `named`."""
    speed, running = view.speeds.tokens_per_second, view.status.in_flight
    row = row_cells(view, now_ms)
    (mark, _), (word, role) = row[""], row["state"]
    return {
        **row,
        "state": (f"{mark} {word}", role),
        "provider": row["name"],
        "tok/s": (NOTHING, "muted") if speed is None else (f"{speed:,.0f}{'' if named else ' tok/s'}", "text"),
        "run": (f"{count(running)}{'' if named else ' running'}", "text") if running else (NOTHING, "muted"),
    }


def prices_of(row: BoardRow | None, providers: Sequence[ProviderView]) -> list[Span]:
    """Return what each provider asks for a model's usual request; the cheapest has a star."""
    prices = [None if row is None else row.prices.get(each.key) for each in providers]
    cheapest = None if row is None else row.cheapest
    return [
        _price(text, each, cheapest) if price is not None else (f"{NOTHING}  ", "muted")
        for text, price, each in zip(sats_alike(prices), prices, providers, strict=True)
    ]


def _price(text: str, view: ProviderView, cheapest: str | None) -> Span:
    if view.key == cheapest:
        return (f"{text} {CHEAPEST}", "strong")
    return (f"{text}  ", "text" if view.serves else "muted")


def balances_of(providers: Sequence[ProviderView]) -> list[Span]:
    """Return how long the balance at each provider lasts, else what it is; nothing where there is none to read."""
    free = [None if each.status.balance is None else each.status.balance.free_msats for each in providers]
    return [
        _balance(each, text, msats) if msats is not None else (NOTHING, "muted")
        for each, text, msats in zip(providers, sats_alike(free), free, strict=True)
    ]


def _balance(view: ProviderView, text: str, free_msats: int) -> Span:
    known = view.status.balance
    if known is not None and known.runway_hours is not None and free_msats > 0:
        return runway_of(view)
    return (f"{text} sats", "text" if free_msats > 0 else "bad")


def runway_of(view: ProviderView) -> Span:
    """Return how long the balance at a provider lasts at this rate."""
    known = view.status.balance
    hours = None if known is None or known.is_used_up else known.runway_hours
    if hours is None:
        return (NOTHING, "muted")
    return (f"lasts {uptime(hours * HOUR_MS)}", "warn" if view.low else "text")


def provider_rows(
    providers: Sequence[ProviderView], now_ms: int, board: PriceBoard = NO_PRICES, *, named: bool = True
) -> list[Row]:
    """Return a row for each provider, leading to its requests; where its columns have no names, figures have units."""
    prices, left = prices_of(board.usual, providers), balances_of(providers)
    return [
        Row(
            each.key,
            {**live_cells(each, now_ms, named=named), "price": price, "balance": balance},
            finds=term("provider", each.status.name),
        )
        for each, price, balance in zip(providers, prices, left, strict=True)
    ]


def _columns(providers: Sequence[ProviderView], board: PriceBoard) -> tuple[Column, ...]:
    """Return the columns without those that would be empty."""
    empty = {
        "price": not board.rows,
        "balance": all(each.status.balance is None for each in providers),
        "lately": not any(each.speeds.first_byte_ms for each in providers),
        "tok/s": not any(each.speeds.per_second for each in providers),
    }
    return tuple(column for column in COLUMNS if not empty.get(column.title))


class ProvidersPanel(RowsPanel):
    """All providers: state, price, success rate, time to first byte, speed, requests in flight, last error."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(COLUMNS, id=id)

    def show(self, providers: Sequence[ProviderView], now_ms: int, board: PriceBoard) -> None:
        """Show other states and prices."""
        self._columns = _columns(providers, board)
        title: Line = (("Providers", "title"), (f"  {_priced(board)}", "muted"))
        self.show_rows(provider_rows(providers, now_ms, board, named=self.titled), title, hint="none is configured")

    def line(self, row: Row, layout: Layout) -> Line:
        """Return a provider's line; one that gets no requests has its last error for figures."""
        (state, _), (error, _) = row.cells["state"], row.cells["error"]
        if not error or "open" not in state:
            return super().line(row, layout)
        return (*cells(layout[:_NAMED], row.cells), ("  ", "text"), (error, "muted"))


def _priced(board: PriceBoard) -> str:
    """Return what the prices are for."""
    usual = board.usual
    if usual is None:
        return "health, first byte"
    return f"sats for {'your' if board.bought else 'a'} {usual.model} request"
