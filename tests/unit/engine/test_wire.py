"""What arbstr adds to a response: its headers, and its events at the end of a stream."""

from __future__ import annotations

import json

import pytest

from arbstr.engine import wire
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.request_context import RequestContext
from arbstr.engine.upstream.response import UpstreamResponse
from arbstr.errors import AttemptError
from arbstr.types import HeaderList, Routing, Usage
from tests.support.clock import Clock
from tests.support.engine_builders import provider, routed

ALPHA = provider("alpha", 10, 30, base_fee=1)
BETA = provider("beta", 10, 30)
BUSY = AttemptError("status", "HTTP 500: busy", status=500, retryable=True)
LATE = AttemptError("timeout", "no answer within 9 s", sent=True)
WHOLE = UpstreamResponse(200, [("Content-Type", "application/json")], b"{}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def context(clock: Clock) -> RequestContext:
    return routed(clock)


def failed(context: RequestContext, name: str, *errors: AttemptError) -> None:
    for error in errors:
        context.begin_attempt(provider(name), 900.5)
        context.attempt_failed(error, again=False)


def own_headers(context: RequestContext) -> HeaderList:
    """arbstr's headers of a whole response."""
    return [pair for pair in wire.whole_headers(context, WHOLE) if pair not in WHOLE.headers]


def test_a_refused_request_names_no_provider_policy_or_retries(clock: Clock) -> None:
    context = RequestContext("r-1", 1_700_000_000_000, CHAT, clock)
    context.fail(400, "no")
    assert wire.error_headers(context) == [("X-Arbstr-Latency-Ms", "0")]


def test_retries_are_grouped_by_runs_of_one_provider(context: RequestContext) -> None:
    failed(context, "alpha", BUSY, BUSY)
    failed(context, "beta", LATE)
    failed(context, "alpha", BUSY)
    headers = dict(own_headers(context))
    assert (headers["X-Arbstr-Retries"], headers["X-Arbstr-Provider"]) == ("2/alpha, 1/beta, 1/alpha", "alpha")


def test_the_attempt_that_answered_is_no_retry(context: RequestContext) -> None:
    failed(context, "alpha", BUSY)
    context.begin_attempt(BETA, 900.5)
    context.attempt_succeeded(200)
    assert dict(own_headers(context))["X-Arbstr-Retries"] == "1/alpha"


def test_the_rule_stands_in_a_header(context: RequestContext) -> None:
    context.set_routing(Routing("cheapest", "code", "gpt-4o", 1, 1, ()))
    assert dict(own_headers(context))["X-Arbstr-Policy"] == "code"


@pytest.mark.parametrize(
    ("cost_msats", "shown"),
    [(0, "0.000"), (1, "0.001"), (420, "0.420"), (26_000, "26.000"), (10**15 + 1, "1000000000000.001")],
)
def test_sats_in_the_header_are_exact_to_the_millisat(context: RequestContext, cost_msats: int, shown: str) -> None:
    context.spend.cost_msats = cost_msats
    assert dict(own_headers(context))["X-Arbstr-Cost-Sats"] == shown


def test_an_unknown_cost_has_no_header_and_is_null_in_the_event(context: RequestContext) -> None:
    assert [name for name, _ in own_headers(context)] == ["X-Arbstr-Latency-Ms"]
    assert cost_event(context)["cost_sats"] is None


@pytest.mark.parametrize(("errors", "once"), [((BUSY,), False), ((LATE,), True), ((LATE, BUSY), True)])
def test_an_error_says_not_to_retry_what_may_have_been_charged(
    context: RequestContext, errors: tuple[AttemptError, ...], once: bool
) -> None:
    failed(context, "alpha", *errors)
    assert (("X-Should-Retry", "false") in wire.error_headers(context)) is once


def test_an_error_of_a_provider_says_not_to_retry_while_it_may_be_at_work(context: RequestContext) -> None:
    context.begin_attempt(ALPHA, 900.5)
    assert ("X-Should-Retry", "false") in wire.error_headers(context)


def test_of_a_header_that_provider_and_arbstr_give_a_refused_request_has_arbstrs(context: RequestContext) -> None:
    failed(context, "alpha", LATE)
    teapot = UpstreamResponse(418, [("x-should-retry", "true"), ("X-Tea", "none")], b"", client_error="short and stout")
    headers = wire.whole_headers(context, teapot)
    assert ("X-Tea", "none") in headers
    assert [value for name, value in headers if name.lower() == "x-should-retry"] == ["false"]


def cost_event(context: RequestContext) -> dict[str, object]:
    text = wire.final_event(context, done=True).decode()
    assert wire.final_event(context, done=False).decode() == f"data: [DONE]\n\n{text}"
    first, second, rest = text.split("\n\n")
    assert (second, rest) == ("data: [DONE]", "")
    reported: dict[str, object] = json.loads(first.removeprefix("data: "))["arbstr"]
    return reported


def test_the_final_event_has_the_figures_of_the_row(context: RequestContext, clock: Clock) -> None:
    context.begin_attempt(ALPHA, 900.5)
    context.set_usage(Usage(1000, 500, cached_tokens=800, cache_write_tokens=100), 455, 400)
    clock.now += 1.2
    assert cost_event(context) == {
        "request_id": "r-1",
        "provider": "alpha",
        "cost_sats": 0.455,
        "latency_ms": 1200,
        "input_tokens": 1000,
        "cached_tokens": 800,
        "output_tokens": 500,
    }
