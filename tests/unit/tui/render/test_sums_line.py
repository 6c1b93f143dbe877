from __future__ import annotations

from datetime import UTC

from arbstr.clock import DAY_MS
from arbstr.ledger.model import Aggregate
from tests.support.dashboard_fakes import NOON
from tui.model.running_sums import RunningSums
from tui.render.sums_line import sums_line

SUMS = Aggregate(total=2, success=2, cost_msats=3_000_000, p95_latency_ms=400)


def said(known: RunningSums | None, *, given_up: bool = False) -> str:
    return "".join(text for line, _ in sums_line(known, NOON, UTC, given_up=given_up) for text, _ in line)


def test_sums_of_all_rows_are_said_as_they_are() -> None:
    assert said(RunningSums(SUMS)).startswith("Σ 3,000 sats  mean ")
    assert "first byte p95 400 ms" in said(RunningSums(SUMS))


def test_sums_of_the_newest_rows_say_since_when_and_whether_more_will_come() -> None:
    newest = RunningSums(SUMS, NOON - 2 * DAY_MS)
    assert "3,000 sats  since 12 Mar 14:02 …" in said(newest)
    assert "3,000 sats  since 12 Mar 14:02, all takes too long" in said(newest, given_up=True)


def test_percentiles_that_are_not_known_are_left_out() -> None:
    assert "p95" not in said(RunningSums(Aggregate(total=2, cost_msats=1000)))


def test_nothing_known_says_why() -> None:
    assert said(None) == "Σ …"
    assert said(None, given_up=True) == "Σ takes too long, filter further"
