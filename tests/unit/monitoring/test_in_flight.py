"""One request in flight, moved by its events."""

from __future__ import annotations

import pytest

from arbstr.events import AttemptFailed, AttemptStarted, FirstByte, RequestReceived, RouteChosen, StreamProgress
from arbstr.monitoring.in_flight import InFlight, RequestProgress, advance, arrived
from arbstr.monitoring.source import RunningRequest
from arbstr.types import Routing

ROUTE = RouteChosen("r", Routing("cheapest", "code", "gpt-4o-mini", 10, 256, ()))
FAILURE = AttemptFailed("r", "alpha", "status", 500, "busy", 90, None)


@pytest.fixture
def request_in_flight() -> InFlight:
    return arrived(RequestReceived("r", 1000, "gpt-4o", streaming=True))


def after(request: InFlight, *events: RequestProgress) -> InFlight:
    for event in events:
        advance(request, event)
    return request


def test_a_request_that_has_just_arrived_has_a_model_and_nothing_else(request_in_flight: InFlight) -> None:
    assert request_in_flight.snapshot() == RunningRequest("r", 1000, "gpt-4o", True, None, None, None, 0)


def test_a_snapshot_in_flight_names_the_model_that_serves_and_the_provider_asked_last(
    request_in_flight: InFlight,
) -> None:
    events = (ROUTE, AttemptStarted("r", "alpha"), FAILURE, AttemptStarted("r", "beta"), FirstByte("r", "beta", 310))
    now = after(request_in_flight, *events)
    assert now.snapshot() == RunningRequest("r", 1000, "gpt-4o-mini", True, "beta", "code", 310, 0)
    assert (now.model, now.path, now.failed) == ("gpt-4o", ["alpha", "beta"], 1)


def test_progress_that_comes_late_takes_nothing_back(request_in_flight: InFlight) -> None:
    assert after(request_in_flight, StreamProgress("r", 12), StreamProgress("r", 7)).events == 12
