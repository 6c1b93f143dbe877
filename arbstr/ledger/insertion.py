"""Statements that put rows into the ledger, many at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter

from arbstr.ledger.row_mapping import COLUMNS, RowValues
from arbstr.ledger.sql import values

_UPSERT = " ON CONFLICT (id) DO UPDATE SET {} WHERE requests.correlation_id = excluded.correlation_id".format(
    ", ".join(f"{column} = excluded.{column}" for column in COLUMNS if column != "id")
)
_FAULTS = ("error_status", "error_message", "implausible", "doubtful_msats", "refused_key")
_FAULTS_OF = itemgetter(*map(COLUMNS.index, _FAULTS))
_FAULTLESS = tuple(column for column in COLUMNS if column not in _FAULTS)
_FAULTLESS_OF = itemgetter(*map(COLUMNS.index, _FAULTLESS))


def insert(db: sqlite3.Connection, rows: Sequence[RowValues], *, new: bool) -> None:
    """Insert a chunk of rows, or complete those that are open. Faults are left out if there are none.

    A statement that ends the transaction if it fails needs no journal of its own, into which each page would be copied.
    """
    columns: Sequence[str] = COLUMNS
    if not any(map(any, map(_FAULTS_OF, rows))):  # each null costs as much to bind as ten other values
        columns, rows = _FAULTLESS, list(map(_FAULTLESS_OF, rows))
    into = f"INTO requests ({', '.join(columns)}) VALUES {values(len(rows), len(columns))}"
    sql = f"INSERT OR ROLLBACK {into}" if new else f"INSERT {into}{_UPSERT}"
    db.execute(sql, list(chain.from_iterable(rows)))
