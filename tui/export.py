"""What is filtered, as a file: CSV or JSON, written row by row, off the loop."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import Any, Literal

from arbstr.query import Entry, Filter, LedgerReader, Order, Sort
from tui.format import moment

Format = Literal["csv", "json"]
BATCH = 200  # rows between two turns of the loop

_COLUMNS = (
    "id",
    "request_id",
    "timestamp",
    "model",
    "provider",
    "policy",
    "streaming",
    "success",
    "input_tokens",
    "output_tokens",
    "cost_sats",
    "provider_cost_sats",
    "latency_ms",
    "stream_duration_ms",
    "error_status",
    "error_message",
)


def file_name(kind: Format, now_ms: int, *, filtered: bool) -> str:
    """What and when: `arbstr-requests-20250314T140211Z.csv`."""
    what = "arbstr-requests-filtered" if filtered else "arbstr-requests"
    return f"{what}-{moment(now_ms, UTC):%Y%m%dT%H%M%SZ}.{kind}"


async def export(ledger: LedgerReader, where: Filter, sort: Sort, order: Order, path: Path) -> int:
    """Write all matching rows to a new file, in the form its suffix names; returns how many.

    Raises LedgerUnavailable, or OSError when the file can't be written; then no half of one is left behind.
    """
    as_json = path.suffix == ".json"
    file = await asyncio.to_thread(path.open, "x", encoding="utf-8", newline="")
    try:
        with file:
            return await _stream(ledger, where, sort, order, file.write, as_json=as_json)
    except BaseException:
        with suppress(OSError):
            await asyncio.to_thread(path.unlink)
        raise


async def _stream(
    ledger: LedgerReader, where: Filter, sort: Sort, order: Order, write: Callable[[str], object], *, as_json: bool
) -> int:
    rows = 0
    batch: list[Entry] = []
    await asyncio.to_thread(write, "[" if as_json else _csv_line(_COLUMNS))
    async for entry in ledger.entries(where, sort, order, None):
        batch.append(entry)
        if len(batch) == BATCH:
            await asyncio.to_thread(_put, write, batch, rows, as_json)
            rows += len(batch)
            batch = []
    await asyncio.to_thread(_put, write, batch, rows, as_json)
    rows += len(batch)
    await asyncio.to_thread(write, "\n]\n" if as_json else "")
    return rows


def _put(write: Callable[[str], object], batch: list[Entry], before: int, as_json: bool) -> None:
    if as_json:
        lines = (json.dumps(as_object(entry), ensure_ascii=False) for entry in batch)
        write("".join(f"{',' if before + index else ''}\n{line}" for index, line in enumerate(lines)))
    else:
        write("".join(_csv_line(_fields(entry)) for entry in batch))


def as_object(entry: Entry) -> dict[str, Any]:
    """A row as `GET /v1/requests` answers it."""
    row: dict[str, Any] = {
        "id": entry.id,
        "request_id": entry.request_id,
        "timestamp": entry.timestamp,
        "model": entry.model,
        "provider": entry.provider,
        "policy": entry.policy,
        "streaming": entry.streaming,
        "success": entry.success,
        "tokens": {"input": entry.input_tokens, "output": entry.output_tokens},
        "cost": {"sats": _sats(entry.cost_msats), "provider_sats": _sats(entry.provider_cost_msats)},
        "timing": {"latency_ms": entry.latency_ms, "stream_duration_ms": entry.stream_duration_ms},
    }
    if not entry.success:
        row["error"] = {"status": entry.error_status, "message": entry.error_message}
    return row


def _fields(entry: Entry) -> list[object]:
    return [
        entry.id,
        entry.request_id,
        entry.timestamp,
        entry.model,
        entry.provider,
        entry.policy,
        str(entry.streaming).lower(),
        str(entry.success).lower(),
        entry.input_tokens,
        entry.output_tokens,
        _sats(entry.cost_msats),
        _sats(entry.provider_cost_msats),
        entry.latency_ms,
        entry.stream_duration_ms,
        entry.error_status,
        entry.error_message,
    ]


def _sats(msats: int | None) -> float | None:
    return None if msats is None else msats / 1000


def _csv_line(fields: object) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(fields)  # type: ignore[arg-type]
    return line.getvalue()
