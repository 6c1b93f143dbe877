"""Requests: the whole ledger, filtered, sorted, opened, copied, exported."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from time import perf_counter
from typing import ClassVar

from textual import on, work
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widget import Widget

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import Entry, Sort
from tui.format import clock, shown
from tui.keymap import key
from tui.model.completion import Names, names_in_sight
from tui.model.dashboard import DashboardModel, first_step
from tui.model.filter_language import EXAMPLE, judged, parse
from tui.model.filter_query import NAMES, Query
from tui.model.ledger_list import CHUNK, LedgerList
from tui.render.layout import EMPTY, Line
from tui.render.sums_line import sums_line
from tui.screens.base import REQUEST_KEYS
from tui.screens.columns import ColumnsScreen
from tui.screens.copy import offer_copies
from tui.screens.detail import DetailScreen, Opened
from tui.screens.exporting import Exported, ExportingScreen
from tui.widgets.bars import FROZEN
from tui.widgets.ledger_table import CHOICES, SORTS, LedgerPanel
from tui.widgets.panel import Panel
from tui.widgets.preview import Preview

STALE_AFTER_MS = 2000  # while it follows, a list that is younger needs no words
_SORT_WORDS = {
    ("timestamp", "desc"): "newest first",
    ("timestamp", "asc"): "oldest first",
    ("cost_sats", "desc"): "dearest first",
    ("cost_sats", "asc"): "cheapest first",
    ("latency_ms", "desc"): "slowest first byte first",
    ("latency_ms", "asc"): "fastest first byte first",
}


_SORT_KEYS: tuple[tuple[str, str, Sort], ...] = (
    ("sort_time", "time", "timestamp"),
    ("sort_cost", "cost", "cost_sats"),
    ("sort_latency", "first byte", "latency_ms"),
)
_BY = "Sort by time, cost, first byte; again: reversed"
PREVIEW = "preview"  # is chosen among the columns
PREVIEW_FROM = 140  # cells


class RequestsScreen(ExportingScreen):
    """The whole ledger as a list. Workers read it: one what is visible, one what is new, one sums it up."""

    RANGED = False
    FILTER_EXAMPLE = EXAMPLE
    FILTERS = "requests"
    BINDINGS: ClassVar[list[BindingType]] = [
        *REQUEST_KEYS,
        key("sort", "sort", "Sort by the next of time, cost and first byte", "sort"),
        key("reverse", "reverse", "Sort the other way round"),
        *(key(name, f"sort_by('{sort}')", f"Sort by {word}", group=_BY) for name, word, sort in _SORT_KEYS),
        key("columns", "columns", "Choose the columns", "columns"),
        key("export", "export", "Export what is filtered as CSV or JSON", "export"),
    ]

    def __init__(self, dashboard: DashboardModel) -> None:
        super().__init__(dashboard, "requests")
        self._rows = LedgerList(dashboard.source.ledger, dashboard.now_ms)
        self._panel = LedgerPanel(id="ledger")
        self._preview = Preview(dashboard.source.ledger, dashboard.timings.typing_pause_s, id="preview")
        self._problem = ""
        self._asking = False
        self._sum_again_at = 0.0  # by what the latest sums have cost, on the clock of `perf_counter`
        self._given_up = False  # summing up takes too long
        self._seen = -1  # requests that had finished when the list was last read
        self._seen_amendments = 0  # and rows that had changed since they were written
        self._as_of_ms = dashboard.now_ms()  # when that was
        self._pause_s = dashboard.timings.least_query_wait_s  # what the latest question costs to ask again
        self._wake = asyncio.Event()  # another question, or someone who looks: don't wait for the pause to pass
        self._known: dict[str, list[str]] = {}

    def pieces(self) -> Sequence[Widget]:
        """Return the list's panel and the preview beside it."""
        return (Horizontal(self._panel, self._preview, id="requests"),)

    def paint_body(self) -> Iterator[None]:
        """Paint the visible rows."""
        dashboard = self.dashboard
        rows, hidden = self._rows, dashboard.hidden_columns
        hint = () if rows.total else self._hint()
        foot = sums_line(rows.sums, dashboard.now_ms(), dashboard.zone, given_up=self._given_up)
        self._panel.hidden = hidden
        self._panel.show(rows, dashboard.now_ms(), dashboard.zone, self._note(), hint, foot)
        self._preview.display = self.size.width >= PREVIEW_FROM and PREVIEW not in hidden
        yield
        if self._preview.display:
            entry = rows.row(rows.top if rows.selected is None else rows.selected)
            frozen: Line = ((f" {FROZEN} ", "badge"),) if dashboard.model.frozen else EMPTY
            self._preview.show_request(None if entry is None else entry.request_id, dashboard.zone, frozen)
            yield

    def _note(self) -> Line:
        """Return how the list is sorted, its time, and what the next Esc does."""
        rows, link = self._rows, self.dashboard.source.link
        if link is not None and link.outage is not None:
            return ((f" stale: no connection, as of {clock(self._as_of_ms, self.dashboard.zone)} ", "badge"),)
        if self._problem:
            return ((f" {shown(self._problem, 60)} ", "badge"),)
        if exporting := self.export_note():
            return exporting
        if self._asking:
            return (("asking the ledger … ", "warn"),)
        filtered = "filtered" if rows.query else "not filtered"
        esc = f"  {filtered}, Esc clears" if self.typed else "  Esc follows" if not rows.following else ""
        return ((_SORT_WORDS[rows.sort, rows.order], "muted"), *self._age(), (esc, "warn"))

    def _age(self) -> Line:
        """Return the list's time, if requests have finished since."""
        new = self._finished - self._seen
        old = self.dashboard.now_ms() - self._as_of_ms >= STALE_AFTER_MS
        if self._seen < 0 or new <= 0 or (self._rows.following and not old):
            return EMPTY
        return ((f"  as of {clock(self._as_of_ms, self.dashboard.zone)}, +{new:,} new", "warn"),)

    def _hint(self) -> list[Line]:
        if self._rows.total is None:
            link = self.dashboard.source.link
            lost = link is not None and link.outage is not None
            said = "no connection: the ledger is asked once it is back" if lost else "asking the ledger …"
            return [((said, "muted"),)]
        if self._rows.query:
            return [(("Nothing in the ledger passes the filter.", "muted"),)]
        if self._finished:
            return [(("None of the requests is in the ledger yet.", "muted"),)]
        says, command = first_step(self.dashboard.view())
        return [((f"{says}:", "text"),), EMPTY, *(((line, "key"),) for line in command)]

    def words(self) -> Mapping[str, str]:
        """Hide the keys for the selected request where none is."""
        return {} if self._rows.selected is not None else {"open": "", "copy": ""}

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _finished(self) -> int:
        return self.dashboard.model.totals.requests

    def on_mount(self) -> None:
        """Start the workers."""
        self._keep_up()

    def on_screen_resume(self) -> None:
        """Read stale rows at once: the screen is in sight again."""
        super().on_screen_resume()
        self._wake.set()

    @work(group="keep-up", exclusive=True)
    async def _keep_up(self) -> None:
        """Read the newest rows again while they are in sight and there are new ones, at a limited rate."""
        while True:
            stale = self._seen != self._finished or self._seen_amendments != self.dashboard.model.amendments
            if (
                stale
                and self._rows.following
                and not self._asking
                and self.is_current
                and not self.dashboard.model.frozen
            ):
                await self._answer(self._rows.restart(self.repaint))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._pause_s)
            self._wake.clear()

    async def _answer(self, question: Awaitable[None]) -> None:
        """Await a query of the whole list; its duration sets when it may be repeated."""
        began, finished, as_of_ms = perf_counter(), self._finished, self.dashboard.now_ms()
        amendments = self.dashboard.model.amendments
        try:
            await question
        except LedgerUnavailable as problem:
            self._problem = str(problem)
        else:
            self._problem, self._seen, self._as_of_ms = "", finished, as_of_ms
            self._seen_amendments = amendments
        finally:
            timings, took = self.dashboard.timings, perf_counter() - began
            pause_s = max(timings.least_query_wait_s, took / timings.query_share)
            self._pause_s = min(pause_s, timings.most_query_wait_s)
        self.repaint()
        if not self._problem and perf_counter() >= self._sum_again_at:
            self._sum_up()

    @work(group="sums", exclusive=True)
    async def _sum_up(self) -> None:
        """Sum up what passes the filter, unless that takes too long; not again before it is worth its cost."""
        timings, began = self.dashboard.timings, perf_counter()
        self._sum_again_at = inf
        self._given_up = False
        try:
            async with asyncio.timeout(timings.longest_sums_s):
                await self._rows.sum_up(timings.whole_sums_s, self.repaint)
        except TimeoutError:
            self._given_up = True
        except LedgerUnavailable as problem:
            self._problem = str(problem)
        now = perf_counter()
        self._sum_again_at = now + (now - began) / timings.query_share
        self.repaint()

    @work(group="fill", exclusive=True)
    async def _fill(self) -> None:
        """Read what is in sight and has not been read."""
        try:
            while (chunk := self._rows.missing(self._panel.page)) is not None:
                await self._rows.load(chunk)
                self.repaint()
        except LedgerUnavailable as problem:
            self._problem = str(problem)
            self.repaint()

    @work(group="ask", exclusive=True)
    async def _ask(self, query: Query | None) -> None:
        """Read the list with another filter, or None: in another order."""
        if query is not None:
            await asyncio.sleep(self.dashboard.timings.typing_pause_s)
            self.workers.cancel_group(self, "sums")
            self._sum_again_at, self._given_up = 0.0, False
        self._asking = True
        self.repaint()
        rows = self._rows
        try:
            await self._answer(rows.restart(self._first) if query is None else rows.narrow(query, self._first))
        finally:
            self._asking = False
        self._wake.set()
        self.repaint()

    def _first(self) -> None:
        """Show the first rows, before they are counted."""
        self._asking = False
        self.repaint()

    @work(group="names", exclusive=True)
    async def _learn_names(self) -> None:
        """Ask for the names that the ledger has, to complete from."""
        with suppress(LedgerUnavailable):
            self._known = {name: [shown(each) for each in await self._rows.names(name)] for name in NAMES}

    # ── keys and mouse ──────────────────────────────────────────────────────────────────────────────────────────

    def _moved(self) -> None:
        self.repaint()
        if self._rows.missing(self._panel.page) is not None:
            self._fill()

    def narrow(self, typed: str) -> None:
        """Filter the ledger, once typing pauses."""
        self._ask(parse(typed))

    def judge(self, typed: str) -> Sequence[str]:
        """Return complaints about a filter that means nothing."""
        return judged(typed)

    def names(self) -> Names:
        """Return the names in the ledger, the configuration and the feed."""
        near = names_in_sight(self.dashboard.view(), self.dashboard.model.feed)
        return {name: [*dict.fromkeys(near[name] + self._known.get(name, []))] for name in near}

    def action_filter(self) -> None:
        """Open the filter line."""
        super().action_filter()
        self._learn_names()

    def action_move(self, by: int) -> None:
        """Select another row."""
        self._rows.move(by, self._panel.page)
        self._moved()

    def action_page(self, by: int) -> None:
        """Move by a page of rows."""
        self.action_move(by * self._panel.page)

    def action_ends(self, last: bool) -> None:
        """Select the newest or the oldest row."""
        self._rows.select((self._rows.total or 0) if last else 0, self._panel.page)
        self._moved()

    def _chosen(self) -> Entry | None:
        """Return the selected request, selecting the topmost if none is."""
        if self._rows.selected is None:
            self._rows.move(0, self._panel.page)
            self._moved()
        return self._rows.selected_row

    def action_open(self) -> None:
        """Open the selected request in full."""
        entry = self._chosen()
        if entry is not None:
            self.app.push_screen(DetailScreen(self.dashboard, Opened(entry.request_id), self._step))

    async def _step(self, by: int) -> Opened | None:
        rows = self._rows
        rows.move(by, self._panel.page)
        if rows.selected is not None and rows.selected_row is None:
            await rows.load(rows.selected // CHUNK)
        self._moved()
        entry = rows.selected_row
        return None if entry is None else Opened(entry.request_id)

    def action_copy(self) -> None:
        """Copy the selected request's id, and ask what else of it to."""
        entry = self._chosen()
        if entry is not None:
            offer_copies(self, self.dashboard, entry.request_id, entry)

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._rows.next_sort()
        self._ask(None)

    def action_sort_by(self, sort: Sort) -> None:
        """Sort by a column, or by the same one the other way round."""
        self._rows.sort_by(sort)
        self._ask(None)

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self.action_sort_by(self._rows.sort)

    def action_columns(self) -> None:
        """Ask which columns to show."""
        hidden = self.dashboard.hidden_columns
        self.app.push_screen(ColumnsScreen((*CHOICES, PREVIEW), hidden), self._columns_chosen)

    def _columns_chosen(self, hidden: frozenset[str] | None) -> None:
        if hidden is not None:
            self.dashboard.hide_columns(hidden)
            self.call_after_refresh(self.repaint)
        self.repaint()

    def step_back(self) -> bool:
        """Return to the newest rows; return whether it was elsewhere."""
        if self._rows.following:
            return False
        self._rows.follow()
        self._seen = -1
        self._wake.set()
        return True

    @on(Panel.Picked, "#ledger")
    def _picked(self, event: Panel.Picked) -> None:
        if event.column >= self._panel.size.width - 2:
            self._rows.scroll(self._panel.place_at(event.index) - self._rows.top, self._panel.page)
        elif (column := self._panel.column_at(event.index, event.column)) is not None:
            self._sort_by_column(column)
        elif (index := self._panel.row_at(event.index)) is not None:
            self._rows.select(index, self._panel.page)
            if event.twice:
                self.action_open()
        self._moved()

    def _sort_by_column(self, column: str) -> None:
        if column in SORTS:
            self.action_sort_by(SORTS[column])
        else:
            self.notify(f"{column} has no order in the ledger: {', '.join(SORTS)} have", markup=False)

    @on(Panel.Wheeled, "#preview")
    def _preview_wheeled(self, event: Panel.Wheeled) -> None:
        self._preview.scroll_lines(event.by)

    @on(Panel.Wheeled, "#ledger")
    def _wheeled(self, event: Panel.Wheeled) -> None:
        self._rows.scroll(event.by, self._panel.page)
        self._moved()

    def exported(self) -> Exported:
        """Return the rows that pass the filter, none that arrived after those shown."""
        rows = self._rows
        where = rows.where if rows.where.until_ms is not None else replace(rows.where, until_ms=self._as_of_ms)
        return Exported(where, rows.sort, rows.order, rows.total, filtered=bool(rows.query))
