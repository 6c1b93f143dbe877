"""Records and ledgers for the store's tests."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from arbstr.ledger.writer import LedgerWriter
from arbstr.types import RequestRecord
from tests.support.patience import PATIENCE_S

NOON = 1_767_268_800_000  # 2026-01-01T12:00:00Z
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000

FIRST_SCHEMA = """
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, correlation_id TEXT NOT NULL, timestamp TEXT NOT NULL, model TEXT NOT NULL,
    provider TEXT, policy TEXT, streaming BOOLEAN NOT NULL DEFAULT FALSE, input_tokens INTEGER, output_tokens INTEGER,
    cost_sats REAL, provider_cost_sats REAL, latency_ms INTEGER NOT NULL, stream_duration_ms INTEGER,
    success BOOLEAN NOT NULL, error_status INTEGER, error_message TEXT);
CREATE TABLE token_ratios (policy TEXT PRIMARY KEY, avg_ratio REAL NOT NULL, sample_count INTEGER NOT NULL DEFAULT 0);
"""


def record(**changes: Any) -> RequestRecord:
    """A request that went well at `NOON`, save for the changes."""
    values: dict[str, Any] = {
        "request_id": str(uuid.uuid4()),
        "received_at_ms": NOON,
        "model": "gpt-4o",
        "streaming": False,
        "success": True,
        "latency_ms": 310,
        "provider": "alpha",
        "input_tokens": 12,
        "output_tokens": 9,
        "cost_msats": 420,
    }
    return RequestRecord(**(values | changes))


async def write(path: Path, records: Iterable[RequestRecord], **options: Any) -> None:
    """Append the records to the ledger at the path, made if need be, and close it."""
    ledger = LedgerWriter(path, **options)
    await ledger.start()
    for each in records:
        ledger.append(each)
    await ledger.settle(PATIENCE_S)
    await ledger.close()


def first_ledger(path: Path) -> None:
    """A database of an earlier arbstr: the two tables, no rows."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(FIRST_SCHEMA)


def insert(path: Path, **changes: object) -> None:
    """A row as another program writes it: with the columns every ledger has."""
    row: dict[str, object] = {
        "correlation_id": str(uuid.uuid4()),
        "timestamp": "2026-01-01T12:00:00Z",
        "model": "gpt-4o",
        "provider": "alpha",
        "latency_ms": 310,
        "success": 1,
        "cost_sats": 0.42,
    } | changes
    marks = ", ".join("?" * len(row))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"INSERT INTO requests ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def read(path: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    """What is in the database, past all of arbstr's own code."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql, values).fetchall()
