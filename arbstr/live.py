"""What is going on right now, kept up by the events themselves: the state a dashboard starts from."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from arbstr.events import (
    AttemptStarted,
    Event,
    FirstByte,
    LedgerStateChanged,
    RequestFinished,
    RequestReceived,
    RouteChosen,
    StreamProgress,
)
from arbstr.source import RunningRequest, Totals
from arbstr.types import RequestRecord

_RECENT = 500


class Live:
    """Running requests, the latest finished ones, the sums since the start. A bus listener: `put` takes each event."""

    def __init__(self) -> None:
        self._running: dict[str, RunningRequest] = {}
        self._recent: deque[RequestRecord] = deque(maxlen=_RECENT)
        self.totals = Totals()
        self.ledger_problem: str | None = None

    @property
    def running(self) -> tuple[RunningRequest, ...]:
        """Requests that have not finished, oldest first."""
        return tuple(self._running.values())

    @property
    def recent(self) -> tuple[RequestRecord, ...]:
        """The latest finished requests, newest first."""
        return tuple(self._recent)

    def put(self, event: Event) -> None:
        """Take an event in."""
        match event:
            case RequestReceived():
                self._running[event.request_id] = RunningRequest(
                    event.request_id, event.at_ms, event.model, event.streaming, None, None, None, 0
                )
            case RouteChosen():
                self._update(event.request_id, policy=event.routing.policy, model=event.routing.model)
            case AttemptStarted():
                self._update(event.request_id, provider=event.provider)
            case FirstByte():
                self._update(event.request_id, first_byte_ms=event.after_ms)
            case StreamProgress():
                self._update(event.request_id, events=event.events)
            case RequestFinished():
                self._finish(event.record)
            case LedgerStateChanged():
                self.ledger_problem = None if event.ok else event.message
            case _:
                pass

    def _update(self, request_id: str, **changes: object) -> None:
        running = self._running.get(request_id)
        if running is not None:
            self._running[request_id] = replace(running, **changes)  # type: ignore[arg-type]  # fields by name

    def _finish(self, record: RequestRecord) -> None:
        self._running.pop(record.request_id, None)
        self._recent.appendleft(record)
        self.totals = add(self.totals, record)


def add(totals: Totals, record: RequestRecord) -> Totals:
    """The sums with one more finished request in them; unknown figures add nothing."""
    saved = 0
    if record.median_msats is not None and record.cost_msats is not None:
        saved = record.median_msats - record.cost_msats
    return Totals(
        requests=totals.requests + 1,
        succeeded=totals.succeeded + record.success,
        cost_msats=totals.cost_msats + (record.cost_msats or 0),
        saved_vs_median_msats=totals.saved_vs_median_msats + saved,
        input_tokens=totals.input_tokens + (record.input_tokens or 0),
        output_tokens=totals.output_tokens + (record.output_tokens or 0),
    )
