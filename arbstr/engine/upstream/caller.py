"""Sends one attempt to a provider and classifies the outcome.

`UpstreamCaller.send` returns only when the response may go to the client: a whole body, or the first event of a stream.
Every failure before that point is an `AttemptError`, so that another provider can still be tried.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from functools import lru_cache, partial

import httpx

from arbstr import __version__
from arbstr.config.schema import Provider
from arbstr.engine.body_memory import BodyMemory
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.dialects.responses import RESPONSES
from arbstr.engine.dialects.translation.fields import dumps
from arbstr.engine.dialects.translation.native import for_native
from arbstr.engine.dialects.translation.response_history import Recalled, ResponseHistory
from arbstr.engine.upstream.added_caps import AddedCaps
from arbstr.engine.upstream.answers import AnswerReader, Expected
from arbstr.engine.upstream.cap_limits import Cap, CapLimits, cap_taken
from arbstr.engine.upstream.deadline import Deadline, DeadlineTimer
from arbstr.engine.upstream.headers import forwarded_request_headers
from arbstr.engine.upstream.opening import PendingCall
from arbstr.engine.upstream.optional_fields import UNSUPPORTED_S, OptionalFields
from arbstr.engine.upstream.response import UpstreamResponse, UpstreamStream, close
from arbstr.engine.upstream.spoken import SpokenDialects
from arbstr.engine.upstream.translated import Translation
from arbstr.errors import AttemptError
from arbstr.redaction import Redactor
from arbstr.sanitize import sanitize_clause
from arbstr.types import ClientHeaders, FailureKind, HeaderList, InferenceRequest

logger = logging.getLogger(__name__)

_REMEMBERED = 256  # request templates
_LARGEST_REMEMBERED = 8192  # characters of headers

_EXPECTED = (("Accept", "*/*"), ("Content-Type", "application/json"), ("User-Agent", f"arbstr/{__version__}"))
_ADDED = (b"stream_options", b"include_usage")  # what arbstr adds to a request, as a refusal would name it


class _TemplatedRequest(httpx.Request):
    """A request that differs from its template in the body only; the rest is built once."""

    def __init__(self, common: httpx.Request, body: bytes, on_sent: Callable[[], None]) -> None:
        self.__dict__.update(common.__dict__)
        self.stream = _Body(body, on_sent)  # `content=` would also work out headers, at ten times the cost


class _Body(httpx.ByteStream):
    """A request's body that calls back when it is read: the connection is open, and the provider may see it."""

    def __init__(self, body: bytes, on_sent: Callable[[], None]) -> None:
        super().__init__(body)
        self._on_sent = on_sent

    def __iter__(self) -> Iterator[bytes]:
        self._on_sent()
        return super().__iter__()

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._on_sent()
        return super().__aiter__()


class UpstreamCaller:
    """Sends requests to providers over a transport; maps every way to fail to an `AttemptError`.

    `keepalive_s` is the keep-alive interval of the client's stream, `clock` is monotonic seconds. Several may share a
    `deadline_timer`.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        redactor: Redactor,
        *,
        keepalive_s: float,
        spoken: SpokenDialects,
        memory: BodyMemory | None = None,
        deadline_timer: DeadlineTimer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._redactor = redactor
        self._spoken = spoken
        self._clock = clock
        self._deadline_timer = deadline_timer or DeadlineTimer()
        self._answers = AnswerReader(
            redactor, keepalive_s=keepalive_s, memory=memory, deadline_timer=self._deadline_timer
        )
        self._templates: dict[tuple[object, ...], httpx.Request] = {}
        self._plain_until: dict[
            tuple[str, str], float
        ] = {}  # by provider and dialect: send bodies without arbstr's additions
        self._history = ResponseHistory()
        self._optional = OptionalFields(clock)
        self._caps = CapLimits(clock)
        self._added_caps = AddedCaps(clock)
        self._closing: set[asyncio.Task[None]] = set()
        self._connecting: set[str] = set()  # ids of requests that no provider can have seen yet

    def take_over(self, before: UpstreamCaller) -> None:
        """Go on with what an earlier configuration's caller has learned of providers, and is closing still."""
        self._plain_until, self._optional, self._closing = before._plain_until, before._optional, before._closing
        self._history, self._caps, self._added_caps = before._history, before._caps, before._added_caps

    async def aclose(self) -> None:
        """Cancel the closing of streams in the background."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def recalled(self, request: InferenceRequest) -> Recalled | None:
        """Return what of earlier answers a request refers to, and goes up with it; None if it does to none."""
        return None if request.document is None else self._history.recalled(request.document, request.client)

    def is_connecting(self, request_id: str) -> bool:
        """Whether a request is being sent and no provider can have seen it yet."""
        return request_id in self._connecting

    def close_in_background(self, stream: UpstreamStream) -> None:
        """Close a stream that has been served, without waiting for its provider to end it."""
        stream.release()
        if stream.body_complete:
            return
        task = asyncio.create_task(stream.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def send(
        self, provider: Provider, request: InferenceRequest, dialect: Dialect, headers: HeaderList
    ) -> UpstreamResponse | UpstreamStream:
        """Make one attempt at one provider, for a client that speaks `dialect` and has sent `headers`.

        A provider that does not speak it gets the request as chat; one that turns out not to is asked once more, which
        is no other attempt: the refusal costs nothing. Raises `AttemptError`, and `InvalidRequest` for what can't be
        translated.
        """
        if not self._spoken.speaks(provider, dialect.name, request.model):
            return await self._send_translated(provider, request, dialect, headers)
        try:
            answer = await self._send_natively(provider, request, _as_spoken(dialect), headers)
        except AttemptError as error:
            if error.kind != "no_endpoint":
                raise
            return await self._send_otherwise(provider, request, dialect, headers, error)
        if dialect is not CHAT:
            self._spoken.answered(provider, dialect)
        return answer

    def _send_natively(
        self, provider: Provider, request: InferenceRequest, expected: Expected, headers: HeaderList
    ) -> Awaitable[UpstreamResponse | UpstreamStream]:
        """Send a request in its client's dialect."""
        if request.added_cap:
            return self._send_capped(provider, request, expected, headers)
        return self._send_as(provider, self._native(request), expected, headers)

    async def _send_capped(
        self, provider: Provider, request: InferenceRequest, expected: Expected, headers: HeaderList
    ) -> UpstreamResponse | UpstreamStream:
        """Send a request with a cap that its policy has added; once more without, if need be."""
        sent = self._added_caps.applied(request, provider.name)
        answer = await self._send_as(provider, self._native(sent), expected, headers)
        without_cap = self._added_caps.taken_back(sent, provider.name, answer)
        if without_cap is None:
            return answer
        return await self._send_as(provider, self._native(without_cap), expected, headers)

    def _native(self, request: InferenceRequest) -> InferenceRequest:
        """Return the request for a provider of its dialect: as it is, unless it refers to translated answers."""
        if request.document is None:
            return request
        changed = for_native(request.document, request.body, self._history, request.client)
        return request if changed is None else replace(request, body=dumps({**changed, "model": request.model}))

    async def _send_otherwise(
        self,
        provider: Provider,
        request: InferenceRequest,
        dialect: Dialect,
        headers: HeaderList,
        missing: AttemptError,
    ) -> UpstreamResponse | UpstreamStream:
        """Send a request as chat, there being no endpoint for its dialect; raise `missing` if that is not possible.

        A 404 may be about the model: if chat is answered for that, it was not.
        """
        if missing.status != httpx.codes.NOT_FOUND:
            self._spoken.unlearn(provider, dialect)
        if dialect.translation is None or not self._spoken.speaks(provider, CHAT.name, request.model):
            self._spoken.missed(provider, dialect, request.model)
            raise missing
        try:
            answer = await self._send_translated(provider, request, dialect, headers)
        except AttemptError as error:
            if error.kind != "stale_catalogue":
                self._spoken.missed(provider, dialect, request.model)
            raise
        self._spoken.unlearn(provider, dialect)
        return answer

    async def _send_translated(
        self, provider: Provider, request: InferenceRequest, dialect: Dialect, headers: HeaderList
    ) -> UpstreamResponse | UpstreamStream:
        """Send a request as chat. Raises `AttemptError` and `InvalidRequest`.

        If the provider refuses a field that the answer does not need, or a cap beyond what its model has, the request
        is sent again without it, or with a lower one.
        """
        history = self._history if dialect is RESPONSES else None
        translation = Translation(dialect, request, history, now_s=time.time())
        document = self._caps.applied(translation.chat(request), provider.name)
        taken: Cap | None = None
        while True:
            document = self._optional.left_out(document, provider.name)
            body = dumps(document)
            sent = replace(request, body=body, plain_body=None, wants_usage=True, query="")
            answer = await self._ask(provider, sent, Expected(CHAT, translation), headers, body)
            if isinstance(answer, UpstreamStream) or answer.client_error is None:
                if taken is not None:
                    self._caps.keep(taken, provider.name, request.model)
                return answer
            named = self._optional.learn(document, provider.name, answer.body)
            cap = cap_taken(document, answer.body)
            if cap is not None:
                taken, document = cap, cap.applied(document)
                named.append("the cap on output tokens")
            if not named:
                return replace(answer, body=translation.refusal(answer.body, answer.status, answer.client_error))
            logger.warning("provider %s rejects %s; asking again without", provider.name, ", ".join(named))

    def _send_as(
        self, provider: Provider, request: InferenceRequest, expected: Expected, headers: HeaderList
    ) -> Awaitable[UpstreamResponse | UpstreamStream]:
        """Send a request as it is, without what arbstr has added if the provider is known to refuse that."""
        plain = request.plain_body
        if plain is None:
            return self._ask(provider, request, expected, headers, request.body)
        if self._plain_until and self._clock() < self._plain_until.get(
            (provider.name, expected.dialect.name), -math.inf
        ):
            return self._ask(provider, request, expected, headers, plain)
        return self._send_added(provider, request, expected, headers, plain)

    async def _send_added(
        self, provider: Provider, request: InferenceRequest, expected: Expected, headers: HeaderList, plain: bytes
    ) -> UpstreamResponse | UpstreamStream:
        """Send a request to which arbstr has added a field. Raises `AttemptError`.

        If the provider refuses that, the request is sent again as it was: the refusal costs nothing and is no attempt.
        """
        answer = await self._ask(provider, request, expected, headers, request.body)
        if isinstance(answer, UpstreamStream) or answer.client_error is None or not any(map(answer.body.count, _ADDED)):
            return answer
        retried = await self._ask(provider, request, expected, headers, plain)
        if isinstance(retried, UpstreamStream) or retried.client_error is None:
            logger.warning("provider %s rejects stream_options; omitting them for a day", provider.name)
            self._plain_until[provider.name, expected.dialect.name] = self._clock() + UNSUPPORTED_S
        return retried

    async def _ask(
        self, provider: Provider, request: InferenceRequest, expected: Expected, headers: HeaderList, body: bytes
    ) -> UpstreamResponse | UpstreamStream:
        self._connecting.add(request.request_id)
        sent = _TemplatedRequest(
            self._template(provider, expected.dialect.path, request.query, headers),
            body,
            partial(self._connecting.discard, request.request_id),
        )
        deadline = Deadline(self._deadline_timer)
        call = PendingCall(provider.timeouts, deadline)
        try:
            with deadline.within(call.limit_s):
                response = await self._transport.handle_async_request(sent)
                try:
                    return await self._answers.read(response, request, expected, call)
                except BaseException:
                    await close(response)
                    raise
        except TimeoutError:
            if request.request_id in self._connecting:
                message = f"no connection within {call.limit_s:g} s"
                raise AttemptError("timeout", message, retryable=True) from None
            raise AttemptError("timeout", f"no answer within {call.limit_s:g} s", sent=True) from None
        except httpx.TransportError as error:
            raise self._map_transport_error(error) from error
        except AttemptError:
            raise
        except Exception as error:  # whatever a provider sends, it is the provider's failure
            logger.exception("could not read a response from provider %s", provider.name)
            raise AttemptError("bad_response", f"an unreadable response ({type(error).__name__})") from error
        finally:
            deadline.close()
            self._connecting.discard(request.request_id)

    def _template(self, provider: Provider, path: str, query: str, headers: HeaderList) -> httpx.Request:
        """Return the request template of a client's headers and a provider; clients repeat their headers."""
        if query or not isinstance(headers, ClientHeaders):
            return self._new_template(provider, path, query, headers)
        key = self, provider.name, path  # of this configuration: another has other keys and addresses
        known: httpx.Request | None = headers.memo.get(key)
        if known is None:
            known = headers.memo[key] = self._new_template(provider, path, query, headers)
        return known

    def _new_template(self, provider: Provider, path: str, query: str, headers: HeaderList) -> httpx.Request:
        passing = forwarded_request_headers(headers, provider.forward_headers)
        key = provider.name, path, query, *passing
        common = self._templates.get(key)
        if common is None:
            common = _common(provider, f"{path}?{query}" if query else path, passing)
            if len(self._templates) >= _REMEMBERED:
                self._templates.clear()
            if sum(len(name) + len(value) for name, value in passing) <= _LARGEST_REMEMBERED:
                self._templates[key] = common
        return common

    def _map_transport_error(self, error: httpx.TransportError) -> AttemptError:
        """Return the attempt's failure. What may have been charged is not retried: timeouts, broken responses."""
        message = sanitize_clause(self._redactor.text(str(error)))
        if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
            return AttemptError("timeout", f"no connection in time: {message}", retryable=True)
        if isinstance(error, httpx.TimeoutException):
            return AttemptError("timeout", f"no answer in time: {message}", sent=True)
        if isinstance(error, httpx.UnsupportedProtocol):
            return AttemptError("connect", f"not a usable address: {message}")
        status = getattr(error, "status", None)  # of a response that broke off; 0 before its status line
        if status is not None:
            kind: FailureKind = "bad_response" if 200 <= status < 300 else "connect"
            return AttemptError(kind, f"a response that was cut off: {message}", status=status or None, sent=True)
        sent = isinstance(error, httpx.ReadError | httpx.RemoteProtocolError)
        return AttemptError("connect", f"connection failed: {message}", retryable=True, sent=sent)


def _common(provider: Provider, path: str, client: HeaderList) -> httpx.Request:
    """Build a request without its body."""
    sent = [*client, ("Accept-Encoding", "identity")]
    named = {name.lower() for name, _ in client}
    sent += [(name, value) for name, value in _EXPECTED if name.lower() not in named]
    if provider.api_key is not None:
        sent.append(("Authorization", f"Bearer {provider.api_key.reveal()}"))
    return httpx.Request(
        "POST",
        _url(provider.url, path),
        headers=[(name.encode(), value.encode()) for name, value in sent],
        stream=httpx.ByteStream(b""),
        extensions={"timeout": {"connect": provider.timeouts.connect}, "proxy": provider.proxy, "memo": {}},
    )


@lru_cache(maxsize=64)
def _as_spoken(dialect: Dialect) -> Expected:
    """Return what the response should be where provider and client speak the same."""
    return Expected(dialect)


@lru_cache(maxsize=256)
def _url(base: str, path: str) -> httpx.URL:
    return httpx.URL(f"{base.rstrip('/')}/{path}")
