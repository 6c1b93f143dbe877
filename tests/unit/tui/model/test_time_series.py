"""Buckets of spending: at once by events, in the end by the ledger."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tui.model.time_series import SETTLES_AFTER_MS, Cost, Series

NOW = 1_000_000_000
WIDTH = 5000


def series() -> Series:
    return Series(WIDTH, 6, NOW + 1)


def cost(received_ms: int, ended_ms: int, msats: int, model: str = "m") -> Cost:
    return Cost(received_ms, ended_ms, msats, model)


def test_a_chart_knows_nothing_before_the_ledger_was_asked() -> None:
    each = series()
    assert each.chart(NOW).values == (None,) * 6
    assert each.unsettled(NOW) == [NOW - WIDTH * index for index in range(6)]


def test_finished_requests_show_in_the_chart_at_once() -> None:
    each = series()
    each.add([cost(NOW, NOW + 1, 500), cost(NOW + 1, NOW + 2, 250), cost(NOW - WIDTH, NOW, 100)], NOW + 2)
    assert each.chart(NOW + 2).values[-2:] == (100, 750)


def test_the_ledger_settles_a_bucket_that_is_over() -> None:
    each = series()
    for start in each.unsettled(NOW):
        each.settle(start, {"m": 0}, NOW)
    each.add([cost(NOW, NOW + 10, 500)], NOW + 10)
    assert each.unsettled(NOW + 20) == []
    later = NOW + WIDTH + SETTLES_AFTER_MS
    assert NOW in each.unsettled(later)
    each.settle(NOW, {"m": 510}, later)
    assert each.chart(later).values[-2] == 510
    assert NOW not in each.unsettled(later)


def test_a_request_that_the_ledger_had_before_its_event_came_counts_once() -> None:
    each = series()
    each.settle(NOW, {"m": 500}, NOW + 100)
    each.add([cost(NOW, NOW + 50, 500)], NOW + 120)
    assert each.chart(NOW + 120).values[-1] == 500
    each.add([cost(NOW, NOW + 130, 250)], NOW + 140)
    assert each.chart(NOW + 140).values[-1] == 750


def test_a_bucket_that_began_since_is_made_of_events_until_it_is_over() -> None:
    each, start = series(), NOW + WIDTH
    assert each.chart(start).values == (None, None, None, None, None, 0)
    each.add([cost(start, start + 5, 500)], start + 5)
    assert start not in each.unsettled(start + 5)
    assert each.chart(start + 5).values[-1] == 500
    assert start in each.unsettled(start + WIDTH + SETTLES_AFTER_MS)


def test_an_answer_that_may_have_missed_an_event_is_asked_for_again() -> None:
    each = series()
    over = NOW + WIDTH + SETTLES_AFTER_MS
    each.settle(NOW, {"m": 0}, NOW)
    each.add([cost(NOW, over, 500)], over)
    each.settle(NOW, {"m": 0}, over)
    assert NOW in each.unsettled(over + SETTLES_AFTER_MS)


def test_missed_events_make_recent_buckets_doubtful() -> None:
    each = series()
    for start in each.unsettled(NOW):
        each.settle(start, {"m": 7}, NOW + 10**6)
    each.invalidate(NOW - WIDTH, NOW + 1)
    assert each.unsettled(NOW) == [NOW, NOW - WIDTH]


def test_old_buckets_are_forgotten() -> None:
    each = series()
    each.add([cost(NOW - WIDTH, NOW, 500)], NOW)
    assert each.chart(NOW + 100 * WIDTH).values == (0,) * 6
    assert each.chart(NOW).values == (None,) * 6


@given(st.lists(st.tuples(st.integers(0, 5 * WIDTH), st.integers(0, 3000), st.integers(0, 1000)), max_size=40))
def test_in_the_end_every_bucket_is_the_ledgers(requests: list[tuple[int, int, int]]) -> None:
    """However requests come in and end, the chart ends as the ledger has it."""
    each, ledger = series(), dict[int, int]()
    health_changes = sorted((received + took, received, cost) for received, took, cost in requests)
    for ended, received, msats in health_changes:
        start = (NOW + received) // WIDTH * WIDTH
        ledger[start] = ledger.get(start, 0) + msats
        each.add([cost(NOW + received, NOW + ended, msats)], NOW + ended)
        for due in each.unsettled(NOW + ended):
            each.settle(due, {"m": ledger.get(due, 0)}, NOW + ended)
    end = NOW + 5 * WIDTH + 3000 + WIDTH + SETTLES_AFTER_MS
    for due in each.unsettled(end):
        each.settle(due, {"m": ledger.get(due, 0)}, end)
    chart = each.chart(end)
    shown = {chart.start_ms + index * WIDTH: value for index, value in enumerate(chart.values)}
    assert all(shown[start] == ledger.get(start, 0) for start in shown)


def test_models_are_distinguished_the_dearest_first() -> None:
    each = Series(WIDTH, 2, NOW - WIDTH)
    each.add([cost(NOW - WIDTH, NOW, 100, "a"), cost(NOW, NOW + 1, 500, "b"), cost(NOW, NOW + 1, 50, "a")], NOW + 2)
    chart = each.chart(NOW + 2)
    assert chart.values == (100, 550)
    assert list(chart.models.items()) == [("b", (0, 500)), ("a", (100, 50))]
    each.settle(NOW, {"a": 60}, NOW + WIDTH + SETTLES_AFTER_MS)
    assert each.chart(NOW).models == {"a": (100, 60)}


def test_what_was_spent_lately_is_known_once_all_its_buckets_are() -> None:
    each = series()
    assert each.recent(2 * WIDTH, NOW + 1000) is None
    for number, start in enumerate(each.unsettled(NOW)):
        each.settle(start, {"m": 10**number}, NOW)
    assert each.recent(2 * WIDTH, NOW + 1000) == (111, 2 * WIDTH + 1000)
