"""The live request feed: running requests on top, finished ones below; filtered, held still while a row is selected."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, islice

from arbstr.events import ChargeBooked
from arbstr.monitoring.live_state import amended_record
from arbstr.types import RequestRecord
from tui.model.filter_query import Query
from tui.model.request_row import InFlightRequest, Item, RequestRow, row_of

KEPT = 200  # finished requests in memory; the ledger has the rest


class Feed:
    """The requests, the filter and the selection.

    While `held` (a row is selected, or the dashboard is frozen) the rows shown stay the same ones in the same order,
    so that new ones never move the selection; `unseen` counts what has finished since.
    """

    def __init__(self) -> None:
        self.running: dict[str, InFlightRequest] = {}
        self.finished: deque[RequestRecord] = deque(maxlen=KEPT)  # newest first
        self.query = Query()
        self.selected: int | None = None
        self.unseen = 0
        self._held: list[Item] | None = None
        self._still: list[Item] | None = None  # the requests at the time it was frozen
        self._rows: dict[str, RequestRow] = {}  # rows of finished requests

    @property
    def held(self) -> bool:
        """Whether the feed is held still."""
        return self._held is not None

    def rows(self, limit: int = KEPT) -> list[RequestRow]:
        """Return the rows to show, from the top, `limit` at most."""
        return [self._row(item) for item in islice(self._items(), limit)]

    def finish(self, records: Iterable[RequestRecord]) -> None:
        """Move requests that have ended to the finished ones."""
        for record in records:
            flight = self.running.pop(record.request_id, None)
            if flight is not None:
                flight.record = record
            self.finished.appendleft(record)
            self.unseen += 1

    def amend(self, event: ChargeBooked) -> None:
        """Change what a finished request cost."""
        for place, record in enumerate(self.finished):
            if record.request_id == event.request_id:
                self.finished[place] = amended_record(record, event)
                self._rows.pop(event.request_id, None)

    def replace_all(self, running: Iterable[InFlightRequest], finished: Iterable[RequestRecord]) -> None:
        """Start over from a snapshot; held rows stay on the screen and their requests are still updated."""
        before, self.running = self.running, {flight.request_id: flight for flight in running}
        self.finished = deque(islice(finished, KEPT), maxlen=KEPT)
        for record in self.finished:
            if (flight := before.get(record.request_id)) is not None:
                flight.record = record

    def lengthen(self, past: Iterable[RequestRecord]) -> None:
        """Append older requests as far as there is room."""
        self.finished.extend(islice(past, KEPT - len(self.finished)))

    def narrow(self, query: Query) -> None:
        """Show only matching requests; of a frozen feed, those of the frozen ones."""
        self.query = query
        if self._still is None:
            self.release()
        else:
            self.selected = None
            self._held = [item for item in self._still if query.matches(self._row(item))]

    def hold(self) -> None:
        """Hold the feed where it is; only the running rows' figures go on."""
        self._held = list(islice(self._items(), KEPT))
        self.unseen = 0

    def freeze(self) -> None:
        """Freeze everything as it is."""
        self._held = [_frozen_copy(item) for item in islice(self._items(), KEPT)]
        self._still = [_frozen_copy(item) for item in self._all()]
        self.unseen = 0

    def release(self) -> None:
        """Follow the newest again, with nothing selected."""
        self._held = self._still = None
        self.selected = None

    def deselect(self) -> None:
        """Clear the selection; follow again unless frozen."""
        if self._still is not None:
            self.selected = None
        else:
            self.release()

    def move(self, by: int) -> None:
        """Move the selection; the first move selects the top row and holds the feed."""
        self.select(0 if self.selected is None else self.selected + by)

    def select(self, index: int) -> None:
        """Select the row at that index, or the nearest one."""
        if self._held is None:
            self.hold()
        last = len(self._held or ()) - 1
        if last < 0:
            self.deselect()
        else:
            self.selected = min(max(index, 0), last)

    @property
    def selected_item(self) -> Item | None:
        """The selected request, if any."""
        if self._held is None or self.selected is None:
            return None
        return self._held[self.selected]

    def _items(self) -> Iterable[Item]:
        if self._held is not None:
            return self._held
        return (item for item in self._all() if self.query.matches(self._row(item))) if self.query else self._all()

    def _all(self) -> Iterable[Item]:
        newest_first = sorted(self.running.values(), key=_arrival, reverse=True)
        return chain(newest_first, self.finished)

    def _row(self, item: Item) -> RequestRow:
        record = item if isinstance(item, RequestRecord) else item.record
        if record is None:
            return row_of(item)
        row = self._rows.get(record.request_id)
        if row is None:
            if len(self._rows) > 2 * KEPT:
                self._rows.clear()
            row = self._rows[record.request_id] = row_of(record)
        return row


def _arrival(flight: InFlightRequest) -> tuple[int, str]:
    return flight.at_ms, flight.request_id


def _frozen_copy(item: Item) -> Item:
    """Return a copy that events no longer change."""
    return replace(item, path=[*item.path]) if isinstance(item, InFlightRequest) else item
