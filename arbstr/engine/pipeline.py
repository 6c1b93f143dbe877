"""The whole life of a request: read, route, try providers, fall back, respond, meter, record.

`Engine.handle` is that life in one function. It ends in exactly one `LedgerPort.append` and one `RequestFinished`,
whatever happens in between; the outside world is reached through `Client`, `Upstream` and `LedgerPort` only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from random import random

from arbstr.bus import EventBus
from arbstr.config.schema import Config, Provider
from arbstr.engine import wire
from arbstr.engine.accounts import Accounts
from arbstr.engine.admission import AdmissionControl
from arbstr.engine.best_effort import best_effort
from arbstr.engine.budget import Budgets, Reservation
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.cut_off import CutOff
from arbstr.engine.dialects.body import for_model, with_max_tokens
from arbstr.engine.dialects.fields import named_model
from arbstr.engine.funds_queue import FundsQueue
from arbstr.engine.outcome import all_failed, why_skipped
from arbstr.engine.ports import Client, LedgerPort, Upstream
from arbstr.engine.relay import ENDED_EARLY, relay
from arbstr.engine.request_context import RequestContext
from arbstr.engine.retries import retry_wait_s
from arbstr.engine.routing.router import Router
from arbstr.engine.sessions import Sessions
from arbstr.engine.upstream import verdict
from arbstr.engine.upstream.response import UpstreamResponse, UpstreamStream
from arbstr.engine.upstream.stream_observer import StreamObserver
from arbstr.errors import (
    ApiError,
    AttemptError,
    BadUpstreamResponse,
    BudgetExceeded,
    ClientGone,
    InsufficientBalance,
    InternalError,
    InvalidRequest,
    ShuttingDown,
)
from arbstr.events import AttemptFailed, AttemptStarted, FirstByte, RequestFinished, RequestReceived, RouteChosen
from arbstr.types import Candidate, InferenceRequest

logger = logging.getLogger(__name__)

DRAIN_S = 120.0  # how long a response is read on after its client has disconnected


class Engine:
    """Handles requests from arrival to row.

    To be created on the running loop. All dependencies are injected. `sleep` and `clock` use seconds, `random` returns
    numbers from 0 to 1. `drains` returns whether a provider's answer is read to its end although its client has left.
    `running` holds each request while it lasts, by its id.
    """

    def __init__(
        self,
        config: Config,
        *,
        admission: AdmissionControl,
        router: Router,
        breakers: CircuitBreakers,
        budgets: Budgets,
        sessions: Sessions,
        accounts: Accounts,
        drains: Callable[[Provider], bool],
        funds_queue: FundsQueue,
        upstream: Upstream,
        ledger: LedgerPort,
        bus: EventBus,
        clock: Callable[[], float],
        running: dict[str, RequestContext] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random,
    ) -> None:
        self._providers = {provider.name: provider for provider in config.providers}
        self._retry = config.retry
        self._is_traced = config.otel.endpoint is not None
        self._keepalive_s = config.server.keepalive
        self._admission = admission
        self._router = router
        self._breakers = breakers
        self._budgets = budgets
        self._sessions = sessions
        self._accounts = accounts
        self._drains = drains
        self._funds_queue = funds_queue
        self._upstream = upstream
        self._ledger = ledger
        self._bus = bus
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._running = {} if running is None else running
        self._loop = asyncio.get_running_loop()  # before Python 3.12 each look for it is a system call

    async def handle(self, client: Client) -> None:
        """Serve one request, from its arrival to its row."""
        name = None if client.identity is None else client.identity.name
        trace = wire.traceparent(client.headers) if self._is_traced else None
        context = RequestContext(client.request_id, client.received_at_ms, client.dialect, self._clock, name, trace)
        self._running[context.request_id] = context
        cut_off = CutOff(self._loop)
        try:
            client.on_disconnect(partial(self._disconnected, context, cut_off))
            try:
                await self._serve(context, client)
            except Exception as error:
                await self._refuse(context, client, error)
        except asyncio.CancelledError:
            if cut_off.fired:
                context.client_left()
            if not cut_off.end():
                context.fail(ShuttingDown.status, "arbstr stopped before the answer was complete")
                raise
        finally:
            cut_off.end()
            self._record(context)
            if context.stream is not None:
                self._upstream.close_in_background(context.stream)

    def _disconnected(self, context: RequestContext, cut_off: CutOff) -> None:
        """Limit a request whose client has disconnected: it ends at once, or when draining takes too long."""
        if not context.success:  # else it had its answer, and what may follow comes soon
            cut_off.after(DRAIN_S if self._begin_drain(context) else 0)

    def _begin_drain(self, context: RequestContext) -> bool:
        """Return whether the response is still read, for the row alone, and free the request's slot if so.

        A provider that has the request is paid in any case. One that is not connected yet can't have it.
        """
        if self._upstream.is_connecting(context.request_id):
            context.drop_attempt()
        provider = context.provider if context.spend.in_flight else None
        if provider is None or not self._drains(provider) or not self._admission.drain():
            return False
        context.begin_drain()
        return True

    async def _refuse(self, context: RequestContext, client: Client, error: Exception) -> None:
        """Answer with an error, if there is somebody to answer."""
        if isinstance(error, ClientGone):
            context.client_left()
            return
        if not isinstance(error, ApiError):
            logger.error("unhandled exception in request %s", context.request_id, exc_info=error)
            error = InternalError(f"Internal error (request {context.request_id}); see arbstr's log.")
        context.refuse(error)
        await client.refuse(error, wire.error_headers(context))

    async def _serve(self, context: RequestContext, client: Client) -> None:
        try:
            if client.identity is not None:
                client.identity.take()
            self._admission.check()
        except ApiError:
            await self._read_if_sent(context, client)
            raise
        request = await self._read(context, client)
        self._admission.acquire()
        try:
            routing = await self._funds_queue.routed(partial(self._router.route, request, client.identity))
            context.set_routing(routing)
            if self._bus.is_heard(RouteChosen):
                self._bus.publish(RouteChosen(context.request_id, routing))
            request = self._router.prepared(request, routing)
            context.set_request(request)
            await self._budgets.ready(routing.policy, context.client)
            reservation = self._budgets.open(routing.policy, context.client)
            try:
                response = await self._try_candidates(context, request, client, reservation)
                await self._deliver(context, response, client)
            finally:
                reservation.settle(context.spend.spent_msats)
        finally:
            self._admission.release(drained=context.drained)

    async def _read_if_sent(self, context: RequestContext, client: Client) -> None:
        """Read the requested model for a refusal's row. Never waits for a body: it may be slow, or large."""
        if client.sent:
            with suppress(ApiError):
                await self._read(context, client)

    async def _read(self, context: RequestContext, client: Client) -> InferenceRequest:
        body = await client.body()
        document = client.dialect.decode(body, client.content_type)
        session = self._sessions.of(client.headers, document, client.dialect.name, context.client)
        context.identify(named_model(document), streaming=document.get("stream") is True, session=session)
        self._publish_received(context)
        request = client.dialect.parse(
            document,
            body,
            request_id=context.request_id,
            policy=client.policy,
            query=client.query,
            prefix=self._router.caches.prefix_of(document, client.dialect.prompt_fields),
            session=session,
            client=context.client,
        )
        if recalled := self._upstream.recalled(request):
            chars, images = request.prompt_chars + recalled.chars, request.prompt_images + recalled.images
            request = replace(request, prompt_chars=chars, prompt_images=images)
            context.set_remembered(recalled.text)
        context.set_request(request)
        return request

    async def _try_candidates(
        self, context: RequestContext, request: InferenceRequest, client: Client, reservation: Reservation
    ) -> UpstreamResponse | UpstreamStream:
        """Try the candidates in order until one responds.

        Raises `InvalidRequest` if none was asked because it can't be translated for any, `InsufficientBalance` because
        other requests hold the money, `BudgetExceeded` if one was skipped because a budget does not allow what it may
        cost, else the `ApiError` that says how all failed.
        """
        assert context.routing is not None
        skipped: list[ApiError] = []
        for candidate in context.routing.candidates:
            permit = self._breakers.acquire(candidate.provider, request, early=candidate.early)
            if permit is None:
                continue
            context.set_permit(permit)
            try:
                response = await self._try_provider(context, request, client, candidate, reservation)
            except (BudgetExceeded, InvalidRequest, InsufficientBalance) as error:
                permit.release()
                skipped.append(error)
                continue
            if response is not None:
                return response
        raise why_skipped(skipped, any_asked=bool(context.attempts)) or self._all_failed(context)

    async def _try_provider(
        self,
        context: RequestContext,
        request: InferenceRequest,
        client: Client,
        candidate: Candidate,
        reservation: Reservation,
    ) -> UpstreamResponse | UpstreamStream | None:
        """Try one provider, with retries; return None when the next one should be tried.

        Every attempt reserves what it may cost on top of what earlier ones may have cost. Raises `BudgetExceeded`,
        `InsufficientBalance`, and `InvalidRequest` for a request that can't be translated for this provider.
        """
        assert context.routing is not None
        provider = self._providers[candidate.provider]
        name_there = self._router.names.id_at(provider, request.model)
        upstream_request = request if name_there == request.model else for_model(request, name_there)
        if provider.kind == "routstr":
            upstream_request = with_max_tokens(upstream_request)
        for tries in count():
            if reservation.is_bounded:
                may_cost = self._router.may_cost_msats(candidate, context.routing, request)
                try:
                    reservation.cover(context.spend.spent_msats + may_cost)
                except BudgetExceeded:
                    await reservation.wait(context.spend.spent_msats + may_cost)
                    reservation.cover(context.spend.spent_msats + may_cost)
            rates = self._router.names.rates(provider, request.model)
            hold = self._router.hold(candidate.provider, context.routing, request)
            balance_tells = self._accounts.begin(candidate.provider, context.request_id)
            context.begin_attempt(provider, candidate.expected_cost_msats, rates, hold, balance_tells=balance_tells)
            if self._bus.is_heard(AttemptStarted):
                self._bus.publish(AttemptStarted(context.request_id, candidate.provider))
            try:
                return await self._upstream.send(provider, upstream_request, client.dialect, client.headers)
            except InvalidRequest:  # it can't be translated for this provider
                context.withdraw_attempt()
                self._accounts.leave(candidate.provider, context.request_id)
                raise
            except AttemptError as error:
                wait_s = retry_wait_s(error, tries, self._retry, self._random)
                self._attempt_failed(context, client, error, wait_s)
            if wait_s is None:
                break
            await self._sleep(wait_s)
        return None

    def _attempt_failed(
        self, context: RequestContext, client: Client, error: AttemptError, wait_s: float | None
    ) -> None:
        """Record and publish a failed attempt. Raises `ClientGone` if no client waits: the provider is not blamed."""
        if client.gone:
            context.attempt_ended(error, error.status)
            raise ClientGone("left while a provider failed") from error
        attempt = context.attempt_failed(error, again=wait_s is not None)
        if not context.spend.may_have_cost:
            self._accounts.leave(attempt.provider, context.request_id)
        wait_ms = None if wait_s is None else int(wait_s * 1000)
        reason = (error.kind, error.status, attempt.message)
        self._bus.publish(AttemptFailed(context.request_id, attempt.provider, *reason, attempt.duration_ms, wait_ms))

    def _all_failed(self, context: RequestContext) -> ApiError:
        names = [candidate.provider for candidate in context.routing.candidates] if context.routing else []
        return all_failed(
            context.model,
            context.dialect.path,
            context.attempts,
            candidates=names,
            served=self._router.names.all(),
            retry_after_s=context.shortest_wait_s or self._breakers.retry_after_s(names),
        )

    def _deliver(
        self, context: RequestContext, response: UpstreamResponse | UpstreamStream, client: Client
    ) -> Awaitable[None]:
        if isinstance(response, UpstreamStream):
            return self._deliver_stream(context, response, client)
        return self._deliver_whole(context, response, client)

    async def _deliver_whole(self, context: RequestContext, response: UpstreamResponse, client: Client) -> None:
        context.set_usage(response.usage, response.charged_msats, len(response.body), flat=response.is_flat)
        if response.client_error is None:
            context.attempt_succeeded(response.status)
        else:
            context.attempt_ended(None, response.status)
        context.mark_complete()
        try:
            await client.answer(response.status, wire.whole_headers(context, response), response.body)
        finally:
            if response.share is not None:
                response.share.release()
        _check_present(client)
        if response.client_error is None:
            context.succeed()
        else:
            context.fail(response.status, context.without_quotes(response.client_error))

    async def _deliver_stream(self, context: RequestContext, response: UpstreamStream, client: Client) -> None:
        first_byte_ms = context.stream_opened(response)
        if not response.observer.ended:  # else the row follows at once, as that of a whole response does
            self._ledger.begin(context.record())
        if self._bus.is_heard(FirstByte):
            provider = "" if context.provider is None else context.provider.name
            self._bus.publish(FirstByte(context.request_id, provider, first_byte_ms))
        await client.start(wire.stream_headers(context, response))
        try:
            last, fault = await relay(context, response, client, self._bus, self._keepalive_s)
        finally:
            context.set_usage_from(response.observer)  # also if the stream is abandoned
        last += self._finish_stream(context, response.observer, fault, client)
        await client.end(last)

    def _finish_stream(self, context: RequestContext, observer: StreamObserver, fault: str, client: Client) -> bytes:
        """Record how a stream ended, for provider and row; return the final event. Raises `ClientGone`."""
        if observer.complete:
            context.attempt_succeeded(200)
            _check_present(client)
            context.succeed()
            return wire.final_event(context, done=observer.concluded)
        if observer.error is not None:
            fault = context.without_quotes(f"the provider sent an error: {verdict.error_summary(observer.error)}")
        elif observer.ended:
            fault = ENDED_EARLY if observer.answered else "it ended without any content"
        error = AttemptError("bad_response", f"the stream broke off: {fault}", status=200)
        self._attempt_failed(context, client, error, None)
        failure = BadUpstreamResponse(f"The stream from '{context.attempts[-1].provider}' broke off: {fault}.")
        context.refuse(failure)
        return observer.fail(failure)

    def _publish_received(self, context: RequestContext) -> None:
        if context.announce() and self._bus.is_heard(RequestReceived):
            self._bus.publish(
                RequestReceived(context.request_id, context.received_at_ms, context.model, context.streaming)
            )

    def _record(self, context: RequestContext) -> None:
        """Record the end of a request: write one row, publish one event, learn. A failing step stops no other."""
        self._publish_received(context)
        context.fail(InternalError.status, "ended without an answer")  # unless it has ended already
        best_effort(context.release_permit)
        best_effort(context.settle_hold)
        if context.routing is not None and context.usage is not None and context.spend.implausible is None:
            baselines = best_effort(self._router.baselines, context.routing, context.usage)
            context.set_baselines(*(baselines or (None, None)))
        record = context.record()
        best_effort(self._ledger.append, record)
        self._accounts.end(context.request_id)
        del self._running[context.request_id]
        self._bus.publish(RequestFinished(record))
        if context.request is not None:
            best_effort(self._router.learn, record, context.request, context.answer_bytes)


def _check_present(client: Client) -> None:
    """Raise `ClientGone` if the client closed its connection before it had the whole response."""
    if client.gone:
        raise ClientGone("left before it had the whole response")
