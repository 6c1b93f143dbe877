"""The whole life of a request: read, route, ask, fall back, answer, meter, record.

`Engine.handle` is that life in one function. It ends in exactly one `store.append` and one `RequestFinished`, whatever
happens in between; what it needs from the network comes in by `Client`, `Upstream` and `Store`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from random import random
from typing import ParamSpec, TypeVar

import orjson

from arbstr.bus import EventBus
from arbstr.config.schema import Config
from arbstr.engine.admission import AdmissionControl
from arbstr.engine.budget import Budgets, Reservation
from arbstr.engine.chat_request import decode, for_model, named_model, parse
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.disconnect import ClientDisconnect
from arbstr.engine.outcome import all_failed
from arbstr.engine.ports import Client, LedgerPort
from arbstr.engine.request_context import RequestContext
from arbstr.engine.routing.router import Router
from arbstr.engine.sessions import Sessions
from arbstr.engine.upstream import verdict
from arbstr.engine.upstream.caller import UpstreamCaller
from arbstr.engine.upstream.response import UpstreamResponse, UpstreamStream
from arbstr.engine.upstream.stream_observer import StreamObserver
from arbstr.errors import (
    ApiError,
    AttemptError,
    BadUpstreamResponse,
    BudgetExceeded,
    ClientGone,
    InternalError,
    NoHealthyProvider,
    ShuttingDown,
)
from arbstr.events import (
    AttemptFailed,
    AttemptStarted,
    FirstByte,
    RequestFinished,
    RequestReceived,
    RouteChosen,
    StreamProgress,
)
from arbstr.types import Candidate, ChatRequest, HeaderList

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_RETRY_AFTER_S = 10.0  # a provider that asks for more is left for the next one
BACKOFF_JITTER = 0.25  # up to so much longer, as a share: requests that failed together do not come back together
PROGRESS_EVERY_MS = 250
KEEPALIVE = b": keep-alive\n\n"


class Engine:
    """Everything between a client's request and its row.

    All parts are given. `sleep` and `clock` take seconds, `random` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        config: Config,
        *,
        gate: AdmissionControl,
        router: Router,
        health: CircuitBreakers,
        budgets: Budgets,
        sessions: Sessions,
        upstream: UpstreamCaller,
        store: LedgerPort,
        bus: EventBus,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random,
    ) -> None:
        self._providers = {provider.name: provider for provider in config.providers}
        self._retry = config.retry
        self._keepalive_s = config.server.keepalive
        self._admission = gate
        self._router = router
        self._breakers = health
        self._budgets = budgets
        self._sessions = sessions
        self._upstream = upstream
        self._ledger = store
        self._bus = bus
        self._clock = clock
        self._sleep = sleep
        self._random = random

    async def handle(self, client: Client) -> None:
        """Serve one request from its arrival to its row."""
        exchange = RequestContext(client.request_id, client.received_at_ms, self._clock)
        giving_up = ClientDisconnect(exchange, self._upstream.connecting, self._admission)
        client.on_disconnect(giving_up.begin)
        try:
            await self._serve(exchange, client)
        except ClientGone:
            exchange.client_left()
        except ApiError as error:
            exchange.policy = exchange.policy or error.policy
            exchange.fail(error.status, error.message)
            await client.refuse(error, exchange.error_headers())
        except asyncio.CancelledError:
            if not giving_up.done:
                exchange.fail(ShuttingDown.status, "arbstr stopped before the answer was complete")
                raise
            giving_up.task.uncancel()
            exchange.client_left()
        except Exception:
            logger.exception("unhandled exception in request %s", exchange.request_id)
            fault = InternalError(f"Internal error (request {exchange.request_id}); see arbstr's log.")
            exchange.fail(fault.status, fault.message)
            await client.refuse(fault, exchange.error_headers())
        finally:
            giving_up.end()
            self._record(exchange)
            if exchange.stream is not None:
                self._upstream.close_in_background(exchange.stream)

    async def _serve(self, exchange: RequestContext, client: Client) -> None:
        try:
            self._admission.check()
        except ApiError:
            await self._read_if_sent(exchange, client)
            raise
        chat = await self._read(exchange, client)
        self._admission.acquire()
        try:
            routing = self._router.route(chat)
            exchange.set_routing(routing)
            self._bus.publish(RouteChosen(exchange.request_id, routing))
            if routing.model != chat.model:
                chat = for_model(chat, routing.model)
            await self._budgets.ready()
            reservation = self._budgets.open(routing.policy)
            try:
                answer = await self._try_candidates(exchange, chat, client, reservation)
                await self._deliver(exchange, answer, client)
            finally:
                reservation.settle(exchange.spent_msats)
        finally:
            self._admission.release(drained=exchange.drained)

    async def _read_if_sent(self, exchange: RequestContext, client: Client) -> None:
        """Learn which model was asked for, for a refusal's row. It waits for no body: that may be slow, or large."""
        if client.sent:
            with suppress(ApiError):
                await self._read(exchange, client)

    async def _read(self, exchange: RequestContext, client: Client) -> ChatRequest:
        body = await client.body()
        document = decode(body)
        exchange.model = named_model(document)
        exchange.streaming = document.get("stream") is True
        exchange.session = self._sessions.of(client.headers, document)
        self._publish_received(exchange)
        exchange.chat = parse(document, body, request_id=exchange.request_id, policy=client.policy)
        return exchange.chat

    async def _try_candidates(
        self, exchange: RequestContext, chat: ChatRequest, client: Client, reservation: Reservation
    ) -> UpstreamResponse | UpstreamStream:
        """Try the candidates in order until one answers.

        Raises `BudgetExceeded` if one was left out because no budget holds what it may cost, else the `ApiError` that
        says how all failed.
        """
        assert exchange.routing is not None
        too_dear: BudgetExceeded | None = None
        for candidate in exchange.routing.candidates:
            exchange.permit = self._breakers.acquire(candidate.provider, chat, early=candidate.early)
            if exchange.permit is not None:
                try:
                    answer = await self._try_provider(exchange, chat, client, candidate, reservation)
                except BudgetExceeded as error:
                    exchange.permit.release()
                    too_dear = error
                    continue
                if answer is not None:
                    return answer
        raise too_dear or self._all_failed(exchange)

    async def _try_provider(
        self,
        exchange: RequestContext,
        chat: ChatRequest,
        client: Client,
        candidate: Candidate,
        reservation: Reservation,
    ) -> UpstreamResponse | UpstreamStream | None:
        """Try one provider, and again as often as it makes sense; None when the next one's turn has come.

        Every try reserves what it may cost on top of what those before it may have cost. Raises `BudgetExceeded`.
        """
        assert exchange.routing is not None
        provider = self._providers[candidate.provider]
        name_there = provider.upstream_id(chat.model)
        asked = chat if name_there == chat.model else for_model(chat, name_there)
        for tries in count():
            if reservation.is_bounded:
                may_cost = self._router.may_cost_msats(candidate, exchange.routing, chat)
                reservation.cover(exchange.spent_msats + may_cost)
            exchange.begin_attempt(provider, candidate.expected_cost_msats)
            self._bus.publish(AttemptStarted(exchange.request_id, provider.name))
            try:
                return await self._upstream.send(provider, asked, client.headers)
            except AttemptError as error:
                if client.gone:
                    exchange.attempt_ended(error, error.status)  # nobody is blamed for what nobody waits for
                    raise ClientGone("left while a provider failed") from error
                wait_s = self._retry_wait_s(error, tries)
                self._attempt_failed(exchange, error, wait_s)
            if wait_s is None:
                break
            await self._sleep(wait_s)
        return None

    def _retry_wait_s(self, error: AttemptError, tries: int) -> float | None:
        """Seconds until the same provider is asked again; None if the next one is better asked."""
        asked_s = error.retry_after_s or 0.0
        if not error.retryable or tries >= self._retry.max_retries or asked_s > LONGEST_RETRY_AFTER_S:
            return None
        return max(self._retry.backoff * 2.0**tries * (1 + BACKOFF_JITTER * self._random()), asked_s)

    def _attempt_failed(self, exchange: RequestContext, error: AttemptError, wait_s: float | None) -> None:
        attempt = exchange.attempt_failed(error, again=wait_s is not None)
        self._bus.publish(
            AttemptFailed(
                exchange.request_id,
                attempt.provider,
                error.kind,
                error.status,
                attempt.message,
                attempt.duration_ms,
                None if wait_s is None else int(wait_s * 1000),
            )
        )

    def _all_failed(self, exchange: RequestContext) -> ApiError:
        names = [candidate.provider for candidate in exchange.routing.candidates] if exchange.routing else []
        if not exchange.attempts:
            told = f"No provider of '{exchange.model}' can take a request now: {', '.join(names)}."
            return NoHealthyProvider(told, retry_after_s=self._breakers.retry_after_s(names))
        return all_failed(
            exchange.model,
            exchange.attempts,
            how=exchange.attempts_summary(),
            served=dict.fromkeys(model for provider in self._providers.values() for model in provider.model_ids),
            retry_after_s=exchange.shortest_wait_s or self._breakers.retry_after_s(names),
        )

    async def _deliver(
        self, exchange: RequestContext, answer: UpstreamResponse | UpstreamStream, client: Client
    ) -> None:
        if isinstance(answer, UpstreamStream):
            await self._deliver_stream(exchange, answer, client)
        else:
            await self._deliver_whole(exchange, answer, client)

    async def _deliver_whole(self, exchange: RequestContext, answer: UpstreamResponse, client: Client) -> None:
        exchange.set_usage(answer.usage, answer.charged_msats, len(answer.body))
        if answer.client_error is None:
            exchange.attempt_succeeded(answer.status)
        else:
            exchange.attempt_ended(None, answer.status)
        exchange.mark_complete()
        try:
            await client.answer(answer.status, _headers_of(answer, exchange), answer.body)
        finally:
            if answer.share is not None:
                answer.share.release()
        if client.gone:
            exchange.client_left()
        elif answer.client_error is None:
            exchange.succeed()
        else:
            exchange.fail(answer.status, exchange.without_quotes(answer.client_error))

    async def _deliver_stream(self, exchange: RequestContext, answer: UpstreamStream, client: Client) -> None:
        first_byte_ms = exchange.stream_opened(answer)
        record = exchange.record()
        self._ledger.begin(record)
        self._bus.publish(FirstByte(exchange.request_id, record.provider or "", first_byte_ms))
        await client.start([*answer.headers, *exchange.headers(), ("X-Arbstr-Streaming", "true")])
        try:
            last, fault = await self._relay(exchange, answer, client)
        finally:
            exchange.set_usage_from(answer.observer)  # also if the stream is given up
        last += self._finish_stream(exchange, answer.observer, fault, client)
        await client.end(last)

    def _finish_stream(self, exchange: RequestContext, observer: StreamObserver, fault: str, client: Client) -> bytes:
        """How a stream ended, for provider, row and client; returns arbstr's last words in it."""
        if observer.complete:
            exchange.attempt_succeeded(200)
            if client.gone:
                exchange.client_left()
            else:
                exchange.succeed()
            return exchange.final_event(done=observer.done)
        if observer.error is not None:
            fault = exchange.without_quotes(f"the provider sent an error: {verdict.error_summary(observer.error)}")
        elif observer.done:
            fault = "it ended without any content"
        error = AttemptError("bad_response", f"the stream broke off: {fault}", status=200)
        if client.gone:
            exchange.attempt_ended(error, error.status)
            exchange.client_left()
            return b""
        self._attempt_failed(exchange, error, None)
        answer = BadUpstreamResponse(f"The stream from '{exchange.attempts[-1].provider}' broke off: {fault}.")
        exchange.fail(answer.status, answer.message)
        return b"data: %b\n\n" % orjson.dumps(answer.body())

    async def _relay(self, exchange: RequestContext, answer: UpstreamStream, client: Client) -> tuple[bytes, str]:
        """Pass a stream on as it comes, until its `[DONE]` or its end.

        Returns the bytes that the client has yet to get, and what is to be said if that was not a proper end.
        """
        observer = answer.observer
        # The client waits for a sign of life if nothing else has come yet.
        out = answer.prefix or (b"" if observer.answered or not observer.between_events else KEEPALIVE)
        silent_ms = (
            0 if answer.begun else exchange.time_to_first_byte_ms
        )  # of the provider; what says nothing does not count
        told_ms = exchange.elapsed_ms()
        while not observer.done:
            left_s = answer.limit_s - silent_ms / 1000
            if left_s <= 0:
                return answer.end(), f"no content for {answer.limit_s:g} s"
            if out:
                await client.write(out)
            began_ms = exchange.elapsed_ms()
            try:
                read = await answer.read(min(self._keepalive_s or left_s, left_s))
            except TimeoutError:
                silent_ms += exchange.elapsed_ms() - began_ms
                out = KEEPALIVE if observer.between_events else b""
                continue
            except AttemptError as error:
                return answer.end(), str(error)
            if read is None:
                return answer.end(), "it ended early, without a finish_reason"
            now_ms = exchange.elapsed_ms()
            out, silent_ms = read, 0 if answer.progressed else silent_ms + now_ms - began_ms
            if now_ms - told_ms >= PROGRESS_EVERY_MS:
                told_ms, observer.in_doubt = now_ms, True
                self._bus.publish(StreamProgress(exchange.request_id, observer.events))
        return out, ""

    def _publish_received(self, exchange: RequestContext) -> None:
        if not exchange.announced:
            exchange.announced = True
            self._bus.publish(
                RequestReceived(exchange.request_id, exchange.received_at_ms, exchange.model, exchange.streaming)
            )

    def _record(self, exchange: RequestContext) -> None:
        """The end of every request: one row, one event, one lesson. A step that fails takes no other with it."""
        self._publish_received(exchange)
        exchange.fail(InternalError.status, "ended without an answer")  # stands only if nothing else was said
        if exchange.permit is not None:
            _best_effort(exchange.permit.release)
        if exchange.routing is not None and exchange.usage is not None and exchange.implausible is None:
            baselines = _best_effort(self._router.baselines, exchange.routing, exchange.usage)
            exchange.baselines = baselines or (None, None)
        record = exchange.record()
        _best_effort(self._ledger.append, record)
        self._bus.publish(RequestFinished(record))
        if exchange.chat is not None:
            _best_effort(self._router.learn, record, exchange.chat, exchange.answer_bytes)


def _headers_of(answer: UpstreamResponse, exchange: RequestContext) -> HeaderList:
    """The headers of provider and arbstr; of whether to repeat the request the provider knows its own part only."""
    if answer.client_error is None:
        return [*answer.headers, *exchange.headers(), *exchange.cost_headers()]
    own = exchange.error_headers()
    names = {name.lower() for name, _ in own}
    return [*(pair for pair in answer.headers if pair[0].lower() not in names), *own]


def _best_effort(step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Do a step that a request does without if it has to; a fault is logged."""
    try:
        return step(*args, **kwargs)
    except Exception:
        logger.exception("%s failed at the end of a request", step.__name__)
        return None
