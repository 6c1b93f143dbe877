"""What is known of one request, up to its row."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import cast

import pytest

from arbstr.config.schema import Breaker, Provider
from arbstr.engine import request_context
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.request_context import RequestContext
from arbstr.engine.upstream.response import UpstreamStream
from arbstr.engine.upstream.stream_observer import StreamObserver
from arbstr.errors import AttemptError
from arbstr.types import RequestRecord, Routing, Usage
from tests.support.clock import Clock
from tests.support.engine_builders import provider, routed

ALPHA = provider("alpha", 10, 30, base_fee=1)
BETA = provider("beta", 10, 30)
BUSY = AttemptError("status", "HTTP 500: busy", status=500, retryable=True)
LATE = AttemptError("timeout", "no answer within 9 s", sent=True)
REFUSED = AttemptError("connect", "connection failed: refused", retryable=True)
CLOSED = AttemptError("connect", "connection failed: closed without a response", retryable=True, sent=True)
USELESS = AttemptError("bad_response", "HTTP 200 whose body is not a JSON object", status=200)
BROKEN_OFF = b'data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}\n\n'


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def context(clock: Clock) -> RequestContext:
    return routed(clock)


def failed(context: RequestContext, provider: Provider, *errors: AttemptError) -> None:
    for error in errors:
        context.begin_attempt(provider, 900.5)
        context.attempt_failed(error, again=False)


def test_a_request_that_was_turned_away_has_no_provider(clock: Clock) -> None:
    context = RequestContext("r-1", 1_700_000_000_000, CHAT, clock)
    context.fail(400, "no")
    record = context.record()
    assert (record.provider, record.policy, record.model, record.attempts) == (None, None, "", ())
    assert (record.success, record.error_status, record.error_message) == (False, 400, "no")


def test_the_first_end_stands(context: RequestContext, clock: Clock) -> None:
    clock.now += 0.25
    context.client_left()
    clock.now += 5
    context.fail(500, "later")
    record = context.record()
    assert (record.error_status, record.latency_ms) == (499, 250)
    assert "client" in (record.error_message or "")


def test_a_success_stands_against_a_later_failure(context: RequestContext) -> None:
    context.succeed()
    context.fail(500, "later")
    assert context.record().success
    assert context.record().error_status is None


def test_the_attempt_that_answered_is_in_the_row_too(context: RequestContext) -> None:
    failed(context, ALPHA, BUSY)
    context.begin_attempt(BETA, 900.5)
    context.attempt_succeeded(200)
    assert [attempt.failure for attempt in context.record().attempts] == ["status", None]


def test_the_rule_is_in_the_row(context: RequestContext) -> None:
    context.set_routing(Routing("cheapest", "code", "gpt-4o", 1, 1, ()))
    assert context.record().policy == "code"


def test_usage_and_costs_are_in_the_row(context: RequestContext) -> None:
    context.begin_attempt(ALPHA, 900.5)
    context.set_usage(Usage(1000, 500, cached_tokens=800, cache_write_tokens=100), 455, 400)
    record = context.record()
    assert (record.cost_msats, record.provider_cost_msats, record.list_cost_msats) == (455, 455, 26_000)
    assert (record.cached_tokens, record.cache_write_tokens) == (800, 100)


def test_attempts_know_when_they_began_and_how_long_they_took(context: RequestContext, clock: Clock) -> None:
    clock.now += 1
    context.begin_attempt(ALPHA, 900.5)
    clock.now += 0.5
    context.attempt_failed(BUSY, again=False)
    (attempt,) = context.attempts
    assert (attempt.started_ms, attempt.duration_ms, attempt.status) == (1000, 500, 500)


def test_the_latency_of_a_stream_is_to_its_first_byte(context: RequestContext, clock: Clock) -> None:
    context.identify("gpt-4o", streaming=True, session=None)
    clock.now += 0.25
    context.first_byte_ms = context.elapsed_ms()
    clock.now += 0.75
    context.succeed()
    record = context.record()
    assert (record.latency_ms, record.stream_duration_ms) == (250, 1000)


def test_an_open_row_has_no_duration_yet_and_the_name_that_serves(context: RequestContext) -> None:
    context.identify("gpt-*", streaming=True, session=None)
    context.begin_attempt(ALPHA, 900.5)
    assert context.record().served_model is None
    context.stream_opened(cast("UpstreamStream", None))
    record = context.record()
    assert (record.model, record.served_model, record.stream_duration_ms) == ("gpt-*", "gpt-4o", None)


def test_a_stream_answered_as_a_whole_has_no_duration(context: RequestContext, clock: Clock) -> None:
    context.identify("gpt-4o", streaming=True, session=None)
    clock.now += 1
    context.succeed()
    record = context.record()
    assert (record.streaming, record.latency_ms, record.stream_duration_ms) == (True, 1000, None)


def test_zero_usage_of_a_stream_without_an_end_is_unknown(context: RequestContext) -> None:
    context.begin_attempt(ALPHA, 900.5)
    observer = StreamObserver(CHAT, keep_usage_chunk=False)
    observer.feed(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n' + BROKEN_OFF)
    context.set_usage_from(observer)
    assert (context.usage, context.spend.cost_msats) == (None, None)
    observer.feed(b"data: [DONE]\n\n")
    context.set_usage_from(observer)
    assert context.usage == Usage(0, 0)
    assert context.spend.cost_msats == 1000


def test_what_may_have_been_spent_besides_is_in_the_row_from_its_opening_on(context: RequestContext) -> None:
    context.begin_attempt(ALPHA, 900.5)
    assert context.record().doubtful_msats == 901
    context.attempt_failed(LATE, again=False)
    context.begin_attempt(BETA, 900.5)
    assert context.record().doubtful_msats == 1802
    context.set_usage(Usage(1000, 500), None, 400)
    context.attempt_succeeded(200)
    assert context.record().doubtful_msats == 901
    assert context.spend.spent_msats == (context.record().cost_msats or 0) + 901


def test_a_cost_that_cannot_be_worked_out_is_unknown(
    context: RequestContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*given: object) -> int:
        raise ArithmeticError("pricing is broken")

    monkeypatch.setattr("arbstr.engine.claims.cost_msats", fails)
    context.begin_attempt(ALPHA, 900.5)
    context.set_usage(Usage(1000, 500), 455, 400)
    assert (context.usage, context.spend.cost_msats, context.spend.charged_msats) == (None, None, None)
    assert len(caplog.records) == 1


def test_a_streams_latency_is_its_own_providers(context: RequestContext, clock: Clock) -> None:
    health = CircuitBreakers(["alpha"], Breaker(), clock=clock, now_ms=lambda: 0, random=lambda: 0.0)
    failed(context, BETA, LATE)
    clock.now += 5
    permit = health.acquire("alpha")
    assert permit is not None
    context.set_permit(permit)
    context.begin_attempt(ALPHA, 900.5)
    clock.now += 0.25
    context.first_byte_ms = context.elapsed_ms()
    clock.now += 3
    context.attempt_succeeded(200)
    assert health.view("alpha").latency_ms == 250


def test_rates_are_exact_decimals(context: RequestContext) -> None:
    """0.1 and 0.2 are no binary fractions; three tokens of each still make 0.9 msats."""
    context.begin_attempt(provider("gamma", 0.1, 0.2), 1)
    context.set_usage(Usage(3, 3), None, 400)
    assert provider("gamma", 0.1, 0.2).rates.input == Decimal("0.1")
    assert context.spend.cost_msats == 1


def test_its_repr_says_where_the_request_is(context: RequestContext) -> None:
    failed(context, ALPHA, BUSY)
    assert repr(context) == '<RequestContext r-1 "gpt-4o" at alpha, 1 attempts, in progress>'
    context.fail(502, "no")
    assert repr(context) == '<RequestContext r-1 "gpt-4o" at alpha, 1 attempts, 502>'


def test_a_record_has_every_field_that_there_is(context: RequestContext, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(request_context, "RequestRecord", lambda *values: given.extend(values))
    context.record()
    assert len(given) == len(fields(RequestRecord))
