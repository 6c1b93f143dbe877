"""Providers: what they ask, how they fare, and taking one out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widget import Widget

from arbstr.ledger.model import GroupBy
from tui.keymap import key
from tui.model.completion import Names
from tui.model.dashboard import DashboardModel
from tui.model.filter_language import name_matches, term
from tui.model.provider_view import ProviderView
from tui.render.layout import EMPTY, Line
from tui.screens.base import DashboardScreen
from tui.screens.choice import ChoiceScreen
from tui.widgets.instance_table import instance_lines
from tui.widgets.panel import Panel
from tui.widgets.price_board import PriceBoardPanel
from tui.widgets.provider_table import ProviderTable, history_lines, identity_lines, rate_lines
from tui.widgets.scroll_panel import ScrollPanel

LOWEST_WITH_BOARD = 20  # lines


class ProvidersScreen(DashboardScreen):
    """The providers' table, the price board, and below them the selected one's rates and history."""

    GROUPS: ClassVar[tuple[GroupBy, ...]] = ("model", "provider")
    LOSSES = True
    FILTER_EXAMPLE = "a part of a provider's name"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("open", "open", "The requests of the selected provider, or model", "requests"),
        key("rotation", "rotate", "Take the provider out of rotation, or back in", "take out"),
        key("close_breaker", "close_breaker", "Close the provider's breaker", "close breaker"),
        key("next_panel", "panel", "To the price board, and back", "panel"),
    ]

    def __init__(self, dashboard: DashboardModel) -> None:
        super().__init__(dashboard, "providers")
        self._table = ProviderTable(id="provider-table")
        self._board = PriceBoardPanel(id="price-board")
        self._rates = ScrollPanel(id="rates")
        self._history = ScrollPanel(id="history")
        self._instances = ScrollPanel(id="instances")
        self._detail = Horizontal(self._rates, self._history, self._instances, id="provider-detail")
        self._selected = 0
        self._heights = (0, 0)
        self._priced: tuple[object, int, list[Line]] | None = None  # a price list's lines, with what they were made of

    def pieces(self) -> Sequence[Widget]:
        """Return the table, the board, and the selected provider's panels."""
        return (self._table, self._board, self._detail)

    def size_pieces(self, width: int, height: int) -> None:
        """Give table and board what they need, at most a third of the screen each.

        On a low one the board is in sight while the cursor is in it, instead of the selected provider's panels.
        """
        most = max(height // 3, 6)
        has_both = height >= LOWEST_WITH_BOARD
        self._board.display, self._detail.display = has_both or self._board.active, has_both or not self._board.active
        providers, models = len(self.dashboard.view().providers), len(self.dashboard.board().rows)
        heights = min(max(providers, 1) + 3, most), min(max(models, 1) + 3, most)
        if heights != self._heights:
            self._heights = heights
            self._table.styles.height, self._board.styles.height = heights

    def out_of_sight(self) -> int:
        """Return whether the board, or what it has replaced, is not shown."""
        return 2 - bool(self._board.display) - bool(self._detail.display)

    def paint_body(self) -> Iterator[None]:
        """Paint the table, then the selected provider."""
        dashboard, now_ms, providers = self.dashboard, self.dashboard.view().at_ms, self._providers
        self._selected = min(self._selected, max(len(providers) - 1, 0))
        groups = dashboard.figures.groups.get("provider")
        hint = "no provider passes the filter" if self.typed else "no provider is configured"
        board, range_name = dashboard.board(), dashboard.range.name
        self.size_pieces(*self.size)
        self._table.show(providers, self._selected, groups, now_ms, range_name, hint=hint, lost=board.lost)
        yield
        chosen = providers[self._selected].key if providers else None
        self._board.show(board, providers, chosen, range_name)
        yield
        if providers:
            self._show(providers[self._selected], now_ms)
        else:
            self._rates.show([], EMPTY)
            self._history.show([], EMPTY)
        yield
        self._show_instances()
        yield

    def _show_instances(self) -> None:
        """Show who shares the ledger, where it is shared."""
        view = self.dashboard.view()
        self._instances.display = bool(view.instances)
        if view.instances:
            lines = instance_lines(view.instances, view.at_ms, max(self._instances.size.width - 4, 20))
            since: Line = (("  since each began", "muted"),)
            self._instances.show(lines, (("Instances", "title"), *since))

    def _show(self, provider: ProviderView, now_ms: int) -> None:
        width = max(self._rates.size.width - 4, 20)
        rates = [*identity_lines(provider), EMPTY, *self._rate_lines(provider, width)]
        history = history_lines(provider, now_ms, self.dashboard.zone, width)
        title: Line = ((provider.status.name, "title"),)
        zone: Line = ((f"  {self.dashboard.zone_name}", "muted"),)
        if self._history.size.width:
            self._rates.show(rates, title)
            self._history.show(history, (("Health and history", "title"), *zone))
        else:
            self._rates.show([*rates, EMPTY, *history], (*title, *zone))

    def _rate_lines(self, provider: ProviderView, width: int) -> list[Line]:
        """Return a provider's price list: some have hundreds of models, which seldom change."""
        rates, known = provider.status.model_rates, self._priced
        if known is None or known[0] is not rates or known[1] != width:
            known = self._priced = (rates, width, rate_lines(provider, width))
        return known[2]

    def words(self) -> Mapping[str, str]:
        """Say what would be done to the selected provider; hide its keys where there is none."""
        provider = self._provider
        if provider is None:
            return {"open": "", "rotation": "", "close_breaker": ""}
        if self.dashboard.read_only:
            return {"rotation": "", "close_breaker": ""}
        return {} if provider.status.in_rotation else {"rotation": "put back"}

    def narrow(self, typed: str) -> None:
        """Show only providers whose names contain the words."""
        self._selected = 0

    def names(self) -> Names:
        """Return the providers' names."""
        return {"": [each.status.name for each in self.dashboard.view().providers]}

    @property
    def _providers(self) -> Sequence[ProviderView]:
        return [each for each in self.dashboard.view().providers if name_matches(self.typed, each.status.name)]

    @property
    def _provider(self) -> ProviderView | None:
        providers = self._providers
        return providers[self._selected] if self._selected < len(providers) else None

    def select(self, name: str) -> None:
        """Select the provider of that name, out of any filter."""
        self.filter_by("")
        names = [each.status.name for each in self._providers]
        if name in names:
            self._move(names.index(name) - self._selected)

    def action_panel(self) -> None:
        """Move the cursor to the price board, or back to the providers."""
        self._board.active = not self._board.active
        self.size_pieces(*self.size)
        self.call_after_refresh(self.repaint)

    @property
    def _on_board(self) -> bool:
        return self._board.active

    def action_move(self, by: int) -> None:
        """Select another provider; on the price board another model."""
        if self._on_board:
            self._board.move(by)
            self.repaint()
        else:
            self._move(by)

    def _move(self, by: int) -> None:
        last = len(self._providers) - 1
        self._selected = min(max(self._selected + by, 0), max(last, 0))
        self._rates.top = self._history.top = 0
        self.repaint()

    def action_page(self, by: int) -> None:
        """Scroll the selected provider's lines."""
        self._rates.scroll_lines(by * 5)
        self._history.scroll_lines(by * 5)

    def step_back(self) -> bool:
        """Return from the price board to the providers; return whether the cursor was there."""
        active, self._board.active = self._on_board, False
        return active

    def action_ends(self, last: bool) -> None:
        """Select the first or the last provider."""
        self.action_move(10**6 if last else -(10**6))

    async def action_open(self) -> None:
        """Show the requests of the selected provider; on the price board those of the model, in the time range."""
        if self._on_board and self._board.model is not None:
            await self.show_requests(f"{term('model', self._board.model)} {self.in_range}")
        elif self._provider is not None:
            await self.show_requests(term("provider", self._provider.status.name))

    def action_rotate(self) -> None:
        """Take the provider out of rotation or back; ask first if no other is left."""
        provider = self._provider
        if provider is None or self.dashboard.read_only or not self.dashboard.last_in_rotation(provider):
            self._do(self.dashboard.toggle_rotation)
            return
        question = f"{provider.status.name} is the last provider in rotation"
        answers = [("y", "take it out: every request will be refused"), ("n", "leave it in")]
        self.app.push_screen(ChoiceScreen(question, answers), self._taken_out)

    def _taken_out(self, answer: str | None) -> None:
        if answer == "y":
            self._do(self.dashboard.toggle_rotation)

    def action_close_breaker(self) -> None:
        """Close its breaker."""
        self._do(self.dashboard.close_breaker)

    def _do(self, act: Callable[[ProviderView], str]) -> None:
        provider = self._provider
        if provider is None:
            return
        if self.dashboard.options.read_only:
            self.notify("This dashboard is read-only: it was started with --readonly", markup=False)
            return
        if self.dashboard.read_only:
            self.notify("This dashboard only watches: providers are changed where arbstr runs", markup=False)
            return
        try:
            self.notify(act(provider), markup=False)
        except KeyError:
            self.notify(f"{provider.status.name} is not configured any more", severity="error", markup=False)
        self.dashboard.catch_up()
        self.repaint()

    @on(Panel.Picked, "#provider-table")
    async def _picked(self, event: Panel.Picked) -> None:
        index = self._table.row_at(event.index)
        if index is not None:
            self._board.active = False
            self._move(index - self._selected)
            if event.twice:
                await self.action_open()

    @on(Panel.Picked, "#price-board")
    async def _model_picked(self, event: Panel.Picked) -> None:
        model = self._board.model_at(event.index)
        if model is not None:
            await self.show_requests(f"{term('model', model)} {self.in_range}")

    @on(Panel.Wheeled)
    def _wheeled(self, event: Panel.Wheeled) -> None:
        if isinstance(event.panel, ScrollPanel):
            event.panel.scroll_lines(event.by)
        else:
            self.action_move(1 if event.by > 0 else -1)
