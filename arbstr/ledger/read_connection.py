"""Queries to a ledger in SQLite, on one read-only connection."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from arbstr.clock import format_ms
from arbstr.errors import LedgerUnavailable
from arbstr.ledger.contents import ROLLUPS_SINCE, contents_of
from arbstr.ledger.expressions import SQLITE
from arbstr.ledger.files import check_place, check_schema, explain
from arbstr.ledger.filters import Condition
from arbstr.ledger.id_search import FoundIds
from arbstr.ledger.queries import CHUNK, EXACT, Queries
from arbstr.ledger.read_view import ABSENT, CACHES_SINCE, ReadTransaction
from arbstr.ledger.rollups import FACET_COLUMNS, ROLLUP_COLUMNS
from arbstr.ledger.row_mapping import COLUMNS, fold_any, parse_ms

_BUSY_S = 5.0


class ReadConnection(Queries):
    """Queries to a ledger in SQLite; one of an earlier arbstr is read as it is."""

    def __init__(self, path: Path, *, exact: int = EXACT) -> None:
        super().__init__(exact)
        self._path = path
        self._found_ids = FoundIds(self._search_ids)
        self._beside: sqlite3.Connection | None = None  # searches half of the ids
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
        if (beside := self._beside) is not None:
            with suppress(sqlite3.ProgrammingError):  # it has just been closed
                beside.interrupt()

    def info(self) -> dict[str, str]:
        """Return what the ledger holds, as labels and texts for people."""
        with self._view() as view:
            first, last = view.holds.extent.first_ms, view.holds.extent.last_ms
            if view.holds.bare:
                first, last = view.one(f"SELECT MIN(at_ms), MAX(at_ms) FROM {view.rows()}")
            facts = {
                "size": f"{self._path.stat().st_size:,} bytes",
                "schema": f"{view.holds.version} (an earlier arbstr's)" if view.holds.bare else str(view.holds.version),
                "rows": f"{view.one('SELECT COUNT(*) FROM requests')[0]:,}",
                "first": "-" if first is None else format_ms(first),
                "last": "-" if last is None else format_ms(last),
            }
            if not view.holds.bare:
                facts |= _more_facts(view)
        return facts

    def _many(self, sql: str, values: Sequence[Any]) -> Iterator[list[Any]]:
        cursor = self._connection.execute(sql, values)
        while rows := cursor.fetchmany(CHUNK):
            yield rows

    def _search_ids(self, wanted: Condition, most: int) -> list[int]:
        """Return the rows whose request id is meant; half of all ids are searched on another connection meanwhile.

        Rows that have come since this one began to read may be among them.
        """
        meant = f"{SQLITE.by_request_id} WHERE {wanted.sql}"
        half = f"SELECT id FROM requests {meant} AND correlation_id {{}} '8' LIMIT {most}"
        with closing(connect(self._path)) as beside, ThreadPoolExecutor(1, "ledger ids") as thread:
            self._beside = beside
            try:
                others = thread.submit(lambda: beside.execute(half.format(">="), wanted.values).fetchall())
                found = self._connection.execute(half.format("<"), wanted.values).fetchall()
                return [number for (number,) in (*found, *others.result())]
            finally:
                self._beside = None

    @contextmanager
    def _view(self) -> Iterator[ReadTransaction]:
        """Open a read transaction: one state of the database for the whole query."""
        with self._explained():
            self._connection.execute("BEGIN")
            try:
                yield ReadTransaction(self._connection, SQLITE, contents_of(self._connection), self._found_ids)
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


def _more_facts(view: ReadTransaction) -> dict[str, str]:
    unfinished, pending = view.one("SELECT SUM(open <> 0), SUM(open = 0) FROM requests WHERE facet IS NULL")
    pruned = view.holds.extent.pruned_ms
    summed = sum(chunk.total for chunk in view.holds.backlog if chunk.summed)
    return {
        "open": f"{unfinished or 0:,} streams that have not ended",
        "unsummed": f"{max((pending or 0) - summed, 0):,} rows not yet in the rollups",
        "sums": f"{view.one('SELECT COUNT(*) FROM rollups')[0]:,} hours and days by model, provider and policy",
        "pruned": f"before {format_ms(pruned)}" if pruned else "never",
    }
