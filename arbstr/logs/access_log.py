"""Log lines for requests and providers, from the event bus: a line for each event, formatted in batches."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from arbstr.bus import EventBus
from arbstr.events import (
    AlertCleared,
    AlertKind,
    AlertRaised,
    AttemptFailed,
    ChargeBooked,
    Event,
    OverchargeFound,
    ProviderHealthChanged,
    RequestFinished,
)
from arbstr.logs.lines import Fields
from arbstr.logs.setup import NO_FIELDS, REQUESTS, LogEntry, Logs
from arbstr.money import to_sats
from arbstr.types import new_tuple

INTERVAL_S = 0.05
_REMEMBERED = 256  # names of a line that come together
_PROVIDERS, _ALERTS = "arbstr.providers", "arbstr.alerts"
_LOGGERS = {name: logging.getLogger(name) for name in (REQUESTS, _PROVIDERS, _ALERTS)}
_ALERT: dict[AlertKind, str] = {
    "budget": "budget",
    "balance": "balance ends soon, top it up",
    "provider_down": "provider down",
    "price_jump": "prices jumped tenfold, doubted until they are read twice",
    "unexplained_charge": "took sats that no request explains",
}


class AccessLog:
    """Subscribes to the bus when created; `run` writes until it is cancelled, `close` writes what is left."""

    def __init__(
        self, bus: EventBus, logs: Logs, *, log_requests: bool = True, clock: Callable[[], float] = time.time
    ) -> None:
        self._bus = bus
        self._logs = logs
        self._clock = clock
        self._lines = _lines(log_requests=log_requests)
        self._events = bus.subscribe(kinds=self._lines)
        self._names = lru_cache(maxsize=_REMEMBERED)(self._names_of)

    def log_requests(self, wanted: bool) -> None:
        """Set whether finished requests have lines, from now on."""
        self.close()
        self._lines = _lines(log_requests=wanted)
        self._bus.attach(self._events, self._lines)

    async def run(self) -> None:
        """Write lines for events shortly after they happen; the owner cancels it."""
        while True:
            await self._events.wait()
            await asyncio.sleep(INTERVAL_S)
            self.flush()

    def flush(self) -> None:
        """Write lines for the events since the last time."""
        events, missed = self._events.drain()
        entries: list[LogEntry] = []
        if missed:
            entries.append(LogEntry(logging.WARNING, "arbstr", f"{missed} events came too fast to be logged"))
        for event in events:
            entry = self._in_short(event) or self._lines[type(event)](event)
            if _LOGGERS[entry.logger].isEnabledFor(entry.level):
                entries.append(entry)
        if entries:
            self._logs.emit_all(entries, at=self._clock())

    def _in_short(self, event: Event) -> LogEntry | None:
        """Return the line of a request like most, as text, at a fraction of the cost; None for any other event."""
        if type(event) is not RequestFinished or self._logs.as_json:
            return None
        record = event.record
        cost, duration_ms, tokens_in, tokens_out = (
            record.cost_msats,
            record.stream_duration_ms,
            record.input_tokens,
            record.output_tokens,
        )
        if cost is None or tokens_in is None or tokens_out is None or record.error_status is not None:
            return None
        if len(record.attempts) != 1 or record.attempts[0].failure is not None:
            return None
        names = self._names(record.provider, record.policy, record.client, record.model)
        stream = "" if duration_ms is None else f" stream_ms={duration_ms}"
        text = (
            f"request id={record.request_id} status=200 sats={to_sats(cost)} ms={record.latency_ms}{names} "
            f"in={tokens_in} out={tokens_out}{stream} retries=0"
        )
        return new_tuple(LogEntry, (logging.INFO, REQUESTS, text, NO_FIELDS))

    def _names_of(self, provider: str | None, policy: str | None, client: str | None, model: str) -> str:
        return self._logs.in_text({"model": model, "provider": provider, "policy": policy, "client": client})

    def close(self) -> None:
        """Write what is left and unsubscribe."""
        self._bus.unsubscribe(self._events)
        self.flush()


def _lines(*, log_requests: bool) -> dict[type[Event], Callable[[Any], LogEntry]]:
    return {kind: line for kind, line in _LINES.items() if log_requests or kind is not RequestFinished}


def _request_finished(event: RequestFinished) -> LogEntry:
    """Return a request's line; what one looks for comes first, because narrow terminals cut lines."""
    record = event.record
    failures = [attempt.failure for attempt in record.attempts]
    fields: Fields = {
        "id": record.request_id,
        "status": record.error_status if record.error_status is not None else 200,
        "sats": to_sats(record.cost_msats),
        "ms": record.latency_ms,
        "model": record.model,
        "provider": record.provider,
        "policy": record.policy,
        "client": record.client,
        "in": record.input_tokens,
        "out": record.output_tokens,
        "stream_ms": record.stream_duration_ms,
        "retries": len(failures) - failures.count(None),
        "error": record.error_message,
    }
    return LogEntry(logging.INFO, REQUESTS, "request", fields)


def _attempt_failed(event: AttemptFailed) -> LogEntry:
    fields: Fields = {
        "id": event.request_id,
        "provider": event.provider,
        "failure": event.failure,
        "status": event.status,
        "error": event.message,
        "ms": event.duration_ms,
        "retry_in_ms": event.retry_in_ms,
    }
    return LogEntry(logging.WARNING, REQUESTS, "attempt failed", fields)


def _health_changed(event: ProviderHealthChanged) -> LogEntry:
    fields: Fields = {
        "provider": event.provider,
        "from": event.old,
        "to": event.new,
        "in_rotation": event.in_rotation,
        "reason": event.reason,
    }
    return LogEntry(logging.WARNING, _PROVIDERS, "health changed", fields)


def _overcharge_found(event: OverchargeFound) -> LogEntry:
    fields: Fields = {
        "provider": event.provider,
        "model": event.model,
        "charged_sats": to_sats(event.charged_msats),
        "computed_sats": to_sats(event.computed_msats),
        "ratio": round(event.ratio, 3),
    }
    return LogEntry(logging.WARNING, _PROVIDERS, "charges more than its rates say", fields)


def _alert_raised(event: AlertRaised) -> LogEntry:
    alert = event.alert
    fields: Fields = {
        "scope" if alert.kind == "budget" else "provider": alert.name,
        "period": alert.period,
        "percent": alert.percent,
        "sats": to_sats(alert.msats),
        "limit_sats": to_sats(alert.limit_msats),
        "hours": alert.hours,
        "models": " ".join(alert.models) or None,
        "reason": alert.reason or None,
    }
    return LogEntry(logging.WARNING, _ALERTS, f"alert: {_ALERT[alert.kind]}", fields)


def _alert_cleared(event: AlertCleared) -> LogEntry:
    return LogEntry(logging.INFO, _ALERTS, f"no longer an alert: {_ALERT[event.kind]}", {"provider": event.name})


def _charge_booked(event: ChargeBooked) -> LogEntry:
    fields: Fields = {
        "id": event.request_id,
        "provider": event.provider,
        "sats": to_sats(event.cost_msats),
        "was_sats": to_sats(event.was_msats),
    }
    return LogEntry(logging.INFO, REQUESTS, "charge known by the balance", fields)


_LINES: dict[type[Event], Callable[[Any], LogEntry]] = {
    RequestFinished: _request_finished,
    AttemptFailed: _attempt_failed,
    ProviderHealthChanged: _health_changed,
    OverchargeFound: _overcharge_found,
    AlertRaised: _alert_raised,
    AlertCleared: _alert_cleared,
    ChargeBooked: _charge_booked,
}
