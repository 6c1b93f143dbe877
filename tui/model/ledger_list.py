"""The whole ledger as one list that reads only the rows in sight: by key where possible, never all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from arbstr.ledger.model import Entry, Filter, GroupBy, LedgerQueries, Order, Sort
from arbstr.types import NO_GROUP
from tui.model.filter_query import NAMES, Query
from tui.model.running_sums import RunningSums, running_sums

CHUNK = 100  # rows read at a time
CHUNKS_KEPT = 60
SORTS: tuple[Sort, ...] = ("timestamp", "cost_sats", "latency_ms")


class LedgerList:
    """Rows by their place, filtered and sorted.

    While nothing is selected it follows the newest rows: `restart` reads them again. From the first move on it is held
    at that moment, so that new rows move neither the selection nor what is in sight. `top` is the first
    row in sight.
    """

    def __init__(self, ledger: LedgerQueries, now_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._now_ms = now_ms
        self._chunks: OrderedDict[int, list[Entry]] = OrderedDict()
        self._version = 0  # results of older queries are dropped
        self._where = Filter()
        self.query = Query()
        self.sort: Sort = "timestamp"
        self.order: Order = "desc"
        self.total: int | None = None
        self.counted = True  # whether the total is known, and not merely that there are so many
        self.everything: int | None = None  # rows that the filter leaves in and out
        self.sums: RunningSums | None = None  # of the rows that pass the filter; None until any are known
        self._listed: Query | None = None  # what the rows have passed
        self._first_ms: int | None = None  # when the oldest row that was kept came
        self.selected: int | None = None
        self.top = 0

    @property
    def following(self) -> bool:
        """Whether new rows appear as they arrive."""
        return self.selected is None and self.top == 0

    @property
    def where(self) -> Filter:
        """The filter of the list."""
        return self._where

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────

    def row(self, index: int) -> Entry | None:
        """Return the row at that index, None until it is read."""
        chunk = self._chunks.get(index // CHUNK)
        offset = index % CHUNK
        return chunk[offset] if chunk is not None and offset < len(chunk) else None

    @property
    def selected_row(self) -> Entry | None:
        """The selected row, if any."""
        return None if self.selected is None else self.row(self.selected)

    def move(self, by: int, page: int) -> None:
        """Move the selection and keep it in sight; the first move selects the row at the top."""
        self.select(self.top if self.selected is None else self.selected + by, page)

    def select(self, index: int, page: int) -> None:
        """Select the row at that index, or the nearest one."""
        if not self.total:
            return
        self._stand_still()
        self.selected = min(max(index, 0), self.total - 1)
        self.top = min(max(self.top, self.selected - page + 1), self.selected)

    def scroll(self, by: int, page: int) -> None:
        """Scroll; the selection stays where it is."""
        self._stand_still()
        self.top = min(max(self.top + by, 0), max((self.total or 0) - page, 0))

    def follow(self) -> None:
        """Return to the newest rows, with nothing selected; call `restart` next."""
        self.selected, self.top = None, 0

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def narrow(self, query: Query, on_first: Callable[[], None] = lambda: None) -> None:
        """Show only matching rows; `on_first` as of `restart`."""
        self.query, self.sums = query, None
        self.follow()
        await self.restart(on_first)

    def next_sort(self) -> None:
        """Choose the next column to sort by; call `restart` next."""
        self.sort_by(SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)])

    def sort_by(self, sort: Sort) -> None:
        """Sort by a column, the largest first; by the one it is sorted by already, the other way round."""
        self.order = "asc" if sort == self.sort and self.order == "desc" else "desc"
        self.sort = sort
        self.follow()

    async def restart(self, on_first: Callable[[], None] = lambda: None) -> None:
        """Read the first rows and the count again. Raises LedgerUnavailable.

        `on_first` is called once the rows are there: counting them may take longer.
        """
        self._version += 1
        version = self._version
        where = await self._question()
        first = await self._ledger.slice(where, before=None, limit=CHUNK, sort=self.sort, order=self.order)
        total = len(first) if len(first) < CHUNK else None
        if version != self._version:
            return
        self._where, self.counted = where, total is not None
        known = self.total or 0 if self._listed is self.query else 0
        self.total, self._listed = max(known, len(first)) if total is None else total, self.query
        self._chunks.clear()
        self._chunks[0] = first
        on_first()
        if total is None:
            total = await self._ledger.count(where)
        everything = await self._ledger.count(Filter()) if self.query else total
        if version == self._version:
            self.total, self.everything, self.counted = total, everything, True

    async def sum_up(self, patience_s: float, on_part: Callable[[], None] = lambda: None) -> None:
        """Sum up the rows that pass the filter. Raises LedgerUnavailable.

        What takes longer than `patience_s` is summed up from the newest rows on; `on_part` is called for each piece.
        """
        query, where = self.query, self._where
        if self._first_ms is None:  # what was pruned is still in sums, but in no list
            oldest = (await self._ledger.page(Filter(), "timestamp", "asc", 1, 1)).entries
            self._first_ms = oldest[0].at_ms if oldest else None
        since_ms = max(where.since_ms or 0, self._first_ms or 0)
        async for sums in running_sums(self._ledger, where, since_ms, self._now_ms(), patience_s):
            is_news = sums.since_ms is None or self.sums is None or self.sums.since_ms is not None
            if query is self.query and is_news:  # what is known of all rows is not replaced by the sums of some
                self.sums = sums
                on_part()

    def missing(self, page: int) -> int | None:
        """Return the chunk to read next, for the rows in sight and a page either way; None if all are there."""
        if not self.total:
            return None
        first = max(self.top - page, 0)
        last = min(self.top + 2 * page, self.total - 1)
        in_sight = range(self.top // CHUNK, min(self.top + page, self.total - 1) // CHUNK + 1)
        around = range(first // CHUNK, last // CHUNK + 1)
        return next((chunk for chunk in (*in_sight, *around) if chunk not in self._chunks), None)

    async def load(self, chunk: int) -> None:
        """Read a chunk. Raises LedgerUnavailable."""
        version = self._version
        entries = await self._read(self._where, chunk, self.total or 0)
        if version != self._version:
            return
        self._chunks[chunk] = entries
        while len(self._chunks) > CHUNKS_KEPT:
            self._chunks.popitem(last=False)

    async def _read(self, where: Filter, chunk: int, total: int) -> list[Entry]:
        """Read by key from the chunk before if it is there; else from the nearer end, without counting again."""
        newest_first = (self.sort, self.order) == ("timestamp", "desc")
        before = self._chunks.get(chunk - 1) if chunk else None
        if newest_first and before:
            return await self._ledger.slice(where, before=before[-1], limit=CHUNK)
        offset = chunk * CHUNK
        behind = total - offset - CHUNK
        if self.counted and behind < offset and self._can_be_reversed(where):
            other: Order = "asc" if self.order == "desc" else "desc"
            limit = CHUNK + min(behind, 0)
            rows = await self._ledger.slice(
                where, before=None, limit=limit, sort=self.sort, order=other, offset=max(behind, 0)
            )
            return rows[::-1]
        return await self._ledger.slice(
            where, before=None, limit=CHUNK, sort=self.sort, order=self.order, offset=offset
        )

    def _can_be_reversed(self, where: Filter) -> bool:
        """Check whether the other order is this one backwards: rows of unknown cost come last in either."""
        return self.sort != "cost_sats" or where.min_cost_msats is not None or where.max_cost_msats is not None

    def _stand_still(self) -> None:
        """Leave out rows that arrive from now on."""
        newest = self.row(0) if (self.sort, self.order) == ("timestamp", "desc") else None
        until_ms = max(self._now_ms(), newest.at_ms if newest else 0)
        if self._where.until_ms is None or self._where.until_ms > until_ms:
            self._where = replace(self._where, until_ms=until_ms)

    async def _question(self) -> Filter:
        """Return the filter with the ledger's names in place of parts of names."""
        query = self.query
        return query.to_filter({name: await self.names(name) for name in NAMES if query.of(name)})

    async def names(self, group: GroupBy) -> list[str]:
        """Return all names that ever occurred in a column. Raises LedgerUnavailable."""
        groups = (await self._ledger.stats(Filter(), group)).groups
        return [name for name in groups if name != NO_GROUP]
