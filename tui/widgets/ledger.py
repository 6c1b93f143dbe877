"""The ledger's rows: a window on a list of any length."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from arbstr.query import Entry
from tui.browser import LedgerList
from tui.format import NOTHING, count, duration, moment, sats, shown, token_columns
from tui.lines import EMPTY, Column, Line, Role, Span, cells, framed, header, lay_out, under_cursor
from tui.rows import CLIENT_LEFT
from tui.widgets.panel import Panel
from tui.widgets.scroller import thumb

COLUMNS = (
    Column("when", 14),
    Column("state", 6),
    Column("model", 14, share=3, most=34),
    Column("provider", 10, share=2, most=30),
    Column("policy", 8, share=1, most=20, above=96),
    Column("kind", 6, above=112),
    Column("latency", 8, "right", above=68),
    Column("tokens in → out", 19, above=112),
    Column("sats", 12, "right"),
    Column("charged", 12, "right", above=126),
    Column("error", 12, share=4, most=80, above=150),
)
_SORTED_COLUMN = {"timestamp": "when", "cost_sats": "sats", "latency_ms": "latency"}


def entry_cells(entry: Entry, zone: tzinfo | None) -> dict[str, Span]:
    """A row's spans by column."""
    known = entry.input_tokens is not None or entry.output_tokens is not None
    return {
        "when": (moment(entry.at_ms, zone).strftime("%m-%d %H:%M:%S"), "muted"),
        "state": _state(entry),
        "model": (shown(entry.model) or "(none)", "text"),
        "provider": _name(entry.provider),
        "policy": _name(entry.policy),
        "kind": ("stream" if entry.streaming else "json", "muted"),
        "latency": (duration(entry.latency_ms), "text"),
        "tokens in → out": (
            token_columns(count(entry.input_tokens), count(entry.output_tokens)),
            "text" if known else "muted",
        ),
        "sats": (sats(entry.cost_msats), "muted" if entry.cost_msats is None else "accent"),
        "charged": (sats(entry.provider_cost_msats), _charged_role(entry)),
        "error": (shown(entry.error_message or ""), "muted"),
    }


def _state(entry: Entry) -> Span:
    if entry.success:
        return ("✓ ok", "good")
    if entry.error_status == CLIENT_LEFT:
        return ("↶ left", "warn")
    return (f"✗ {entry.error_status or '?'}", "bad")


def _name(name: str | None) -> Span:
    return (NOTHING, "muted") if name is None else (shown(name), "text")


def _charged_role(entry: Entry) -> Role:
    cost, charged = entry.cost_msats, entry.provider_cost_msats
    return "warn" if cost is not None and charged is not None and charged > cost else "muted"


class LedgerPanel(Panel):
    """What is in sight of a `LedgerList`."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._list: LedgerList | None = None
        self._zone: tzinfo | None = None
        self._note: Line = EMPTY
        self._hint: Sequence[Line] = ()

    @property
    def page(self) -> int:
        """How many rows fit."""
        return max(self.size.height - 3, 1)

    def row_at(self, line: int) -> int | None:
        """The index of the row that a line of the panel shows."""
        if self._list is None or line < 2:
            return None
        index = self._list.top + line - 2
        return index if line - 2 < self.page and index < (self._list.total or 0) else None

    def place_at(self, line: int) -> int:
        """The row that a place on the scroll bar stands for."""
        total = (self._list.total or 0) if self._list else 0
        return max(total - self.page, 0) * min(max(line - 2, 0), self.page) // max(self.page - 1, 1)

    def show(self, rows: LedgerList, zone: tzinfo | None, note: Line, hint: Sequence[Line]) -> None:
        """Show what is in sight now; `hint` when there are no rows."""
        self._list, self._zone, self._note, self._hint = rows, zone, note, hint
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """A box with titles and rows; rows that are still being read are dots."""
        rows = self._list
        if rows is None:
            return []
        title: Line = (("Requests", "title"), (f"  {count(rows.total)}", "muted"))
        body: list[Line] = list(self._hint)
        bar = None
        if rows.total:
            layout = lay_out(COLUMNS, width - 4)
            arrow = "▼" if rows.order == "desc" else "▲"
            body = [header(layout, _SORTED_COLUMN[rows.sort], arrow), *self._rows(rows, layout, height - 3)]
            track = thumb(rows.top, height - 3, rows.total)
            bar = None if track is None else (track[0] + 1, track[1] + 1)
        return framed(body, width, height, title=title, note=self._note, thumb=bar)

    def _rows(self, rows: LedgerList, layout: tuple[tuple[Column, int], ...], page: int) -> list[Line]:
        lines: list[Line] = []
        for index in range(rows.top, min(rows.top + page, rows.total or 0)):
            entry = rows.row(index)
            line: Line = (("·", "faint"),) if entry is None else cells(layout, entry_cells(entry, self._zone))
            lines.append(under_cursor(line) if index == rows.selected else line)
        return lines
