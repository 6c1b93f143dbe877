"""A finished request as spans: one for it, one for each attempt, by OpenTelemetry's conventions for generative AI.

No prompt, answer, key or provider's message is in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import SplitResult

from arbstr.monitoring.otlp import CLIENT, SERVER, Span, Value
from arbstr.types import Attempt, RequestRecord

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_OPERATIONS = {"chat": "chat", "responses": "chat", "messages": "chat", "completions": "text_completion"}
_PORTS = {"http": 80, "https": 443}


def spans_of(
    record: RequestRecord, addresses: Mapping[str, SplitResult], new_id: Callable[[], bytes]
) -> Iterator[Span]:
    """Yield a request's spans; none for a client whose own trace is not sampled.

    `addresses` are the providers' URLs, `new_id` returns eight random bytes. A client's `traceparent` is continued;
    else the trace has the request's id.
    """
    found = _TRACEPARENT.fullmatch(record.traceparent or "")
    if found is not None and not int(found[3], 16) & _SAMPLED:
        return
    trace_id = bytes.fromhex(record.request_id.replace("-", "") if found is None else found[1])
    span_id, parent_id = new_id(), b"" if found is None else bytes.fromhex(found[2])
    took_ms = record.latency_ms if record.stream_duration_ms is None else record.stream_duration_ms
    name, starts_ms = _name(record), record.received_at_ms
    failed = not record.success and (record.error_status or 0) >= 500
    yield Span(trace_id, span_id, parent_id, name, SERVER, starts_ms, starts_ms + took_ms, failed, _of_request(record))
    for number, attempt in enumerate(record.attempts):
        began_ms = starts_ms + attempt.started_ms
        attributes = _of_attempt(record, attempt, addresses.get(attempt.provider), number)
        yield Span(
            trace_id,
            new_id(),
            span_id,
            name,
            CLIENT,
            began_ms,
            began_ms + attempt.duration_ms,
            attempt.failure is not None,
            attributes,
        )


def _operation(record: RequestRecord) -> str:
    return _OPERATIONS.get(record.dialect, record.dialect)


def _name(record: RequestRecord) -> str:
    return f"{_operation(record)} {record.model}".rstrip()


def _of_request(record: RequestRecord) -> dict[str, Value | None]:
    status = 200 if record.success else record.error_status
    return {
        "gen_ai.operation.name": _operation(record),
        "gen_ai.provider.name": record.provider,
        "gen_ai.request.model": record.model or None,
        "gen_ai.response.model": record.served_model,
        "gen_ai.usage.input_tokens": record.input_tokens,
        "gen_ai.usage.output_tokens": record.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": record.cache_write_tokens,
        "http.response.status_code": status,
        "error.type": None if record.success else str(status or "error"),
        "arbstr.request_id": record.request_id,
        "arbstr.dialect": record.dialect,
        "arbstr.streaming": record.streaming,
        "arbstr.policy": record.policy,
        "arbstr.client": record.client,
        "arbstr.cost_sats": None if record.cost_msats is None else record.cost_msats / 1000,
        "arbstr.time_to_first_byte_ms": None if record.stream_duration_ms is None else record.latency_ms,
    }


def _of_attempt(
    record: RequestRecord, attempt: Attempt, address: SplitResult | None, number: int
) -> dict[str, Value | None]:
    status = None if attempt.status is None else str(attempt.status)
    return {
        "gen_ai.operation.name": _operation(record),
        "gen_ai.provider.name": attempt.provider,
        "gen_ai.request.model": record.served_model or record.model or None,
        "server.address": None if address is None else address.hostname,
        "server.port": None if address is None else address.port or _PORTS.get(address.scheme),
        "http.response.status_code": attempt.status,
        "http.request.resend_count": number or None,
        "error.type": None if attempt.failure is None else _cause(attempt.failure, status),
    }


def _cause(failure: str, status: str | None) -> str:
    return status if failure == "status" and status is not None else failure
