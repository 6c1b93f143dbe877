from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

from arbstr.clock import DAY_MS
from arbstr.ledger.model import Aggregate, Filter, GroupBy, Stats
from tests.support.dashboard_fakes import NOON, FakeLedger, FakeSource, lived_in
from tui.model.running_sums import RunningSums, added, running_sums

EVERYTHING = Filter(min_cost_msats=0)


def slow_ledger(source: FakeSource, first_ms: int) -> FakeLedger:
    """A ledger that never answers about all of its rows at once."""
    stats = source.own_ledger.stats

    async def slow(where: Filter, group_by: GroupBy | None = None) -> Stats:
        if where.since_ms == first_ms and where.until_ms is None:
            await asyncio.Event().wait()
        return await stats(where, group_by)

    source.own_ledger.stats = slow  # type: ignore[method-assign]  # of this one
    return source.own_ledger


async def gathered(ledger: FakeLedger, where: Filter, since_ms: int, patience_s: float) -> list[RunningSums]:
    return [each async for each in running_sums(ledger, where, since_ms, NOON, patience_s)]


async def test_what_is_there_in_time_comes_in_one_piece_with_its_percentiles() -> None:
    ledger = lived_in().own_ledger
    [known] = await gathered(ledger, EVERYTHING, 0, patience_s=60)
    assert known == RunningSums((await ledger.stats(EVERYTHING)).overall)
    assert known.sums.p95_latency_ms > 0


async def test_what_takes_longer_comes_from_the_newest_rows_on_until_it_is_all() -> None:
    source = lived_in()
    whole = (await source.own_ledger.stats(EVERYTHING)).overall
    since_ms = NOON - 8 * DAY_MS
    found = await gathered(slow_ledger(source, since_ms), EVERYTHING, since_ms, patience_s=0)

    starts = [each.since_ms for each in found]
    assert starts[-1] is None
    assert starts[:-1] == sorted((each for each in starts if each is not None), reverse=True)
    totals = [each.sums.total for each in found]
    assert totals == sorted(totals)
    expected = replace(whole, p50_latency_ms=0, p95_latency_ms=0, p99_latency_ms=0)
    rounded = round(found[-1].sums.avg_latency_ms, 6)
    assert replace(found[-1].sums, avg_latency_ms=rounded) == replace(
        expected, avg_latency_ms=round(whole.avg_latency_ms, 6)
    )


async def test_what_ends_before_now_is_divided_up_to_its_end() -> None:
    source = lived_in()
    where = replace(EVERYTHING, until_ms=NOON - DAY_MS)
    asked: list[Filter] = []
    stats = source.own_ledger.stats

    async def noted(where: Filter, group_by: GroupBy | None = None) -> Stats:
        asked.append(where)
        if len(asked) == 1:
            await asyncio.Event().wait()
        return await stats(where, group_by)

    source.own_ledger.stats = noted  # type: ignore[method-assign]  # of this one
    await gathered(source.own_ledger, where, NOON - 3 * DAY_MS, patience_s=0)
    spans = [(each.since_ms, each.until_ms) for each in asked[1:]]
    assert spans[0][1] == NOON - DAY_MS
    assert all(older[1] == newer[0] - 1 for newer, older in pairwise(spans) if newer[0])
    assert spans[-1][0] == NOON - 3 * DAY_MS


def test_the_mean_latency_is_of_all_rows() -> None:
    assert (
        added(Aggregate(total=1, avg_latency_ms=100.0), Aggregate(total=3, avg_latency_ms=300.0)).avg_latency_ms == 250
    )
