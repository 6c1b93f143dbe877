"""Where the money went, against what the ledger says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from arbstr.clock import DAY_MS, HOUR_MS, MINUTE_MS
from arbstr.ledger.model import Filter, GroupBy
from arbstr.ledger.reader import LedgerReader
from tests.support.dashboard_fakes import NOON, FakeSource, lived_in
from tests.support.ledger_builders import record, write
from tui.model.breakdown import TREND, BreakdownQueries, kinds_of


@pytest.mark.parametrize("by", ["model", "provider", "policy", "client"])
async def test_trends_add_up_to_what_was_spent_since_they_begin(by: GroupBy) -> None:
    source = lived_in()
    found = await BreakdownQueries(source.ledger).ask(by, HOUR_MS, NOON)
    width = HOUR_MS // TREND
    since = NOON - NOON % width - (TREND - 1) * width
    groups = (await source.ledger.stats(Filter(since_ms=since), by)).groups
    assert {name: sum(parts) for name, parts in found.trends.items()} == {
        name: group.cost_msats for name, group in groups.items()
    }


async def test_parts_of_trends_that_are_over_are_asked_for_once() -> None:
    source = lived_in()
    queries = BreakdownQueries(source.ledger)
    await queries.ask("model", HOUR_MS, NOON)
    before = source.own_ledger.asked
    await queries.ask("model", HOUR_MS, NOON)
    assert source.own_ledger.asked - before < TREND


async def test_a_request_that_ends_late_is_in_the_trend_of_when_it_came() -> None:
    source = lived_in()
    queries = BreakdownQueries(source.ledger)
    before = await queries.ask("model", HOUR_MS, NOON)
    late = replace(source.own_ledger.records[-1], request_id="late", model="gpt-4o", cost_msats=500_000)
    late = replace(late, received_at_ms=NOON - 40 * MINUTE_MS)
    source.own_ledger.records.append(late)
    queries.changed_since(late.received_at_ms)
    after = await queries.ask("model", HOUR_MS, NOON)
    assert sum(after.trends["gpt-4o"]) - sum(before.trends["gpt-4o"]) == 500_000


async def test_days_have_trends_of_their_hours_and_hours_and_sessions_none() -> None:
    queries = BreakdownQueries(lived_in().ledger)
    days = (await queries.ask("day", HOUR_MS, NOON)).trends
    today = days[str(NOON - NOON % DAY_MS)]
    assert len(today) == TREND
    assert not any(today[8:]), "nothing was spent after 16 o'clock: it is 14:02"
    assert (await queries.ask("hour", HOUR_MS, NOON)).trends == {}
    assert (await queries.ask("session", HOUR_MS, NOON)).trends == {}


async def test_the_most_expensive_requests_are_of_the_range() -> None:
    source = lived_in()
    found = await BreakdownQueries(source.ledger).ask("model", HOUR_MS, NOON)
    costs = [each.cost_msats or 0 for each in source.own_ledger.records if each.received_at_ms >= NOON - HOUR_MS]
    assert [each.cost_msats for each in found.dearest[:5]] == sorted(costs, reverse=True)[:5]


async def test_failures_are_shown_by_status_and_provider_with_what_they_cost(tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    failed = [(502, "alpha", 3_000), (502, "alpha", None), (502, "beta", None), (402, None, None), (499, "beta", 900)]
    rows = [
        record(
            received_at_ms=NOON - 60_000 + number,
            success=False,
            error_status=status,
            provider=provider,
            cost_msats=cost,
            error_message=f"number {number}",
        )
        for number, (status, provider, cost) in enumerate(failed)
    ]
    await write(path, [*rows, record(received_at_ms=NOON - 1)])
    reader = LedgerReader(path)
    found = await BreakdownQueries(reader).ask("model", HOUR_MS, NOON)
    await reader.close()
    assert (found.failed.total, found.failed.cost_msats, found.examined) == (5, 3_900, 5)
    shown = [(each.status, each.provider, each.count, each.cost_msats, each.message) for each in found.kinds]
    assert shown[:2] == [(502, "alpha", 2, 3_000, "number 1"), (499, "beta", 1, 900, "number 4")]
    assert sorted(kind[:3] for kind in shown[2:] if kind[1]) == [(502, "beta", 1)]


async def test_an_empty_ledger_has_nothing_to_tell() -> None:
    found = await BreakdownQueries(FakeSource().ledger).ask("model", HOUR_MS, NOON)
    assert (found.trends, found.hours, found.dearest, found.kinds, found.examined) == ({}, {}, (), (), 0)
    assert kinds_of([]) == ()
