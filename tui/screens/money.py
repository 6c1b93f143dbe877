"""Money: where it went, and what was saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widget import Widget

from arbstr.ledger.model import GroupBy
from tui.format import zone_name
from tui.keymap import key
from tui.model.breakdown import TIMES, Breakdown
from tui.model.completion import Names
from tui.model.dashboard import DashboardModel
from tui.render.layout import EMPTY, Line
from tui.screens.base import DashboardScreen
from tui.screens.detail import DetailScreen, Opened
from tui.widgets.budget_table import COLUMNS as BUDGET_COLUMNS
from tui.widgets.budget_table import budget_rows
from tui.widgets.group_table import BY, SORTS, GroupSort, GroupTable, group_rows, span_words
from tui.widgets.money_summary import Summary
from tui.widgets.panel import Panel
from tui.widgets.rows_panel import Row, RowsPanel
from tui.widgets.spending_details import (
    DEAREST_COLUMNS,
    FAILURE_COLUMNS,
    LENGTH_COLUMNS,
    HeatMap,
    dearest_rows,
    failure_rows,
    failures_note,
    heat_rows,
    length_rows,
)

WIDE, HIGH, ROOMY = 100, 28, 160  # from here on all panels are in sight
MEDIUM = 20  # lines: with fewer, one panel is, and the totals
HOURS_WIDTH, FAILURES_WIDTH, LENGTHS_WIDTH = 49, 30, 28  # cells, where all panels are in sight and that is all
THREE = 116  # cells for the details: with fewer, two of them are in sight
LEAST_DETAILS = 10  # lines
_GROUPS = "Group by model, provider, policy, session, …"
_PANELS = "The cursor to the next panel, the one before"
_SORT = "Sort by sats, requests, each, …; the other way round"
NO_BREAKDOWN = Breakdown("model")


class MoneyScreen(DashboardScreen):
    """One table, grouped by what is wanted, budgets above it, and below what else tells where the money went.

    One panel is active: the cursor moves in it. On small terminals it is the one in sight.
    """

    FILTER_EXAMPLE = "a part of a name in the table"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("open", "open", "The requests of the selected line", "requests"),
        key("next_table", "group(1)", "Group by provider, policy, session, client, …", "group", _GROUPS),
        key("previous_table", "group(-1)", "Group by what was before", group=_GROUPS),
        key("next_panel", "panel(1)", "To the next panel", "panel", _PANELS),
        key("previous_panel", "panel(-1)", "To the panel before", group=_PANELS),
        key("sort", "sort", "Sort by sats, requests, each, …", "sort", _SORT),
        key("reverse", "turn", "Sort the other way round", group=_SORT),
    ]

    def __init__(self, dashboard: DashboardModel) -> None:
        super().__init__(dashboard, "money")
        self._by: GroupBy = "model"
        self._sort = GroupSort("sats")
        self._summary = Summary(id="summary")
        self._table = GroupTable(id="groups")
        self._budgets = RowsPanel(BUDGET_COLUMNS, id="budgets")
        self._lengths = RowsPanel(LENGTH_COLUMNS, id="lengths")
        self._hours = HeatMap(id="hours")
        self._dearest = RowsPanel(DEAREST_COLUMNS, id="dearest")
        self._failures = RowsPanel(FAILURE_COLUMNS, id="failures")
        self._plans = Horizontal(self._budgets, self._lengths, id="plans")
        self._details = Horizontal(self._hours, self._dearest, self._failures, id="details")
        self._panels: tuple[RowsPanel, ...] = (
            self._table,
            self._hours,
            self._dearest,
            self._failures,
            self._budgets,
            self._lengths,
        )
        self._active: RowsPanel = self._table
        self._table.active = True
        self._lines = 6  # that the table needs, unfiltered
        self._drawn_of: object = None  # what the rows of the panels were made of

    def pieces(self) -> Sequence[Widget]:
        """Return the totals, budgets, the table and the details."""
        return (self._summary, self._plans, self._table, self._details)

    def look(self) -> None:
        """Ask the ledger for this grouping."""
        self.dashboard.watch.look_at(self.dashboard.range, (self._by,), by=self._by)

    # ── arranging ───────────────────────────────────────────────────────────────────────────────────────────────────

    def size_pieces(self, width: int, height: int) -> None:
        """Show all panels if there is room, else the table with budgets and one more, else one."""
        all_fit = width >= WIDE and height >= HIGH
        few_fit = height >= MEDIUM
        view = self.dashboard.view()
        shown = {self._active}
        if all_fit:
            shown = set(self._panels)
            if width < THREE:
                shown -= {self._hours if self._active is self._failures else self._failures}
        elif few_fit:
            shown = {self._table, self._detail_in_sight, *([self._budgets] if view.budgets else [])}
        for panel in self._panels:
            panel.display = panel in shown
        self._plans.display = bool(shown & {self._budgets, self._lengths})
        self._details.display = bool(shown & {self._hours, self._dearest, self._failures})
        self._summary.styles.height = 3 if few_fit else 2
        plans = len(view.budgets) + 1 if not all_fit else max(len(view.budgets), len(view.ratios), 1) + 3
        plans = min(plans, height // 4)
        self._plans.styles.height = plans if few_fit else "1fr"
        room = height - 5 - plans
        self._table.styles.height = min(self._lines, room - LEAST_DETAILS) if all_fit else "1fr"
        self._details.styles.height = "1fr" if all_fit or not few_fit else height // 3
        spacious = width >= ROOMY
        self._hours.styles.width = "1fr" if not all_fit else HOURS_WIDTH + 24 * spacious
        self._failures.styles.width = FAILURES_WIDTH if all_fit and not spacious else "1fr"
        self._lengths.styles.width = LENGTHS_WIDTH + 14 * spacious if all_fit else "1fr"

    def out_of_sight(self) -> int:
        """Return how many panels are not shown."""
        return sum(not each.display for each in self._panels)

    @property
    def _detail_in_sight(self) -> RowsPanel:
        """The panel that stands below the table where there is room for one."""
        return self._dearest if self._active in (self._table, self._budgets) else self._active

    # ── painting ────────────────────────────────────────────────────────────────────────────────────────────────────

    def paint_body(self) -> Iterator[None]:
        """Paint piece by piece."""
        dashboard, view, figures = self.dashboard, self.dashboard.view(), self.dashboard.figures
        self._summary.show(figures, dashboard.range.name, dashboard.zone)
        yield
        self._budgets.show_rows(
            budget_rows(view, dashboard.burn(), dashboard.zone),
            (("Budgets", "title"), (f"  sats, {dashboard.zone_name}, ┊ even pace", "muted")),
            hint="not configured: [budget] max_sats_per_day = 1000 sets one",
        )
        length_title: Line = (("Learned lengths", "title"), ("  tokens", "muted"))
        self._lengths.show_rows(length_rows(view.ratios, self.in_range), length_title, hint="no data yet")
        yield
        made_of = (figures, self._by, self._sort, self.typed, dashboard.zone, self.size, self._active)
        if made_of != self._drawn_of:
            self._drawn_of = made_of
            self._show_table()
            yield
            self._show_details(figures.breakdown, view.at_ms)
        yield

    @property
    def _waits(self) -> str:
        """What is said in place of figures that are not known yet."""
        return "asking the ledger …" if self.dashboard.figures.problem is None else "the ledger can't be read"

    def _show_table(self) -> None:
        figures, by, sort = self.dashboard.figures, self._by, self._sort
        groups, breakdown = figures.groups.get(by), figures.breakdown
        trends = {} if breakdown is None or breakdown.by != by else breakdown.trends
        rows = None
        if groups is not None:
            rows = group_rows(groups, by, sort, typed=self.typed, finds=self.in_range, trends=trends)
        span = span_words(by, self.dashboard.range.name)
        none = "no name has that in it" if self.typed else f"no requests in {span.removeprefix('last ')}"
        hint = self._waits if rows is None else none
        self._table.show(rows or (), by, sort, span, hint)
        if rows is not None and not self.typed and self._lines != (lines := max(len(rows), 3) + 3):
            self._lines = lines
            self.size_pieces(*self.size)

    def _show_details(self, breakdown: Breakdown | None, now_ms: int) -> None:
        zone, range_ = self.dashboard.zone, self.dashboard.range
        known, asking = breakdown or NO_BREAKDOWN, "" if breakdown else self._waits
        named = zone_name(now_ms, zone)
        last: Line = ((f"  last {range_.name}", "muted"),)
        hours_title: Line = (("Hours", "title"), (f"  sats, {named}", "muted"))
        self._hours.show_rows(heat_rows(known.hours, now_ms, zone) if breakdown else (), hours_title, hint=asking)
        rows = dearest_rows(known.dearest, zone, days=range_.length_ms > 86_400_000)
        self._dearest.show_rows(
            rows,
            (("Dearest requests", "title"), *last, (f", {named}", "muted")),
            hint=asking or "no request cost anything",
        )
        self._failures.show_rows(
            failure_rows(known.kinds, self.in_range),
            (("Failures", "title"), *last),
            note=failures_note(known) if breakdown else EMPTY,
            hint=asking or "none",
        )

    # ── choosing ────────────────────────────────────────────────────────────────────────────────────────────────────

    def names(self) -> Names:
        """Return all names in the table."""
        groups = self.dashboard.figures.groups.get(self._by) or {}
        return {"": [] if self._by in TIMES else list(groups)}

    def words(self) -> Mapping[str, str]:
        """Say what would be grouped by next, and where Enter leads."""
        row, following = self._active.selected, BY[(BY.index(self._by) + 1) % len(BY)]
        opens = "" if row is None else "open" if row.request_id else "requests" if row.finds else ""
        return {"next_table": f"by {following}", "open": opens}

    def narrow(self, typed: str) -> None:
        """Show only groups whose names contain the words."""
        self._table.deselect()

    def action_group(self, by: int) -> None:
        """Group the table by what comes next, or before."""
        self._group(BY[(BY.index(self._by) + by) % len(BY)])

    def _group(self, by: GroupBy) -> None:
        self._by = by
        self._sort = GroupSort("" if self._by in TIMES else "sats")
        self._table.deselect()
        self._activate(self._table)
        self.look()
        self.repaint()

    def action_sort(self) -> None:
        """Sort the table by its next column."""
        sorts = SORTS if self._by in TIMES else SORTS[1:]
        self._sort = GroupSort(sorts[(sorts.index(self._sort.by) + 1) % len(sorts)])
        self._table.deselect()
        self.repaint()

    def _sort_by(self, column: str) -> None:
        """Sort the table by a column, or by time, in its order or again the other way round."""
        by = next((each for each in SORTS if column == (each or self._by)), None)
        if by is None or (not by and self._by not in TIMES):
            self.notify(f"{column} has no order: {', '.join(SORTS[1:])} have", markup=False)
            return
        self._sort = GroupSort(by, not self._sort.down if by == self._sort.by else True)
        self._table.deselect()
        self.repaint()

    def action_turn(self) -> None:
        """Sort the table the other way round."""
        self._sort = GroupSort(self._sort.by, not self._sort.down)
        self._table.deselect()
        self.repaint()

    def action_panel(self, by: int) -> None:
        """Move the cursor to the next panel, and that into sight."""
        place = self._panels.index(self._active)
        self._activate(self._panels[(place + by) % len(self._panels)])
        self.call_after_refresh(self.repaint)

    def _activate(self, panel: RowsPanel) -> None:
        self._active = panel
        for each in self._panels:
            each.active = each is panel
        self.size_pieces(*self.size)

    def action_move(self, by: int) -> None:
        """Select another row of the active panel."""
        self._active.move(by)
        self._active.redraw()

    def action_page(self, by: int) -> None:
        """Move by a page of rows."""
        self.action_move(by * self._active.page)

    def action_ends(self, last: bool) -> None:
        """Select the first or the last row."""
        self.action_move(10**9 if last else -(10**9))

    async def action_open(self) -> None:
        """Show the requests that the selected row is about, or open the one that it is."""
        row = self._active.selected
        if row is not None:
            await self._open(row)

    async def _open(self, row: Row) -> None:
        if row.request_id:
            self.app.push_screen(DetailScreen(self.dashboard, Opened(row.request_id), self._step))
        elif row.finds:
            await self.show_requests(row.finds)

    async def _step(self, by: int) -> Opened | None:
        self.action_move(by)
        row = self._dearest.selected
        return None if row is None else Opened(row.request_id)

    def step_back(self) -> bool:
        """Go back to the top of the table; return whether the cursor was elsewhere."""
        first = self._active is self._table and not self._table.is_moved
        self._table.deselect()
        self._activate(self._table)
        return not first

    @on(Panel.Picked)
    async def _picked(self, event: Panel.Picked) -> None:
        panel = event.panel
        if panel is self._table and (by := self._table.group_at(event.index, event.column)) is not None:
            self._group(by)
        if panel is self._table and (column := self._table.column_at(event.index, event.column)) is not None:
            self._sort_by(column)
        place = panel.row_at(event.index) if isinstance(panel, RowsPanel) else None
        if place is None or not isinstance(panel, RowsPanel):
            return
        self._activate(panel)
        panel.select(place)
        self.repaint()
        if event.twice and panel.selected is not None:
            await self._open(panel.selected)

    @on(Panel.Wheeled)
    def _wheeled(self, event: Panel.Wheeled) -> None:
        if isinstance(event.panel, RowsPanel):
            event.panel.move(event.by)
            event.panel.redraw()
