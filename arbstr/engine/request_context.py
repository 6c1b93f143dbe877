"""The state of one request; at its end, the ledger's row."""

from __future__ import annotations

import logging
from collections.abc import Callable

from arbstr.config.schema import Provider
from arbstr.engine.claims import bounds_of
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.node_funds import Hold
from arbstr.engine.pricing import cache_saved_msats
from arbstr.engine.provider_breaker import Permit
from arbstr.engine.quotes import without_quotes
from arbstr.engine.spend import SpendTracker
from arbstr.engine.upstream.response import UpstreamStream
from arbstr.engine.upstream.stream_observer import StreamObserver
from arbstr.errors import ApiError, AttemptError
from arbstr.sanitize import quoted
from arbstr.types import CLIENT_CLOSED, Attempt, InferenceRequest, Rates, RequestRecord, Routing, Usage

logger = logging.getLogger(__name__)

_OK = 200
_PAYMENT_REQUIRED = 402


class RequestContext:
    """The state of one request from arrival to end. `clock` is monotonic seconds, `client` the name of its client.

    `traceparent` is that client's header, where traces are wanted.
    """

    # Too many attributes for CPython's key-sharing dictionaries: without slots each instance would have its own table.
    __slots__ = (
        "_asked_before",
        "_attempt_started_ms",
        "_clock",
        "_rates",
        "_remembered",
        "_started",
        "_waits_s",
        "announced",
        "answer_bytes",
        "attempts",
        "baselines",
        "cache_saved_msats",
        "client",
        "dialect",
        "drained",
        "ended_ms",
        "error_message",
        "error_status",
        "first_byte_ms",
        "hold",
        "model",
        "permit",
        "policy",
        "provider",
        "received_at_ms",
        "request",
        "request_id",
        "routing",
        "served_model",
        "session",
        "spend",
        "stream",
        "streaming",
        "success",
        "traceparent",
        "usage",
    )

    def __init__(
        self,
        request_id: str,
        received_at_ms: int,
        dialect: Dialect,
        clock: Callable[[], float],
        client: str | None = None,
        traceparent: str | None = None,
    ) -> None:
        self.request_id = request_id
        self.client = client
        self.traceparent = traceparent
        self.received_at_ms = received_at_ms
        self.dialect = dialect  # its client's
        self._clock = clock
        self._started = clock()
        self._attempt_started_ms = 0
        self.announced = False  # on the bus
        self.drained = False  # its client has left, and its slot is free
        self.request: InferenceRequest | None = None
        self._remembered = b""
        self.model = ""
        self.streaming = False
        self.policy: str | None = None
        self.routing: Routing | None = None
        self.provider: Provider | None = None  # the last one asked
        self._asked_before: Provider | None = None
        self._rates: Rates | None = None  # what the provider asked when it was asked
        self.permit: Permit | None = None  # from that provider's breaker
        self.hold: Hold | None = None  # of money at that provider
        self.stream: UpstreamStream | None = None
        self.attempts: list[Attempt] = []
        self._waits_s: dict[str, float | None] = {}  # by provider, the wait that its last failure asked for
        self.usage: Usage | None = None
        self.spend = SpendTracker()
        self.answer_bytes: int | None = None
        self.served_model: str | None = None
        self.session: str | None = None  # as stored
        self.baselines: tuple[int | None, int | None] = (None, None)  # see set_baselines
        self.cache_saved_msats: int | None = None
        self.first_byte_ms: int | None = None
        self.ended_ms: int | None = None
        self.success = False
        self.error_status: int | None = None
        self.error_message: str | None = None

    def __repr__(self) -> str:
        where = "" if self.provider is None else f" at {self.provider.name}"
        ended = "succeeded" if self.success else "in progress" if self.error_status is None else self.error_status
        return f"<RequestContext {self.request_id} {quoted(self.model)}{where}, {len(self.attempts)} attempts, {ended}>"

    def elapsed_ms(self) -> int:
        """Return the milliseconds since the request arrived."""
        return int((self._clock() - self._started) * 1000)

    @property
    def time_to_first_byte_ms(self) -> int:
        """How long the provider took to begin its stream; earlier attempts are not counted."""
        return (self.first_byte_ms or 0) - self._attempt_started_ms

    def identify(self, model: str, *, streaming: bool, session: str | None) -> None:
        """Set what the request asks for, as far as its row and the `RequestReceived` event show it."""
        self.model = model
        self.streaming = streaming
        self.session = session

    def announce(self) -> bool:
        """Return True once: the arrival of the request has yet to be published."""
        first, self.announced = not self.announced, True
        return first

    def set_request(self, request: InferenceRequest) -> None:
        """Set the request: it is valid."""
        self.request = request

    def set_remembered(self, remembered: bytes) -> None:
        """Set the JSON of earlier answers that go up with the request."""
        self._remembered = remembered

    def set_routing(self, routing: Routing) -> None:
        """Set the routing decision."""
        self.routing = routing
        self.policy = routing.policy

    def set_permit(self, permit: Permit) -> None:
        """Set the permit under which a provider is asked; the one before has ended."""
        self.permit = permit

    def release_permit(self) -> None:
        """End the last permit, unless an outcome has."""
        if self.permit is not None:
            self.permit.release()

    def begin_attempt(
        self,
        provider: Provider,
        expected_msats: float,
        rates: Rates | None = None,
        hold: Hold | None = None,
        *,
        balance_tells: bool = False,
    ) -> None:
        """Record that a provider is being asked, at these rates; without any at those of the configuration.

        `hold` is of the money there, which the request now holds; `balance_tells`: what the provider takes without
        saying so shows in its balance.
        """
        self._asked_before, self.provider = self.provider, provider
        self._rates = rates
        self.hold = hold
        self.spend.begin_attempt(expected_msats, provider.name if balance_tells else None)
        self._attempt_started_ms = self.elapsed_ms()

    def drop_attempt(self) -> None:
        """Record that the provider can't have seen the request."""
        self.spend.drop_attempt()
        if self.hold is not None:
            self.hold.settle(0)

    def withdraw_attempt(self) -> None:
        """Record that the provider has not been asked after all."""
        self.drop_attempt()
        self.provider = self._asked_before

    def attempt_succeeded(self, status: int) -> Attempt:
        """Record a successful attempt."""
        attempt = self.attempt_ended(None, status)
        self._set_served_model()
        if self.permit is not None:
            self.permit.succeeded(attempt.duration_ms if self.first_byte_ms is None else self.time_to_first_byte_ms)
        return attempt

    def attempt_failed(self, error: AttemptError, *, again: bool) -> Attempt:
        """Record a failed attempt; `again`: the provider will be retried."""
        error.args = (self.without_quotes(str(error)),)
        if self.permit is not None:
            self.permit.failed(error, again=again)
        if self.provider is not None:
            self._waits_s[self.provider.name] = error.retry_after_s
        return self.attempt_ended(error, error.status)

    def attempt_ended(self, error: AttemptError | None, status: int | None) -> Attempt:
        """Record the end of an attempt without telling the provider's breaker."""
        assert self.provider is not None
        self.spend.end_attempt(error, status)
        if self.hold is not None:
            self._end_hold(self.hold, error, status)
        message = "" if error is None else self.without_quotes(str(error))
        began_ms = self._attempt_started_ms
        failure = None if error is None else error.kind
        attempt = Attempt(self.provider.name, began_ms, self.elapsed_ms() - began_ms, failure, status, message)
        self.attempts.append(attempt)
        return attempt

    def _end_hold(self, hold: Hold, error: AttemptError | None, status: int | None) -> None:
        """End the hold of an attempt that was refused or failed; one that was answered ends when its cost is known."""
        if error is not None and status == _PAYMENT_REQUIRED:
            hold.refuse(str(error))
        elif error is not None:
            hold.settle(None if error.may_be_billed else 0)
        elif status != _OK:
            hold.settle(0)

    def settle_hold(self) -> None:
        """End the last attempt's hold: it took what the request has cost, as far as that is known."""
        if self.hold is not None:
            self.hold.settle(self.spend.cost_msats)

    def set_usage(
        self,
        usage: Usage | None,
        charged_msats: int | None,
        answer_bytes: int,
        *,
        complete: bool = True,
        flat: bool = False,
    ) -> None:
        """Set the usage, the charge and the size that the response states, and compute the cost.

        `flat`: without usage it costs the base fee, if its provider asks one.
        """
        self.answer_bytes = answer_bytes
        try:
            assert self.provider is not None
            assert self.request is not None
            assert self.routing is not None
            bounds = bounds_of(self.request, self.routing, answer_bytes)
            rates = self._rates or self.provider.rates_for(self.routing.model)
            counted = Usage(0, 0) if usage is None and flat and rates.base_fee else usage
            self.spend.price(rates, counted, charged_msats, bounds, complete=complete)
            if counted is not None and self.spend.implausible is None:
                self.cache_saved_msats = cache_saved_msats(rates, counted)
        except Exception:  # the response matters more than its price
            logger.exception("could not compute the cost of request %s; it is unknown", self.request_id)
            return
        self.usage = usage
        if self.spend.cost_msats is not None:
            self.settle_hold()

    def set_baselines(self, dearest_msats: int | None, median_msats: int | None) -> None:
        """Set what the most expensive and the median candidate would have cost, in msats."""
        self.baselines = dearest_msats, median_msats

    def stream_opened(self, stream: UpstreamStream) -> int:
        """Record that the stream begins for the client; return when, in milliseconds since the request arrived."""
        self.stream = stream
        self._set_served_model()
        self.first_byte_ms = self.elapsed_ms()
        return self.first_byte_ms

    def _set_served_model(self) -> None:
        self.served_model = None if self.routing is None else self.routing.model

    def set_usage_from(self, observer: StreamObserver) -> None:
        """Set usage and charge from a stream that has ended. Zeros of one that broke off mean unknown."""
        usage, charged_msats = observer.usage, observer.charged_msats
        if usage is not None and not observer.complete and not usage.input_tokens and not usage.output_tokens:
            usage = None
        self.set_usage(usage, charged_msats, observer.size, complete=observer.complete)

    @property
    def shortest_wait_s(self) -> float | None:
        """The shortest wait that a provider asked for, in seconds; None if none did."""
        return min((wait_s for wait_s in self._waits_s.values() if wait_s is not None), default=None)

    def mark_complete(self) -> None:
        """Stop the clock: the response is complete, and the time its client takes to read it does not count."""
        if self.ended_ms is None:
            self.ended_ms = self.elapsed_ms()

    def succeed(self) -> None:
        """Mark the request as successful: the client has the whole response."""
        self.mark_complete()
        self.success = True

    def without_quotes(self, message: str) -> str:
        """Return a provider's message without quotes of the request, fit to be stored, logged and shown."""
        if self.request is None:
            return message
        message = without_quotes(message, self.request.body)
        return without_quotes(message, self._remembered) if self._remembered else message

    def fail(self, status: int, message: str) -> None:
        """Mark the request as failed; the first reason given stands."""
        if not self.success and self.error_status is None:
            self.mark_complete()
            self.error_status = status
            self.error_message = message

    def refuse(self, error: ApiError) -> None:
        """Mark the request as failed with the error that its client gets."""
        self.policy = self.policy or error.policy
        self.fail(error.status, error.message)

    def begin_drain(self) -> None:
        """Record that the client has left, its slot is free, and the response is read for the row alone."""
        self.drained = True

    def client_left(self) -> None:
        """Mark the request as failed because its client disconnected."""
        self.fail(CLIENT_CLOSED, "the client closed the connection before the answer was complete")

    def record(self) -> RequestRecord:
        """Return the row for the current state."""
        ended_ms = self.elapsed_ms() if self.ended_ms is None else self.ended_ms
        streamed = self.streaming and self.first_byte_ms is not None
        predicted_tokens, switching_msats = self._predicted()
        usage, spend = self.usage, self.spend
        return RequestRecord(  # by position: by name it would take three times as long
            self.request_id,
            self.received_at_ms,
            self.model,
            self.streaming,
            self.success,
            self.first_byte_ms if streamed and self.first_byte_ms is not None else ended_ms,
            None if self.provider is None else self.provider.name,
            self.policy,
            None if usage is None else usage.input_tokens,
            None if usage is None else usage.output_tokens,
            spend.cost_msats,
            spend.charged_msats,
            self.ended_ms if streamed else None,
            self.error_status,
            self.error_message,
            self.baselines[0],
            self.baselines[1],
            tuple(self.attempts),
            self.routing,
            spend.list_cost_msats,
            None if usage is None else usage.cached_tokens,
            None if usage is None else usage.cache_write_tokens,
            self.served_model,
            self.dialect.name,
            self.session,
            self.client,
            spend.implausible,
            spend.doubtful_msats,
            spend.doubts,
            predicted_tokens,
            self.cache_saved_msats,
            switching_msats,
            self.traceparent,
        )

    def _predicted(self) -> tuple[int | None, int | None]:
        """Return the cached tokens that were expected, and what was lost by going elsewhere than before, in msats."""
        reuse = None if self.routing is None else self.routing.reuse
        if reuse is None or self.routing is None or self.provider is None:
            return None, None
        name = self.provider.name
        tokens = next((one.cached_tokens for one in self.routing.candidates if one.provider == name), 0)
        if reuse.previous in (None, name) or self.cache_saved_msats is None:
            return tokens, 0
        return tokens, max(reuse.previous_saves_msats - self.cache_saved_msats, 0)
