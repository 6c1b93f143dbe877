"""What the ledger says, asked for at a calm rate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from arbstr.clock import DAY_MS, HOUR_MS
from arbstr.ledger.model import Filter
from arbstr.ledger.reader import LedgerReader
from tests.support.dashboard_fakes import NOON, FakeSource, lived_in
from tests.support.ledger_builders import record, write
from tests.support.patience import PATIENCE_S
from tui.model.ledger_stats import RANGES, Range, StatsPoller
from tui.timings import Timings

EAGER = Timings(least_query_wait_s=0.005, query_share=0.5)  # however long a busy machine takes for a query


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - it polls, with a deadline
            await asyncio.sleep(0.005)


async def watched(source: FakeSource, watch: StatsPoller, true: Callable[[], bool]) -> None:
    """Run the watch until it is so."""
    task = asyncio.create_task(watch.run())
    try:
        await until(true)
    finally:
        task.cancel()


async def test_figures_equal_what_the_ledger_answers() -> None:
    source = lived_in()
    watch = StatsPoller(source.ledger, source.clock, lambda: None)
    await watched(source, watch, lambda: watch.figures.window is not None)
    now = source.now_ms
    figures = watch.figures
    assert figures.today == (await source.ledger.stats(Filter(since_ms=now - now % DAY_MS))).overall
    assert figures.week == (await source.ledger.stats(Filter(since_ms=now - 7 * DAY_MS))).overall
    hour = await source.ledger.stats(Filter(since_ms=now - RANGES[1].length_ms), "model")
    assert (figures.window, figures.groups["model"]) == (hour.overall, hour.groups)


async def test_the_chart_adds_up_to_what_was_spent() -> None:
    source = lived_in()
    watch = StatsPoller(source.ledger, source.clock, lambda: None, timings=EAGER)
    await watched(source, watch, lambda: watch.chart(source.now_ms) is not None and _known(watch, source))
    chart = watch.chart(source.now_ms)
    assert chart is not None
    spent = (await source.ledger.stats(Filter(since_ms=chart.start_ms))).overall.cost_msats
    assert sum(value or 0 for value in chart.values) == spent


def _known(watch: StatsPoller, source: FakeSource) -> bool:
    chart = watch.chart(source.now_ms)
    return chart is not None and None not in chart.values


async def test_the_stats_of_another_range_are_asked_for_at_once() -> None:
    source = lived_in()
    watch = StatsPoller(source.ledger, source.clock, lambda: None)
    task = asyncio.create_task(watch.run())
    await until(lambda: watch.figures.window is not None)
    watch.look_at(RANGES[3], ("day", "policy"))
    assert watch.figures.window is None
    assert watch.chart(source.now_ms) is None
    await until(lambda: watch.figures.window is not None)
    task.cancel()
    assert set(watch.figures.groups) == {"day", "policy"}
    chart = watch.chart(source.now_ms)
    assert chart is not None
    assert len(chart.values) >= 168


async def test_days_are_today_and_the_six_before_whatever_the_range() -> None:
    source = lived_in()
    watch = StatsPoller(source.ledger, source.clock, lambda: None)
    watch.look_at(RANGES[0], ("day",))
    await watched(source, watch, lambda: "day" in watch.figures.groups)
    assert len(watch.figures.groups["day"]) == 7
    assert watch.figures.window is not None
    five_minutes = await source.ledger.stats(Filter(since_ms=source.now_ms - RANGES[0].length_ms))
    assert watch.figures.window == five_minutes.overall


@pytest.mark.parametrize(("range_", "hours"), [(RANGES[2], 25), (RANGES[3], 169)])
async def test_a_chart_of_hours_and_the_days_end_now_also_where_nothing_happened_lately(
    tmp_path: Path, range_: Range, hours: int
) -> None:
    path = tmp_path / "arbstr.db"
    await write(path, [record(received_at_ms=NOON - 40 * HOUR_MS), record(received_at_ms=NOON - 10 * HOUR_MS)])
    reader = LedgerReader(path)
    watch = StatsPoller(reader, lambda: NOON, lambda: None, timings=EAGER)
    watch.look_at(range_, ("day",))
    task = asyncio.create_task(watch.run())
    await until(lambda: watch.figures.hours is not None)
    task.cancel()
    await reader.close()
    chart = watch.chart(NOON)
    assert chart is not None
    assert len(chart.values) == hours
    assert chart.start_ms + hours * HOUR_MS > NOON
    assert [int(start) for start in watch.figures.groups["day"]] == [
        NOON - NOON % DAY_MS - ago * DAY_MS for ago in range(6, -1, -1)
    ]


async def test_a_ledger_that_cannot_be_read_is_said_and_forgotten_when_it_can() -> None:
    source = lived_in()
    source.ledger.problem = "disk on fire\x1b[2J"
    watch = StatsPoller(source.ledger, source.clock, lambda: None)
    await watched(source, watch, lambda: watch.figures.problem is not None)
    assert watch.figures.problem == "disk on fire�[2J"
    source.ledger.problem = None
    await watched(source, watch, lambda: watch.figures.today is not None)
    assert watch.figures.problem is None


async def test_an_idle_ledger_is_left_in_peace() -> None:
    source = lived_in()
    watch = StatsPoller(source.ledger, source.clock, lambda: None)
    task = asyncio.create_task(watch.run())
    await until(lambda: watch.figures.window is not None)
    asked = source.ledger.asked
    await asyncio.sleep(0.1)
    task.cancel()
    assert source.ledger.asked - asked <= 60  # the chart's first buckets, and no second round


async def test_a_slow_ledger_is_asked_again_soon_enough_for_its_figures_to_mean_something() -> None:
    source = lived_in()
    patient = Timings(least_query_wait_s=0.01, most_query_wait_s=0.03, query_share=1e-9)
    watch = StatsPoller(source.ledger, source.clock, lambda: None, timings=patient)
    task = asyncio.create_task(watch.run())
    await until(lambda: watch.figures.window is not None)
    first = watch.figures
    watch.missed(NOON)
    await until(lambda: watch.figures is not first)
    task.cancel()


async def test_what_failed_requests_cost_is_asked_for_by_the_screens_that_show_it() -> None:
    source = lived_in()
    watch = StatsPoller(source.ledger, source.clock, lambda: None)
    watch.look_at(RANGES[1], ("model", "provider"), losses=True)
    await watched(source, watch, lambda: "provider" in watch.figures.lost)
    since = Filter(since_ms=source.now_ms - RANGES[1].length_ms, success=False)
    assert watch.figures.lost["provider"] == (await source.ledger.stats(since, "provider")).groups
    watch.look_at(RANGES[1], ("model",))
    assert watch.figures.lost == {}
