"""One request in full, on top of the screen it was opened from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import Entry
from tui.format import shown
from tui.keymap import key
from tui.model.dashboard import DashboardModel
from tui.model.full_request import FullRequest, from_detail, from_item
from tui.model.request_row import Item
from tui.render.layout import Line
from tui.render.request_detail import request_lines
from tui.screens.base import LIST_KEYS, TABS, show_keys, show_standing
from tui.screens.copy import offer_copies
from tui.screens.notice_room import make_room
from tui.screens.overlay import leave
from tui.widgets.bars import KeyBar, TopBar
from tui.widgets.panel import Panel
from tui.widgets.scroll_panel import ScrollPanel


@dataclass(frozen=True, slots=True)
class Opened:
    """The request to show, and what the feed knows of it, if it was opened from there."""

    request_id: str
    item: Item | None = None


Step = Callable[[int], Awaitable[Opened | None]]  # to a neighbour in the list below; None where there is none


class DetailScreen(Screen[None]):
    """One request in full: first from the feed, if opened from there, then as the ledger has it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("next_request", "step(1)", "The next request in full", "next"),
        key("previous_request", "step(-1)", "The request before in full", "previous"),
        key("copy", "copy", "Copy its id, then also its row, JSON or command", "copy"),
        Binding("escape,enter,backspace", "leave", "back", tooltip="Back to where it was opened"),
        *LIST_KEYS,
        Binding("space", "page(1)", show=False),
        *TABS,
    ]

    def __init__(self, dashboard: DashboardModel, opened: Opened, step: Step) -> None:
        super().__init__()
        self._dashboard = dashboard
        self._step = step
        self._top = TopBar(id="top")
        self._scroller = ScrollPanel(id="detail")
        self._bar = KeyBar(id="keys")
        self._open(opened)

    def _open(self, opened: Opened) -> None:
        """Open with a request of which only this much is known."""
        self._request_id, self._item = opened.request_id, opened.item
        self._full: FullRequest | None = None if opened.item is None else from_item(opened.item)
        self._entry: Entry | None = None  # the ledger's; what is shown is its answer from then on
        self._asked = False
        self._problem = ""

    def compose(self) -> ComposeResult:
        """Compose the top bar, the lines, the keys."""
        yield self._top
        yield self._scroller
        yield self._bar

    def on_mount(self) -> None:
        """Ask the ledger, and give way to notices."""
        make_room(self, self._bar)
        self._ask()

    def on_resize(self) -> None:
        """Lay the lines out for the new width."""
        self.call_after_refresh(self.repaint)

    @work(exclusive=True, group="ask")
    async def _ask(self) -> None:
        """Ask the ledger, now and then, until it knows the request."""
        while self._entry is None:
            await self._ask_once()
            self.repaint()
            await asyncio.sleep(self._dashboard.timings.row_retry_s)

    async def _ask_once(self) -> None:
        try:
            detail = await self._dashboard.source.ledger.request(self._request_id)
        except LedgerUnavailable as problem:
            self._problem = shown(str(problem))
            return
        self._asked, self._problem = True, ""
        if detail is not None:
            self._full, self._entry = from_detail(detail), detail.entry

    def paint(self) -> Iterator[None]:
        """Paint the bars and the lines."""
        show_standing(self._top, self._dashboard)
        show_keys(self._bar, self, self._dashboard, {"range": ""})
        yield
        if self._entry is None and self._item is not None:
            self._full = from_item(self._item)
        title: Line = (("Request in full", "title"),)
        note: Line = ((self._problem, "warn"),) if self._problem else ()
        self._scroller.show(self._body(max(self._scroller.size.width - 4, 20)), title, note)
        yield

    def _body(self, width: int) -> list[Line]:
        if self._full is None:
            return [(("The ledger has no such request." if self._asked else "asking the ledger …", "muted"),)]
        return request_lines(self._full, width, self._dashboard.zone)

    def repaint(self) -> None:
        """Paint at once."""
        if self.is_mounted:
            for _ in self.paint():
                pass

    def action_move(self, by: int) -> None:
        """Scroll by lines."""
        self._scroller.scroll_lines(by)

    def action_page(self, by: int) -> None:
        """Scroll by pages."""
        self._scroller.scroll_lines(by * 15)

    def action_ends(self, last: bool) -> None:
        """Scroll to the first or the last line."""
        self._scroller.scroll_lines(10**6 if last else -(10**6))

    def action_copy(self) -> None:
        """Copy the request's id, and ask what else of it to."""
        offer_copies(self, self._dashboard, self._request_id, self._entry)

    @work(exclusive=True, group="step")
    async def action_step(self, by: int) -> None:
        """Show the next request of the list below, or the one before."""
        try:
            opened = await self._step(by)
        except LedgerUnavailable as problem:
            self._problem = shown(str(problem))
        else:
            if opened is not None and opened.request_id != self._request_id:
                self._open(opened)
                self._scroller.top = 0
                self._ask()
        self.repaint()

    def action_leave(self) -> None:
        """Return to where it was opened."""
        leave(self)

    @on(Panel.Wheeled)
    def _wheeled(self, event: Panel.Wheeled) -> None:
        self.action_move(event.by)
