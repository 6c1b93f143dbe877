"""Live: what is being spent, right now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar

from textual import on, work
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widget import Widget

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import GroupBy
from tui.keymap import key, shown_key
from tui.model.completion import Names, names_in_sight
from tui.model.dashboard import DashboardModel, first_step
from tui.model.filter_language import EXAMPLE, judged, parse
from tui.model.request_row import Item
from tui.render.layout import EMPTY, Line
from tui.screens.base import REQUEST_KEYS, DashboardScreen
from tui.screens.copy import offer_copies
from tui.screens.detail import DetailScreen, Opened
from tui.widgets.feed import FeedPanel
from tui.widgets.panel import Panel
from tui.widgets.provider_health import ProvidersPanel
from tui.widgets.rows_panel import RowsPanel
from tui.widgets.spend_by_model import SpendByModelPanel
from tui.widgets.spend_chart import SpendChart, begun
from tui.widgets.stat_tiles import tiles
from tui.widgets.tiles_panel import BOXED, BOXES_FROM, PLAIN, TilesPanel

_PANELS = "To providers, models, figures, and back to the feed"
LOWEST_WITH_CHART = 20  # lines: with fewer, the chart is in sight while the cursor is in the figures above it
Summary = RowsPanel | TilesPanel


class LiveScreen(DashboardScreen):
    """Tiles, the chart, the feed, providers' health and spending by model.

    The cursor is in the feed, or in a summary, which leads to the requests that it is about.
    """

    GROUPS: ClassVar[tuple[GroupBy, ...]] = ("model",)
    FILTER_EXAMPLE = EXAMPLE
    FILTERS = "requests"
    BINDINGS: ClassVar[list[BindingType]] = [
        *REQUEST_KEYS,
        key("next_panel", "panel(1)", "To providers, models, figures: Enter shows their requests", "panel", _PANELS),
        key("previous_panel", "panel(-1)", "To the panel before", group=_PANELS),
        key("counters", "counters", "Reset the counters: from now on, or since the start again", "since start"),
    ]

    def __init__(self, dashboard: DashboardModel) -> None:
        super().__init__(dashboard, "live")
        self._tiles = TilesPanel(id="tiles")
        self._chart = SpendChart(id="chart")
        self._feed = FeedPanel(id="feed")
        self._providers = ProvidersPanel(id="health")
        self._shares = SpendByModelPanel(id="shares")
        self._below = Horizontal(self._providers, self._shares, id="below")
        self._summaries: tuple[Summary, ...] = (self._providers, self._shares, self._tiles)

    def pieces(self) -> Sequence[Widget]:
        """Return the pieces from top to bottom."""
        return (self._tiles, self._chart, self._feed, self._below)

    def size_pieces(self, width: int, height: int) -> None:
        """Box the tiles, show the chart and all panels where there is room, else those that the cursor is in or near.

        The feed takes the rest.
        """
        boxed = width >= BOXES_FROM and height >= 30
        view = self.dashboard.view()
        lines = (PLAIN if view.budgets else PLAIN - 1) if height >= 24 else 4
        self._tiles.styles.height = BOXED + 2 * (height >= 34) if boxed else lines
        self._chart.styles.height = max(4, min(height // 5, 14)) if height >= 30 else 4
        all_below, high = width >= 100, height >= LOWEST_WITH_CHART
        self._chart.display = high or self._tiles.active
        self._below.display = high or not self._tiles.active
        self._shares.display = all_below or self._shares.active
        self._providers.display = all_below or not self._shares.active
        rows = min(max(len(view.providers), 3 if all_below else 1), max(height // 5, 3))
        self._below.styles.height = rows + (3 if all_below else 1)

    def out_of_sight(self) -> int:
        """Return how many of the chart and the panels below the feed are not shown."""
        below = sum(bool(each.display) for each in (self._providers, self._shares)) if self._below.display else 0
        return 3 - bool(self._chart.display) - below

    def paint_body(self) -> Iterator[None]:
        """Paint piece by piece."""
        dashboard = self.dashboard
        view, figures, feed = dashboard.view(), dashboard.figures, dashboard.model.feed
        self._tiles.show_tiles(tiles(view, figures, dashboard.burn(), dashboard.range, dashboard.zone))
        yield
        chart = dashboard.chart(view.at_ms)
        self._chart.show(chart, dashboard.range, dashboard.zone)
        yield
        wanted = len(feed.rows()) if feed.held else self._feed.page
        rows = feed.rows(wanted)
        hint = self._hint() if not rows else ()
        self._feed.show(rows, feed.selected, view.at_ms, dashboard.zone, note=self._note(), hint=hint)
        yield
        self._providers.show(view.providers, view.at_ms, dashboard.board())
        yield
        models = {} if chart is None else begun(chart).models
        self._shares.show(figures.groups.get("model"), dashboard.range.name, models, self.in_range)
        yield

    def _note(self) -> Line:
        """Return whether the feed is held or filtered, and what the next Esc does."""
        feed = self.dashboard.model.feed
        held = feed.held and not self.dashboard.model.frozen
        new = f"held  +{feed.unseen:,} new  " if held else ""
        if self.typed:
            return ((f" {new}{'filtered' if feed.query else 'not filtered'}  Esc clears ", "badge"),)
        if held:
            return ((f" {new}Esc follows ", "badge"),)
        return EMPTY

    def _hint(self) -> list[Line]:
        if self.dashboard.model.feed.query:
            return [((" Nothing in the feed passes the filter. Key 2 searches the whole ledger.", "muted"),)]
        if not self.dashboard.past_loaded:
            return [((" asking the ledger …", "muted"),)]
        says, command = first_step(self.dashboard.view())
        return [((f" {says} (y copies it):", "text"),), EMPTY, *(((f" {line}", "key"),) for line in command)]

    def narrow(self, typed: str) -> None:
        """Filter the feed."""
        self.dashboard.model.feed.narrow(parse(typed))

    def judge(self, typed: str) -> Sequence[str]:
        """Return complaints about a filter that means nothing."""
        return judged(typed)

    def names(self) -> Names:
        """Return the names in the configuration and the feed."""
        return names_in_sight(self.dashboard.view(), self.dashboard.model.feed)

    def words(self) -> Mapping[str, str]:
        """Hide the keys for the selected request where none is, and the way back to what is there already."""
        panel = self._active
        hidden = [] if panel is None and self.dashboard.model.feed.selected is not None else ["open", "copy"]
        hidden += [] if self.dashboard.view().reset is not None else ["counters"]
        return {**dict.fromkeys(hidden, ""), **({"open": "requests"} if panel is not None and panel.finds else {})}

    def action_counters(self) -> None:
        """Count from now on, or since the start again."""
        dashboard = self.dashboard
        if dashboard.model.frozen:
            self.notify("Frozen: unfreeze, then reset the counters", markup=False)
        elif dashboard.model.toggle_reset(dashboard.now_ms()) is None:
            self.notify("The counters are since the start", markup=False)
        else:
            again = shown_key(dashboard.keymap["counters"][0])
            self.notify(f"The counters are from now on; {again} again: since the start", markup=False)
        self.repaint()

    # ── the cursor ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _active(self) -> Summary | None:
        """The summary that the cursor is in; None while it is in the feed."""
        return next((each for each in self._summaries if each.active and each.display), None)

    def _activate(self, panel: Summary | None) -> None:
        for each in self._summaries:
            each.active = each is panel
            each.deselect()
        self.size_pieces(*self.size)
        self.call_after_refresh(self.repaint)

    def action_panel(self, by: int) -> None:
        """Move the cursor to the next panel, or the one before, and that into sight; the feed is one of them."""
        panels: list[Summary | None] = [None, *self._summaries]
        self._activate(panels[(panels.index(self._active) + by) % len(panels)])

    def action_move(self, by: int) -> None:
        """Move the cursor; while a request is selected the feed is held."""
        if (panel := self._active) is None:
            self.dashboard.model.feed.move(by)
        else:
            panel.move(by)
        self.repaint()

    def action_page(self, by: int) -> None:
        """Move by a page of requests."""
        self.action_move(by * self._feed.page)

    def action_ends(self, last: bool) -> None:
        """Move to the first or the last row."""
        if self._active is None:
            self.dashboard.model.feed.select(10**9 if last else 0)
            self.repaint()
        else:
            self.action_move(10**9 if last else -(10**9))

    def _chosen(self) -> Item | None:
        """Return the selected request, selecting the topmost if none is."""
        feed = self.dashboard.model.feed
        if feed.selected is None:
            feed.move(0)
            self.repaint()
        return feed.selected_item

    async def action_open(self) -> None:
        """Open the selected request in full; from a summary show the requests that it is about."""
        if (panel := self._active) is not None:
            await self._follow(panel.finds)
        else:
            self._open_request()

    async def _follow(self, finds: str) -> None:
        if finds:
            await self.show_requests(finds)

    def _open_request(self) -> None:
        item = self._chosen()
        if item is not None:
            self.app.push_screen(DetailScreen(self.dashboard, Opened(item.request_id, item), self._step))

    async def _step(self, by: int) -> Opened | None:
        self.dashboard.model.feed.move(by)
        self.repaint()
        item = self.dashboard.model.feed.selected_item
        return None if item is None else Opened(item.request_id, item)

    @work(exclusive=True, group="copy")
    async def action_copy(self) -> None:
        """Copy the selected request's id, and ask what else of it to; without requests the command that sends one."""
        item = self.dashboard.model.feed.selected_item
        if item is not None:
            detail = None
            with suppress(LedgerUnavailable):
                detail = await self.dashboard.source.ledger.request(item.request_id)
            offer_copies(self, self.dashboard, item.request_id, None if detail is None else detail.entry)
        elif not self.dashboard.model.feed.rows(1):
            self.app.copy_to_clipboard("\n".join(first_step(self.dashboard.view()).command))
            self.notify("Copied the command", markup=False)

    def step_back(self) -> bool:
        """Return to the feed, or drop the selection there; return whether there was any."""
        if self._active is not None:
            self._activate(None)
            return True
        feed = self.dashboard.model.feed
        if feed.selected is None:
            return False
        feed.deselect()
        return True

    @on(Panel.Picked, "#feed")
    def _picked(self, event: Panel.Picked) -> None:
        index = self._feed.row_at(event.index)
        if index is not None:
            self.dashboard.model.feed.select(index)
            self.repaint()
            if event.twice:
                self._open_request()

    @on(Panel.Picked, "#health, #shares, #tiles")
    async def _summary_picked(self, event: Panel.Picked) -> None:
        if isinstance(event.panel, TilesPanel | RowsPanel):
            await self._follow(event.panel.finds_at(event.column, event.index))

    @on(Panel.Wheeled, "#health, #shares")
    def _summary_wheeled(self, event: Panel.Wheeled) -> None:
        if isinstance(event.panel, RowsPanel):
            event.panel.move(event.by)
            event.panel.redraw()

    @on(Panel.Wheeled, "#feed")
    def _wheeled(self, event: Panel.Wheeled) -> None:
        self.dashboard.model.feed.move(event.by)
        self.repaint()
