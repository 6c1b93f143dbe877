"""The price board as a table: models by providers, the cheapest of each model marked."""

from __future__ import annotations

from collections.abc import Sequence

from tui.format import NOTHING, percent_more, sats_alike, short_count, shown
from tui.model.price_board import BoardRow, PriceBoard
from tui.model.provider_view import ProviderView
from tui.render.layout import EMPTY, Column, Line, Role, Span, cells, counted, framed, header, lay_out, under_cursor
from tui.widgets.panel import Panel
from tui.widgets.provider_health import CHEAPEST

DOUBTED = "?"
_MODEL = Column("model", 12, share=2, most=30)
_MEANT = (
    Column("paid", 4, "right", rank=2),
    Column("over ★", 6, "right", rank=4),
    Column("lost", 4, "right", rank=90),
    Column("tokens", 6, "right", rank=91),
    Column("→ out", 5, rank=91, exact=True),
)
_NARROWEST = 8  # cells of a provider's column


def board_lines(
    board: PriceBoard, providers: Sequence[ProviderView], width: int, selected: str | None
) -> tuple[list[Line], list[str], int]:
    """Return the table with its header, the models in its lines, and of how many providers there is no column.

    The `selected` provider's prices stand out.
    """
    titles = _titles(providers)
    ranks = _ranks(board, list(titles))
    offers = (Column(title, _NARROWEST, "right", rank=ranks[key]) for key, title in titles.items())
    columns = (_MODEL, *offers, *(_MEANT if board.bought else ()))
    table = _table(board.rows, titles, providers)
    layout = lay_out(columns, width, table)
    chosen = titles.get(selected or "")
    lines = [header(layout)]
    for row in table:
        if chosen in row:
            row[chosen] = under_cursor((row[chosen],))[0]
        lines.append(cells(layout, row))
    hidden = set(titles.values()) - {column.title for column, _ in layout}
    return lines, [row.model for row in board.rows], len(hidden)


def _titles(providers: Sequence[ProviderView]) -> dict[str, str]:
    """Return the column's title of each provider by its key; no two are alike."""
    taken = {_MODEL.title, *(column.title for column in _MEANT)}
    titles: dict[str, str] = {}
    for each in providers:
        title = each.status.name
        while title in taken:
            title += "′"
        taken.add(title)
        titles[each.key] = f"{title}  "  # as far from the right as a price is, which has a mark there
    return titles


def _ranks(board: PriceBoard, keys: Sequence[str]) -> dict[str, int]:
    """Return the columns' ranks: who is the cheapest of something stays longest, then who asks least above that."""

    def above(key: str) -> float:
        least = [(row.prices[key], row.least_msats) for row in board.rows if key in row.prices and row.least_msats]
        return sum(price / cheapest for price, cheapest in least if cheapest) / len(least) if least else float("inf")

    others = sorted((key for key in keys if not board.stars(key)), key=above)
    places = dict(zip(others, (3, *range(5, 85)), strict=False))
    return {key: 1 if board.stars(key) else places.get(key, 85) for key in keys}


def _table(
    rows: Sequence[BoardRow], titles: dict[str, str], providers: Sequence[ProviderView]
) -> list[dict[str, Span]]:
    serving = {each.key for each in providers if each.serves}
    keys = [(row, key) for row in rows for key in row.prices if key in titles]
    amounts = sats_alike([row.prices[key] for row, key in keys] + [row.paid_msats for row in rows])
    text = dict(zip([(row.model, key) for row, key in keys], amounts, strict=False))
    paid = amounts[len(keys) :]
    lost = sats_alike([row.lost_msats for row in rows])
    return [
        {
            **{title: _price(row, key, text.get((row.model, key)), serving) for key, title in titles.items()},
            **_figures(row, paid[place], lost[place]),
        }
        for place, row in enumerate(rows)
    ]


def _price(row: BoardRow, key: str, text: str | None, serving: set[str]) -> Span:
    if text is None:
        return (f"{NOTHING}  ", "faint")
    if key == row.cheapest:
        return (f"{text} {CHEAPEST}", "strong")
    role: Role = "text" if key in serving else "muted"
    return (f"{text} {DOUBTED}", "warn") if key in row.doubted else (f"{text}  ", role)


def _figures(row: BoardRow, paid: str, lost: str) -> dict[str, Span]:
    over = row.over_cheapest
    return {
        "model": (shown(row.model), "text"),
        "paid": (NOTHING, "muted") if row.paid_msats is None else (paid, "text"),
        "over ★": (percent_more(over), "text" if over is not None else "muted"),
        "lost": (lost, "warn") if row.lost_msats else (NOTHING, "muted"),
        "tokens": (short_count(round(row.input_tokens)), "muted"),
        "→ out": (f"→ {short_count(round(row.output_tokens))}", "muted"),
    }


class PriceBoardPanel(Panel):
    """Models by providers, in effective sats for a typical request."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._board = PriceBoard()
        self._providers: Sequence[ProviderView] = ()
        self._selected: str | None = None
        self._range = ""
        self._models: list[str] = []
        self._place = 0
        self.active = False

    @property
    def model(self) -> str | None:
        """The model of the line under the cursor."""
        return self._models[min(self._place, len(self._models) - 1)] if self._models else None

    def move(self, by: int) -> None:
        """Move the cursor to another model in sight."""
        self._place = min(max(self._place + by, 0), max(len(self._models) - 1, 0))

    def show(self, board: PriceBoard, providers: Sequence[ProviderView], selected: str | None, range_name: str) -> None:
        """Show other prices; `selected` is the key of the provider whose column stands out.

        While the panel is `active`, a line is under the cursor.
        """
        self._board, self._providers, self._selected, self._range = board, providers, selected, range_name
        self.redraw()

    def model_at(self, line: int) -> str | None:
        """Return the model on a line of the panel."""
        return self._models[line - 2] if 2 <= line < 2 + len(self._models) else None

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw a line for each model; the last one counts those that did not fit."""
        board, room = self._board, height - 3
        size = "your requests" if board.bought else "1,000 tokens in and 256 out"
        title: Line = (("Price board", "title"), (f"  sats a request, for {size}", "muted"))
        note: Line = ((f"{CHEAPEST} cheapest now, last {self._range}", "muted"),) if board.bought else EMPTY
        if not board.rows:
            self._models = []
            return framed([(("no model is listed yet", "muted"),)], width, height, title=title)
        body, self._models, hidden = board_lines(board, self._providers, width - 4, self._selected)
        if len(body) - 1 > room > 0:
            body[room:] = [((f"… and {len(body) - room} more", "muted"),)]
            del self._models[room - 1 :]
        if self.active and self._models:
            place = 1 + min(self._place, len(self._models) - 1)
            body[place] = under_cursor(body[place])
        title, note = counted(title, note, hidden, width, "provider")
        return framed(body, width, height, title=title, note=note)
