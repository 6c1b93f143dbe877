from __future__ import annotations

from arbstr.monitoring.source import Totals
from tests.support.dashboard_fakes import NOON
from tui.model.counters import Reset, counted_since


def test_what_was_counted_before_the_reset_is_left_out() -> None:
    before = Totals(requests=5, succeeded=3, cost_msats=900, saved_vs_median_msats=-40, failures={502: 1, 499: 1})
    now = Totals(requests=9, succeeded=6, cost_msats=1500, saved_vs_median_msats=60, failures={502: 2, 499: 1, 402: 1})
    since = counted_since(Reset(NOON, before), now)
    assert since == Totals(
        requests=4, succeeded=3, cost_msats=600, saved_vs_median_msats=100, failures={502: 1, 402: 1}
    )


def test_right_after_the_reset_all_is_zero() -> None:
    totals = Totals(requests=5, cost_msats=900, failures={502: 5})
    assert counted_since(Reset(NOON, totals), totals) == Totals()
