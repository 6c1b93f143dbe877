"""Reads a provider's response: an answer, in whole or as a stream that has begun, or a refusal, or neither."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import NamedTuple

import httpx

from arbstr.engine import lenient_json, metering
from arbstr.engine.body_memory import FREE_BYTES, BodyMemory, MemoryShare
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.upstream import verdict
from arbstr.engine.upstream.deadline import Deadline, DeadlineTimer
from arbstr.engine.upstream.headers import Head, HeadReader
from arbstr.engine.upstream.masking import mask_answer
from arbstr.engine.upstream.opening import Opening, PendingCall
from arbstr.engine.upstream.refusal import failure_of, in_words
from arbstr.engine.upstream.response import UpstreamResponse, UpstreamStream, arrived_body, chunks_of
from arbstr.engine.upstream.stream_observer import StreamObserver
from arbstr.engine.upstream.translated import Translation
from arbstr.errors import AttemptError
from arbstr.redaction import Redactor
from arbstr.sanitize import sanitize_clause
from arbstr.types import InferenceRequest, JsonObject

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 1024 * 1024
# Larger bodies are classified in a thread: masking may take a third of a second per megabyte where every character is
# escaped.
LARGE_BYTES = 64 * 1024
_PLENTY_BYTES = 1 << 62
_EVENTS = "event-stream"


class Expected(NamedTuple):
    """What a response should be: an answer in `dialect`, to be translated for the client if there is a translation."""

    dialect: Dialect
    translation: Translation | None = None


class AnswerReader:
    """Reads responses and classifies them; `keepalive_s` is the keep-alive interval of the client's stream."""

    def __init__(
        self, redactor: Redactor, *, keepalive_s: float, memory: BodyMemory | None, deadline_timer: DeadlineTimer
    ) -> None:
        self._redactor = redactor
        self._heads = HeadReader(redactor)
        self._keepalive_s = keepalive_s or math.inf
        self._memory = memory or BodyMemory(_PLENTY_BYTES)
        self._deadline_timer = deadline_timer

    async def read(
        self, response: httpx.Response, request: InferenceRequest, expected: Expected, call: PendingCall
    ) -> UpstreamResponse | UpstreamStream:
        """Read a response as far as needed to classify it. Raises `AttemptError` if it is no answer."""
        head = self._heads.read(response)
        if response.status_code >= 300:
            return await self._refused(response, head, expected)
        may_stream = request.stream or expected.dialect.takes_anything
        if not may_stream and (arrived := arrived_body(response, LARGE_BYTES)) is not None:
            return self._answer(response.status_code, head, expected, arrived, None)
        chunks = chunks_of(response)
        try:
            if (_EVENTS in head.label) if expected.dialect.takes_anything else request.stream:
                observer = self._observer(request, expected)
                opening = Opening(chunks, observer, call, Deadline(self._deadline_timer), self._keepalive_s)
                return await self._judge_stream(response, opening, head, expected)
            return await self._whole(response.status_code, head, expected, b"", chunks)
        except httpx.TransportError as error:
            message = sanitize_clause(self._redactor.text(str(error)))
            raise AttemptError("bad_response", f"HTTP 200 that was cut off: {message}", status=200) from error

    def _observer(self, request: InferenceRequest, expected: Expected) -> StreamObserver:
        if expected.translation is not None:
            return expected.translation.observer(self._redactor)
        return StreamObserver(expected.dialect, keep_usage_chunk=request.wants_usage, redactor=self._redactor)

    async def _judge_stream(
        self, response: httpx.Response, opening: Opening, head: Head, expected: Expected
    ) -> UpstreamResponse | UpstreamStream:
        """Return a stream that has begun to answer, or the JSON sent instead. Raises `AttemptError`."""
        try:
            if await opening.is_stream(labelled=_EVENTS in head.label):
                await opening.read(self._redactor.text)
                return UpstreamStream(response, head.forwarded, opening)
            whole = await self._whole(response.status_code, head, expected, opening.first, opening.chunks)
        except BaseException:
            opening.silence.close()
            raise
        opening.silence.close()
        return whole

    async def _refused(self, response: httpx.Response, head: Head, expected: Expected) -> UpstreamResponse:
        """Return an error that is the request's own fault. Raises `AttemptError` for any other."""
        body = await _error_body(response)
        if len(body) > LARGE_BYTES:
            return await asyncio.to_thread(self._refusal, response.status_code, head, expected, body)
        return self._refusal(response.status_code, head, expected, body)

    def _refusal(self, status: int, head: Head, expected: Expected, body: bytes) -> UpstreamResponse:
        """Classify a refusal that has been read. Raises `AttemptError` unless it is about the request."""
        document = lenient_json.loads_or_none(body)
        error = failure_of(
            status,
            document,
            expected.dialect,
            mask=self._redactor.text,
            retry_after=head.retry_after,
            retry_after_ms=head.retry_after_ms,
        )
        message = in_words(status, verdict.refusal_of(document), self._redactor.text)
        if error is None and len(body) > MAX_ERROR_BYTES:
            error = AttemptError("status", message, status=status)
        if error is not None:
            raise error
        shown = self._redactor.data(body)
        return UpstreamResponse(status, head.forwarded, shown, client_error=message)

    async def _whole(
        self, status: int, head: Head, expected: Expected, first: bytes, chunks: AsyncIterator[bytes]
    ) -> UpstreamResponse:
        """Read a whole response, of which `first` has been read. Raises `AttemptError` if it is no answer."""
        share = self._memory.share()
        try:
            body = await _read_all(first, chunks, MAX_ANSWER_BYTES, share)
            if len(body) > LARGE_BYTES:
                return await asyncio.to_thread(self._answer, status, head, expected, body, share)
            return self._answer(status, head, expected, body, share)
        except BaseException:
            share.release()
            raise

    def _answer(
        self, status: int, head: Head, expected: Expected, body: bytes, share: MemoryShare | None
    ) -> UpstreamResponse:
        """Return a successful response from its whole body. Raises `AttemptError` if it is no answer."""
        takes_anything = expected.dialect.takes_anything
        document = None if takes_anything and "json" not in head.label else lenient_json.loads_or_none(body)
        if document is None and takes_anything:
            return self._passed(status, head, body, share)
        if document is None:
            raise AttemptError("bad_response", "HTTP 200 whose body is not JSON", status=200)
        fault = expected.dialect.fault_of(document)
        if fault is not None:
            raise AttemptError("bad_response", f"HTTP 200 without an answer: {self._error_summary(fault)}", status=200)
        shown = mask_answer(body, self._redactor, expected.dialect.words_in)
        charged = metering.charged_msats(document) if body.find(b"total_msats") >= 0 else None
        if charged is None and head.charged is not None:
            charged = metering.charged_header_msats(head.charged)
        if expected.translation is not None:
            shown = expected.translation.answer(document if shown is body else lenient_json.loads(shown))
        headers = head.forwarded
        if "json" not in head.label:
            headers = [pair for pair in headers if pair[0].lower() != "content-type"]
            headers.append(("Content-Type", "application/json"))
        usage = expected.dialect.usage_of(document)
        return UpstreamResponse(status, headers, shown, usage, charged, is_flat=takes_anything, share=share)

    def _passed(self, status: int, head: Head, body: bytes, share: MemoryShare | None) -> UpstreamResponse:
        """Return a response that is no JSON, with keys masked unless it is no text either."""
        shown = self._redactor.data(body) if head.label.startswith("text/") else body
        charged = metering.charged_header_msats(head.charged)
        return UpstreamResponse(status, head.forwarded, shown, charged_msats=charged, is_flat=True, share=share)

    def _error_summary(self, error: JsonObject) -> str:
        return verdict.error_summary(error, self._redactor.text)


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
