"""Buckets of spending: at once by events, in the end by the ledger."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tui.model.time_series import SETTLES_AFTER_MS, Series

NOW = 1_000_000_000
WIDTH = 5000


def series() -> Series:
    return Series(WIDTH, 6, NOW + 1)


def test_a_chart_knows_nothing_before_the_ledger_was_asked() -> None:
    each = series()
    assert each.chart(NOW).values == (None,) * 6
    assert each.unsettled(NOW) == [NOW - WIDTH * index for index in range(6)]


def test_finished_requests_show_in_the_chart_at_once() -> None:
    each = series()
    each.add([(NOW, NOW + 1, 500), (NOW + 1, NOW + 2, 250), (NOW - WIDTH, NOW, 100)], NOW + 2)
    assert each.chart(NOW + 2).values[-2:] == (100, 750)


def test_the_ledger_settles_a_bucket_that_is_over() -> None:
    each = series()
    for start in each.unsettled(NOW):
        each.settle(start, 0, NOW)
    each.add([(NOW, NOW + 10, 500)], NOW + 10)
    assert each.unsettled(NOW + 20) == []
    later = NOW + WIDTH + SETTLES_AFTER_MS
    assert NOW in each.unsettled(later)
    each.settle(NOW, 510, later)
    assert each.chart(later).values[-2] == 510
    assert NOW not in each.unsettled(later)


def test_a_request_that_the_ledger_had_before_its_event_came_counts_once() -> None:
    each = series()
    each.settle(NOW, 500, NOW + 100)
    each.add([(NOW, NOW + 50, 500)], NOW + 120)
    assert each.chart(NOW + 120).values[-1] == 500
    each.add([(NOW, NOW + 130, 250)], NOW + 140)
    assert each.chart(NOW + 140).values[-1] == 750


def test_a_bucket_that_began_since_is_made_of_events_until_it_is_over() -> None:
    each, start = series(), NOW + WIDTH
    assert each.chart(start).values == (None, None, None, None, None, 0)
    each.add([(start, start + 5, 500)], start + 5)
    assert start not in each.unsettled(start + 5)
    assert each.chart(start + 5).values[-1] == 500
    assert start in each.unsettled(start + WIDTH + SETTLES_AFTER_MS)


def test_an_answer_that_may_have_missed_an_event_is_asked_for_again() -> None:
    each = series()
    over = NOW + WIDTH + SETTLES_AFTER_MS
    each.settle(NOW, 0, NOW)
    each.add([(NOW, over, 500)], over)
    each.settle(NOW, 0, over)
    assert NOW in each.unsettled(over + SETTLES_AFTER_MS)


def test_missed_events_make_recent_buckets_doubtful() -> None:
    each = series()
    for start in each.unsettled(NOW):
        each.settle(start, 7, NOW + 10**6)
    each.invalidate(NOW - WIDTH, NOW + 1)
    assert each.unsettled(NOW) == [NOW, NOW - WIDTH]


def test_old_buckets_are_forgotten() -> None:
    each = series()
    each.add([(NOW - WIDTH, NOW, 500)], NOW)
    assert each.chart(NOW + 100 * WIDTH).values == (0,) * 6
    assert each.chart(NOW).values == (None,) * 6


@given(st.lists(st.tuples(st.integers(0, 5 * WIDTH), st.integers(0, 3000), st.integers(0, 1000)), max_size=40))
def test_in_the_end_every_bucket_is_the_ledgers(requests: list[tuple[int, int, int]]) -> None:
    """However requests come in and end, the chart ends as the ledger has it."""
    each, ledger = series(), dict[int, int]()
    health_changes = sorted((received + took, received, cost) for received, took, cost in requests)
    for ended, received, cost in health_changes:
        start = (NOW + received) // WIDTH * WIDTH
        ledger[start] = ledger.get(start, 0) + cost
        each.add([(NOW + received, NOW + ended, cost)], NOW + ended)
        for due in each.unsettled(NOW + ended):
            each.settle(due, ledger.get(due, 0), NOW + ended)
    end = NOW + 5 * WIDTH + 3000 + WIDTH + SETTLES_AFTER_MS
    for due in each.unsettled(end):
        each.settle(due, ledger.get(due, 0), end)
    chart = each.chart(end)
    shown = {chart.start_ms + index * WIDTH: value for index, value in enumerate(chart.values)}
    assert all(shown[start] == ledger.get(start, 0) for start in shown)
