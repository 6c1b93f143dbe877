"""What arbstr adds to a provider's response: headers of its own, and events in a stream, each shape written once."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from arbstr.engine.request_context import RequestContext
from arbstr.engine.upstream.response import UpstreamResponse, UpstreamStream
from arbstr.money import format_sats, to_sats
from arbstr.types import HeaderList

if TYPE_CHECKING:
    from arbstr import shapes

KEEP_ALIVE = b": keep-alive\n\n"  # a comment, which clients skip


def whole_headers(context: RequestContext, response: UpstreamResponse) -> HeaderList:
    """Return the headers of a whole response; arbstr decides whether an error may be retried."""
    if response.client_error is None:
        return [*response.headers, *_routing_headers(context), *_cost_headers(context)]
    own = error_headers(context)
    names = {name.lower() for name, _ in own}
    return [*(pair for pair in response.headers if pair[0].lower() not in names), *own]


def stream_headers(context: RequestContext, stream: UpstreamStream) -> HeaderList:
    """Return the headers of a stream; its cost follows in the final event."""
    return [*stream.headers, *_routing_headers(context), ("X-Arbstr-Streaming", "true")]


def error_headers(context: RequestContext) -> HeaderList:
    """Return arbstr's headers for an error; clients that retry automatically must not pay twice."""
    once = [("X-Should-Retry", "false")] if context.spend.in_flight or context.spend.may_have_cost else []
    return [*_routing_headers(context), *_cost_headers(context), *once]


def _routing_headers(context: RequestContext) -> HeaderList:
    """Return the headers about provider, policy and retries; the server adds the request id."""
    headers = []
    if context.provider is not None:
        headers.append(("X-Arbstr-Provider", context.provider.name))
    if context.policy is not None:
        headers.append(("X-Arbstr-Policy", context.policy))
    if context.attempts and (retries := _retries(context)):
        headers.append(("X-Arbstr-Retries", retries))
    return headers


def _cost_headers(context: RequestContext) -> HeaderList:
    """Return the headers of a complete response: latency in ms, and the cost in sats where known."""
    headers = [("X-Arbstr-Latency-Ms", str(context.elapsed_ms() if context.ended_ms is None else context.ended_ms))]
    cost = context.spend.cost_msats
    if cost is not None:
        headers.append(("X-Arbstr-Cost-Sats", format_sats(cost)))
    return headers


def _retries(context: RequestContext) -> str:
    """Return the failed attempts by provider in order, as `3/provider-alpha, 1/provider-beta`."""
    failed = [attempt.provider for attempt in context.attempts if attempt.failure is not None]
    if not failed:
        return ""
    return ", ".join(f"{len(list(run))}/{name}" for name, run in groupby(failed))


def final_event(context: RequestContext, *, done: bool) -> bytes:
    """Return the end of a stream, with arbstr's own event.

    `done`: the provider's own last event has been sent.
    """
    cost, usage = context.spend.cost_msats, context.usage
    own: shapes.CostFigures = {
        "request_id": context.request_id,
        "provider": None if context.provider is None else context.provider.name,
        "cost_sats": to_sats(cost),
        "latency_ms": context.elapsed_ms(),
        "input_tokens": None if usage is None else usage.input_tokens,
        "cached_tokens": None if usage is None else usage.cached_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
    }
    return context.dialect.final_event(own, created_s=context.received_at_ms // 1000, model=context.model, done=done)


def traceparent(headers: HeaderList) -> str | None:
    """Return the trace that a client's request belongs to, as its header names it; None without one."""
    return next((value for name, value in headers if name.lower() == "traceparent"), None)
