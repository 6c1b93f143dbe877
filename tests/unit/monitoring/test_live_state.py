"""What finished requests add up to, and the latest of them."""

from __future__ import annotations

from typing import Any

from arbstr.events import ChargeBooked, RequestFinished, UnexplainedCharge
from arbstr.monitoring.live_state import FinishedRequests
from arbstr.monitoring.source import Totals
from arbstr.types import RequestRecord


def ended(request_id: str, **more: Any) -> RequestFinished:
    values: dict[str, Any] = {
        "success": True,
        "cost_msats": 500,
        "median_msats": 700,
        "input_tokens": 10,
        "output_tokens": 20,
    } | more
    return RequestFinished(RequestRecord(request_id, 1000, "gpt-4o", False, latency_ms=90, **values))


def test_sums_count_what_is_known() -> None:
    live = FinishedRequests()
    live.put(ended("a"))
    assert live.totals == Totals(1, 1, 500, 200, 10, 20, 500, 500)
    live.put(ended("b", success=False, cost_msats=None, input_tokens=None, output_tokens=None))
    live.put(ended("c", median_msats=None))
    assert live.totals == Totals(3, 2, 1000, 200, 20, 40, 500, 1000, {0: 1})
    live.put(ended("d", median_msats=None, list_cost_msats=450))  # it charged 500
    assert live.totals == Totals(4, 3, 1500, 200, 30, 60, 500, 1450, {0: 1})
    for status in (502, 499, 502):
        live.put(ended(f"e{status}", success=False, error_status=status, cost_msats=None, median_msats=None))
    assert live.totals.failures == {0: 1, 502: 2, 499: 1}


def test_sums_are_right_however_seldom_one_looks_and_the_latest_are_kept() -> None:
    live = FinishedRequests()
    for number in range(1234):
        live.put(ended(str(number)))
    assert live.totals == Totals(1234, 1234, 1234 * 500, 1234 * 200, 12340, 24680, 1234 * 500, 1234 * 500)
    assert len(live.recent) == 200
    assert live.recent[0].request_id == "1233"


def test_what_turns_out_later_changes_the_sums_and_the_request() -> None:
    live = FinishedRequests()
    live.put(ended("a", cost_msats=None, doubtful_msats=900))
    live.put(ended("b"))
    live.put(ChargeBooked("a", 1000, "alpha", cost_msats=455, was_msats=None, doubtful_msats=0))
    assert live.totals.cost_msats == 955
    assert [(one.request_id, one.cost_msats, one.doubtful_msats) for one in live.recent] == [
        ("b", 500, 0),
        ("a", 455, 0),
    ]
    live.put(UnexplainedCharge("alpha", 2000, 300))
    assert (live.totals.cost_msats, live.totals.requests) == (1255, 2)
    live.put(ChargeBooked("a", 1000, "alpha", cost_msats=400, was_msats=455, doubtful_msats=0))
    assert live.totals.cost_msats == 1200


def test_it_continues_from_what_a_snapshot_has() -> None:
    before = FinishedRequests()
    before.put(ended("a"))
    after = FinishedRequests(before.recent, before.totals)
    after.put(ended("b"))
    assert [record.request_id for record in after.recent] == ["b", "a"]
    assert (after.totals.requests, before.totals.requests) == (2, 1)
