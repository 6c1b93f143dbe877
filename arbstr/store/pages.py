"""Pages of rows at a cost that grows with the page, not with the ledger.

A page deep in a list by time is found by counting whole days and hours in the rollups; one in a list by cost or latency
from the nearer end. With a filter there are two ways to a page: *walk* along the order and leave out what does not
match, or *gather* all that match and sort them. The counts say which is shorter.
"""

from __future__ import annotations

from dataclasses import replace

from arbstr.query import Entry, Filter, Order, Page, Sort
from arbstr.store import conditions
from arbstr.store.backlog import rows_in
from arbstr.store.conditions import TRUE, Condition, both
from arbstr.store.rows import ENTRY_COLUMNS, entry_of
from arbstr.store.sql import values
from arbstr.store.view import Counts, View
from arbstr.store.window import DAY_MS, HOUR_MS, Piece, cut, in_order

_COLUMN = {"timestamp": "at_ms", "cost_sats": "cost_sats", "latency_ms": "latency_ms"}
_NEAR = 1000  # rows that may be skipped one by one
_GATHERED = 3  # reading a row by its id costs so many steps along an index


def page(view: View, where: Filter, sort: Sort, order: Order, offset: int, limit: int) -> Page:
    """The rows from `offset`, `limit` at most, and how many there are in all."""
    if view.loose or conditions.needs_content(where) or not _can_be_counted(view, where, sort, order, offset):
        return _plain_page(view, where, sort, order, offset, limit)
    lister = _Lister(view, where)
    limit = min(limit, lister.counts.total - offset)
    if limit <= 0:
        return Page([], lister.counts.total)
    rows = lister.by_time(order, offset, limit) if sort == "timestamp" else lister.by(sort, order, offset, limit)
    return Page(rows, lister.counts.total)


def _can_be_counted(view: View, where: Filter, sort: Sort, order: Order, offset: int) -> bool:
    """Whether rollups can find the page also while rows of it may be waiting to be adopted."""
    span = view.listed(where)
    if not view.waiting(*span):
        return True
    near = order == "desc" and offset <= _NEAR
    return sort == "timestamp" and (near or not view.waiting(*span, unsummed=True))


def slice_before(view: View, where: Filter, before: Entry | None, limit: int) -> list[Entry]:
    """The newest `limit` matching rows older than `before`."""
    older = TRUE if before is None else Condition("(at_ms, id) < (?, ?)", (before.at_ms, before.id))
    if view.loose:
        return _entries(view, view.rows(), both(view.plain(where), older), "at_ms DESC, id DESC", limit, 0)
    start, end = view.listed(where)
    end = end if before is None else min(end, before.at_ms + 1)
    return _newest(view, where, (start, end), older, limit, 0)


def count(view: View, where: Filter) -> int:
    """How many rows match."""
    if view.loose:
        plain = view.plain(where)
        [total] = view.one(f"SELECT COUNT(*) FROM {view.rows()} WHERE {plain.sql}", plain.values)
        return int(total)
    return _counted(view, where).total


def ordered(view: View, where: Filter, sort: Sort, order: Order) -> tuple[str, Condition]:
    """A statement for all matching rows in order, and the values of its marks in the condition."""
    table, condition = view.matching(where)
    sql = f"SELECT {ENTRY_COLUMNS} FROM {table} WHERE {condition.sql} ORDER BY {_plain_order(sort, order)} LIMIT ?"
    return sql, condition


class _Lister:
    """Pages of one filter that rollups can count."""

    def __init__(self, view: View, where: Filter) -> None:
        self._view = view
        self._where = where
        self._start, self._end = view.listed(where)
        self.counts = view.counts(where, cut(self._start, self._end) if self._start < self._end else [])

    def by_time(self, order: Order, offset: int, limit: int) -> list[Entry]:
        if order == "asc":
            return self.by_time("desc", self.counts.total - offset - limit, limit)[::-1]
        end, offset = self._locate(offset) if offset > _NEAR else (self._end, offset)
        left = self.counts.total if end == self._end else None
        return _newest(self._view, self._where, (self._start, end), TRUE, limit, offset, left)

    def _locate(self, offset: int) -> tuple[int, int]:
        """An instant, and how many of the rows before it are newer than the one at `offset`: fewer than in an hour."""
        for piece in reversed(in_order(self._start, self._end)):
            counted = self._view.counts(self._where, [piece]).total
            if offset >= counted:
                offset -= counted
            elif not piece.span_ms:
                return piece.end_ms, offset
            else:
                return self._locate_in(piece, offset)
        return self._start, offset

    def _locate_in(self, piece: Piece, offset: int) -> tuple[int, int]:
        found, offset = self._view.position(self._where, piece, offset)
        if found.span_ms == DAY_MS:
            hours = Piece(HOUR_MS, found.start_ms, found.end_ms)
            found, offset = self._view.position(self._where, hours, offset)
        return found.end_ms, offset

    def by(self, sort: Sort, order: Order, offset: int, limit: int) -> list[Entry]:
        """In the order of a figure; unknown ones last whichever way."""
        column = _COLUMN[sort]
        known = self.counts.total if sort == "latency_ms" else self.counts.priced
        found: list[Entry] = []
        if offset < known:
            some = Condition(f"{column} IS NOT NULL")
            found = self._run(column, order, some, known, offset, min(limit, known - offset))
        if offset + limit > known:
            first = max(offset - known, 0)
            none = Condition(f"{column} IS NULL")
            found += self._run(column, order, none, self.counts.total - known, first, limit - len(found))
        return found

    def _run(self, column: str, order: Order, part: Condition, size: int, offset: int, limit: int) -> list[Entry]:
        """Rows of one part of the list, come upon from its nearer end."""
        behind = size - offset - limit
        if behind < offset:
            other: Order = "asc" if order == "desc" else "desc"
            return self._run(column, other, part, size, behind, limit)[::-1]
        within = conditions.within
        facets = conditions.of_row_facets
        if self._walks(offset + limit):
            # The plus signs keep SQLite to the index of the order.
            condition = both(part, within(self._start, self._end, "+at_ms"), facets(self._where, "+facet"))
            by = f"{column} {order}, id {order}"
        else:
            condition = both(part, within(self._start, self._end), facets(self._where))
            by = f"+{column} {order}, id {order}"
        return _entries(self._view, "requests", condition, by, limit, offset)

    def _walks(self, depth: int) -> bool:
        everything = _counted(self._view, Filter()).total
        matching = max(self.counts.total, 1)
        return depth * everything < matching * matching * _GATHERED


def _newest(
    view: View,
    where: Filter,
    span: tuple[int, int],
    older: Condition,
    limit: int,
    offset: int,
    matching: int | None = None,
) -> list[Entry]:
    """The newest rows of a span but for the first `offset`; `matching` as for `_matching`."""
    depth = offset + limit
    condition = both(_matching(view, where, span, depth, matching), older)
    newest = "SELECT id, at_ms FROM {} WHERE {} ORDER BY at_ms DESC, id DESC LIMIT ?"
    found = view.all(newest.format("requests", condition.sql), (*condition.values, depth))
    since = found[-1][1] if len(found) == depth else span[0]
    if chunks := view.waiting(since, span[1]):
        condition = both(conditions.within(since, span[1]), conditions.of_any_row(where), older)
        found += view.all(newest.format(rows_in(chunks), condition.sql), (*condition.values, depth))
        found = sorted(found, key=lambda row: (row[1], row[0]), reverse=True)[:depth]
    return _read(view, view.rows(), [row[0] for row in found[offset:]])


def _matching(view: View, where: Filter, span: tuple[int, int], depth: int, matching: int | None = None) -> Condition:
    """That a row matches, said so that the `depth` newest are found on the shorter way.

    `matching` is how many rows of the span match, if that is known.
    """
    start_ms, end_ms = span
    window = conditions.within(start_ms, end_ms)
    content = conditions.of_content(where, faceted=True)
    if conditions.grain_for(where) == "all":
        return both(window, content)
    narrowed = replace(conditions.without_content(where), since_ms=start_ms, until_ms=end_ms - 1, open_end=False)
    matching = _counted(view, narrowed).total if matching is None else matching
    everything = _counted(view, Filter(since_ms=start_ms, until_ms=end_ms - 1)).total
    if depth * everything < matching * matching:
        return both(window, conditions.of_row_facets(where, "+facet"), content)
    return both(window, conditions.of_row_facets(where), content)


def _counted(view: View, where: Filter) -> Counts:
    start, end = view.listed(where)
    if start >= end:
        return view.counts(where, [])
    whole = [Piece(0, start, end)] if conditions.needs_content(where) else cut(start, end)
    return view.counts(where, whole)


def _plain_page(view: View, where: Filter, sort: Sort, order: Order, offset: int, limit: int) -> Page:
    """A page of rows that rollups can't count."""
    table, condition = view.matching(where)
    [total] = view.one(f"SELECT COUNT(*) FROM {table} WHERE {condition.sql}", condition.values)
    return Page(_entries(view, table, condition, _plain_order(sort, order), limit, offset), total)


def _plain_order(sort: Sort, order: Order) -> str:
    column = _COLUMN[sort]
    known = f"{column} IS NULL, " if (sort, order) == ("cost_sats", "asc") else ""  # descending, nulls are last anyway
    return f"{known}{column} {order}, id {order}"


def _entries(view: View, table: str, condition: Condition, order: str, limit: int, offset: int) -> list[Entry]:
    """Ids first, most often from an index alone; then only the page's own rows are read."""
    found = f"SELECT id FROM {table} WHERE {condition.sql} ORDER BY {order} LIMIT ? OFFSET ?"
    ids = [row[0] for row in view.all(found, (*condition.values, limit, offset))]
    return _read(view, table, ids)


def _read(view: View, table: str, ids: list[int]) -> list[Entry]:
    if not ids:
        return []
    read = view.all(f"SELECT {ENTRY_COLUMNS} FROM {table} WHERE id IN {values(1, len(ids))}", ids)
    entries = {row[0]: entry_of(row) for row in read}
    return [entries[row_id] for row_id in ids]
