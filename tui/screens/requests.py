"""Requests: the whole ledger, filtered, sorted, opened, copied, exported."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import ClassVar

from textual import on, work
from textual.binding import BindingType
from textual.widget import Widget

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import Entry
from tui.format import clock, percent, shown
from tui.keymap import key
from tui.model.completion import Names, names_in_sight
from tui.model.dashboard import DashboardModel, curl
from tui.model.export import Format, export, file_name
from tui.model.filter_language import EXAMPLE, judged, parse
from tui.model.filter_query import NAMES, Query
from tui.model.ledger_list import CHUNK, LedgerList
from tui.render.layout import EMPTY, Line
from tui.screens.base import REQUEST_KEYS, DashboardScreen
from tui.screens.choice import ChoiceScreen
from tui.screens.copy import offer_copies
from tui.screens.detail import DetailScreen, Opened
from tui.screens.path import PathScreen
from tui.widgets.ledger_table import LedgerPanel
from tui.widgets.panel import Panel

STALE_AFTER_MS = 2000  # while it follows, a list that is younger needs no words
_SORT_WORDS = {
    ("timestamp", "desc"): "newest first",
    ("timestamp", "asc"): "oldest first",
    ("cost_sats", "desc"): "dearest first",
    ("cost_sats", "asc"): "cheapest first",
    ("latency_ms", "desc"): "slowest first",
    ("latency_ms", "asc"): "fastest first",
}


class RequestsScreen(DashboardScreen):
    """The whole ledger as a list. Two workers read it: one what is visible, one what is new."""

    RANGED = False
    FILTER_EXAMPLE = EXAMPLE
    FILTERS = "requests"
    BINDINGS: ClassVar[list[BindingType]] = [
        *REQUEST_KEYS,
        key("sort", "sort", "Sort by time, cost, latency, either way round", "sort"),
        key("export", "export", "Export what is filtered as CSV or JSON", "export"),
    ]

    def __init__(self, dashboard: DashboardModel) -> None:
        super().__init__(dashboard, "requests")
        self._rows = LedgerList(dashboard.source.ledger, dashboard.now_ms)
        self._panel = LedgerPanel(id="ledger")
        self._problem = ""
        self._asking = False
        self._exporting: int | None = None  # rows written by the running export
        self._seen = -1  # requests that had finished when the list was last read
        self._seen_amendments = 0  # and rows that had changed since they were written
        self._as_of_ms = dashboard.now_ms()  # when that was
        self._pause_s = dashboard.timings.least_query_wait_s  # what the latest question costs to ask again
        self._wake = asyncio.Event()  # another question, or someone who looks: don't wait for the pause to pass
        self._known: dict[str, list[str]] = {}

    def pieces(self) -> Sequence[Widget]:
        """Return the list's panel."""
        return (self._panel,)

    def paint_body(self) -> Iterator[None]:
        """Paint the visible rows."""
        dashboard = self.dashboard
        hint = () if self._rows.total else self._hint()
        self._panel.show(self._rows, dashboard.now_ms(), dashboard.zone, self._note(), hint)
        yield

    def _note(self) -> Line:
        """Return how the list is sorted, its time, and what the next Esc does."""
        rows = self._rows
        if self._problem:
            return ((f" {shown(self._problem, 60)} ", "badge"),)
        if self._exporting is not None:
            return ((f"exporting, {percent(self._exporting / max(rows.total or 1, 1), 0)}, e stops ", "warn"),)
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
            return [(("asking the ledger …", "muted"),)]
        if self._rows.query:
            return [(("Nothing in the ledger passes the filter.", "muted"),)]
        lines: list[Line] = [(("No requests yet. Try one:", "text"),), EMPTY]
        return lines + [((line, "key"),) for line in curl(self.dashboard.view())]

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
                await self._answer(self._rows.restart())
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
        """Read the list with another filter or sort."""
        if query is not None:
            await asyncio.sleep(self.dashboard.timings.typing_pause_s)
        self._asking = True
        self.repaint()
        try:
            await self._answer(self._rows.next_sort() if query is None else self._rows.narrow(query))
        finally:
            self._asking = False
        self._wake.set()
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
        """Sort by the next column, or reverse the order."""
        self._ask(None)

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
        elif (index := self._panel.row_at(event.index)) is not None:
            self._rows.select(index, self._panel.page)
            if event.twice:
                self.action_open()
        self._moved()

    @on(Panel.Wheeled, "#ledger")
    def _wheeled(self, event: Panel.Wheeled) -> None:
        self._rows.scroll(event.by, self._panel.page)
        self._moved()

    # ── export ──────────────────────────────────────────────────────────────────────────────────────────────────

    def action_export(self) -> None:
        """Ask for the form, then write what is filtered to a file; stop a running export."""
        if self._exporting is not None:
            self.workers.cancel_group(self, "export")
            return
        rows = f"{self._rows.total:,} requests" if self._rows.total is not None else "requests"
        choices = [("c", "CSV"), ("j", "JSON"), ("p", "a file of another name or place …")]
        self.app.push_screen(ChoiceScreen(f"Export {rows} as", choices), self._export_chosen)

    def _export_chosen(self, key: str | None) -> None:
        if key is None:
            return
        kind: Format = "json" if key == "j" else "csv"
        path = Path.cwd() / file_name(kind, self.dashboard.now_ms(), filtered=bool(self._rows.query))
        if key == "p":
            self.app.push_screen(PathScreen("Export to (.json writes JSON)", path), self._export_to)
        else:
            self._export(path)

    def _export_to(self, path: Path | None) -> None:
        if path is not None:
            self._export(path)

    @work(group="export")
    async def _export(self, path: Path) -> None:
        rows = self._rows
        where = rows.where if rows.where.until_ms is not None else replace(rows.where, until_ms=self._as_of_ms)
        try:
            self._written(0)
            written = await export(self.dashboard.source.ledger, where, rows.sort, rows.order, path, self._written)
        except (LedgerUnavailable, OSError) as problem:
            self.notify(f"The export failed: {shown(str(problem))}", severity="error", markup=False)
        except asyncio.CancelledError:
            self.notify("The export was stopped, and its file removed", markup=False)
            raise
        else:
            self.notify(f"{written:,} requests in {shown(str(path))}", title="Exported", timeout=10, markup=False)
        finally:
            self._exporting = None
            self.repaint()

    def _written(self, rows: int) -> None:
        """Show how many rows have been written to the file."""
        self._exporting = rows
        self.repaint()
