"""The request feed: what runs on top, what has ended below."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from tui.format import NOTHING, clock, count, duration, sats, token_columns
from tui.lines import (
    EMPTY,
    GAP,
    Column,
    Layout,
    Line,
    Span,
    cells,
    fit,
    framed,
    header,
    lay_out,
    ruled,
    under_cursor,
)
from tui.rows import Row
from tui.widgets.panel import Panel

COLUMNS = (
    Column("time", 8),
    Column("state", 9),
    Column("model", 12, share=3, most=34),
    Column("provider", 8, share=3, most=40),
    Column("policy", 8, share=1, most=20, above=100),
    Column("kind", 6, above=110),
    Column("took", 9, "right", above=92),
    Column("tokens in → out", 19, above=84),
    Column("sats", 12, "right"),
    Column("note", 12, share=4, most=60, above=150),
)

_MARKS: dict[str, Span] = {
    "waiting": ("▸ waiting", "muted"),
    "streaming": ("▸ stream", "text"),
    "ok": ("✓ ok", "good"),
    "failed": ("✗ failed", "bad"),
    "left": ("↶ left", "warn"),
}


def state_of(row: Row) -> Span:
    """A row's state as symbol and word; the status of an error in the word's place."""
    if row.state == "failed" and row.error_status is not None:
        return (f"✗ {row.error_status}", "bad")
    return _MARKS[row.state]


def row_cells(row: Row, now_ms: int, zone: tzinfo | None) -> dict[str, Span]:
    """A row's spans by column."""
    running = row.running
    out = row.events if running else row.output_tokens
    return {
        "time": (clock(row.at_ms, zone), "muted"),
        "state": state_of(row),
        "model": (row.model or "(none)", "text"),
        "provider": (" → ".join(row.path) or NOTHING, "text" if row.path else "muted"),
        "policy": (row.policy or NOTHING, "text" if row.policy else "muted"),
        "kind": ("stream" if row.streaming else "json", "muted"),
        "took": (duration(row.age_ms(now_ms) // 100 * 100 if running else row.elapsed_ms), "text"),
        "tokens in → out": _tokens(row, out),
        "sats": (sats(row.cost_msats), "accent")
        if row.cost_msats is not None
        else ("…" if running else NOTHING, "muted"),
        "note": _note(row),
    }


def _tokens(row: Row, out: int | None) -> Span:
    if row.running:
        return (token_columns("…", count(out) if out else "…"), "muted")
    known = row.output_tokens is not None or row.input_tokens is not None
    return (token_columns(count(row.input_tokens), count(out)), "text" if known else "muted")


def _note(row: Row) -> Span:
    if row.error:
        return (row.error, "muted")
    return (f"{row.failed} failed before" if row.failed else "", "muted")


def row_line(row: Row, layout: Layout, now_ms: int, zone: tzinfo | None) -> Line:
    """A row's line; of one that failed, the error instead of figures it has not got."""
    row_ = row_cells(row, now_ms, zone)
    titles = [column.title for column, _ in layout]
    if row.running:
        row_["sats"] = _so_far(row, row_, titles)
    if not row.error or row.cost_msats is not None or "tokens in → out" not in titles:
        return cells(layout, row_)
    place = titles.index("tokens in → out")
    room = sum(width for _, width in layout[place:]) + GAP * (len(layout) - place - 1)
    return (*cells(layout[:place], row_), ("  ", "text"), (fit(row.error, room), "muted"))


def _so_far(row: Row, row_: dict[str, Span], titles: Sequence[str]) -> Span:
    """What stands in a running row for the sats: the time and the tokens that there is no column for."""
    tokens = count(row.events) if row.events and "tokens in → out" not in titles else ""
    took = row_["took"][0] if "took" not in titles else ""
    return (" · ".join(filter(None, (tokens, took))) or "…", "muted")


class FeedPanel(Panel):
    """The newest requests. `hint` is what it says while there are none."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: Sequence[Row] = ()
        self._selected: int | None = None
        self._now_ms = 0
        self._zone: tzinfo | None = None
        self._note: Line = EMPTY
        self._hint: Sequence[Line] = ()
        self._top = 0

    @property
    def page(self) -> int:
        """How many rows fit."""
        return max(self.size.height - (1 if self._small else 3), 1)

    @property
    def _small(self) -> bool:
        return self.size.width < 100

    def row_at(self, line: int) -> int | None:
        """The index of the row that a line of the panel shows."""
        index = self._top + line - (1 if self._small else 2)
        return index if self._top <= index < len(self._rows) else None

    def show(
        self,
        rows: Sequence[Row],
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
        """Keep the selected row in sight."""
        if self._selected is None:
            self._top = 0
        else:
            self._top = min(max(self._top, self._selected - self.page + 1), self._selected)

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Titles, then rows; a box around them where there is room."""
        title: Line = (("Requests", "title"),)
        inner = width - 2 if self._small else width - 4
        body = self._body(inner, self.page)
        if self._small:
            return ruled(body, width, height, title=title, note=self._note)
        return framed(body, width, height, title=title, note=self._note)

    def _body(self, width: int, rows: int) -> list[Line]:
        if not self._rows:
            return [EMPTY, *self._hint]
        layout = lay_out(COLUMNS, width)
        lines = [] if self._small else [header(layout)]
        for index in range(self._top, min(self._top + rows, len(self._rows))):
            line = row_line(self._rows[index], layout, self._now_ms, self._zone)
            lines.append(under_cursor(line) if index == self._selected else line)
        return lines
