"""Pages of rows at a cost that grows with the page, not with the ledger.

A page deep in a list by time is found by counting whole days and hours in the rollups; one in a list by cost or latency
from the nearer end. With a filter there are two ways to a page: *walk* along the order and leave out what does not
match, or *gather* all that match and sort them. The counts say which is shorter.
"""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from typing import Any

from arbstr.clock import DAY_MS, HOUR_MS
from arbstr.ledger import filters
from arbstr.ledger.backlog import rows_in
from arbstr.ledger.counting import along_index, content_count, counted, has_index, size, ways
from arbstr.ledger.filters import TRUE, Condition, Part, both, either
from arbstr.ledger.model import Entry, Filter, Order, Page, Sort
from arbstr.ledger.read_view import Counts, ReadTransaction
from arbstr.ledger.row_mapping import ENTRY_COLUMNS, entry_of
from arbstr.ledger.sql import values
from arbstr.ledger.time_buckets import TimeRange, in_order

Found = tuple[int, Any]  # a row's id, and what it is sorted by

_COLUMN = {"timestamp": "at_ms", "cost_sats": "cost_sats", "latency_ms": "latency_ms"}
_NEAR = 1000  # rows that may be skipped one by one
_WALKED = 50_000  # rows that are read along time before all that match are gathered instead
_SAMPLE = 16  # the part of a window whose rows tell about where in an order a page lies
_SPARE = 2  # times as many rows as there should be up to a bound
_GATHERED = 3  # reading a row by its id costs so many steps along an index


def page(view: ReadTransaction, where: Filter, sort: Sort, order: Order, offset: int, limit: int) -> Page:
    """Return up to `limit` rows from `offset` on, and how many match in all."""
    if view.holds.pending or not _can_be_counted(view, where, sort, order, offset):
        return _plain_page(view, where, sort, order, offset, limit)
    if view.needs_parts(where):
        return _page_of_parts(view, where, sort, order, offset, limit)
    lister = _Lister(view, where)
    found = lister.page(sort, order, offset, limit)
    return Page(_read(view, where, view.rows(), found), lister.counts.total)


def _can_be_counted(view: ReadTransaction, where: Filter, sort: Sort, order: Order, offset: int) -> bool:
    """Check whether rollups can find the page, even if some of its rows are yet to be adopted."""
    span = view.listed(where)
    if not view.waiting(*span):
        return True
    if view.needs_parts(where):
        return False
    near = order == "desc" and offset <= _NEAR
    return sort == "timestamp" and (near or not view.waiting(*span, unsummed=True))


def first(view: ReadTransaction, where: Filter, sort: Sort, order: Order, limit: int) -> list[Entry]:
    """Return the first `limit` matching rows in an order; how many there are in all may take longer to say."""
    if (sort, order) == ("timestamp", "desc"):
        return slice_before(view, where, None, limit)
    if view.holds.pending or not _can_be_counted(view, where, sort, order, 0):
        table, condition = view.matching(where)
        return _read(view, where, table, _found(view, table, condition, sort, _plain_order(sort, order), limit, 0))
    if view.needs_parts(where):
        return _rows_of_parts(view, where, sort, order, 0, limit)
    return _read(view, where, view.rows(), _Lister(view, where).page(sort, order, 0, limit))


def _page_of_parts(view: ReadTransaction, where: Filter, sort: Sort, order: Order, offset: int, limit: int) -> Page:
    return Page(_rows_of_parts(view, where, sort, order, offset, limit), content_count(view, where))


def _rows_of_parts(
    view: ReadTransaction, where: Filter, sort: Sort, order: Order, offset: int, limit: int
) -> list[Entry]:
    found = []
    for part in view.parts(where):
        if filters.needs_content(part):
            found += _top(view, part, sort, order, offset + limit)
        else:
            found += _Lister(view, part).page(sort, order, 0, offset + limit)
    return _read(view, where, view.rows(), _merged(found, sort, order)[offset : offset + limit])


def slice_before(view: ReadTransaction, where: Filter, before: Entry | None, limit: int) -> list[Entry]:
    """Return the newest `limit` matching rows older than `before`."""
    older = (
        TRUE if before is None else Condition(f"({view.dialect.aside}at_ms, id) < (?, ?)", (before.at_ms, before.id))
    )
    start, end = view.listed(where)
    end = end if before is None else min(end, before.at_ms + 1)
    content = view.needs_parts(where)
    if view.holds.pending or (content and view.waiting(start, end)):
        found = _found(view, view.rows(), both(view.plain(where), older), "timestamp", "at_ms DESC, id DESC", limit, 0)
    elif content:
        tops = [_newest_of(view, part, (start, end), older, limit) for part in view.parts(where)]
        found = _merged([row for top in tops for row in top], "timestamp", "desc")[:limit]
    else:
        found = _newest(view, where, (start, end), older, limit, 0)
    return _read(view, where, view.rows(), found)


def ordered(view: ReadTransaction, where: Filter, sort: Sort, order: Order) -> tuple[str, Condition]:
    """Return a statement for all matching rows in order; the condition has the values of its placeholders."""
    table, condition = view.matching(where)
    sql = f"SELECT {ENTRY_COLUMNS} FROM {table} WHERE {condition.sql} ORDER BY {_plain_order(sort, order)} LIMIT ?"
    return sql, condition


class _Lister:
    """Lists pages of one filter that rollups can count."""

    def __init__(self, view: ReadTransaction, where: Filter, counts: Counts | None = None) -> None:
        self._view = view
        self._where = where
        self._start, self._end = view.listed(where)
        self.counts = counted(view, where) if counts is None else counts

    def page(self, sort: Sort, order: Order, offset: int, limit: int) -> list[Found]:
        """Return up to `limit` rows from `offset` on."""
        limit = min(limit, self.counts.total - offset)
        if limit <= 0:
            return []
        return self._by_time(order, offset, limit) if sort == "timestamp" else self._by(sort, order, offset, limit)

    def _by_time(self, order: Order, offset: int, limit: int) -> list[Found]:
        if order == "asc":
            return self._by_time("desc", self.counts.total - offset - limit, limit)[::-1]
        end, offset = self.locate(offset) if offset > _NEAR else (self._end, offset)
        left = self.counts.total if end == self._end else None
        return _newest(self._view, self._where, (self._start, end), TRUE, limit, offset, left)

    def locate(self, offset: int) -> tuple[int, int]:
        """Return an instant, and how many rows before it are newer than the one at `offset`: at most an hour's."""
        for piece in reversed(in_order(self._start, self._end)):
            counted = self._view.counts(self._where, [piece]).total
            if offset >= counted:
                offset -= counted
            elif not piece.span_ms:
                return piece.end_ms, offset
            else:
                return self._locate_in(piece, offset)
        return self._start, offset

    def _locate_in(self, piece: TimeRange, offset: int) -> tuple[int, int]:
        found, offset = self._view.position(self._where, piece, offset)
        if found.span_ms == DAY_MS:
            hours = TimeRange(HOUR_MS, found.start_ms, found.end_ms)
            found, offset = self._view.position(self._where, hours, offset)
        return found.end_ms, offset

    def _by(self, sort: Sort, order: Order, offset: int, limit: int) -> list[Found]:
        """List by a figure; rows without it come last in either order."""
        column = _COLUMN[sort]
        known = self.counts.total if sort == "latency_ms" else self.counts.priced
        found: list[Found] = []
        if offset < known:
            some = Condition(f"{column} IS NOT NULL")
            found = self._run(sort, order, some, known, offset, min(limit, known - offset))
        if offset + limit > known:
            first = max(offset - known, 0)
            none = Condition(f"{column} IS NULL")
            found += self._run(sort, order, none, self.counts.total - known, first, limit - len(found))
        return found

    def _run(self, sort: Sort, order: Order, part: Condition, size: int, offset: int, limit: int) -> list[Found]:
        """List a run of rows that have, or lack, the figure, from the nearer end."""
        behind = size - offset - limit
        if behind < offset:
            other: Order = "asc" if order == "desc" else "desc"
            return self._run(sort, other, part, size, behind, limit)[::-1]
        column = _COLUMN[sort]
        if self._walks(sort, offset, limit):
            condition = both(part, self._view.aside(self._where, self._start, self._end))
            by = f"{column} {_directed(sort, order)}, id {order}"
            return _found(self._view, "requests", condition, sort, by, limit, offset)
        return self._gathered(sort, order, part, offset, limit)

    def _gathered(self, sort: Sort, order: Order, part: Condition, offset: int, limit: int) -> list[Found]:
        """List a run whose rows are gathered and sorted; where it is deep, only those up to a bound are sorted."""
        aside, gathered = self._view.dialect.aside, self._view.dialect.gathered
        by = f"{aside}{gathered}{_COLUMN[sort]} {_directed(sort, order)}, id {order}"
        matching = self._matching(part, self._start, self._end)
        # Where a dialect reads the rows of facets for their figure, that takes longer than to sort them.
        sorts = bool(gathered) or filters.grain_for(self._where) == "all"
        bound = self._bound(sort, part, by, offset + limit) if sorts and offset > _NEAR else None
        if bound is not None:
            figure = f"{aside}{'' if self._is_indexed(sort) else gathered}{_COLUMN[sort]}"
            beyond = Condition(f"{figure} {'>=' if order == 'desc' else '<='} ?", (bound,))
            found = _found(self._view, "requests", both(matching, beyond), sort, by, limit, offset)
            if len(found) == limit:  # else there are fewer beyond it than were guessed
                return found
        return _found(self._view, "requests", matching, sort, by, limit, offset)

    def _is_indexed(self, sort: Sort) -> bool:
        """Check whether an index has the rows of each facet in the order."""
        return sort == "cost_sats" and self._view.dialect.facets_with_costs and filters.grain_for(self._where) != "all"

    def _bound(self, sort: Sort, part: Condition, by: str, depth: int) -> Any:
        """Guess up to which figure there are `depth` rows and more, by a part of the window; None: nobody knows."""
        length = max((self._end - self._start) // _SAMPLE, 1)
        first = (self._start + self._end - length) // 2
        sample = self._matching(part, first, first + length)
        found = _found(self._view, "requests", sample, sort, by, 1, depth * _SPARE // _SAMPLE)
        return found[0][1] if found else None

    def _matching(self, part: Condition, start: int, end: int) -> Condition:
        return both(part, filters.within(start, end), self._view.in_facets(self._where))

    def _walks(self, sort: Sort, offset: int, limit: int) -> bool:
        depth = offset + limit
        window = Filter(since_ms=self._start, until_ms=self._end - 1)
        everything = counted(self._view, window if self._view.dialect.by_months else Filter()).total
        matching = max(self.counts.total, 1)
        gathered = matching
        if offset > _NEAR and self._is_indexed(sort):  # up to a bound
            gathered = matching // _SAMPLE + depth * _SPARE
        return depth * everything < matching * gathered * _GATHERED


def _newest(
    view: ReadTransaction,
    where: Filter,
    span: tuple[int, int],
    older: Condition,
    limit: int,
    offset: int,
    matching: int | None = None,
) -> list[Found]:
    """Return the newest rows of a span after the first `offset`; `matching` as for `_matching`."""
    depth = offset + limit
    matching_rows, walks = _matching(view, where, span, depth, matching)
    condition = both(matching_rows, older)
    aside = "" if walks else view.dialect.gathered
    newest = f"SELECT id, at_ms FROM {{}} WHERE {{}} ORDER BY {aside}at_ms DESC, id DESC LIMIT ?"
    if not view.holds.backlog:
        return view.all(f"{newest.format('requests', condition.sql)} OFFSET ?", (*condition.values, limit, offset))
    found = view.all(newest.format("requests", condition.sql), (*condition.values, depth))
    since = found[-1][1] if len(found) == depth else span[0]
    if chunks := view.waiting(since, span[1]):
        condition = both(filters.within(since, span[1]), filters.of_any_row(where, view.dialect), older)
        found += view.all(newest.format(rows_in(chunks), condition.sql), (*condition.values, depth))
        found = _merged(found, "timestamp", "desc")[:depth]
    return found[offset:]


def _newest_of(view: ReadTransaction, part: Part, span: tuple[int, int], older: Condition, depth: int) -> list[Found]:
    """Return the newest rows of a part: gathered along its index and sorted, or walked to if they are too many."""
    if not has_index(part):
        return _newest(view, part, span, older, depth, 0)
    at_ms = f"{view.dialect.aside}at_ms"
    inside = both(filters.within(*span, at_ms), older)
    if part.rows != TRUE:
        condition = both(along_index(view, part), inside)
        return _found(view, "requests", condition, "timestamp", f"{at_ms} DESC, id DESC", depth, 0)
    few, gathered = _few(view, depth), list[Found]()
    for way in ways(view, part):
        condition, most = both(way, inside), few + 1 - len(gathered)
        gathered += view.all(f"SELECT id, at_ms FROM requests WHERE {condition.sql} LIMIT ?", (*condition.values, most))
        if len(gathered) > few:
            return _newest_of_many(view, part, span, older, depth)
    return _merged(gathered, "timestamp", "desc")[:depth]


def _newest_of_many(
    view: ReadTransaction, part: Part, span: tuple[int, int], older: Condition, depth: int
) -> list[Found]:
    """Return the newest rows of a large part: they are among the newest of all, or all of it is gathered and sorted."""
    start, end = span
    since, _ = _Lister(view, Filter(since_ms=start, until_ms=end - 1)).locate(_WALKED)
    found = _newest(view, part, (since, end), older, depth, 0)
    if len(found) == depth or since == start:
        return found
    at_ms = f"{view.dialect.aside}{view.dialect.gathered}at_ms"
    inside = both(filters.within(start, end, f"{view.dialect.aside}at_ms"), older)
    tops = [
        _found(view, "requests", both(way, inside), "timestamp", f"{at_ms} DESC, id DESC", depth, 0)
        for way in ways(view, part)
    ]
    return _merged([row for top in tops for row in top], "timestamp", "desc")[:depth]


def _top(view: ReadTransaction, part: Part, sort: Sort, order: Order, depth: int) -> list[Found]:
    """Return the first rows of a part in an order."""
    if (sort, order) == ("timestamp", "desc"):
        return _newest_of(view, part, view.listed(part), TRUE, depth)
    few, aside = _few(view, depth), ""
    if part.rows != TRUE or (has_index(part) and size(view, part, few + 1) <= few):
        condition = _gathered(view, part)
        aside = view.dialect.gathered
    else:
        start, end = view.listed(part)
        condition = both(view.aside(part, start, end), filters.of_content(part, view.dialect, faceted=True))
    if (sort, order) != ("cost_sats", "asc"):
        return _found(view, "requests", condition, sort, f"{aside}{_plain_order(sort, order)}", depth, 0)
    # The index by cost begins with rows without one, which come last here.
    priced, unpriced = Condition("cost_sats IS NOT NULL"), Condition("cost_sats IS NULL")
    found = _found(view, "requests", both(priced, condition), sort, f"{aside}cost_sats ASC, id ASC", depth, 0)
    if len(found) < depth:
        found += _found(view, "requests", both(unpriced, condition), sort, f"{aside}id ASC", depth - len(found), 0)
    return found


def _gathered(view: ReadTransaction, part: Part) -> Condition:
    """Return the condition that a row belongs to a part whose rows are gathered by other indexes than that of order."""
    if view.dialect.gathered:
        return either(*ways(view, part))
    among = "id IN (SELECT id FROM requests WHERE {})"
    return either(*(Condition(among.format(way.sql), way.values) for way in ways(view, part)))


def _few(view: ReadTransaction, depth: int) -> int:
    """Return how many rows can be gathered and sorted sooner than `depth` are walked to."""
    return isqrt(depth * counted(view, Filter()).total * _GATHERED)


def _matching(
    view: ReadTransaction, where: Filter, span: tuple[int, int], depth: int, matching: int | None = None
) -> tuple[Condition, bool]:
    """Return the condition that a row matches, phrased for the cheaper way to the `depth` newest; and if it is a walk.

    `matching` is how many rows of the span match, if that is known.
    """
    start_ms, end_ms = span
    window = filters.within(start_ms, end_ms)
    content = filters.of_content(where, view.dialect, faceted=True)
    if filters.grain_for(where) == "all":
        return both(window, content), True
    narrowed = replace(filters.without_content(where), since_ms=start_ms, until_ms=end_ms - 1, open_end=False)
    matching = counted(view, narrowed).total if matching is None else matching
    everything = counted(view, Filter(since_ms=start_ms, until_ms=end_ms - 1)).total
    if depth * everything < matching * matching:
        return both(window, view.in_facets(where, f"{view.dialect.aside}facet"), content), True
    return both(window, view.in_facets(where), content), False


def _plain_page(view: ReadTransaction, where: Filter, sort: Sort, order: Order, offset: int, limit: int) -> Page:
    """Return a page of rows that rollups can't count."""
    table, condition = view.matching(where)
    [total] = view.one(f"SELECT COUNT(*) FROM {table} WHERE {condition.sql}", condition.values)
    found = _found(view, table, condition, sort, _plain_order(sort, order), limit, offset)
    return Page(_read(view, where, table, found), total)


def _plain_order(sort: Sort, order: Order) -> str:
    column = _COLUMN[sort]
    known = f"{column} IS NULL, " if (sort, order) == ("cost_sats", "asc") else ""  # descending, nulls are last anyway
    return f"{known}{column} {_directed(sort, order)}, id {order}"


def _directed(sort: Sort, order: Order) -> str:
    """Return the direction with where nulls are, as SQLite has it and as PostgreSQL's index by cost does."""
    if sort != "cost_sats":
        return order
    return "DESC NULLS LAST" if order == "desc" else "ASC NULLS FIRST"


def _merged(found: list[Found], sort: Sort, order: Order) -> list[Found]:
    """Sort rows of several lists into the order of `_plain_order`."""
    if order == "desc":
        return sorted(found, key=lambda row: (row[1] is not None, row[1] or 0, row[0]), reverse=True)
    return sorted(found, key=lambda row: (row[1] is None, row[1] or 0, row[0]))


def _found(
    view: ReadTransaction, table: str, condition: Condition, sort: Sort, order: str, limit: int, offset: int
) -> list[Found]:
    """Return ids and sort keys, most often from an index alone; only the page's own rows are read then."""
    sql = f"SELECT id, {_COLUMN[sort]} FROM {table} WHERE {condition.sql} ORDER BY {order} LIMIT ? OFFSET ?"
    return [tuple(row) for row in view.all(sql, (*condition.values, limit, offset))]


def _read(view: ReadTransaction, where: Filter, table: str, found: list[Found]) -> list[Entry]:
    ids = [row_id for row_id, _ in found]
    if not ids:
        return []
    wanted = view.in_months(where, Condition(f"id IN {values(1, len(ids))}", tuple(ids)))
    read = view.all(f"SELECT {ENTRY_COLUMNS} FROM {table} WHERE {wanted.sql}", wanted.values)
    entries = {row[0]: entry_of(row) for row in read}
    return [entries[row_id] for row_id in ids]
