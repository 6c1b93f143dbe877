"""Sums of many rows, the newest first: of what only rows can tell, a ledger of millions takes seconds for all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace

from arbstr.ledger.model import Aggregate, Filter, LedgerQueries

PARTS = 256  # the newest piece is one of so many; each piece is twice as long as the one after it


@dataclass(frozen=True, slots=True)
class RunningSums:
    """Sums so far, of the rows since an instant, None for all. Those that were added up have no percentiles: zeros."""

    sums: Aggregate
    since_ms: int | None = None


async def running_sums(
    ledger: LedgerQueries, where: Filter, since_ms: int, now_ms: int, patience_s: float
) -> AsyncIterator[RunningSums]:
    """Yield the sums of the rows that match, of none before `since_ms`: at once if they are there within `patience_s`.

    Else piece by piece, the last time of all of them. Raises LedgerUnavailable.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            whole = (await ledger.stats(replace(where, since_ms=since_ms))).overall
        yield RunningSums(whole)
        return
    end_ms = now_ms if where.until_ms is None else min(where.until_ms, now_ms)
    length_ms = max((end_ms - since_ms) // PARTS, 1)
    start_ms = max(end_ms - length_ms, since_ms)
    sums = (await ledger.stats(replace(where, since_ms=start_ms))).overall
    while start_ms > since_ms:
        yield RunningSums(sums, start_ms)
        end_ms, length_ms = start_ms, length_ms * 2
        start_ms = max(end_ms - length_ms, since_ms)
        older = replace(where, since_ms=start_ms, until_ms=end_ms - 1, open_end=False)
        sums = added((await ledger.stats(older)).overall, sums)
    yield RunningSums(sums)


def added(one: Aggregate, other: Aggregate) -> Aggregate:
    """Return the sums of both; percentiles can't be added."""
    total = one.total + other.total
    summed = {each.name: getattr(one, each.name) + getattr(other, each.name) for each in fields(Aggregate)}
    latency_ms = one.avg_latency_ms * one.total + other.avg_latency_ms * other.total
    summed |= {"avg_latency_ms": latency_ms / max(total, 1)}
    return Aggregate(**{**summed, "p50_latency_ms": 0, "p95_latency_ms": 0, "p99_latency_ms": 0})
