"""One request in full beside the list that it is in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import tzinfo

from textual import work

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import LedgerQueries
from tui.format import shown
from tui.model.full_request import FullRequest, from_detail
from tui.render.layout import EMPTY, Line
from tui.render.request_detail import request_lines
from tui.widgets.scroll_panel import ScrollPanel


class Preview(ScrollPanel):
    """Shows a request in full, the one before until the ledger has answered."""

    def __init__(self, ledger: LedgerQueries, settle_s: float, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ledger = ledger
        self._settle_s = settle_s
        self._wanted: str | None = None
        self._full: FullRequest | None = None
        self._problem = ""
        self._zone: tzinfo | None = None
        self._remark: Line = EMPTY

    def show_request(self, request_id: str | None, zone: tzinfo | None, note: Line = EMPTY) -> None:
        """Show a request, None for none; `note` at its upper edge."""
        self._zone, self._remark = zone, note
        if request_id != self._wanted:
            self._wanted = request_id
            self.top = 0
            self._look_up(request_id)
        self._draw_lines()

    @work(exclusive=True, group="preview")
    async def _look_up(self, request_id: str | None) -> None:
        """Ask the ledger, once the selection rests."""
        await asyncio.sleep(self._settle_s)
        try:
            detail = None if request_id is None else await self._ledger.request(request_id)
        except LedgerUnavailable as problem:
            self._problem = shown(str(problem))
        else:
            self._problem = ""
            self._full = None if detail is None else from_detail(detail)
            self.forget_selection()
        self._draw_lines()

    def _draw_lines(self) -> None:
        title: Line = (("Preview", "title"),)
        self.show(self._body(max(self.size.width - 4, 20)), title, self._remark)

    def _body(self, width: int) -> Sequence[Line]:
        if self._problem:
            return [((self._problem, "warn"),)]
        if self._full is None:
            return [(("no request is selected" if self._wanted is None else "asking the ledger …", "muted"),)]
        return request_lines(self._full, width, self._zone)
