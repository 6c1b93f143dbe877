"""Asks a provider, and says what came of it.

`Upstream.ask` returns only once the answer is certain enough to be the client's: a whole body, or the first event of a
stream. Everything before that point is an `AttemptError`, so that another provider can still be asked.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import NamedTuple

import httpx

from arbstr import __version__
from arbstr.config import Provider
from arbstr.engine import documents, metering
from arbstr.engine.answer import HeaderList, StreamAnswer, WholeAnswer, chunks_of, close
from arbstr.engine.deadline import Deadline, Watch
from arbstr.engine.observer import StreamObserver
from arbstr.engine.retry_after import retry_after_s
from arbstr.errors import AttemptError
from arbstr.secret import Redactor
from arbstr.text import phrase, plain
from arbstr.types import ChatRequest, JsonObject, value_object

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 1024 * 1024
MAX_OPENING_BYTES = 256 * 1024  # of a stream's beginning that says nothing yet
_READ = (b"content-type", b"x-routstr-cost-msats", b"retry-after")  # headers that arbstr reads itself
_REMEMBERED = 256  # of what requests have in common
_LARGEST_REMEMBERED = 8192  # characters of headers

_RETRYABLE = frozenset({429, 500, 502, 503, 504})
_ACCOUNT_OR_EARLY = frozenset({401, 402, 403, 408, 425})
_UNKNOWN_MODEL = ("invalid_model", "model_not_found")
_EXPECTED = (("Accept", "*/*"), ("User-Agent", f"arbstr/{__version__}"))
_EVENT_FIELDS = (b"data:", b":", b"event:", b"id:", b"retry:")

# Between hops, about framing, or arbstr's own: never passed on. A provider's cookies and CORS permissions are not the
# client's business.
_NOT_DOWN = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "content-encoding",
        "date",
        "server",
        "set-cookie",
        "set-cookie2",
        "alt-svc",
        "strict-transport-security",
        "location",
    }
)
_NOT_DOWN_PREFIXES = ("x-arbstr-", "access-control-")


@value_object
class _Waiting:
    """What is waited for: the answer to `chat`, until the deadline."""

    provider: Provider
    chat: ChatRequest
    deadline: Deadline

    def go_on(self) -> None:
        """Bytes came: from now on only silence counts."""
        self.deadline.within(self.provider.timeouts.idle)


class _Head(NamedTuple):
    """What matters of a response's headers: those that go down, and what it says of its body, its cost, its return."""

    down: HeaderList
    label: str
    charged: str | None
    retry_after: str | None


class _Question(httpx.Request):
    """A request that differs from others in its body only: what they have in common is made once."""

    def __init__(self, common: httpx.Request, body: bytes) -> None:
        self.__dict__.update(common.__dict__)
        self.stream = httpx.ByteStream(body)  # `content=` would also work out headers, at ten times the cost


class Upstream:
    """Sends chat requests to providers over a transport; maps every way to fail to an `AttemptError`."""

    def __init__(self, transport: httpx.AsyncBaseTransport, redactor: Redactor, *, keepalive_s: float) -> None:
        self._transport = transport
        self._redactor = redactor
        self._keepalive_s = keepalive_s
        self._watch = Watch()
        self._commons: dict[tuple[object, ...], httpx.Request] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Have done with the streams that are being put away."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def put_away(self, stream: StreamAnswer) -> None:
        """Close a stream that has been served; nobody waits for what its provider takes to end it."""
        stream.let_go()
        if stream.is_here:
            return
        task = asyncio.create_task(stream.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def ask(self, provider: Provider, chat: ChatRequest, headers: HeaderList) -> WholeAnswer | StreamAnswer:
        """One try at one provider. `headers` are the client's, fit to go up. Raises `AttemptError`."""
        request = _Question(self._common(provider, headers), chat.body)
        deadline = Deadline(self._watch)
        try:
            with deadline.within(provider.timeouts.first_byte):
                response = await self._transport.handle_async_request(request)
                try:
                    return await self._judge(response, _Waiting(provider, chat, deadline))
                except BaseException:
                    await close(response)
                    raise
        except TimeoutError:
            raise AttemptError("timeout", f"no answer within {provider.timeouts.first_byte:g} s", sent=True) from None
        except httpx.TransportError as error:
            raise self._broken(error) from error
        finally:
            deadline.close()

    def _common(self, provider: Provider, headers: HeaderList) -> httpx.Request:
        """What a client's requests to a provider have in common: it sends the same headers again and again."""
        key = provider.name, *headers
        common = self._commons.get(key)
        if common is None:
            common = _common(provider, headers)
            if len(self._commons) >= _REMEMBERED:
                self._commons.clear()
            if sum(len(name) + len(value) for name, value in headers) <= _LARGEST_REMEMBERED:
                self._commons[key] = common
        return common

    async def _judge(self, response: httpx.Response, waiting: _Waiting) -> WholeAnswer | StreamAnswer:
        """Read as far as needed to know what kind of answer this is. Raises `AttemptError` for what is none."""
        head = self._read_head(response)
        if response.status_code >= 300:
            return await self._refused(response, head)
        chunks = chunks_of(response)
        try:
            if waiting.chat.stream and "event-stream" in head.label:
                return await self._open_stream(response, chunks, head.down, b"", waiting)
            first = await anext(chunks, b"")
            if waiting.chat.stream and "json" not in head.label and first.lstrip().startswith(_EVENT_FIELDS):
                return await self._open_stream(response, chunks, head.down, first, waiting)
            body = await _read_all(first, chunks, MAX_ANSWER_BYTES)
            return self._completion(response.status_code, head, body)
        except httpx.TransportError as error:
            told = phrase(self._redactor.text(str(error)))
            raise AttemptError("bad_response", f"HTTP 200 that broke off: {told}", status=200) from error

    async def _open_stream(
        self,
        response: httpx.Response,
        chunks: AsyncIterator[bytes],
        headers: HeaderList,
        first: bytes,
        waiting: _Waiting,
    ) -> StreamAnswer:
        """A stream whose first event is there and no error."""
        observer = StreamObserver(keep_usage_chunk=waiting.chat.wants_usage, mask=self._redactor.data)
        opening = observer.feed(first)
        silence = Deadline(self._watch)
        try:
            opening += await self._first_event(chunks, observer, waiting, silence)
        except BaseException:
            silence.close()
            raise
        return StreamAnswer(response, chunks, headers, observer, opening, silence)

    async def _first_event(
        self, chunks: AsyncIterator[bytes], observer: StreamObserver, waiting: _Waiting, silence: Deadline
    ) -> bytes:
        """Wait for the first event and judge it; returns what goes to the client.

        A provider that stays silent longer than the client's keep-alive interval is taken as it is: its status is
        known, and the client wants a sign of life.
        """
        opening = b""
        try:
            with silence.within(self._keepalive_s or math.inf):
                while not observer.opened:
                    chunk = await anext(chunks, None)
                    waiting.go_on()
                    opening += observer.end() if chunk is None else observer.feed(chunk)
                    if chunk is None or len(opening) > MAX_OPENING_BYTES:
                        break
        except TimeoutError:
            return opening
        if not observer.opened:
            how = "ended before its first event" if chunk is None else "does not come to its first event"
            raise AttemptError("bad_response", f"HTTP 200 whose stream {how}", status=200)
        if observer.opening_error is not None:
            raise AttemptError("bad_response", self._told(observer.opening_error), status=200)
        return opening

    async def _refused(self, response: httpx.Response, head: _Head) -> WholeAnswer:
        """An answer that is no success: the request's own fault, which passes, or a failed attempt."""
        status = response.status_code
        body = await _error_body(response)
        document = documents.read_or_none(body)
        error = metering.error_of(document) or metering.detail_of(document) or {}
        told = f"HTTP {status}"
        if error.get("message"):
            told += f": {self._told(error)}"
        if status in _RETRYABLE:
            wait_s = retry_after_s(head.retry_after, error)
            raise AttemptError("status", told, status=status, retryable=True, retry_after_s=wait_s)
        if status in (400, 404) and (error.get("type") in _UNKNOWN_MODEL or error.get("code") in _UNKNOWN_MODEL):
            raise AttemptError("stale_catalogue", told, status=status)
        if status in _ACCOUNT_OR_EARLY or not 400 <= status < 500 or len(body) > MAX_ERROR_BYTES:
            raise AttemptError("status", told, status=status)
        return WholeAnswer(status, head.down, self._redactor.data(body), refusal=told)

    def _read_head(self, response: httpx.Response) -> _Head:
        """The response's headers in one go, as they came where the transport has them so: httpx's own cost more."""
        answer = response.extensions.get("answer")
        down: HeaderList = []
        first: dict[bytes, str] = {}
        for name, value in response.headers.raw if answer is None else answer.headers:
            if (shown := _name_downstream(name)) is not None:
                down.append((shown, self._value_downstream(value)))
            if (known := name.lower()) in _READ:
                first.setdefault(known, value.decode(errors="replace"))
        label, charged, retry_after = map(first.get, _READ)
        return _Head(down, (label or "").lower(), charged, retry_after)

    def _value_downstream(self, value: bytes) -> str:
        """A header's value as the client may see it; no server sends control bytes on."""
        text = self._redactor.text(value.decode(errors="replace"))
        return text if text.isprintable() else plain(text, len(text))

    def _completion(self, status: int, head: _Head, body: bytes) -> WholeAnswer:
        """A success whose body is all there. Raises `AttemptError` if it is no JSON object or holds only an error."""
        document = documents.read_or_none(body)
        if not isinstance(document, dict):
            raise AttemptError("bad_response", "HTTP 200 whose body is not a JSON object", status=200)
        error = metering.error_of(document)
        if error is not None and not document.get("choices"):
            raise AttemptError("bad_response", f"HTTP 200 that holds an error: {self._told(error)}", status=200)
        if error is not None or not document.get("choices"):  # not only the model speaks here, and providers quote keys
            body = self._redactor.data(body)
        charged = metering.charged_msats(document) if b"total_msats" in body else None
        if charged is None:
            charged = metering.charged_header_msats(head.charged)
        headers = head.down
        if "json" not in head.label:
            headers = [pair for pair in headers if pair[0].lower() != "content-type"]
            headers.append(("Content-Type", "application/json"))
        return WholeAnswer(status, headers, body, metering.usage_of(document), charged)

    def _told(self, error: JsonObject) -> str:
        return metering.told(error, self._redactor.text)

    def _broken(self, error: httpx.TransportError) -> AttemptError:
        """A transport's failure. After the request was sent a timeout may be charged: no repetition."""
        told = phrase(self._redactor.text(str(error)))
        if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
            return AttemptError("timeout", f"no connection in time: {told}", retryable=True)
        if isinstance(error, httpx.TimeoutException):
            return AttemptError("timeout", f"no answer in time: {told}", sent=True)
        if isinstance(error, httpx.UnsupportedProtocol):
            return AttemptError("connect", f"not an address to call: {told}")
        sent = isinstance(error, httpx.ReadError | httpx.RemoteProtocolError)
        return AttemptError("connect", f"connection failed: {told}", retryable=True, sent=sent)


def _common(provider: Provider, client: HeaderList) -> httpx.Request:
    """A request without its body."""
    sent = [*client, ("Content-Type", "application/json"), ("Accept-Encoding", "identity")]
    named = {name.lower() for name, _ in client}
    sent += [(name, value) for name, value in _EXPECTED if name.lower() not in named]
    if provider.api_key is not None:
        sent.append(("Authorization", f"Bearer {provider.api_key.reveal()}"))
    return httpx.Request(
        "POST",
        _chat_url(provider.url),
        headers=[(name.encode(), value.encode()) for name, value in sent],
        stream=httpx.ByteStream(b""),
        extensions={"timeout": {"connect": provider.timeouts.connect}, "memo": {}},
    )


@lru_cache(maxsize=256)
def _chat_url(base: str) -> httpx.URL:
    return httpx.URL(base.rstrip("/") + "/chat/completions")


@lru_cache(maxsize=1024)
def _name_downstream(name: bytes) -> str | None:
    """A response header's name, None if it does not go down."""
    lower = name.decode(errors="replace").lower()
    return None if lower in _NOT_DOWN or lower.startswith(_NOT_DOWN_PREFIXES) else name.decode(errors="replace")


async def _read_all(first: bytes, chunks: AsyncIterator[bytes], most: int) -> bytes:
    """A body of which `first` was read already. Raises `AttemptError` beyond `most` bytes."""
    parts = [first]
    size = len(first)
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > most:
            raise AttemptError("bad_response", f"an answer of more than {most:,} bytes", status=200)
    return b"".join(parts)


async def _error_body(response: httpx.Response) -> bytes:
    """The body of an error as far as it can be read, up to a little more than `MAX_ERROR_BYTES`."""
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
