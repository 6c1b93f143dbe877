"""Rows are inserted, or complete those that are open, without a copy of every page that they change."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from arbstr.ledger.database import statements
from arbstr.ledger.files import migrations
from arbstr.ledger.insertion import insert
from arbstr.ledger.row_mapping import RowValues, facet_key, row_of
from arbstr.types import RequestRecord


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for _, script in migrations():
        for statement in statements(script):
            connection.execute(statement)
    yield connection
    connection.close()


def row(row_id: int, request_id: str, opener: int = 0) -> RowValues:
    record = RequestRecord(request_id, 0, "m", streaming=True, success=True, latency_ms=1)
    return row_of(record, facet_key(record), row_id, None, opener)


def kept(db: sqlite3.Connection) -> list[tuple[int, str, int]]:
    return db.execute("SELECT id, correlation_id, open FROM requests ORDER BY id").fetchall()


def test_an_open_row_is_completed_by_its_request_alone(db: sqlite3.Connection) -> None:
    insert(db, [row(1, "a", opener=7), row(2, "b", opener=7)], new=True)
    insert(db, [row(1, "a"), row(2, "another")], new=False)
    assert kept(db) == [(1, "a", 0), (2, "b", 7)]


def test_new_rows_are_all_or_nothing_of_their_transaction(db: sqlite3.Connection) -> None:
    insert(db, [row(1, "a")], new=True)
    db.execute("BEGIN")
    insert(db, [row(2, "b")], new=True)
    with pytest.raises(sqlite3.IntegrityError):
        insert(db, [row(3, "c"), row(1, "d")], new=True)
    assert not db.in_transaction
    assert kept(db) == [(1, "a", 0)]
