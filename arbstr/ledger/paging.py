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
from arbstr.ledger.contents import Counts
from arbstr.ledger.counting import (
    READ,
    along_index,
    content_count,
    counted,
    has_few_names,
    has_index,
    narrow,
    size,
    ways,
)
from arbstr.ledger.filters import TRUE, Condition, Part, both, either
from arbstr.ledger.found_rows import COLUMN, Found, directed, found_in_order, found_rows, merged, plain_order, read_rows
from arbstr.ledger.model import Entry, Filter, Order, Page, Sort
from arbstr.ledger.read_view import ReadTransaction
from arbstr.ledger.time_buckets import TimeRange, in_order

_NEAR = 1000  # rows that may be skipped one by one
_SOON = 2  # times as many rows of an order are looked at before all that match are gathered instead
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
    return Page(read_rows(view, where, view.rows(), found), lister.counts.total)


def _can_be_counted(view: ReadTransaction, where: Filter, sort: Sort, order: Order, offset: int) -> bool:
    """Check whether rollups can find the page, even if some of its rows are yet to be adopted."""
    span = view.listed(where)
    if not view.waiting(*span):
        return True
    if view.needs_parts(where):
        return False
    near = order == "desc" and offset <= _NEAR
    return sort == "timestamp" and (near or not view.waiting(*span, unsummed=True))


def first(view: ReadTransaction, where: Filter, sort: Sort, order: Order, limit: int, offset: int = 0) -> list[Entry]:
    """Return up to `limit` matching rows from `offset` on; how many there are in all may take longer to say."""
    if (sort, order, offset) == ("timestamp", "desc", 0):
        return slice_before(view, where, None, limit)
    if view.holds.pending or not _can_be_counted(view, where, sort, order, offset):
        table, condition = view.matching(where)
        found = found_rows(view, table, condition, sort, plain_order(sort, order), limit, offset)
        return read_rows(view, where, table, found)
    if view.needs_parts(where):
        return _rows_of_parts(view, where, sort, order, offset, limit)
    return read_rows(view, where, view.rows(), _Lister(view, where).page(sort, order, offset, limit))


def _page_of_parts(view: ReadTransaction, where: Filter, sort: Sort, order: Order, offset: int, limit: int) -> Page:
    return Page(_rows_of_parts(view, where, sort, order, offset, limit), content_count(view, where))


def _rows_of_parts(
    view: ReadTransaction, where: Filter, sort: Sort, order: Order, offset: int, limit: int
) -> list[Entry]:
    if offset > _WALKED and not view.has_refused(where):
        deep = _beside_few(view, where, sort, order, offset, limit)
        deep = _deep(view, where, sort, order, offset, limit) if deep is None else deep
        return read_rows(view, where, "requests", deep)
    found = []
    for part in view.parts(where):
        if filters.needs_content(part):
            found += _top(view, part, sort, order, offset + limit)
        else:
            found += _Lister(view, part).page(sort, order, 0, offset + limit)
    return read_rows(view, where, view.rows(), merged(found, sort, order)[offset : offset + limit])


def _beside_few(
    view: ReadTransaction, where: Filter, sort: Sort, order: Order, offset: int, limit: int
) -> list[Found] | None:
    """Return rows far down a list whose rows rollups can count but for a few; None if it is another list."""
    parts, few = view.parts(where), list[Found]()
    many = [part for part in parts if not filters.needs_content(part)]
    if len(many) != 1:
        return None
    for part in parts:
        few += _top(view, part, sort, order, _WALKED) if part is not many[0] else []
    if len(few) >= _WALKED:
        return None
    begin = max(offset - len(few), 0)  # so many of the others come before at most
    found = _Lister(view, many[0]).page(sort, order, begin, limit + len(few))
    return merged(few + found, sort, order)[offset - begin :][:limit]


def _deep(view: ReadTransaction, where: Filter, sort: Sort, order: Order, offset: int, limit: int) -> list[Found]:
    """Return rows far down a list of many: the database passes over those before them."""
    start, end = view.listed(where)
    if sort == "cost_sats" and filters.content_of(where) <= filters.COSTS:
        content = filters.of_content(where, view.dialect, faceted=True)
        condition = both(view.aside(where, start, end), filters.of_cost_index(where), content)
        return found_rows(view, "requests", condition, sort, plain_order(sort, order), limit, offset)
    aside = "" if sort == "timestamp" else f"{view.dialect.aside}{view.dialect.gathered}"
    by = f"{aside}{COLUMN[sort]} {directed(sort, order)}, id {order}"
    if (sort, order) == ("cost_sats", "asc"):
        by = f"{COLUMN[sort]} IS NULL, {by}"
    return found_rows(view, "requests", view.walked(where, start, end), sort, by, limit, offset)


def slice_before(view: ReadTransaction, where: Filter, before: Entry | None, limit: int) -> list[Entry]:
    """Return the newest `limit` matching rows older than `before`."""
    older = (
        TRUE if before is None else Condition(f"({view.dialect.aside}at_ms, id) < (?, ?)", (before.at_ms, before.id))
    )
    start, end = view.listed(where)
    end = end if before is None else min(end, before.at_ms + 1)
    content = view.needs_parts(where)
    if view.holds.pending or (content and view.waiting(start, end)):
        found = found_rows(
            view, view.rows(), both(view.plain(where), older), "timestamp", "at_ms DESC, id DESC", limit, 0
        )
    elif content:
        tops = [_newest_of(view, part, (start, end), older, limit) for part in view.parts(where)]
        found = merged([row for top in tops for row in top], "timestamp", "desc")[:limit]
    else:
        found = _newest(view, where, (start, end), older, limit, 0)
    return read_rows(view, where, view.rows(), found)


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
        column = COLUMN[sort]
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
        column = COLUMN[sort]
        if self._walks(sort, offset, limit):
            condition = both(part, self._view.aside(self._where, self._start, self._end))
            by = f"{column} {directed(sort, order)}, id {order}"
            return found_rows(self._view, "requests", condition, sort, by, limit, offset)
        return self._gathered(sort, order, part, offset, limit)

    def _gathered(self, sort: Sort, order: Order, part: Condition, offset: int, limit: int) -> list[Found]:
        """List a run whose rows are gathered and sorted; where it is deep, only those up to a bound are sorted."""
        aside, gathered = self._view.dialect.aside, self._view.dialect.gathered
        by = f"{aside}{gathered}{COLUMN[sort]} {directed(sort, order)}, id {order}"
        matching = self._matching(part, self._start, self._end)
        # Where a dialect reads the rows of facets for their figure, that takes longer than to sort them.
        sorts = bool(gathered) or filters.grain_for(self._where) == "all"
        bound = self._bound(sort, part, by, offset + limit) if sorts and offset > _NEAR else None
        if bound is not None:
            figure = f"{aside}{'' if self._is_indexed(sort) else gathered}{COLUMN[sort]}"
            beyond = Condition(f"{figure} {'>=' if order == 'desc' else '<='} ?", (bound,))
            found = found_rows(self._view, "requests", both(matching, beyond), sort, by, limit, offset)
            if len(found) == limit:  # else there are fewer beyond it than were guessed
                return found
        return found_rows(self._view, "requests", matching, sort, by, limit, offset)

    def _is_indexed(self, sort: Sort) -> bool:
        """Check whether an index has the rows of each facet in the order."""
        return sort == "cost_sats" and self._view.dialect.facets_with_costs and filters.grain_for(self._where) != "all"

    def _bound(self, sort: Sort, part: Condition, by: str, depth: int) -> Any:
        """Guess up to which figure there are `depth` rows and more, by a part of the window; None: nobody knows."""
        length = max((self._end - self._start) // _SAMPLE, 1)
        first = (self._start + self._end - length) // 2
        sample = self._matching(part, first, first + length)
        found = found_rows(self._view, "requests", sample, sort, by, 1, depth * _SPARE // _SAMPLE)
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
        found = merged(found, "timestamp", "desc")[:depth]
    return found[offset:]


def _newest_of(view: ReadTransaction, part: Part, span: tuple[int, int], older: Condition, depth: int) -> list[Found]:
    """Return the newest rows of a part: gathered along its index and sorted, or walked to if they are too many."""
    at_ms = f"{view.dialect.aside}at_ms"
    inside = both(filters.within(*span, at_ms), older)
    alone = along_index(view, part) if part.rows != TRUE else narrow(view, part)
    if alone:
        condition = both(alone, inside)
        return found_rows(view, "requests", condition, "timestamp", f"{at_ms} DESC, id DESC", depth, 0)
    if not has_index(part):
        return _newest(view, part, span, older, depth, 0)
    few, gathered = _few(view, depth), list[Found]()
    for way in ways(view, part):
        condition, most = both(way, inside), few + 1 - len(gathered)
        gathered += view.all(f"SELECT id, at_ms FROM requests WHERE {condition.sql} LIMIT ?", (*condition.values, most))
        if len(gathered) > few:
            return _newest_of_many(view, part, span, older, depth)
    return merged(gathered, "timestamp", "desc")[:depth]


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
        found_rows(view, "requests", both(way, inside), "timestamp", f"{at_ms} DESC, id DESC", depth, 0)
        for way in ways(view, part)
    ]
    return merged([row for top in tops for row in top], "timestamp", "desc")[:depth]


def _top(view: ReadTransaction, part: Part, sort: Sort, order: Order, depth: int) -> list[Found]:
    """Return the first rows of a part in an order."""
    if (sort, order) == ("timestamp", "desc"):
        return _newest_of(view, part, view.listed(part), TRUE, depth)
    few, aside = _few(view, depth), ""
    if part.rows != TRUE or (has_index(part) and size(view, part, few + 1) <= few):
        condition = _gathered(view, part)
        aside = view.dialect.gathered
    elif alone := narrow(view, part):
        condition, aside = alone, f"{view.dialect.aside}{view.dialect.gathered}"
    else:
        return _walked(view, part, sort, order, depth)
    return found_in_order(view, condition, sort, order, aside, depth)


def _walked(view: ReadTransaction, part: Part, sort: Sort, order: Order, depth: int) -> list[Found]:
    """Return the first rows of a large part: they are near the beginning of the order, or all of it is sorted."""
    start, end = view.listed(part)
    column, aside = COLUMN[sort], f"{view.dialect.aside}{view.dialect.gathered}"
    if sort != "timestamp":
        content = filters.of_content(part, view.dialect, faceted=True, session=f"{view.dialect.aside}session")
        condition = both(view.aside(part, start, end), content)
        by = f"{column} {directed(sort, order)}"
        known = f"SELECT {column} FROM requests WHERE {column} IS NOT NULL ORDER BY {by} LIMIT 1 OFFSET ?"
        if (last := view.one(known, (_NEAR * _SOON,))) is None:
            return found_in_order(view, condition, sort, order, "", depth)
        near = Condition(f"{column} {'>=' if order == 'desc' else '<='} ?", (last[0],))
        found = found_rows(view, "requests", both(near, condition), sort, f"{by}, id {order}", depth, 0)
        if len(found) == depth or last[0] is None:
            return found
    if has_few_names(view, part):
        return found_in_order(view, view.faceted(part, start, end), sort, order, aside, depth)
    walk = view.walked(part, start, end)
    return found_in_order(view, walk, sort, order, "" if sort == "timestamp" else aside, depth)


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
    if filters.grain_for(where) == "all":
        return view.walked(where, start_ms, end_ms), True
    narrowed = replace(filters.without_content(where), since_ms=start_ms, until_ms=end_ms - 1, open_end=False)
    matching = counted(view, narrowed).total if matching is None else matching
    everything = counted(view, Filter(since_ms=start_ms, until_ms=end_ms - 1)).total
    near = depth * everything < matching * matching
    if near or (filters.needs_content(where) and matching * READ > everything):
        return view.walked(where, start_ms, end_ms), True
    return view.faceted(where, start_ms, end_ms), False


def _plain_page(view: ReadTransaction, where: Filter, sort: Sort, order: Order, offset: int, limit: int) -> Page:
    """Return a page of rows that rollups can't count."""
    table, condition = view.matching(where)
    [total] = view.one(f"SELECT COUNT(*) FROM {table} WHERE {condition.sql}", condition.values)
    found = found_rows(view, table, condition, sort, plain_order(sort, order), limit, offset)
    return Page(read_rows(view, where, table, found), total)
