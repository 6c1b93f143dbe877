"""The request feed: what runs on top, what has ended below."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from datetime import tzinfo

from tui.format import NOTHING, clock, count, duration, sats, zone_name
from tui.model.request_row import RequestRow
from tui.render.layout import (
    EMPTY,
    Cells,
    Column,
    Layout,
    Line,
    Span,
    cells,
    cells_until,
    fit,
    framed,
    header,
    lay_out,
    ruled,
    under_cursor,
)
from tui.render.widths import cell_len
from tui.widgets.panel import Panel
from tui.widgets.spend_by_model import bar

FALLEN = "⤷"  # how many attempts failed before the provider that is named

COST = " "  # the column of bars beside what requests cost
LONGEST_PROVIDER = 24  # cells; who answered is not cut to make room for anything else
_LEAST_ERROR = 16  # cells: less would say nothing

COLUMNS = (
    Column("time", 8, exact=True),
    Column("state", 9, exact=True),
    Column("model", 14, share=3, most=34),
    Column("provider", 10, share=1, most=40, rank=1, exact=True),
    Column(FALLEN, 2, rank=3, exact=True),
    Column("policy", 6, share=1, most=20, rank=5),
    Column("kind", 6, rank=9),
    Column("first", 7, "right", rank=6),
    Column("whole", 7, "right", rank=2),
    Column("tokens", 6, "right", rank=4),
    Column("→ out", 5, rank=4, exact=True),
    Column("tok/s", 5, "right", rank=8),
    Column("sats", 8, "right"),
    Column(COST, 5, rank=7),
    Column("note", 16, share=4, most=60, rank=10),
)

_MARKS: dict[str, Span] = {
    "waiting": ("▸ waiting", "muted"),
    "streaming": ("▸ stream", "text"),
    "ok": ("✓ ok", "good"),
    "failed": ("✗ failed", "bad"),
    "left": ("↶ left", "warn"),
}


def state_of(row: RequestRow) -> Span:
    """Return a row's state as symbol and word, or an error's status for the word."""
    if row.state == "failed" and row.error_status is not None:
        return (f"✗ {row.error_status}", "bad")
    return _MARKS[row.state]


def row_cells(row: RequestRow, now_ms: int, zone: tzinfo | None) -> dict[str, Span]:
    """Return a row's spans by column. The time is when it ended, or while running, when it arrived."""
    running = row.running
    took = row.age_ms(now_ms) // 100 * 100 if running else row.elapsed_ms
    known = row.output_tokens is not None or row.input_tokens is not None
    out = row.events or None if running else row.output_tokens
    return {
        "time": (clock(row.at_ms + (row.elapsed_ms or 0), zone), "muted"),
        "state": state_of(row),
        "model": (row.model or "(none)", "text"),
        "provider": _provider(row),
        FALLEN: (f"{FALLEN}{row.failed}", "warn") if row.failed else ("", "text"),
        "policy": (row.policy or NOTHING, "text" if row.policy else "muted"),
        "kind": ("stream" if row.streaming else "json", "muted"),
        "first": (duration(row.first_byte_ms), "text") if row.streaming else (NOTHING, "muted"),
        "whole": (duration(took), "text"),
        "tokens": (count(row.input_tokens), "text" if known else "muted"),
        "→ out": (f"→ {count(out)}", "text" if known else "muted"),
        "tok/s": _speed(row),
        "sats": ("…" if running else sats(row.cost_msats), "text" if row.cost_msats is not None else "muted"),
        "note": (row.error, "muted"),
    }


def _provider(row: RequestRow) -> Span:
    """Return who answered, or was asked last."""
    if not row.path:
        return (NOTHING, "muted")
    return (fit(row.path[-1], min(cell_len(row.path[-1]), LONGEST_PROVIDER)), "text")


def _speed(row: RequestRow) -> Span:
    """Return a stream's tokens per second after its first byte."""
    rest_ms = (row.elapsed_ms or 0) - (row.first_byte_ms or 0)
    if not row.streaming or not row.output_tokens or rest_ms <= 0:
        return (NOTHING, "muted")
    return (f"{row.output_tokens * 1000 / rest_ms:,.0f}", "text")


def feed_lines(rows: Sequence[RequestRow], width: int, now_ms: int, zone: tzinfo | None) -> tuple[Layout, list[Line]]:
    """Return the rows as a table, and its layout."""
    table = [row_cells(row, now_ms, zone) for row in rows]
    dearest = max((row.cost_msats or 0 for row in rows), default=0)
    for row, each in zip(rows, table, strict=True):
        each[COST] = (bar(row.cost_msats / dearest, 5) if row.cost_msats else "", "muted")
    layout = lay_out(COLUMNS, width, table)
    titles = {column.title for column, _ in layout}
    if not {"tokens", "whole"} <= titles and any(row.running for row in rows):
        for row, each in zip(rows, table, strict=True):
            if row.running:
                each["sats"] = _so_far(row, each, titles)
        layout = lay_out(tuple(column for column, _ in layout), width, table)
    return layout, [_row_line(row, each, layout) for row, each in zip(rows, table, strict=True)]


def _row_line(row: RequestRow, row_: Cells, layout: Layout) -> Line:
    """Return a row's line; a failed one has its error in place of missing figures, or of the time that it took."""
    if not row.error or row.cost_msats is not None:
        return cells(layout, row_)
    said = cells_until(layout, row_, ("tokens",), row.error, 0)
    return said or cells_until(layout, row_, ("whole",), row.error, _LEAST_ERROR) or cells(layout, row_)


def _so_far(row: RequestRow, row_: Cells, titles: Container[str]) -> Span:
    """Return what a running row shows for sats: the time and tokens that have no column."""
    tokens = count(row.events) if row.events and "tokens" not in titles else ""
    took = row_["whole"][0] if "whole" not in titles else ""
    return (" · ".join(filter(None, (tokens, took))) or "…", "muted")


class FeedPanel(Panel):
    """The newest requests. `hint` is shown while there are none."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: Sequence[RequestRow] = ()
        self._selected: int | None = None
        self._now_ms = 0
        self._zone: tzinfo | None = None
        self._note: Line = EMPTY
        self._hint: Sequence[Line] = ()
        self._top = 0

    @property
    def page(self) -> int:
        """The number of rows that fit."""
        return max(self.size.height - (1 if self._small else 3), 1)

    @property
    def _small(self) -> bool:
        return self.size.width < 100

    def row_at(self, line: int) -> int | None:
        """Return the index of the row on a line of the panel."""
        index = self._top + line - (1 if self._small else 2)
        return index if self._top <= index < len(self._rows) else None

    def show(
        self,
        rows: Sequence[RequestRow],
        selected: int | None,
        now_ms: int,
        zone: tzinfo | None,
        *,
        note: Line = EMPTY,
        hint: Sequence[Line] = (),
    ) -> None:
        """Show these rows, with one of them under the cursor."""
        self._rows, self._selected, self._now_ms, self._zone = rows, selected, now_ms, zone
        self._note, self._hint = note, hint
        self._scroll()
        self.redraw()

    def _scroll(self) -> None:
        """Scroll to keep the selected row visible."""
        if self._selected is None:
            self._top = 0
        else:
            self._top = min(max(self._top, self._selected - self.page + 1), self._selected)

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw titles and rows, in a box where there is room."""
        title: Line = (("Requests", "title"),)
        if self._small:  # its columns have no titles
            title = (*title, (f"  {zone_name(self._now_ms, self._zone)}", "muted"))
        inner = width - 2 if self._small else width - 4
        body = self._body(inner, self.page)
        if self._small:
            return ruled(body, width, height, title=title, note=self._note)
        return framed(body, width, height, title=title, note=self._note)

    def _body(self, width: int, rows: int) -> list[Line]:
        if not self._rows:
            return [EMPTY, *self._hint]
        layout, lines = feed_lines(self._rows[self._top : self._top + rows], width, self._now_ms, self._zone)
        if self._selected is not None:
            place = self._selected - self._top
            lines[place : place + 1] = [under_cursor(line) for line in lines[place : place + 1]]
        return lines if self._small else [header(_zoned(layout, zone_name(self._now_ms, self._zone))), *lines]


def _zoned(layout: Layout, zone: str) -> Layout:
    """Return the layout with the zone in the title of the times; where both have no room the zone alone."""
    (time, width), *others = layout
    title = f"{time.title} {zone}"
    return ((replace(time, title=title if len(title) <= width else zone), width), *others)
