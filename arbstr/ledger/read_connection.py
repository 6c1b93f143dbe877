"""Queries to a ledger, on one read-only connection."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from arbstr.clock import DAY_MS, HOUR_MS, format_ms
from arbstr.errors import LedgerUnavailable
from arbstr.ledger import paging
from arbstr.ledger.aggregates import AggregateSum
from arbstr.ledger.files import check_place, check_schema, explain
from arbstr.ledger.filters import needs_content
from arbstr.ledger.model import Aggregate, Detail, Entry, Filter, GroupBy, Order, Page, Sort, Stats
from arbstr.ledger.read_view import ABSENT, CACHES_SINCE, ROLLUPS_SINCE, Label, ReadTransaction
from arbstr.ledger.rollups import FACET_COLUMNS, ROLLUP_COLUMNS
from arbstr.ledger.row_mapping import (
    COLUMNS,
    ENTRY_COLUMNS,
    entry_of,
    fold,
    fold_any,
    parse_ms,
    read_routing,
)
from arbstr.ledger.session_groups import session_sums, session_sums_of_rows
from arbstr.ledger.sums import content_sums
from arbstr.ledger.time_buckets import FOREVER_MS, TimeRange
from arbstr.sanitize import json_or_none
from arbstr.types import NO_GROUP

EXACT = 1000  # sets up to this size are read row by row, for exact percentiles
_BUSY_S = 5.0
_CHUNK = 200
_SCANNED = 20  # rows of sessions are scanned in their index in the time that reading one takes


class ReadConnection:
    """Queries on one connection; for one thread at a time. Raises only LedgerUnavailable.

    Never writes, also not to migrate: a ledger of an earlier arbstr is read as it is.
    """

    def __init__(self, path: Path, *, exact: int = EXACT) -> None:
        self._path = path
        self._exact = exact
        check_place(path)
        if not path.exists():
            raise LedgerUnavailable(f"No ledger at {path} yet; it is created when arbstr first serves.")
        with self._explained():
            self._connection = connect(path)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def interrupt(self) -> None:
        """Make a query that runs in another thread fail soon."""
        self._connection.interrupt()

    def stats(self, where: Filter, group_by: GroupBy | None = None) -> Stats:
        """Return aggregates of the matching rows."""
        with self._view() as view:
            tallies = self._tallies(view, where, None if group_by == "session" else group_by)
            groups = self._session_tallies(view, where) if group_by == "session" else tallies
            for label, msats in view.unexplained(where, group_by).items():
                groups.setdefault(label, AggregateSum()).unexplained_msats += msats
                if groups is not tallies:
                    tallies.setdefault(None, AggregateSum()).unexplained_msats += msats
        return Stats(_joined(tallies).aggregate(), _groups(groups, where, group_by))

    def _tallies(self, view: ReadTransaction, where: Filter, group_by: GroupBy | None) -> dict[Label, AggregateSum]:
        """Return sums by group: from rollups, or from the rows where they are few."""
        if group_by is None and needs_content(where) and not (view.pending or view.waiting(*view.listed(where))):
            sums = content_sums(view, where)
            return {None: sums} if sums.total else {}
        tallies = view.tallies(where, group_by, view.pieces(where, days=group_by != "hour"))
        start, end = view.clipped(where)
        few = sum(tally.total for tally in tallies.values()) <= self._exact
        if few and start < end and start >= view.extent.pruned_ms and not (view.bare or view.waiting(start, end)):
            return view.tallies(where, group_by, [TimeRange(0, start, end)])
        return tallies

    def _session_tallies(self, view: ReadTransaction, where: Filter) -> dict[Label, AggregateSum]:
        """Return sums by session, of rows that were not pruned."""
        unsummed = view.bare or view.pending or view.waiting(*view.listed(where))
        if not unsummed and not needs_content(where):
            kept = replace(where, since_ms=max(where.since_ms or 0, view.extent.pruned_ms))
            whole, everything = (_joined(self._tallies(view, each, None)) for each in (kept, Filter()))
            if whole.total > max(self._exact, everything.total // _SCANNED):
                return session_sums(view, kept, whole)
        return session_sums_of_rows(view, where)

    def spent_msats(self, where: Filter) -> int:
        """Return the assumed cost of the matching rows in msats: the charge or the cost by rates, whichever is more.

        What may have been spent in addition counts too, and what no request explains does not.
        """
        overall = self.stats(where).overall
        with self._view() as view:
            return overall.cost_msats - overall.unexplained_msats + view.excess_msats(where)

    def page(self, where: Filter, sort: Sort, order: Order, page: int, per_page: int) -> Page:
        """Return page `page` (from 1) of the matching rows."""
        with self._view() as view:
            return paging.page(view, where, sort, order, min((page - 1) * per_page, FOREVER_MS), per_page)

    def slice(self, where: Filter, before: Entry | None, limit: int) -> list[Entry]:
        """Return up to `limit` matching rows, newest first, from just after `before`."""
        with self._view() as view:
            return paging.slice_before(view, where, before, limit)

    def count(self, where: Filter) -> int:
        """Return how many rows match."""
        with self._view() as view:
            return paging.count(view, where)

    def request(self, request_id: str) -> Detail | None:
        """Return one finished request in full, or None."""
        with self._view() as view:
            # The id is looked up in the table itself: through a table expression SQLite would not see its index.
            closed = "" if view.bare else " AND open = 0"
            for wanted in dict.fromkeys((request_id, request_id.lower())):
                found = view.one(
                    f"SELECT MAX(id) FROM requests WHERE correlation_id = ?{closed}",
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
            entered = not view.bare and view.one(
                f"SELECT 1 FROM facets WHERE grain = ? AND {column}_key = ?", (column, key)
            )
            entered = entered or view.has_refused(Filter(model=name if column == "model" else None))
            if entered or not (view.pending or view.backlog):
                return bool(entered)
            return (
                view.one(f"SELECT 1 FROM {view.rows()} WHERE facet IS NULL AND fold({column}) = ?", (key,)) is not None
            )

    def info(self) -> dict[str, str]:
        """Return what the ledger holds, as labels and texts for people."""
        with self._view() as view:
            first, last = view.extent.first_ms, view.extent.last_ms
            if view.bare:
                first, last = view.one(f"SELECT MIN(at_ms), MAX(at_ms) FROM {view.rows()}")
            facts = {
                "size": f"{self._path.stat().st_size:,} bytes",
                "schema": f"{view.version} (an earlier arbstr's)" if view.bare else str(view.version),
                "rows": f"{view.one('SELECT COUNT(*) FROM requests')[0]:,}",
                "first": "-" if first is None else format_ms(first),
                "last": "-" if last is None else format_ms(last),
            }
            if not view.bare:
                facts |= _more_facts(view)
        return facts

    def entries(
        self, where: Filter, sort: Sort, order: Order, limit: int | None = None
    ) -> Generator[list[Entry], None, None]:
        """Yield the matching rows as they are at the first one, a few hundred at a time."""
        with self._view() as view:
            sql, condition = paging.ordered(view, where, sort, order)
            cursor = self._connection.execute(sql, (*condition.values, -1 if limit is None else limit))
            while rows := cursor.fetchmany(_CHUNK):
                yield [entry_of(row) for row in rows]

    @contextmanager
    def _view(self) -> Iterator[ReadTransaction]:
        """Open a read transaction: one state of the database for the whole query."""
        with self._explained():
            self._connection.execute("BEGIN")
            try:
                yield ReadTransaction(self._connection)
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerUnavailable(explain(self._path, error)) from error


def connect(path: Path) -> sqlite3.Connection:
    """Open a read-only connection; where not even the reader's log can be created, to the bare file.

    Read so, locks do not count, nor what is only in the log: never while a mere lock is in the way.
    """
    where = f"file:{quote(os.fsencode(path.absolute()))}?mode=ro"
    try:
        return _checked(path, where)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        return _checked(path, where + "&immutable=1")


def _checked(path: Path, uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        connection.create_function("fold", 1, fold_any, deterministic=True)
        connection.create_function("epoch_ms", 1, parse_ms, deterministic=True)
        _check(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    columns = {row[1] for row in connection.execute("PRAGMA table_info(requests)")}
    if not columns:
        raise LedgerUnavailable(f"{path} is not an arbstr ledger: it has no table 'requests'.")
    check_schema(path, version, {"requests"}, columns)
    if version >= ROLLUPS_SINCE and not columns >= set(COLUMNS):
        _show_as_latest(connection)
    if ROLLUPS_SINCE <= version < CACHES_SINCE:
        rollups = _with_absent(connection, "rollups", ROLLUP_COLUMNS)
        connection.execute(f"CREATE TEMP VIEW rollups AS SELECT {rollups} FROM main.rollups")


def _show_as_latest(connection: sqlite3.Connection) -> None:
    """Present a ledger of an earlier schema as one of the latest, for this connection."""
    requests = f"SELECT {_with_absent(connection, 'requests', COLUMNS)} FROM main.requests"
    facets = f"SELECT {_with_absent(connection, 'facets', ('id', *FACET_COLUMNS))} FROM main.facets"
    for grain in ("client", "dialect"):  # the finest facets will do for grains that are not there yet
        facets += f" UNION ALL SELECT {_with_absent(connection, 'facets', ('id', *FACET_COLUMNS), grain=grain)} "
        facets += "FROM main.facets WHERE grain = 'row'"
    connection.execute(f"CREATE TEMP VIEW requests AS {requests}")
    connection.execute(f"CREATE TEMP VIEW facets AS {facets}")


def _with_absent(connection: sqlite3.Connection, table: str, columns: Sequence[str], **fixed: str) -> str:
    """Return a table's columns for a SELECT, with values for missing and for fixed ones."""
    there = {row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")}
    values = {column: column if column in there else ABSENT.get(column, "NULL") for column in columns}
    values |= {column: f"'{value}'" for column, value in fixed.items()}
    return ", ".join(f"{value} AS {column}" for column, value in values.items())


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


def _more_facts(view: ReadTransaction) -> dict[str, str]:
    unfinished, pending = view.one("SELECT SUM(open <> 0), SUM(open = 0) FROM requests WHERE facet IS NULL")
    pruned = view.extent.pruned_ms
    summed = sum(chunk.total for chunk in view.backlog if chunk.summed)
    return {
        "open": f"{unfinished or 0:,} streams that have not ended",
        "unsummed": f"{max((pending or 0) - summed, 0):,} rows not yet in the rollups",
        "sums": f"{view.one('SELECT COUNT(*) FROM rollups')[0]:,} hours and days by model, provider and policy",
        "pruned": f"before {format_ms(pruned)}" if pruned else "never",
    }
