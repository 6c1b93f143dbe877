"""A request in flight, as its events tell of it: for snapshots, and for every reader of events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from arbstr.events import AttemptFailed, AttemptStarted, FirstByte, RequestReceived, RouteChosen, StreamProgress
from arbstr.monitoring.source import RunningRequest

RequestProgress = RouteChosen | AttemptStarted | AttemptFailed | FirstByte | StreamProgress


@dataclass(slots=True, eq=False)
class InFlight:
    """A request that has not finished.

    `path` are the providers as they were asked, `failed` how many attempts failed; `routed_model` is the name that
    serves, None before the routing; `events` are a stream's events so far, each about a token.
    """

    request_id: str
    at_ms: int
    model: str
    streaming: bool
    path: list[str] = field(default_factory=list)
    policy: str | None = None
    failed: int = 0
    first_byte_ms: int | None = None
    events: int = 0
    routed_model: str | None = None

    @classmethod
    def of(cls, running: RunningRequest) -> Self:
        """Return a running request of a snapshot."""
        return cls(
            running.request_id,
            running.at_ms,
            running.model,
            running.streaming,
            [] if running.provider is None else [running.provider],
            policy=running.policy,
            first_byte_ms=running.first_byte_ms,
            events=running.events,
        )

    def snapshot(self) -> RunningRequest:
        """Return it as a value of a snapshot."""
        return RunningRequest(
            self.request_id,
            self.at_ms,
            self.model if self.routed_model is None else self.routed_model,
            self.streaming,
            self.path[-1] if self.path else None,
            self.policy,
            self.first_byte_ms,
            self.events,
        )


def arrived(event: RequestReceived) -> InFlight:
    """Return a request that has just arrived."""
    return InFlight(event.request_id, event.at_ms, event.model, event.streaming)


def advance(request: InFlight, event: RequestProgress) -> None:
    """Apply an event to a request, in place: every request passes here, several times."""
    match event:
        case StreamProgress():
            request.events = max(request.events, event.events)
        case AttemptStarted():
            request.path.append(event.provider)
        case FirstByte():
            request.first_byte_ms = event.after_ms
        case RouteChosen():
            request.policy, request.routed_model = event.routing.policy, event.routing.model
        case AttemptFailed():
            request.failed += 1
