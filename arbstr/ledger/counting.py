"""How many rows match, at a cost that grows with what must be read, not with the ledger.

Rollups count what names and outcomes tell apart; the parts of other filters are counted along the index of each.
"""

from __future__ import annotations

from dataclasses import replace

from arbstr.ledger import filters
from arbstr.ledger.contents import Counts
from arbstr.ledger.filters import TRUE, Condition, Part, both
from arbstr.ledger.model import Filter
from arbstr.ledger.read_view import ReadTransaction
from arbstr.ledger.time_buckets import FOREVER_MS, TimeRange, cut

READ = 20  # a row is read by way of an index in the time that so many entries of one take
TAKEN_OFF = 2  # texts left out of which the rows are counted: each asks twice as much


def count(view: ReadTransaction, where: Filter) -> int:
    """Return how many rows match."""
    in_parts = view.needs_parts(where)
    if view.holds.pending or (in_parts and view.waiting(*view.listed(where))):
        plain = view.plain(where)
        [total] = view.one(f"SELECT COUNT(*) FROM {view.rows()} WHERE {plain.sql}", plain.values)
        return int(total)
    return content_count(view, where) if in_parts else counted(view, where).total


def content_count(view: ReadTransaction, where: Filter) -> int:
    """Return how many rows match a filter that has parts."""
    if 0 < len(where.without_texts) <= TAKEN_OFF:  # those in which it does occur are found by indexes
        text, *others = where.without_texts
        fewer = replace(where, without_texts=tuple(others))
        return count(view, fewer) - count(view, replace(fewer, texts=(*where.texts, text)))
    if where.without_sessions and where.sessions is None:  # those are found by indexes too
        fewer = replace(where, without_sessions=())
        return count(view, fewer) - count(view, replace(fewer, sessions=where.without_sessions))
    return sum(_part_count(view, part) for part in view.parts(where))


def _part_count(view: ReadTransaction, part: Part) -> int:
    content = filters.content_of(part)
    if not content:
        return counted(view, part).total
    return _counted_by_cost(view, part) if content <= filters.COSTS else size(view, part)


def _counted_by_cost(view: ReadTransaction, part: Part) -> int:
    """Count the rows within the bounds of cost, or those outside if they are fewer."""
    priced = counted(view, filters.without_content(part)).priced
    inside = _count(view, along_index(view, part), priced // 2 + 1)
    if inside <= priced // 2:
        return inside
    outside = []
    if part.min_cost_msats is not None:
        outside.append(replace(part, min_cost_msats=None, max_cost_msats=part.min_cost_msats - 1))
    if part.max_cost_msats is not None:
        outside.append(replace(part, min_cost_msats=part.max_cost_msats + 1, max_cost_msats=None))
    return priced - sum(_count(view, along_index(view, each)) for each in outside)


def _count(view: ReadTransaction, condition: Condition, most: int = FOREVER_MS) -> int:
    """Count rows, up to `most`."""
    sql = f"SELECT COUNT(*) FROM (SELECT 1 FROM requests WHERE {condition.sql} LIMIT ?) AS found"
    return int(view.one(sql, (*condition.values, most))[0])


def size(view: ReadTransaction, part: Part, most: int = FOREVER_MS) -> int:
    """Count the rows of a part, up to `most`."""
    found = 0
    for way in ways(view, part):
        found += _count(view, way, most - found)
    return found


def is_large(view: ReadTransaction, part: Part, share: int) -> bool:
    """Check whether a part has more rows than one in `share` of all."""
    most = counted(view, Filter()).total // share
    return size(view, part, most + 1) > most


def along_index(view: ReadTransaction, part: Part) -> Condition:
    """Return the condition that a row belongs to a part, phrased for the index that finds it with the least reading."""
    start, end = view.listed(part)
    if part.rows == TRUE:
        if few := narrow(view, part):
            return few
        if not has_index(part) or is_short(view, part):
            return view.faceted(part, start, end) if has_few_names(view, part) else view.walked(part, start, end)
    costs, session = filters.of_cost_index(part), "session"
    if part.rows != TRUE:
        costs, session = TRUE, f"{view.dialect.aside}session"
    content = filters.of_content(part, view.dialect, faceted=True, session=session)
    return both(view.aside(part, start, end), costs, content)


def narrow(view: ReadTransaction, part: Part) -> Condition | None:
    """Return the condition that a row belongs to a part, for an index in which it is among few; None if in none."""
    content, most = filters.content_of(part), counted(view, Filter()).total // READ
    aside = f"{view.dialect.aside}session"
    among = []
    if filters.COSTS & content:
        among.append((filters.of_cost_index(part), aside))
    if content >= filters.SESSIONS and len(part.sessions or ()) == 1:
        among += [(filters.in_session(session), "session") for session in part.sessions or ()]
    for entries, session in among:
        if _count(view, entries, most + 1) <= most:
            matching = filters.of_content(part, view.dialect, faceted=True, session=session)
            return both(view.aside(part, *view.listed(part)), entries, matching)
    return None


def is_short(view: ReadTransaction, part: Part) -> bool:
    """Check whether a part's window has so few rows that they are soonest read one after the other."""
    start, end = view.listed(part)
    window = counted(view, Filter(since_ms=start, until_ms=end - 1)).total
    return window * READ <= counted(view, Filter()).total


def has_few_names(view: ReadTransaction, part: Part) -> bool:
    """Check whether few rows of a part's window have the names it asks for."""
    if filters.grain_for(part) == "all":
        return False
    start, end = view.listed(part)
    named = counted(view, filters.without_content(part)).total
    return named * READ <= counted(view, Filter(since_ms=start, until_ms=end - 1)).total


def ways(view: ReadTransaction, part: Part) -> list[Condition]:
    """Return the conditions that a row belongs to a part, each a range of an index; they have no row in common."""
    by_latency = filters.TIMES & filters.content_of(part) and has_index(part) and part.rows == TRUE
    if not by_latency or is_short(view, part):
        return [along_index(view, part)]
    others = replace(part, min_took_ms=None, max_took_ms=None)
    rest = both(view.aside(part, *view.listed(part)), filters.of_content(others, view.dialect, faceted=True))
    return [both(way, rest) for way in filters.of_latency_index(part)]


def has_index(part: Part) -> bool:
    """Check whether a single index holds all that a part requires of rows."""
    content = filters.content_of(part)
    of_sessions = content >= filters.SESSIONS and len(part.sessions or ()) == 1
    return bool(content) and (part.rows != TRUE or of_sessions or content <= filters.COSTS or content <= filters.TIMES)


def counted(view: ReadTransaction, where: Filter) -> Counts:
    """Return the counts of a filter without parts; each is counted once a query."""
    if where not in view.counted:
        start, end = view.listed(where)
        pieces = [] if start >= end else cut(start, end)
        whole = [TimeRange(0, start, end)] if pieces and filters.needs_content(where) else pieces
        view.counted[where] = view.counts(where, whole)
    return view.counted[where]
