"""Export of the filtered rows as CSV or JSON, written row by row, off the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import Literal

from arbstr.ledger.export import CSV_COLUMNS, csv_line, csv_row, dumps
from arbstr.ledger.model import Entry, Filter, LedgerQueries, Order, Sort
from arbstr.ledger.serialize import entry_json
from tui.format import moment

Format = Literal["csv", "json"]
BATCH = 200  # rows between two turns of the loop


def file_name(kind: Format, now_ms: int, *, filtered: bool) -> str:
    """Return a name such as `arbstr-requests-20250314T140211Z.csv`."""
    what = "arbstr-requests-filtered" if filtered else "arbstr-requests"
    return f"{what}-{moment(now_ms, UTC):%Y%m%dT%H%M%SZ}.{kind}"


async def export(
    ledger: LedgerQueries,
    where: Filter,
    sort: Sort,
    order: Order,
    path: Path,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write all matching rows to a new file, in the format of its suffix; return how many.

    `on_rows` is called at intervals with the number so far. If cancelled, it leaves no file behind.

    Raises LedgerUnavailable, or OSError when the file can't be written; then no partial file is left behind.
    """
    as_json = path.suffix == ".json"
    file = await asyncio.to_thread(path.open, "x", encoding="utf-8", newline="")
    try:
        with file:
            rows = ledger.entries(where, sort, order, None)
            return await _stream(rows, file.write, on_rows, as_json=as_json)
    except BaseException:
        with suppress(OSError):
            await asyncio.to_thread(path.unlink)
        raise


async def _stream(
    entries: AsyncIterator[Entry], write: Callable[[str], object], on_rows: Callable[[int], None], *, as_json: bool
) -> int:
    rows = 0
    batch: list[Entry] = []
    await asyncio.to_thread(write, "[" if as_json else csv_line(CSV_COLUMNS) + "\n")
    async for entry in entries:
        batch.append(entry)
        if len(batch) == BATCH:
            await asyncio.to_thread(_put, write, batch, rows, as_json)
            rows += len(batch)
            batch = []
            on_rows(rows)
    await asyncio.to_thread(_put, write, batch, rows, as_json)
    rows += len(batch)
    await asyncio.to_thread(write, "\n]\n" if as_json else "")
    return rows


def _put(write: Callable[[str], object], batch: list[Entry], before: int, as_json: bool) -> None:
    if as_json:
        lines = (dumps(entry_json(entry)) for entry in batch)
        write("".join(f"{',' if before + index else ''}\n{line}" for index, line in enumerate(lines)))
    else:
        write("".join(csv_line(csv_row(entry)) + "\n" for entry in batch))
