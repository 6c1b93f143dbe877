"""Spill files: rows that can't be written now are kept beside the ledger until they can.

A file is written once, whole, and never changed: it has its name only when all of it is on the disk. What is in it
comes back as rows of another program do, once for each request id, and then the file goes.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from arbstr.ledger.database import Database
from arbstr.ledger.row_mapping import COLUMNS
from arbstr.ledger.sql import chunks, values

logger = logging.getLogger(__name__)

IN_ONE_FILE = 2_000  # rows, which are taken back in one transaction
# What a row has only in the database; its instant is read from its timestamp again.
_NOT_KEPT = ("id", "at_ms", "facet", "open", "refused_key")
_KEPT = [(place, name) for place, name in enumerate(COLUMNS) if name not in _NOT_KEPT]

_RUN = uuid.uuid4().hex[:12]

StoredRow = dict[str, Any]


def put_aside(ledger: Path, rows: Sequence[Sequence[Any]]) -> int:
    """Write rows, in the order of `COLUMNS`, to spill files; return how many the disk had room for."""
    kept = 0
    for start in range(0, len(rows), IN_ONE_FILE):
        some = rows[start : start + IN_ONE_FILE]
        lines = [orjson.dumps({name: row[place] for place, name in _KEPT}) + b"\n" for row in some]
        written = _write_whole(ledger, lines)
        kept += written
        if written < len(lines):
            break
    return kept


def files_beside(ledger: Path) -> list[Path]:
    """Return the spill files, oldest first."""
    found = []
    for path in ledger.parent.glob(f"{glob.escape(ledger.name)}-unwritten-*.jsonl"):
        with contextlib.suppress(OSError):  # another arbstr has taken it in
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found)]


def is_of_this_run(path: Path) -> bool:
    """Check whether a spill file is this process's own."""
    return f"-unwritten-{_RUN}-" in path.name


def read_file(path: Path) -> list[StoredRow]:
    """Read the rows of a file; lines without a row are skipped and logged. No rows if the file is gone."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    rows = [row for line in lines if (row := _row(line)) is not None]
    if len(rows) < len(lines):
        logger.warning("%d lines of %s are not rows and were skipped", len(lines) - len(rows), path)
    return rows


async def take_in(db: Database, rows: Sequence[StoredRow]) -> int:
    """In a transaction: insert missing rows as pending ones, and complete those that have not ended.

    Return how many.
    """
    there: dict[str, tuple[int, bool]] = {}
    for some in chunks([row["correlation_id"] for row in rows]):
        sql = (
            "SELECT correlation_id, MAX(id), MIN(facet IS NULL) FROM requests "
            f"WHERE correlation_id IN {values(1, len(some))} GROUP BY 1"
        )
        there |= {name: (row_id, pending) for name, row_id, pending in await db.execute_fetchall(sql, some)}
    added = 0
    for row in rows:
        row_id, pending = there.get(row["correlation_id"], (None, True))
        if pending:
            await _put_pending(db, row, row_id)
            there[row["correlation_id"]] = (row_id or 0, False)
            added += 1
    return added


async def _put_pending(db: Database, row: StoredRow, row_id: int | None) -> None:
    columns = ["id", "facet", "open", *(name for name in row if name in COLUMNS)]
    sets = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
    await db.execute_fetchall(
        f"INSERT INTO requests ({', '.join(columns)}) VALUES {values(1, len(columns))} "
        f"ON CONFLICT (id) DO UPDATE SET {sets}",
        (row_id, None, 0, *(row[name] for name in columns[3:])),
    )


def _row(line: bytes) -> StoredRow | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("correlation_id"), str):
        return None
    plain = {name: value for name, value in row.items() if not isinstance(value, (dict, list))}
    return plain if plain.get("timestamp") and plain.get("model") is not None else None


def _write_whole(ledger: Path, lines: Sequence[bytes]) -> int:
    """Write a file of the first lines that there is room for; return how many. Raises OSError if it can't be made."""
    name = f"{ledger.name}-unwritten-{_RUN}-{uuid.uuid4().hex}.jsonl"
    scratch = ledger.with_name(f"{name}.part")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        written = _write_lines(fd, lines)
        os.fsync(fd)
    except BaseException:
        os.close(fd)
        scratch.unlink()
        raise
    os.close(fd)
    if not written:
        scratch.unlink()
        return 0
    scratch.rename(ledger.with_name(name))
    _sync_directory(ledger.parent)
    return written


def _write_lines(fd: int, lines: Sequence[bytes]) -> int:
    """Write whole lines while the disk has room; return how many. Nothing of the next one stays."""
    size = 0
    for count, line in enumerate(lines):
        try:
            room = os.write(fd, line)
        except OSError:
            room = 0
        if room < len(line):
            os.ftruncate(fd, size)
            return count
        size += len(line)
    return len(lines)


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can
        fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
