"""Sends one attempt to a provider and classifies the outcome.

`UpstreamCaller.send` returns only when the response may go to the client: a whole body, or the first event of a stream.
Every failure before that point is an `AttemptError`, so that another provider can still be tried.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import lru_cache, partial

import httpx

from arbstr import __version__
from arbstr.config.schema import Provider
from arbstr.engine import lenient_json, metering
from arbstr.engine.body_memory import FREE_BYTES, BodyMemory, MemoryShare
from arbstr.engine.upstream import verdict
from arbstr.engine.upstream.deadline import Deadline, DeadlineTimer
from arbstr.engine.upstream.headers import Head, HeadReader, forwarded_request_headers
from arbstr.engine.upstream.masking import mask_answer
from arbstr.engine.upstream.opening import Opening, PendingCall
from arbstr.engine.upstream.refusal import failure_of, in_words
from arbstr.engine.upstream.response import UpstreamResponse, UpstreamStream, chunks_of, close
from arbstr.engine.upstream.stream_observer import StreamObserver
from arbstr.errors import AttemptError
from arbstr.redaction import Redactor
from arbstr.sanitize import sanitize_clause
from arbstr.types import ChatRequest, FailureKind, HeaderList, JsonObject

logger = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_PLENTY_BYTES = 1 << 62
MAX_ERROR_BYTES = 1024 * 1024
# Larger bodies are classified in a thread: masking may take a third of a second per megabyte where every character is
# escaped.
LARGE_BYTES = 64 * 1024
UNSUPPORTED_S = 86_400.0  # how long a field that a provider refused is not sent there again
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
    """Sends chat requests to providers over a transport; maps every way to fail to an `AttemptError`.

    `keepalive_s` is the keep-alive interval of the client's stream, `clock` is monotonic seconds.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        redactor: Redactor,
        *,
        keepalive_s: float,
        memory: BodyMemory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._redactor = redactor
        self._heads = HeadReader(redactor)
        self._keepalive_s = keepalive_s or math.inf
        self._memory = memory or BodyMemory(_PLENTY_BYTES)
        self._clock = clock
        self._deadline_timer = DeadlineTimer()
        self._templates: dict[tuple[object, ...], httpx.Request] = {}
        self._plain_until: dict[str, float] = {}  # by provider: send bodies without arbstr's additions
        self._closing: set[asyncio.Task[None]] = set()
        self._connecting: set[str] = set()  # ids of requests that no provider can have seen yet

    async def aclose(self) -> None:
        """Cancel the closing of streams in the background."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

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
        self, provider: Provider, chat: ChatRequest, headers: HeaderList
    ) -> UpstreamResponse | UpstreamStream:
        """Make one attempt at one provider. `headers` are the client's. Raises `AttemptError`.

        If the provider refuses a field that arbstr has added, the request is sent again without it: the refusal costs
        nothing and is no attempt.
        """
        plain = chat.plain_body
        if plain is None:
            return await self._ask(provider, chat, headers, chat.body)
        if self._clock() < self._plain_until.get(provider.name, -math.inf):
            return await self._ask(provider, chat, headers, plain)
        answer = await self._ask(provider, chat, headers, chat.body)
        if isinstance(answer, UpstreamStream) or answer.client_error is None or not any(map(answer.body.count, _ADDED)):
            return answer
        retried = await self._ask(provider, chat, headers, plain)
        if isinstance(retried, UpstreamStream) or retried.client_error is None:
            logger.warning("provider %s rejects stream_options; omitting them for a day", provider.name)
            self._plain_until[provider.name] = self._clock() + UNSUPPORTED_S
        return retried

    async def _ask(
        self, provider: Provider, chat: ChatRequest, headers: HeaderList, body: bytes
    ) -> UpstreamResponse | UpstreamStream:
        self._connecting.add(chat.request_id)
        request = _TemplatedRequest(
            self._template(provider, headers), body, partial(self._connecting.discard, chat.request_id)
        )
        deadline = Deadline(self._deadline_timer)
        call = PendingCall(provider.timeouts, deadline)
        try:
            with deadline.within(call.limit_s):
                response = await self._transport.handle_async_request(request)
                try:
                    return await self._classify(response, chat, call)
                except BaseException:
                    await close(response)
                    raise
        except TimeoutError:
            if chat.request_id in self._connecting:
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
            self._connecting.discard(chat.request_id)

    def _template(self, provider: Provider, headers: HeaderList) -> httpx.Request:
        """Return the request template of a client's headers and a provider; clients repeat their headers."""
        passing = forwarded_request_headers(headers, provider.forward_headers)
        key = provider.name, *passing
        common = self._templates.get(key)
        if common is None:
            common = _common(provider, passing)
            if len(self._templates) >= _REMEMBERED:
                self._templates.clear()
            if sum(len(name) + len(value) for name, value in passing) <= _LARGEST_REMEMBERED:
                self._templates[key] = common
        return common

    async def _classify(
        self, response: httpx.Response, chat: ChatRequest, call: PendingCall
    ) -> UpstreamResponse | UpstreamStream:
        """Read as far as needed to classify the response. Raises `AttemptError` if it is no answer."""
        head = self._heads.read(response)
        if response.status_code >= 300:
            return await self._refused(response, head)
        chunks = chunks_of(response)
        try:
            if chat.stream:
                observer = StreamObserver(keep_usage_chunk=chat.wants_usage, redactor=self._redactor)
                opening = Opening(chunks, observer, call, Deadline(self._deadline_timer), self._keepalive_s)
                return await self._judge_stream(response, opening, head)
            return await self._whole(response.status_code, head, b"", chunks)
        except httpx.TransportError as error:
            message = sanitize_clause(self._redactor.text(str(error)))
            raise AttemptError("bad_response", f"HTTP 200 that was cut off: {message}", status=200) from error

    async def _judge_stream(
        self, response: httpx.Response, opening: Opening, head: Head
    ) -> UpstreamResponse | UpstreamStream:
        """Return a stream that has begun to answer, or the JSON sent instead. Raises `AttemptError`."""
        try:
            if await opening.is_stream(labelled="event-stream" in head.label):
                await opening.read(self._redactor.text)
                return UpstreamStream(response, head.forwarded, opening)
            whole = await self._whole(response.status_code, head, opening.first, opening.chunks)
        except BaseException:
            opening.silence.close()
            raise
        opening.silence.close()
        return whole

    async def _refused(self, response: httpx.Response, head: Head) -> UpstreamResponse:
        """Return an error that is the request's own fault. Raises `AttemptError` for any other."""
        body = await _error_body(response)
        if len(body) > LARGE_BYTES:
            return await asyncio.to_thread(self._refusal, response.status_code, head, body)
        return self._refusal(response.status_code, head, body)

    def _refusal(self, status: int, head: Head, body: bytes) -> UpstreamResponse:
        """Classify a refusal that has been read. Raises `AttemptError` unless it is about the request."""
        document = lenient_json.loads_or_none(body)
        error = failure_of(
            status,
            document,
            mask=self._redactor.text,
            retry_after=head.retry_after,
            retry_after_ms=head.retry_after_ms,
        )
        message = in_words(status, verdict.refusal_of(document), self._redactor.text)
        if error is None and len(body) > MAX_ERROR_BYTES:
            error = AttemptError("status", message, status=status)
        if error is not None:
            raise error
        return UpstreamResponse(status, head.forwarded, self._redactor.data(body), client_error=message)

    async def _whole(self, status: int, head: Head, first: bytes, chunks: AsyncIterator[bytes]) -> UpstreamResponse:
        """Read a whole response, of which `first` has been read. Raises `AttemptError` if it is no answer."""
        share = self._memory.share()
        try:
            body = await _read_all(first, chunks, MAX_ANSWER_BYTES, share)
            if len(body) > LARGE_BYTES:
                return await asyncio.to_thread(self._completion, status, head, body, share)
            return self._completion(status, head, body, share)
        except BaseException:
            share.release()
            raise

    def _completion(self, status: int, head: Head, body: bytes, share: MemoryShare) -> UpstreamResponse:
        """Return a successful response from its whole body. Raises `AttemptError` if it is no answer."""
        document = lenient_json.loads_or_none(body)
        if document is None:
            raise AttemptError("bad_response", "HTTP 200 whose body is not JSON", status=200)
        fault = verdict.fault_of(document)
        if fault is not None:
            raise AttemptError("bad_response", f"HTTP 200 without an answer: {self._error_summary(fault)}", status=200)
        body = mask_answer(body, self._redactor)
        charged = metering.charged_msats(document) if b"total_msats" in body else None
        if charged is None:
            charged = metering.charged_header_msats(head.charged)
        headers = head.forwarded
        if "json" not in head.label:
            headers = [pair for pair in headers if pair[0].lower() != "content-type"]
            headers.append(("Content-Type", "application/json"))
        return UpstreamResponse(status, headers, body, metering.usage_of(document), charged, share=share)

    def _error_summary(self, error: JsonObject) -> str:
        return verdict.error_summary(error, self._redactor.text)

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


def _common(provider: Provider, client: HeaderList) -> httpx.Request:
    """Build a request without its body."""
    sent = [*client, ("Accept-Encoding", "identity")]
    named = {name.lower() for name, _ in client}
    sent += [(name, value) for name, value in _EXPECTED if name.lower() not in named]
    if provider.api_key is not None:
        sent.append(("Authorization", f"Bearer {provider.api_key.reveal()}"))
    return httpx.Request(
        "POST",
        _chat_url(provider.url),
        headers=[(name.encode(), value.encode()) for name, value in sent],
        stream=httpx.ByteStream(b""),
        extensions={"timeout": {"connect": provider.timeouts.connect}, "proxy": provider.proxy, "memo": {}},
    )


@lru_cache(maxsize=256)
def _chat_url(base: str) -> httpx.URL:
    return httpx.URL(base.rstrip("/") + "/chat/completions")


async def _read_all(first: bytes, chunks: AsyncIterator[bytes], most: int, share: MemoryShare) -> bytes:
    """Read a body, of which `first` has been read, as memory allows. Raises `AttemptError` beyond `most` bytes."""
    parts = [first]
    size = len(first)
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > most:
            raise AttemptError("bad_response", f"a response of more than {most:,} bytes", status=200)
        if size > FREE_BYTES:
            await share.grow(size)
    return b"".join(parts)


async def _error_body(response: httpx.Response) -> bytes:
    """Read the body of an error, up to a little more than `MAX_ERROR_BYTES`; empty if it breaks off."""
    parts = []
    size = 0
    try:
        async for chunk in chunks_of(response):
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_ERROR_BYTES:
                break
    except httpx.TransportError:
        return b""
    return b"".join(parts)
