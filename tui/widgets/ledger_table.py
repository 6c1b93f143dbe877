"""The ledger's rows: a window on a list of any length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo

from arbstr.ledger.model import Entry
from arbstr.types import CLIENT_CLOSED
from tui.format import NOTHING, count, duration, moment, sats, shown
from tui.model.ledger_list import LedgerList
from tui.model.request_row import overcharge, overcharged
from tui.render.layout import EMPTY, Column, Line, Span, cells, framed, header, lay_out, under_cursor
from tui.widgets.panel import Panel
from tui.widgets.scroll_panel import thumb

COLUMNS = (
    Column("when", 14, exact=True),
    Column("state", 6, exact=True),
    Column("model", 14, share=3, most=34),
    Column("provider", 10, share=2, most=30, rank=1),
    Column("policy", 6, share=1, most=20, rank=3),
    Column("kind", 6, rank=6),
    Column("first byte", 10, "right", rank=2),
    Column("whole", 7, "right", rank=7),
    Column("tokens", 6, "right", rank=5),
    Column("→ out", 5, rank=5, exact=True),
    Column("sats", 8, "right"),
    Column("charged", 8, "right", rank=4),
    Column("error", 16, share=4, most=80, rank=8),
)
_SORTED_COLUMN = {"timestamp": "when", "cost_sats": "sats", "latency_ms": "first byte"}


def zoned(title: str, now: datetime) -> str:
    """Return a column's title; that of times names their zone, lest they be misread."""
    return f"when {now.tzname()}" if title == "when" else title


def entry_cells(entry: Entry, zone: tzinfo | None, now: datetime) -> dict[str, Span]:
    """Return a row's spans by column; dates of another year than `now` include theirs."""
    known = entry.input_tokens is not None or entry.output_tokens is not None
    return {
        zoned("when", now): (_when(moment(entry.at_ms, zone), now.year), "muted"),
        "state": _state(entry),
        "model": (shown(entry.model) or "(none)", "text"),
        "provider": _name(entry.provider),
        "policy": _name(entry.policy),
        "kind": ("stream" if entry.streaming else "json", "muted"),
        "first byte": (duration(entry.latency_ms), "text"),
        "whole": (duration(entry.stream_duration_ms if entry.streaming else entry.latency_ms), "text"),
        "tokens": (count(entry.input_tokens), "text" if known else "muted"),
        "→ out": (f"→ {count(entry.output_tokens)}", "text" if known else "muted"),
        "sats": (sats(entry.cost_msats), "muted" if entry.cost_msats is None else "text"),
        "charged": _charged(entry),
        "error": (shown(entry.error_message or ""), "muted"),
    }


def _when(at: datetime, year: int) -> str:
    return at.strftime("%m-%d %H:%M:%S" if at.year == year else "%Y-%m-%d %H:%M")


def _state(entry: Entry) -> Span:
    if entry.success:
        return ("✓ ok", "good")
    if entry.error_status == CLIENT_CLOSED:
        return ("↶ left", "warn")
    return (f"✗ {entry.error_status or '?'}", "bad")


def _name(name: str | None) -> Span:
    return (NOTHING, "muted") if name is None else (shown(name), "text")


def _charged(entry: Entry) -> Span:
    """Return how the charge compares with the rates, marked if it should be noticed."""
    more = overcharge(entry)
    if more is None:
        return (NOTHING, "muted")
    words = "0 %" if abs(more) < 0.0005 else f"{more * 100:+,.1f} %"
    return (words, "warn" if overcharged(entry) else "muted")


class LedgerPanel(Panel):
    """The visible rows of a `LedgerList`."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._list: LedgerList | None = None
        self._zone: tzinfo | None = None
        self._now = moment(0, UTC)
        self._note: Line = EMPTY
        self._hint: Sequence[Line] = ()

    @property
    def page(self) -> int:
        """The number of rows that fit."""
        return max(self.size.height - 3, 1)

    def row_at(self, line: int) -> int | None:
        """Return the index of the row on a line of the panel."""
        if self._list is None or line < 2:
            return None
        index = self._list.top + line - 2
        return index if line - 2 < self.page and index < (self._list.total or 0) else None

    def place_at(self, line: int) -> int:
        """Return the row that a position on the scroll bar stands for."""
        total = (self._list.total or 0) if self._list else 0
        return max(total - self.page, 0) * min(max(line - 2, 0), self.page) // max(self.page - 1, 1)

    def show(self, rows: LedgerList, now_ms: int, zone: tzinfo | None, note: Line, hint: Sequence[Line]) -> None:
        """Show what is in sight now; `hint` when there are no rows."""
        self._list, self._zone, self._note, self._hint = rows, zone, note, hint
        self._now = moment(now_ms, zone)
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw a box with titles and rows; rows still being read are dots."""
        rows = self._list
        if rows is None:
            return []
        title: Line = (("Requests", "title"), (f"  {count(rows.total)}", "muted"))
        body: list[Line] = list(self._hint)
        bar = None
        if rows.total:
            body = self._table(rows, width - 4, height - 3)
            track = thumb(rows.top, height - 3, rows.total)
            bar = None if track is None else (track[0] + 1, track[1] + 1)
        return framed(body, width, height, title=title, note=self._note, thumb=bar)

    def _table(self, rows: LedgerList, width: int, page: int) -> list[Line]:
        entries = [rows.row(index) for index in range(rows.top, min(rows.top + page, rows.total or 0))]
        table = [{} if entry is None else entry_cells(entry, self._zone, self._now) for entry in entries]
        sorted_by, arrow = zoned(_SORTED_COLUMN[rows.sort], self._now), "▼" if rows.order == "desc" else "▲"
        columns = tuple(replace(column, title=zoned(column.title, self._now)) for column in COLUMNS)
        layout = lay_out(columns, width, table, sorted_by=sorted_by)
        lines = [cells(layout, row) if row else (("·", "faint"),) for row in table]
        if rows.selected is not None and 0 <= rows.selected - rows.top < len(lines):
            lines[rows.selected - rows.top] = under_cursor(lines[rows.selected - rows.top])
        return [header(layout, sorted_by, arrow), *lines]
