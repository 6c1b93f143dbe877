"""A ledger as one query sees it: a consistent state, and what can be read from where.

Rows that are in rollups are counted by them, except at the ragged edges of a window. Pending rows, and all rows of a
database that was never migrated, are read one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from arbstr.clock import DAY_MS, HOUR_MS
from arbstr.ledger import filters
from arbstr.ledger.aggregates import SUMS, AggregateSum, from_columns
from arbstr.ledger.backlog import REFUSED_ROWS, Chunk, rows_in
from arbstr.ledger.contents import Contents, Counts
from arbstr.ledger.dialect import SqlDialect
from arbstr.ledger.expressions import INSTANT
from arbstr.ledger.filters import Condition, Part, both, either
from arbstr.ledger.id_search import FoundIds
from arbstr.ledger.latency_histogram import sketch_text, unpack
from arbstr.ledger.model import Filter, GroupBy
from arbstr.ledger.rollups import ALL_ROWS, SESSIONLESS
from arbstr.ledger.row_mapping import COLUMNS
from arbstr.ledger.search import all_fields, parts, refused_part
from arbstr.ledger.sql import MOST_AMONG, Statements, among
from arbstr.ledger.time_buckets import TimeRange, clip, cut

SEARCH_SINCE = 6  # the schema version that brought it
REFUSED_SINCE = 7
ACCOUNTS_SINCE = 9
CACHES_SINCE = 10

Label = str | int | None
Tallies = Iterator[tuple[Label, AggregateSum]]

_ADDED = COLUMNS[16:]
ABSENT = {
    "dialect": "'chat'",
    "dialect_key": "'chat'",
    "saved_vs_list_msats": "0",
    "cache_hit_tokens": "0",
    "saved_by_cache_msats": "0",
    "lost_by_switching_msats": "0",
}  # what a column that is not there yet would hold, if not null


_SPLIT = 50_000  # characters of latencies that are kept one by one
_MOST_FACETS = MOST_AMONG  # named one by one; more are searched for in each statement


class ReadTransaction:
    """Reads one state of the database, between BEGIN and COMMIT of its connection."""

    def __init__(
        self, connection: Statements, dialect: SqlDialect, holds: Contents, ids: FoundIds | None = None
    ) -> None:
        self._connection = connection
        self.dialect = dialect
        self.holds = holds
        self.counted: dict[Filter, Counts] = {}
        self._found_ids = ids or FoundIds()  # of earlier queries too, if the connection keeps them
        self._found_facets: dict[Condition, list[int]] = {}

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows of a statement."""
        return self._connection.execute(sql, values).fetchall()

    def one(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Return the first row of a statement; None without any."""
        return self._connection.execute(sql, values).fetchone()

    def rows(self, *, pending: bool = False) -> str:
        """Return a table expression with every column, of all closed rows or of the pending ones only."""
        if self.holds.bare:
            nulls = ", ".join(f"{ABSENT.get(column, 'NULL')} AS {column}" for column in _ADDED[1:])
            return f"(SELECT {', '.join(COLUMNS[:16])}, {INSTANT} AS at_ms, {nulls} FROM requests)"
        return self.dialect.rows_where(self.holds.is_pending if pending else self.dialect.closed)

    def clipped(self, where: Filter) -> tuple[int, int]:
        """Return the filter's window as [start, end)."""
        return clip(where.since_ms, where.end_ms, self.holds.extent)

    def listed(self, where: Filter) -> tuple[int, int]:
        """Return the same for queries of rows: no earlier than the oldest that were kept."""
        start, end = self.clipped(where)
        return max(start, self.holds.extent.pruned_ms), end

    def has_refused(self, where: Filter) -> bool:
        """Check whether rows of the filter's models were refused: their facets have no model."""
        refused = None if self.holds.version < REFUSED_SINCE else filters.of_refused(where)
        if refused is None:
            return False
        refused = self.in_months(where, refused)
        return self.one(f"SELECT 1 FROM requests WHERE {refused.sql} LIMIT 1", refused.values) is not None

    def in_months(self, where: Filter, wanted: Condition) -> Condition:
        """Return the condition on rows of a filter's window, with its months where those are looked at alone."""
        return both(filters.within(*self.listed(where)), wanted) if self.dialect.by_months else wanted

    def needs_parts(self, where: Filter) -> bool:
        """Check whether more than rollups and facets is needed to answer the filter."""
        return filters.needs_content(where) or self.has_refused(where)

    def parts(self, where: Filter) -> list[Part]:
        """Return the disjoint parts of such a filter, without those that no facet matches."""
        other_ids = self.holds.version < SEARCH_SINCE or self.one("SELECT 1 FROM ledger_state WHERE name = 'other_ids'")
        found = parts(
            where,
            self.dialect,
            other_ids=bool(other_ids),
            refused=self.has_refused(where),
            having_id=lambda wanted: self._having_id(wanted, where),
        )
        return [part for part in found if not part.named or self._has_facet(part)]

    def _having_id(self, wanted: Condition, where: Filter) -> Condition:
        """Return the condition that a row's request id is among those meant; ids are searched once a query."""
        wanted = self.in_months(where, wanted)
        ids = self._found_ids.rows(wanted, self.all, self.dialect.by_request_id)
        if ids == []:
            return Condition("FALSE")
        if ids is None:
            search = f"SELECT id FROM requests {self.dialect.by_request_id} WHERE {wanted.sql}"
            return Condition(f"id IN ({search})", wanted.values)
        marks, listed = among(ids)
        return Condition(f"id IN {marks}", listed)

    def _has_facet(self, part: Part) -> bool:
        meant = filters.facets(part, "row")
        return self.one(f"SELECT 1 FROM facets f WHERE {meant.sql}", meant.values) is not None

    def pieces(self, where: Filter, *, days: bool = True) -> list[TimeRange]:
        """Return the ranges to read for the filter's window."""
        start, end = self.clipped(where)
        if self.holds.bare or start >= end:
            return []
        return [TimeRange(0, start, end)] if filters.needs_content(where) else cut(start, end, days=days)

    def tallies(self, where: Filter, group_by: GroupBy | None, pieces: list[TimeRange]) -> dict[Label, AggregateSum]:
        """Return sums by group of the matching rows: those in the pieces, and pending ones."""
        tallies: defaultdict[Label, AggregateSum] = defaultdict(AggregateSum)
        for piece in pieces:
            for label, tally in self._piece_tallies(where, group_by, piece):
                (tallies[label].subtract if piece.subtract else tallies[label].add)(tally)
        if self.holds.pending:
            for label, tally in self._row_tallies(self.rows(pending=True), self.plain(where), group_by):
                tallies[label].add(tally)
        return {label: tally for label, tally in tallies.items() if tally.total}

    def waiting(self, start_ms: int, end_ms: int, *, unsummed: bool = False) -> list[Chunk]:
        """Return the chunks that may have rows of [start_ms, end_ms); only those not in rollups, if `unsummed`."""
        return [
            chunk for chunk in self.holds.backlog if chunk.meets(start_ms, end_ms) and not (unsummed and chunk.summed)
        ]

    def _uncounted(self, where: Filter, piece: TimeRange) -> tuple[str, Condition] | None:
        """Return what else to read for a piece: matching rows that are being adopted; None if there are none."""
        chunks = self.waiting(piece.start_ms, piece.end_ms, unsummed=bool(piece.span_ms))
        if not chunks:
            return None
        inside = filters.within(piece.start_ms, piece.end_ms)
        return rows_in(chunks), both(inside, filters.of_any_row(where, self.dialect))

    def matching(self, where: Filter) -> tuple[str, Condition]:
        """Return a table expression and a condition for the matching rows that were kept."""
        if self.holds.pending or self.waiting(*self.listed(where)):
            return self.rows(), self.plain(where)
        matching = self.faceted(where, *self.listed(where))
        refused = self.refused(where)
        return "requests", matching if refused is None else either(matching, refused)

    def counts(self, where: Filter, pieces: list[TimeRange]) -> Counts:
        """Return how many rows match in the pieces, without pending ones."""
        total = priced = 0
        for piece in pieces:
            for sql, values in self._piece_counts(where, piece):
                counted = from_columns(self.one(sql, values))
                sign = -1 if piece.subtract else 1
                total, priced = total + sign * counted[0], priced + sign * counted[1]
        return Counts(total, priced)

    def _piece_counts(self, where: Filter, piece: TimeRange) -> Iterator[tuple[str, tuple[Any, ...]]]:
        rows = "SELECT COUNT(*), COUNT(cost_sats) FROM"
        if piece.span_ms:
            table, condition = self._rollups(where, None, piece)
            yield f"SELECT SUM(r.total), SUM(r.priced) FROM {table} WHERE {condition.sql}", condition.values
        else:
            condition = self.faceted(where, piece.start_ms, piece.end_ms)
            yield f"{rows} requests WHERE {condition.sql}", condition.values
        if uncounted := self._uncounted(where, piece):
            table, condition = uncounted
            yield f"{rows} {table} WHERE {condition.sql}", condition.values

    def excess_msats(self, where: Filter) -> int:
        """Return by how much budgets count more than the matching rows cost, in msats."""
        start, end = self.listed(where)
        sources = [] if self.holds.bare else [("requests", self.faceted(where, start, end))]
        if start < end and (uncounted := self._uncounted(where, TimeRange(0, start, end))):
            sources.append(uncounted)
        if self.has_refused(where) and (part := refused_part(where)):
            sources.append(("requests", self._refused(part, start, end)))
        if self.holds.pending:
            sources.append((self.rows(pending=True), self.plain(where)))
        excess = f"SUM({self.dialect.counted_msats} - COALESCE({self.dialect.msats}, 0))"
        found = [self.one(f"SELECT {excess} FROM {table} WHERE {c.sql}", c.values)[0] for table, c in sources]
        return sum(from_columns(found))

    def faceted(self, where: Filter, start_ms: int, end_ms: int) -> Condition:
        """Return the condition that a row of `requests`, not pending, matches and arrived in [start_ms, end_ms)."""
        return both(
            filters.within(start_ms, end_ms),
            self.in_facets(where),
            filters.of_content(where, self.dialect, faceted=True),
        )

    def walked(self, where: Filter, start_ms: int, end_ms: int) -> Condition:
        """Return the same condition for a walk along time: the index by time has all but sessions and texts."""
        aside = self.dialect.aside
        content = filters.of_content(where, self.dialect, faceted=True, session=f"{aside}session")
        return both(filters.within(start_ms, end_ms), content, self.in_facets(where, f"{aside}facet"))

    def in_facets(self, where: Filter, column: str = "facet") -> Condition:
        """Return the condition that a row's facet matches the filter: a search for the facets, or their numbers."""
        if not self.dialect.facets_first or filters.grain_for(where) == "all":
            return filters.of_row_facets(where, column)
        meant = filters.facets(where, "row")
        if meant not in self._found_facets:
            found = self.all(f"SELECT f.id FROM facets f WHERE {meant.sql} LIMIT {_MOST_FACETS + 1}", meant.values)
            self._found_facets[meant] = [number for (number,) in found]
        numbers = self._found_facets[meant]
        if len(numbers) > _MOST_FACETS:
            return filters.of_row_facets(where, column)
        return Condition(f"{column} = ANY(?::bigint[])", (numbers,))

    def plain(self, where: Filter) -> Condition:
        """Return the condition that a row of `rows()` matches."""
        until = filters.TRUE if where.end_ms is None else Condition("at_ms <= ?", (where.end_ms,))
        since = Condition("at_ms >= ?", (max(where.since_ms or 0, self.holds.extent.pruned_ms),))
        return both(since, until, filters.of_any_row(where, self.dialect))

    def unexplained(self, where: Filter, group_by: GroupBy | None) -> dict[Label, int]:
        """Return what providers took for no row in the filter's window, in msats by group; nothing if it names rows."""
        meant = filters.of_unexplained(where)
        if meant is None or self.holds.version < ACCOUNTS_SINCE:
            return {}
        label = _label(group_by, "at_ms", "") if group_by in ("provider", "hour", "day") else "NULL"
        sql = f"SELECT {label}, SUM(msats) FROM unexplained WHERE {meant.sql} GROUP BY 1"
        return dict(self.all(sql, meant.values))

    def position(self, where: Filter, piece: TimeRange, offset: int) -> tuple[TimeRange, int]:
        """Find the row at `offset`, newest first, in a piece of rollups.

        Returns its hour or day, and its offset within.
        """
        table, condition = self._rollups(where, None, piece)
        start, before = self.one(
            "SELECT start_ms, upto - n FROM (SELECT r.start_ms AS start_ms, SUM(r.total) AS n, "
            "SUM(SUM(r.total)) OVER (ORDER BY r.start_ms DESC) AS upto "
            f"FROM {table} WHERE {condition.sql} GROUP BY r.start_ms) AS counted WHERE upto > ? ORDER BY upto LIMIT 1",
            (*condition.values, offset),
        )
        return TimeRange(piece.span_ms, start, start + piece.span_ms), offset - before

    def listed_sums(self, where: Filter) -> AggregateSum:
        """Return the sums of rows that were kept and that facets tell apart, without pending and refused ones."""

        def tallies(piece: TimeRange) -> Tallies:
            if piece.span_ms:
                return self._rollup_tallies(where, None, piece)
            return self._row_tallies("requests", self.faceted(where, piece.start_ms, piece.end_ms), None)

        return self._summed(where, tallies)

    def sessionless_sums(self, where: Filter) -> AggregateSum:
        """Return the sums of rows of a window that were kept and have no session, where the ledger has them."""

        def tallies(piece: TimeRange) -> Tallies:
            if piece.span_ms:
                inside = both(_cells_of(piece), Condition(f"r.facet = {SESSIONLESS}"))
                return self._cell_sums("NULL", "rollups r", inside)
            inside = both(filters.within(piece.start_ms, piece.end_ms), Condition("session IS NULL"))
            return self.row_sums("NULL", "requests", inside)

        return self._summed(where, tallies)

    def _summed(self, where: Filter, tallies: Callable[[TimeRange], Tallies]) -> AggregateSum:
        whole = AggregateSum()
        start, end = self.listed(where)
        for piece in cut(start, end) if start < end else ():
            for _, tally in tallies(piece):
                (whole.subtract if piece.subtract else whole.add)(tally)
        return whole

    def _piece_tallies(self, where: Filter, group_by: GroupBy | None, piece: TimeRange) -> Tallies:
        if piece.span_ms:
            yield from self._rollup_tallies(where, group_by, piece)
        else:
            condition = self.faceted(where, piece.start_ms, piece.end_ms)
            yield from self._row_tallies("requests", condition, group_by)
        if uncounted := self._uncounted(where, piece):
            yield from self._row_tallies(*uncounted, group_by)
        yield from self._refused_tallies(where, group_by, piece)

    def _refused_tallies(self, where: Filter, group_by: GroupBy | None, piece: TimeRange) -> Tallies:
        """Yield the sums of refused rows, if the query needs their models, which a piece's facets don't have."""
        among = refused_part(where)
        named = group_by == "model" and bool(piece.span_ms) and among is None and where.success is not True
        if named:
            among = Part(**all_fields(where), rows=Condition("refused_key IS NOT NULL"))
        if among is None or self.holds.version < REFUSED_SINCE:
            return
        sources = [("requests", self._refused(among, piece.start_ms, piece.end_ms))]
        if self.holds.backlog and piece.span_ms:
            within = filters.within(piece.start_ms, piece.end_ms)
            sources.append((REFUSED_ROWS, both(within, filters.of_any_row(among, self.dialect))))
        for table, condition in sources:
            for label, tally in self._row_tallies(table, condition, group_by):
                yield label, tally
                if named:  # the rollups count them as of no model
                    counted = AggregateSum()
                    counted.subtract(tally)
                    yield None, counted

    def refused(self, where: Filter) -> Condition | None:
        """Return the condition that a row is a refused one of the filter's models; None if there is none."""
        part = refused_part(where) if self.has_refused(where) else None
        return None if part is None else self._refused(part, *self.listed(where))

    def _refused(self, part: Part, start_ms: int, end_ms: int) -> Condition:
        """Return the condition that a row belongs to a part that consists of refused ones."""
        return both(self.aside(part, start_ms, end_ms), filters.of_content(part, self.dialect, faceted=True))

    def aside(self, where: Filter, start_ms: int, end_ms: int) -> Condition:
        """Return the condition that a row arrived in [start_ms, end_ms) and its facet matches, by any other index."""
        aside = self.dialect.aside
        return both(filters.within(start_ms, end_ms, f"{aside}at_ms"), self.in_facets(where, f"{aside}facet"))

    def _rollup_tallies(self, where: Filter, group_by: GroupBy | None, piece: TimeRange) -> Tallies:
        return self._cell_sums(_label(group_by, "r.start_ms", "f."), *self._rollups(where, group_by, piece))

    def _cell_sums(self, label: str, table: str, condition: Condition) -> Tallies:
        # Each group's sketches come as one text: a row for each would pass Python's lock to and fro.
        sums = ", ".join(f"SUM(r.{column})" for column in SUMS)
        sketches = self.dialect.hex_texts("r.latencies")
        sql = f"SELECT {label}, {sums}, {sketches} FROM {table} WHERE {condition.sql} GROUP BY 1"
        for group, *numbers, found in self.all(sql, condition.values):
            yield (
                group,
                AggregateSum(from_columns(numbers), sum(unpack(bytes.fromhex(one)) for one in found.split(" "))),
            )

    def _row_tallies(self, table: str, condition: Condition, group_by: GroupBy | None) -> Tallies:
        return self.row_sums(_label(group_by, "at_ms", ""), table, condition)

    def row_sums(self, label: str, table: str, condition: Condition) -> Tallies:
        """Yield the sums of a table's matching rows by label, an SQL expression, with all their latencies if few."""
        each = self.dialect.texts(self.dialect.latency_ms)
        sql = f"SELECT {label}, {self.dialect.row_sums}, {each} FROM {table} WHERE {condition.sql} GROUP BY 1"
        for group, *numbers, latencies in self.all(sql, condition.values):
            if len(latencies) > _SPLIT:
                yield group, AggregateSum(from_columns(numbers), sketch_text(latencies))
            else:
                yield group, AggregateSum(from_columns(numbers), latencies=list(map(int, latencies.split(" "))))

    def _rollups(self, where: Filter, group_by: GroupBy | None, piece: TimeRange) -> tuple[str, Condition]:
        """Return a table expression and a condition for a piece's rollups `r`, with facets `f` if the grain has any."""
        grain = filters.grain_for(where, group_by)
        if grain == "outcome" and not self.holds.outcomes:
            grain = "row"
        inside = _cells_of(piece)
        if grain == "all":
            return "rollups r", both(inside, Condition(f"r.facet = {ALL_ROWS}"))
        # Few facets first, then their rollups by primary key.
        joined = f"facets f {self.dialect.joined} rollups r ON r.facet = f.id"
        return joined, both(filters.facets(where, grain), inside)


def _cells_of(piece: TimeRange) -> Condition:
    """Return the condition that a rollup `r` belongs to a piece."""
    return Condition(
        "r.span_ms = ? AND r.start_ms >= ? AND r.start_ms < ?", (piece.span_ms, piece.start_ms, piece.end_ms)
    )


def _label(group_by: GroupBy | None, instant: str, names: str) -> str:
    """Return the SQL expression that a row is grouped by."""
    match group_by:
        case None:
            return "NULL"
        case "hour":
            return f"{instant} - {instant} % {HOUR_MS}"
        case "day":
            return f"{instant} - {instant} % {DAY_MS}"
    return f"{names}{group_by}"
