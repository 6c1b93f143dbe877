"""The rollups that are being written, kept at hand so that a batch adds to them without reading them first.

A batch is folded facet by facet and hour by hour, then into the coarser facets and the day. What is at hand is thrown
away whenever another process has written, or a transaction has failed: the database is the truth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, ClassVar, TypeVar

import orjson

from arbstr.clock import DAY_MS, HOUR_MS
from arbstr.ledger.aggregates import SUMS, AggregateSum, from_columns, sum_of
from arbstr.ledger.dialect import SqlDialect
from arbstr.ledger.expressions import SQLITE
from arbstr.ledger.latency_histogram import pack, unpack
from arbstr.ledger.row_mapping import FacetKey, fold
from arbstr.ledger.sql import Statements, chunks, values

K = TypeVar("K")
Parts = defaultdict[K, list[AggregateSum]]

ALL_ROWS = 0  # the facet of everything
SESSIONLESS = -1  # that of rows without a session, where those have one

CellKey = tuple[int, int, int]  # span, facet, start: the order of the primary key
ROLLUP_COLUMNS = ("span_ms", "facet", "start_ms", *SUMS, "latencies")
FACET_COLUMNS = (
    "name",
    "grain",
    "model",
    "provider",
    "policy",
    "streaming",
    "success",
    "client",
    "dialect",
    "model_key",
    "provider_key",
    "policy_key",
    "client_key",
    "dialect_key",
)
_MOST_FACETS = 20_000  # kept at hand; a client that makes up model names must not fill the memory
_MOST_CELLS = 5_000


class Rollups:
    """Adds rows to the rollups of their hours and days.

    All calls are within one transaction of the ledger's writer, in its connection's thread. `dialect` is the
    database's.
    """

    dialect: ClassVar[SqlDialect] = SQLITE

    def __init__(self) -> None:
        self._facets: dict[str, int] = {}
        self._families: dict[FacetKey, tuple[int, ...]] = {}
        self._cells: dict[CellKey, AggregateSum] = {}

    def forget(self) -> None:
        """Drop what is cached; it is read again before use."""
        self._facets.clear()
        self._families.clear()
        self._cells.clear()

    def facets(self, db: Statements, keys: Iterable[FacetKey]) -> dict[FacetKey, int]:
        """Return the numbers of the rows' own facets; new ones are inserted."""
        wanted = set(keys)
        unknown = [key for key in wanted if key not in self._families]
        if unknown:
            if len(self._facets) > _MOST_FACETS:
                self.forget()
                unknown = list(wanted)
            self._look_up(db, unknown)
        return {key: self._families[key][0] for key in wanted}

    def number(self, db: Statements, grain: str, *, streaming: bool | None = None, success: bool | None = None) -> int:
        """Return the number of a facet that no names distinguish; a new one is inserted."""
        row = _facet(grain, streaming=streaming, success=success)
        self._enter(db, [row])
        return self._facets[row[0]]

    def _look_up(self, db: Statements, keys: list[FacetKey]) -> None:
        families = {key: _family(key) for key in keys}
        self._enter(db, chain.from_iterable(families.values()))
        for key, family in families.items():
            self._families[key] = (*(self._facets[row[0]] for row in family), ALL_ROWS)

    def _enter(self, db: Statements, facets: Iterable[FacetRow]) -> None:
        rows = {row[0]: row for row in facets if row[0] not in self._facets}
        names = sorted(rows)  # in one order: instances that enter the same ones at once must not wait for each other
        for some in chunks(names):
            marks = values(len(some), len(FACET_COLUMNS))
            sql = f"INSERT INTO facets ({', '.join(FACET_COLUMNS)}) VALUES {marks} ON CONFLICT DO NOTHING"
            db.execute(sql, [value for name in some for value in rows[name]])
            sql = f"SELECT name, id FROM facets WHERE name IN {values(1, len(some))}"
            self._facets.update((row[0], row[1]) for row in db.execute(sql, some))

    def add(self, db: Statements, rows: Sequence[tuple[FacetKey, int, AggregateSum]]) -> None:
        """Add rows, each with its facet and instant."""
        self.facets(db, [key for key, _, _ in rows])
        self.add_cells(db, self._changes((key, at_ms - at_ms % HOUR_MS, tally) for key, at_ms, tally in rows))

    def amended(self, db: Statements, row_id: int, key: FacetKey, at_ms: int, change: AggregateSum, msats: int) -> None:
        """Note by how much a row's sums and what budgets count of it have changed: nothing here, rows are read."""

    def add_cells(self, db: Statements, changes: dict[CellKey, AggregateSum]) -> None:
        """Add sums to rollups, each by its key."""
        self._fetch(db, [key for key in changes if key not in self._cells])
        for key, tally in changes.items():
            self._cells[key].add(tally)
        self._store(db, [self._columns(key) for key in changes])
        if len(self._cells) > _MOST_CELLS:
            self._cells.clear()

    def _changes(self, rows: Iterable[tuple[FacetKey, int, AggregateSum]]) -> dict[CellKey, AggregateSum]:
        """What is to be added to which rollups: hours to those of all facets, and from these to their days."""
        own: Parts[tuple[FacetKey, int]] = defaultdict(list)
        for key, start, tally in rows:
            own[key, start].append(tally)
        hours: Parts[CellKey] = defaultdict(list)
        coarse: Parts[tuple[tuple[int, ...], int]] = defaultdict(list)
        for (key, start), tally in _summed(own).items():
            row, model, outcome, *others = self._families[key]
            for facet in (row, model, outcome):
                hours[HOUR_MS, facet, start].append(tally)
            coarse[tuple(others), start].append(tally)  # of which there are few, whatever models there are
        for (facets, start), tally in _summed(coarse).items():
            for facet in facets:
                hours[HOUR_MS, facet, start].append(tally)
        summed = _summed(hours)
        days: Parts[CellKey] = defaultdict(list)
        for (_, facet, start), tally in summed.items():
            days[DAY_MS, facet, start - start % DAY_MS].append(tally)
        return summed | _summed(days)

    def _fetch(self, db: Statements, keys: list[CellKey]) -> None:
        for key in keys:
            self._cells[key] = AggregateSum()
        for span, facet, start, *sums, latencies in self._stored(db, keys):
            self._cells[span, facet, start] = AggregateSum(from_columns(sums), unpack(latencies))

    def _stored(self, db: Statements, keys: list[CellKey]) -> Iterator[tuple[Any, ...]]:
        """Yield those that the database has, in the order of `ROLLUP_COLUMNS`."""
        for some in chunks(keys):
            sql = (
                f"SELECT {', '.join('r.' + column for column in ROLLUP_COLUMNS)} "
                f"FROM (VALUES {values(len(some), 3)}) k "
                "CROSS JOIN rollups r ON r.span_ms = k.column1 AND r.facet = k.column2 AND r.start_ms = k.column3"
            )
            yield from db.execute(sql, [number for key in some for number in key])

    def _store(self, db: Statements, cells: list[tuple[int | bytes, ...]]) -> None:
        """Put them in the place of those that the database has."""
        for some in chunks(cells):
            marks = values(len(some), len(ROLLUP_COLUMNS))
            sql = f"INSERT OR REPLACE INTO rollups ({', '.join(ROLLUP_COLUMNS)}) VALUES {marks}"
            db.execute(sql, [value for cell in some for value in cell])

    def _columns(self, key: CellKey) -> tuple[int | bytes, ...]:
        cell = self._cells[key]
        return (*key, *cell.sums, pack(cell.sketch))


def _summed(parts: Parts[K]) -> dict[K, AggregateSum]:
    """Return the sum of each: many are added column by column in one go, a single one is itself."""
    return {key: some[0] if len(some) == 1 else sum_of(some) for key, some in parts.items()}


FacetRow = tuple[Any, ...]


def _family(key: FacetKey) -> tuple[FacetRow, ...]:
    """A row's own facet and the coarser ones, as rows of the table without their number."""
    model, provider, policy, streaming, success, client, dialect = key
    return (
        _facet("row", *key),
        _facet("model", model=model),
        _facet("outcome", streaming=streaming, success=success),
        _facet("provider", provider=provider),
        _facet("policy", policy=policy),
        _facet("client", client=client),
        _facet("dialect", dialect=dialect),
    )


def _facet(
    grain: str,
    model: str | None = None,
    provider: str | None = None,
    policy: str | None = None,
    streaming: bool | None = None,
    success: bool | None = None,
    client: str | None = None,
    dialect: str | None = None,
) -> FacetRow:
    distinctions = (grain, model, provider, policy, streaming, success, client, dialect)
    names = (model, provider, policy, client, dialect)
    return (orjson.dumps(distinctions).decode(), *distinctions, *map(fold, names))
