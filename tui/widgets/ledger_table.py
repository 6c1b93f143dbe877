"""The ledger's rows: a window on a list of any length."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from types import MappingProxyType

from arbstr.ledger.model import Entry, Sort
from arbstr.types import CLIENT_CLOSED
from tui.format import NOTHING, count, duration, moment, sats, shown
from tui.model.ledger_list import LedgerList
from tui.model.request_row import brief, overcharge, overcharged
from tui.model.speed import tokens_per_second
from tui.render.layout import (
    EMPTY,
    Cells,
    Column,
    Layout,
    Line,
    Part,
    Span,
    cells,
    cells_until,
    fit_parts,
    framed,
    header,
    lay_out,
    title_at,
    under_cursor,
)
from tui.widgets.panel import Panel
from tui.widgets.scroll_panel import thumb

COLUMNS = (
    Column("when", 14, exact=True),
    Column("state", 6, exact=True),
    Column("model", 14, share=3, most=34),
    Column("provider", 10, share=2, most=30, rank=1),
    Column("policy", 6, share=1, most=20, rank=3),
    Column("client", 6, share=1, most=20, rank=9),
    Column("session", 9, rank=10),
    Column("dialect", 7, share=1, most=20, rank=10),
    Column("kind", 6, rank=6),
    Column("first byte", 10, "right", rank=2),
    Column("whole", 7, "right", rank=7),
    Column("tok/s", 5, "right", rank=9),
    Column("tokens", 6, "right", rank=5),
    Column("→ out", 5, rank=5, exact=True),
    Column("cached", 6, "right", rank=9),
    Column("sats", 8, "right"),
    Column("charged", 8, "right", rank=4),
    Column("id", 9, exact=True, rank=11),
    Column("error", 16, share=4, most=80, rank=8),
)
SORTS: Mapping[str, Sort] = MappingProxyType({"when": "timestamp", "sats": "cost_sats", "first byte": "latency_ms"})
CHOICES = tuple(column.title for column in COLUMNS if column.title not in ("when", "→ out"))  # what may be hidden
_WITH = {"→ out": "tokens"}  # columns that are shown with another one
_FIGURES = ("tok/s", "tokens", "→ out", "cached", "sats")  # that a request lacks which cost nothing
_ALL_BUT_NAMES = ("provider", "policy", "kind", "first byte", "whole", *_FIGURES)  # and one that nobody was asked for
LEAST_ERROR = 16  # cells
_DIGITS = 8  # of an id; those of a session tell it at its beginning, those of a request at its end


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
        "client": _name(entry.client),
        "session": (NOTHING, "muted") if entry.session is None else (f"{shown(entry.session[:_DIGITS])}…", "muted"),
        "dialect": _name(entry.dialect),
        "kind": ("stream" if entry.streaming else "json", "muted"),
        "first byte": (duration(entry.latency_ms), "text"),
        "whole": (duration(entry.stream_duration_ms if entry.streaming else entry.latency_ms), "text"),
        "tok/s": _speed(entry),
        "cached": (count(entry.cached_tokens), "text" if entry.cached_tokens else "muted"),
        "id": (f"…{shown(entry.request_id[-_DIGITS:])}", "muted"),
        "tokens": (count(entry.input_tokens), "text" if known else "muted"),
        "→ out": (f"→ {count(entry.output_tokens)}", "text" if known else "muted"),
        "sats": (sats(entry.cost_msats), "muted" if entry.cost_msats is None else "text"),
        "charged": _charged(entry),
        "error": (brief(shown(entry.error_message or "")), "muted"),
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


def _speed(entry: Entry) -> Span:
    speed = tokens_per_second(entry.output_tokens, entry.latency_ms, entry.stream_duration_ms)
    return (NOTHING, "muted") if speed is None else (f"{speed:,.0f}", "text")


def _charged(entry: Entry) -> Span:
    """Return how the charge compares with the rates, marked if it should be noticed."""
    more = overcharge(entry)
    if more is None:
        return (NOTHING, "muted")
    words = "0 %" if abs(more) < 0.0005 else f"{more * 100:+,.1f} %"
    return (words, "warn" if overcharged(entry) else "muted")


def _row_line(layout: Layout, row: Cells) -> Line:
    """Return a row's line; one that failed and cost nothing has its error in place of the figures it lacks."""
    error, known = row["error"][0], row["sats"][0] != NOTHING
    if not error or known or any(column.title == "error" for column, _ in layout):
        return cells(layout, row)
    lacking = _ALL_BUT_NAMES if row["provider"][0] == NOTHING else _FIGURES
    return cells_until(layout, row, lacking, error, LEAST_ERROR) or cells(layout, row)


class LedgerPanel(Panel):
    """The visible rows of a `LedgerList`."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._list: LedgerList | None = None
        self._zone: tzinfo | None = None
        self._now = moment(0, UTC)
        self._note: Line = EMPTY
        self._hint: Sequence[Line] = ()
        self._foot: Sequence[Part] = ()
        self._layout: Layout = ()
        self.hidden: Collection[str] = ()  # the columns that are not shown

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

    def column_at(self, line: int, cell: int) -> str | None:
        """Return the title of the column whose title is at a place of the panel; None for what is no title."""
        title = title_at(self._layout, cell - 2) if line == 1 else None
        return "when" if title is not None and title.startswith("when ") else title

    def place_at(self, line: int) -> int:
        """Return the row that a position on the scroll bar stands for."""
        total = (self._list.total or 0) if self._list else 0
        return max(total - self.page, 0) * min(max(line - 2, 0), self.page) // max(self.page - 1, 1)

    def show(
        self,
        rows: LedgerList,
        now_ms: int,
        zone: tzinfo | None,
        note: Line,
        hint: Sequence[Line],
        foot: Sequence[Part] = (),
    ) -> None:
        """Show what is in sight now; `hint` when there are no rows; as much of `foot` below as there is room for."""
        self._foot = foot
        self._list, self._zone, self._note, self._hint = rows, zone, note, hint
        self._now = moment(now_ms, zone)
        self.redraw()

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw a box with titles and rows; rows still being read are dots."""
        rows = self._list
        if rows is None:
            return []
        total = count(rows.total) if rows.counted else f"{count(rows.total)}+"
        of = f" of {count(rows.everything)}" if rows.query and rows.everything is not None else ""
        title: Line = (("Requests", "title"), (f"  {total}{of}", "muted"))
        foot = fit_parts(self._foot, width - 6) if rows.total else EMPTY
        body: list[Line] = list(self._hint)
        bar = None
        if rows.total:
            body = self._table(rows, width - 4, height - 3)
            track = thumb(rows.top, height - 3, rows.total)
            bar = None if track is None else (track[0] + 1, track[1] + 1)
        return framed(body, width, height, title=title, note=self._note, thumb=bar, foot=foot)

    def _table(self, rows: LedgerList, width: int, page: int) -> list[Line]:
        entries = [rows.row(index) for index in range(rows.top, min(rows.top + page, rows.total or 0))]
        table = [{} if entry is None else entry_cells(entry, self._zone, self._now) for entry in entries]
        column = next(title for title, sort in SORTS.items() if sort == rows.sort)
        sorted_by, arrow = zoned(column, self._now), "▼" if rows.order == "desc" else "▲"
        chosen = [column for column in COLUMNS if _WITH.get(column.title, column.title) not in self.hidden]
        columns = tuple(replace(column, title=zoned(column.title, self._now)) for column in chosen)
        layout = self._layout = lay_out(columns, width, table, sorted_by=sorted_by)
        lines = [_row_line(layout, row) if row else (("·", "faint"),) for row in table]
        if rows.selected is not None and 0 <= rows.selected - rows.top < len(lines):
            lines[rows.selected - rows.top] = under_cursor(lines[rows.selected - rows.top])
        return [header(layout, sorted_by, arrow), *lines]
