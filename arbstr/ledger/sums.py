"""Sums over rows that only their content tells apart: each part of a filter by the index that finds it.

Rollups sum what names and outcomes tell apart. What costs, durations, statuses or texts tell apart is read row by row:
in the time that so many rows take, not in that of the whole ledger.
"""

from __future__ import annotations

from dataclasses import replace

from arbstr.ledger import filters
from arbstr.ledger.aggregates import AggregateSum
from arbstr.ledger.counting import TAKEN_OFF, along_index, is_large, is_short, narrow
from arbstr.ledger.filters import TRUE, Part
from arbstr.ledger.model import Filter
from arbstr.ledger.read_view import ReadTransaction

_SCANNED = 20  # rows are read in their order in the time that one takes by way of an index


def content_sums(view: ReadTransaction, where: Filter) -> AggregateSum:
    """Return the sums of the matching rows that were kept; there must be no pending ones, nor any being adopted."""
    if not view.needs_parts(where):
        return view.listed_sums(where)
    if 0 < len(where.without_texts) <= TAKEN_OFF:  # those in which it does occur are found by indexes
        text, *others = where.without_texts
        fewer = replace(where, without_texts=tuple(others))
        sums = content_sums(view, fewer)
        sums.subtract(content_sums(view, replace(fewer, texts=(*where.texts, text))))
        return sums
    sums = AggregateSum()
    for part in view.parts(where):
        sums.add(_part_sums(view, part))
    return sums


def _is_short(view: ReadTransaction, part: Part) -> bool:
    """Check whether the rows of a part's window are soonest read one after the other."""
    return part.rows == TRUE and is_short(view, part) and narrow(view, part) is None


def _part_sums(view: ReadTransaction, part: Part) -> AggregateSum:
    if not filters.needs_content(part):
        return view.listed_sums(part)
    scans = _is_short(view, part) or is_large(view, part, _SCANNED)
    rows = view.faceted(part, *view.listed(part)) if scans else along_index(view, part)
    sums = AggregateSum()
    for _, found in view.row_sums("NULL", "requests", rows):
        sums.add(found)
    return sums
