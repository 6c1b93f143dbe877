"""Requests that a provider gets as chat completions, and whose answers return in their client's dialect."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import orjson

from arbstr.engine.chunk_template import ChunkTemplate
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.dialects.translation.chat_answer import only_text_of
from arbstr.engine.dialects.translation.fields import dumps
from arbstr.engine.dialects.translation.response_history import ResponseHistory
from arbstr.engine.lenient_json import loads_or_none
from arbstr.engine.upstream.sse import data_of, events
from arbstr.engine.upstream.stream_observer import StreamObserver
from arbstr.errors import ApiError
from arbstr.redaction import Redactor
from arbstr.types import InferenceRequest, JsonObject

_SECRET_BYTES = 12
MAX_EVENT_BYTES = 16 * 1024 * 1024  # an image may be in it


class Translation:
    """The translation of one request in `dialect`, and of what is answered to it."""

    def __init__(
        self, dialect: Dialect, request: InferenceRequest, history: ResponseHistory | None, *, now_s: float
    ) -> None:
        """`history` is for a dialect whose requests may refer to earlier answers. Raises `InvalidRequest`."""
        assert dialect.translation is not None
        assert request.document is not None
        self._history = history
        self._client = request.client
        self._resolved = request.document if history is None else history.resolved(request.document, request.client)
        self._dialect = dialect
        self._modules = import_module(dialect.translation)  # most clients and providers speak the same: 0.4 MB less
        self._document = request.document
        # A remembered answer's id is all that it takes to go on with its conversation: hence the system's randomness.
        unguessable = "" if history is None else os.urandom(_SECRET_BYTES).hex()
        self._given = {
            "answer_id": f"{dialect.id_prefix}_{request.request_id.replace('-', '')}{unguessable}",
            "now_s": now_s,
        }

    def chat(self, request: InferenceRequest) -> JsonObject:
        """Return the request as chat. Raises `InvalidRequest` for what chat can't express."""
        document: JsonObject = self._modules.to_chat({**self._resolved, "model": request.model})
        return document

    def observer(self, redactor: Redactor) -> StreamObserver:
        """Return an observer of the provider's stream that gives the client's."""
        translator = self._modules.StreamTranslator(self._document, **self._given)
        return TranslatingObserver(translator, on_end=partial(self._remember, translator), redactor=redactor)

    def answer(self, answer: JsonObject) -> bytes:
        """Return the client's answer for a whole chat answer."""
        translated = self._modules.from_chat(answer, self._document, **self._given)
        if self._history is not None:
            self._history.remember(self._resolved, translated, self._client)
        return dumps(translated)

    def _remember(self, translator: Any) -> None:
        """Remember the answer of a stream that is complete."""
        if self._history is not None:
            self._history.remember(self._resolved, translator.answer, self._client)

    def refusal(self, body: bytes, status: int, message: str) -> bytes:
        """Return the client's error for that of a provider."""
        return self._dialect.refusal_body(body, status, message)


class TranslatingObserver(StreamObserver):
    """Observes a chat stream, and gives back the events of another dialect for it. Comments pass.

    `on_end` is called when the answer is complete.
    """

    def __init__(self, translator: Any, *, on_end: Callable[[], None], redactor: Redactor) -> None:
        super().__init__(CHAT, keep_usage_chunk=True, redactor=redactor)
        self._translator = translator
        self._on_end = on_end
        self._held = bytearray()  # of an event too long for the observer to hold back
        self._closed = False
        self._known: ChunkTemplate | None = None  # the last template that was looked at
        self._known_as_text = False

    @property
    def between_events(self) -> bool:
        """The client only gets complete events."""
        return True

    def feed(self, data: bytes) -> bytes:
        """See `StreamObserver`. Raises ValueError for an event that is too long."""
        return self._translated(super().feed(data))

    def end(self) -> bytes:
        """See `StreamObserver`."""
        return self._translated(super().end()) + self._last()

    def fail(self, error: ApiError) -> bytes:
        """See `StreamObserver`."""
        failed: bytes = self._translator.fail(error.message)
        return failed

    def _translated(self, block: bytes) -> bytes:
        if self._held or not self._framer.between_events:
            self._held += block
            if not self._framer.between_events:
                if len(self._held) > MAX_EVENT_BYTES:
                    raise ValueError("an event is too long")
                return b""
            block = bytes(self._held)
            self._held.clear()
        out = self._by_template(block)
        return out + self._last() if self.done else out

    def _by_template(self, block: bytes) -> bytes:
        """Return the client's events for a block; texts that came together go as one, read at once."""
        found = self._template.find_run(block) if self._template is not None and self._is_of_text_alone() else None
        if found is None:
            return self._event_by_event(block)
        start, run = found
        end = start + run.size
        before = self._event_by_event(block[:start]) if start else b""
        said = self._said(run.text)
        if said is None:
            return before + self._event_by_event(block[start:])
        return b"".join((before, said, self._event_by_event(block[end:]) if end < len(block) else b""))

    def _said(self, texts: bytes) -> bytes | None:
        """Return the client's events for texts of JSON strings, None if they have to be taken in one by one."""
        try:
            said: bytes | None = self._translator.say(orjson.loads(b'"%b"' % texts))
        except orjson.JSONDecodeError:  # half of a surrogate pair, say
            return None
        return said

    def _is_of_text_alone(self) -> bool:
        """Return whether the chunks of the template are of the answer's words, not of its reasoning."""
        template = self._template
        if template is not self._known:
            self._known = template
            sample = None if template is None else loads_or_none(data_of(template.sample(b"x")) or b"")
            self._known_as_text = isinstance(sample, dict) and only_text_of(sample) == "x"
        return self._known_as_text

    def _event_by_event(self, block: bytes) -> bytes:
        return b"".join([self._event(raw, data) for raw, data in events(block)])

    def _event(self, raw: bytes, data: bytes | None) -> bytes:
        if data is None:
            return raw if raw.startswith(b":") else b""
        document = loads_or_none(data)
        if not isinstance(document, dict) or (self.error is not None and CHAT.error_of(document) is not None):
            return b""
        translated: bytes = self._translator.feed(document)
        return translated

    def _last(self) -> bytes:
        """Return the events that close the answer, if it is complete."""
        if self._closed or not self.complete:
            return b""
        self._closed = self.concluded = self.ended = True
        last: bytes = self._translator.end()
        self._on_end()
        return last
