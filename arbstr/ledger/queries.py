"""Queries to a ledger of whatever database, each on one state of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Literal

from arbstr.clock import DAY_MS, HOUR_MS
from arbstr.ledger import counting, paging
from arbstr.ledger.aggregates import AggregateSum
from arbstr.ledger.filters import grain_for, needs_content
from arbstr.ledger.found_rows import ordered
from arbstr.ledger.leases import Missing, Period
from arbstr.ledger.model import Aggregate, Detail, Entry, Filter, GroupBy, Order, Page, Sort, Stats
from arbstr.ledger.read_view import Label, ReadTransaction
from arbstr.ledger.row_json import read_routing
from arbstr.ledger.row_mapping import ENTRY_COLUMNS, entry_of, fold
from arbstr.ledger.session_groups import known_session_sums, session_sums, session_sums_of_rows
from arbstr.ledger.sums import content_sums
from arbstr.ledger.time_buckets import FOREVER_MS, TimeRange
from arbstr.sanitize import json_or_none
from arbstr.types import NO_GROUP

EXACT = 1000  # sets up to this size are read row by row, for exact percentiles
CHUNK = 200  # rows that are read at a time where they are many
_SCANNED = 20  # rows of sessions are scanned in their index in the time that reading one takes


class Queries(ABC):
    """Queries on one connection; for one thread at a time. Raises only LedgerUnavailable.

    Never writes, also not to migrate. Sets of up to `exact` rows have exact percentiles.
    """

    def __init__(self, exact: int = EXACT) -> None:
        self._exact = exact

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    @abstractmethod
    def interrupt(self) -> None:
        """Make a query that runs in another thread fail soon; returns at once."""

    @abstractmethod
    def info(self) -> dict[str, str]:
        """Return what the ledger holds, as labels and texts for people."""

    @abstractmethod
    def _view(self) -> AbstractContextManager[ReadTransaction]:
        """Open a read transaction: one state of the database for the whole query."""

    @abstractmethod
    def _many(self, sql: str, values: Sequence[Any]) -> Iterator[list[Any]]:
        """Yield the rows of a statement in the open transaction, `CHUNK` at a time."""

    def stats(self, where: Filter, group_by: GroupBy | None = None) -> Stats:
        """Return aggregates of the matching rows."""
        with self._view() as view:
            tallies = self._tallies(view, where, None if group_by == "session" else group_by)
            groups = self._session_tallies(view, where, tallies) if group_by == "session" else tallies
            for label, msats in view.unexplained(where, group_by).items():
                groups.setdefault(label, AggregateSum()).unexplained_msats += msats
                if groups is not tallies:
                    tallies.setdefault(None, AggregateSum()).unexplained_msats += msats
        return Stats(_joined(tallies).aggregate(), _groups(groups, where, group_by))

    def _tallies(self, view: ReadTransaction, where: Filter, group_by: GroupBy | None) -> dict[Label, AggregateSum]:
        """Return sums by group: from rollups, or from the rows where they are few."""
        if group_by is None and needs_content(where) and not (view.holds.pending or view.waiting(*view.listed(where))):
            sums = content_sums(view, where)
            return {None: sums} if sums.total else {}
        tallies = view.tallies(where, group_by, view.pieces(where, days=group_by != "hour"))
        start, end = view.clipped(where)
        few = sum(tally.total for tally in tallies.values()) <= self._exact
        if (
            few
            and start < end
            and start >= view.holds.extent.pruned_ms
            and not (view.holds.bare or view.waiting(start, end))
        ):
            return view.tallies(where, group_by, [TimeRange(0, start, end)])
        return tallies

    def _session_tallies(
        self, view: ReadTransaction, where: Filter, tallies: dict[Label, AggregateSum]
    ) -> dict[Label, AggregateSum]:
        """Return sums by session, of rows that were not pruned; `tallies` are those of all."""
        unsummed = view.holds.bare or view.holds.pending or view.waiting(*view.listed(where))
        if not unsummed and not needs_content(where):
            pruned_ms = view.holds.extent.pruned_ms
            kept = replace(where, since_ms=max(where.since_ms or 0, pruned_ms))
            whole = _joined(self._tallies(view, kept, None) if pruned_ms else tallies)
            if view.holds.sessions and grain_for(kept) == "all" and whole.total > self._exact:
                return known_session_sums(view, kept, whole)
            if whole.total > max(self._exact, _joined(self._tallies(view, Filter(), None)).total // _SCANNED):
                return session_sums(view, kept, whole)
        return session_sums_of_rows(view, where)

    def spent_msats(self, where: Filter) -> int:
        """Return the assumed cost of the matching rows in msats: the charge or the cost by rates, whichever is more.

        What may have been spent in addition counts too, and what no request explains does not.
        """
        with self._view() as view:
            return self._spent_msats(view, where)

    def missing(self, period: Period) -> Missing:
        """Return by how much what all rows of a budget's period count is more than what is noted."""
        where = Filter(
            since_ms=period.starts_ms,
            until_ms=period.ends_ms - 1,
            policy=period.policy or None,
            client=period.client or None,
        )
        columns = "policy = ? AND client = ? AND starts_ms = ? AND ends_ms = ?"
        with self._view() as view:
            spent_msats, changes = view.one(
                f"SELECT spent_msats, changes FROM budget_periods WHERE {columns}", period.key
            )
            return Missing(self._spent_msats(view, where) - spent_msats, changes)

    def _spent_msats(self, view: ReadTransaction, where: Filter) -> int:
        cost = sum(tally.aggregate().cost_msats for tally in self._tallies(view, where, None).values())
        return cost + view.excess_msats(where)

    def page(self, where: Filter, sort: Sort, order: Order, page: int, per_page: int) -> Page:
        """Return page `page` (from 1) of the matching rows."""
        with self._view() as view:
            return paging.page(view, where, sort, order, min((page - 1) * per_page, FOREVER_MS), per_page)

    def slice(
        self,
        where: Filter,
        before: Entry | None,
        limit: int,
        sort: Sort = "timestamp",
        order: Order = "desc",
        offset: int = 0,
    ) -> list[Entry]:
        """Return up to `limit` matching rows, newest first from just after `before`, or from `offset` in any order."""
        with self._view() as view:
            if before is None:
                return paging.first(view, where, sort, order, limit, offset)
            return paging.slice_before(view, where, before, limit)

    def count(self, where: Filter) -> int:
        """Return how many rows match."""
        with self._view() as view:
            return counting.count(view, where)

    def request(self, request_id: str) -> Detail | None:
        """Return one finished request in full, or None."""
        with self._view() as view:
            # The id is looked up in the table itself: through a table expression SQLite would not see its index.
            closed = "TRUE" if view.holds.bare else view.dialect.closed
            for wanted in dict.fromkeys((request_id, request_id.lower())):
                found = view.one(
                    f"SELECT MAX(id) FROM requests WHERE correlation_id = ? AND {closed}",
                    (wanted,),
                )
                if found[0] is not None:
                    columns = f"{ENTRY_COLUMNS}, attempts, routing"
                    row = view.one(f"SELECT {columns} FROM {view.rows()} WHERE id = ?", found)
                    return Detail(entry_of(row[:-2]), json_or_none(row[-2]), read_routing(row[-1]))
        return None

    def known(self, column: Literal["model", "provider"], name: str) -> bool:
        """Check whether a name (ignoring case) was ever logged."""
        with self._view() as view:
            key = fold(name)
            entered = not view.holds.bare and view.one(
                f"SELECT 1 FROM facets WHERE grain = ? AND {column}_key = ?", (column, key)
            )
            entered = entered or view.has_refused(Filter(model=name if column == "model" else None))
            if entered or not (view.holds.pending or view.holds.backlog):
                return bool(entered)
            return (
                view.one(f"SELECT 1 FROM {view.rows()} WHERE facet IS NULL AND fold({column}) = ?", (key,)) is not None
            )

    def entries(
        self, where: Filter, sort: Sort, order: Order, limit: int | None = None
    ) -> Generator[list[Entry], None, None]:
        """Yield the matching rows as they are at the first one, a few hundred at a time."""
        with self._view() as view:
            sql, condition = ordered(view, where, sort, order)
            for rows in self._many(sql, (*condition.values, FOREVER_MS if limit is None else limit)):
                yield [entry_of(row) for row in rows]


def _joined(tallies: dict[Label, AggregateSum]) -> AggregateSum:
    """Return the sums of all groups together."""
    whole = AggregateSum()
    for tally in tallies.values():
        whole.add(tally)
    return whole


def _groups(tallies: dict[Label, AggregateSum], where: Filter, group_by: GroupBy | None) -> dict[str, Aggregate]:
    match group_by:
        case None:
            return {}
        case "hour":
            return _series(tallies, where, HOUR_MS)
        case "day":
            return _series(tallies, where, DAY_MS)
    named: defaultdict[str, AggregateSum] = defaultdict(AggregateSum)
    for name in sorted(tallies, key=lambda name: (name is None, str(name))):
        named[NO_GROUP if name is None else str(name)].add(tallies[name])
    return {name: tally.aggregate() for name, tally in named.items()}


def _series(tallies: dict[Label, AggregateSum], where: Filter, span_ms: int) -> dict[str, Aggregate]:
    """Return every hour or day of the window, also those without rows; an open end is the first or last row's.

    Rows from after the window, where they are kept, have their hours and days, but no empty ones before them.
    """
    starts = [start for start in tallies if isinstance(start, int)]
    first = min(starts, default=None) if where.since_ms is None else where.since_ms - where.since_ms % span_ms
    last = max(starts, default=None) if where.until_ms is None else where.until_ms
    if first is None or last is None:
        return {}
    empty = Aggregate()
    return {
        str(start): tallies[start].aggregate() if start in tallies else empty
        for start in (*range(first, last + 1, span_ms), *sorted(start for start in starts if start > last))
    }
