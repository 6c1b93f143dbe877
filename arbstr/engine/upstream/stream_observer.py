"""Observes a stream as it passes: usage, charge, progress, how it ended. Sans-IO; alters the bytes in three cases only.

The chunk that only carries usage (`choices: []`) is dropped if the client did not ask for it, keys are masked outside
the model's words, and `[DONE]` is dropped after an error.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from arbstr.engine import lenient_json
from arbstr.engine.chunk_template import ChunkTemplate, first_template
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.upstream.long_event import LongEvent
from arbstr.engine.upstream.masking import PieceMasker, mask_events
from arbstr.engine.upstream.sse import EventFramer, data_of, raw_events
from arbstr.engine.upstream.stream_meter import StreamMeter, states_something, states_usage
from arbstr.errors import ApiError
from arbstr.redaction import Redactor
from arbstr.types import JsonObject, Usage

logger = logging.getLogger(__name__)

_NAMES_AN_ERROR = re.compile(rb"(?:^|[\r\n])event: ?error[\r\n]")
_BEGINS_AS_JSON = re.compile(rb"(?:^(?:\xef\xbb\xbf)?|[\r\n])data: ?\s*(\{?)")
_DONE = b"[DONE]"
_ERROR = b"error"
_ERROR_VALUE = re.compile(rb'"error"(?!\s*:\s*null\b)')
_NO_KEYS = Redactor([])
_NO_JSON = "the first event is not JSON"
_LONG_ERROR = "an error of more than 64 KB"
_MOST_TEMPLATES = 4  # of few uses in a row: then chunks differ in more than their text
_FEW_USES = 8


class StreamObserver:
    """Takes the provider's bytes, in `dialect`, by `feed` and gives back what goes to the client.

    `redactor` masks secrets outside the model's words: providers quote keys. `answered` is True once an event has
    brought a part of the answer (content, a tool call, a `finish_reason`), `error` is the first error in the stream.
    `finished` says that the answer is complete, `done` that `[DONE]` came, `concluded` that the last event that clients
    of the dialect wait for came, `ended` either. `in_doubt`, set from outside, has every event read until one says
    something: for all of them that would cost too much.
    """

    def __init__(self, dialect: Dialect, *, keep_usage_chunk: bool, redactor: Redactor = _NO_KEYS) -> None:
        self._dialect = dialect
        self._spoken_in = dialect.spoken_in
        self._framer = EventFramer()
        self._long = LongEvent()  # the passed parts of an event too long to be held back
        self._in_long = False
        self._meter = StreamMeter(dialect)
        self._keep_usage_chunk = keep_usage_chunk
        self._redactor = redactor
        self._long_masker = PieceMasker(redactor.of_long)
        self._template: ChunkTemplate | None = None
        self._templates_left = _MOST_TEMPLATES
        self._last_block = b""  # of complete events
        self._begun = False  # an event with data has come
        self.answered = False
        self.error: JsonObject | None = None
        self.done = False
        self.finished = False
        self.concluded = False
        self.ended = False
        self.in_doubt = False  # whether the provider still says something
        self.events = 0
        self.size = 0  # bytes

    @property
    def usage(self) -> Usage | None:
        """The usage over all events; None until the provider states it."""
        return self._meter.usage

    @property
    def charged_msats(self) -> int | None:
        """What the provider says it charged, in msats; None until it does."""
        return self._meter.charged_msats

    @property
    def between_events(self) -> bool:
        """Whether the client has seen complete events only, so that a comment may be inserted."""
        return self._framer.between_events

    @property
    def complete(self) -> bool:
        """Whether the stream ended properly, with content and without an error."""
        return (self.finished or (self.concluded and self.answered)) and self.error is None

    def feed(self, data: bytes) -> bytes:
        """Process the provider's bytes; return those for the client. What follows `[DONE]` is dropped."""
        if self.done:
            return b""
        self.size += len(data)
        block = self._framer.feed(data)
        if not block:
            return b""
        if self._framer.between_events and not self._in_long:
            return self._scan(block)
        return self._scan_long(block)

    def body_ended(self) -> None:
        """Note that the whole body has come: in some dialects that is the end of an answer."""
        if self._dialect.takes_anything and self.answered:
            self.finished = True

    def end(self) -> bytes:
        """Return what is left for the client; the provider has closed the stream.

        An event without its empty line still counts if complete; a torn one is dropped, as an SSE parser would.
        """
        if self.done:
            return b""
        rest = self._framer.flush()
        if self._in_long:  # its start has gone out; the client's reader needs its end
            rest += b"\n\n"
            self._read_long(rest)
            return self._long_masker.feed(rest) + self._long_masker.flush()
        if not _is_whole(rest):
            return b""
        return self._scan(rest.rstrip(b"\r\n") + b"\n\n")

    def fail(self, error: ApiError) -> bytes:
        """Return the event that ends the client's stream with an error."""
        return self._dialect.error_event(error, after=self._last_block)

    def _scan_long(self, block: bytes) -> bytes:
        """Pass part of an event that is too long to be held back; it is read once complete."""
        if not self._framer.between_events:
            if not self.answered:
                self._open_by_start(block)
            if not self._in_long:
                self._long_masker = PieceMasker(self._redactor.of_long if self._is_models(block) else self._redactor)
            self._in_long = True
            self._long.add(block)
            return self._long_masker.feed(block)
        last_part = raw_events(block)[0]
        self._read_long(last_part)
        rest = block[len(last_part) :]
        shown = self._long_masker.feed(last_part) + self._long_masker.flush()
        return shown + self._scan(rest) if rest else shown

    def _read_long(self, last_part: bytes) -> None:
        """Read an event that has passed, unless it was too long to be kept."""
        self._in_long = False
        self._long.add(last_part)
        event = self._long.take()
        if _is_whole(event):
            self._scan(event)

    def _open_by_start(self, block: bytes) -> None:
        """Judge an event by its first 64 KB; no more is held back."""
        data = _BEGINS_AS_JSON.search(block)
        if data is None:
            return
        if not data[1]:
            self.error = self.error or (None if self._begun else {"message": _NO_JSON})
        elif _ERROR_VALUE.search(block) is not None and self._spoken_in not in block:
            self.error = self.error or {"message": _LONG_ERROR}
        else:
            self.answered = True
        self._begun = True

    def _scan(self, block: bytes) -> bytes:
        """Process complete events. Chunks with text and nothing else pass unparsed, however many there are."""
        self._last_block = block
        out = b""
        if self._template is None and self._templates_left:
            start = self._find_template(block)
            if start:
                out = self._look(block[:start])
                block = block[start:]
        if self._template is not None and self.error is None and not self.done:
            size = self._pass_texts(self._template, block)
            out += block[:size]
            block = block[size:]
        return out + self._look(block) if block and not self.done else out

    def _find_template(self, block: bytes) -> int:
        """Make a template of a block's first text chunk if no key can be in it; return where the chunk begins."""
        found = first_template(block, self._dialect)
        if found is None or self._redactor.seems_to_be_in(b"".join(found[1].constants)):
            return 0
        start, self._template = found
        return start

    def _pass_texts(self, template: ChunkTemplate, block: bytes) -> int:
        """Return how many bytes at a block's beginning are chunks of the template, which need no parsing."""
        run = template.match(block)
        if run is None or self._redactor.seems_to_be_in(run.fields):
            self._template = None
            self._templates_left = self._templates_left - 1 if template.uses < _FEW_USES else _MOST_TEMPLATES
            return 0
        if self.in_doubt and run.says_something:
            self.in_doubt = False
        template.uses += run.chunks
        self.events += run.chunks
        self._begun = self.answered = True
        return run.size

    def _look(self, block: bytes) -> bytes:
        """Pass whole events on, each as it is found to be; what follows `[DONE]` is dropped."""
        out: list[bytes] = []
        has_done = block.find(_DONE) >= 0  # `in` takes three times as long
        has_key = self._redactor.data(block) is not block
        for raw in raw_events(block):
            data = data_of(raw)
            if has_done and data is not None and data.strip() == _DONE:
                self.done = self.ended = True
                self.concluded = self.concluded or self._dialect.ends_with_done
                return b"".join(out) + (raw if self.error is None and self.answered else b"")
            out.append(self._passed(raw, data, has_key=has_key))
        return out[0] if len(out) == 1 else b"".join(out)

    def _passed(self, raw: bytes, data: bytes | None, *, has_key: bool) -> bytes:
        """Return an event as it goes on, parsed if it may be more than words. `has_key`: its block has a key in it."""
        is_words = self._is_words(raw)
        if has_key and (not is_words or self._redactor.seems_to_be_in(raw)):
            shown = mask_events(raw, self._redactor, self._dialect.words_in)
            if shown is not raw:
                raw, data = shown, data_of(shown)
        if data is None:
            return raw
        self.events += 1
        if is_words and self.answered and not self.in_doubt and not self._may_matter(data):
            return raw
        document = lenient_json.loads_or_none(data)
        self._note(data, document, None if is_words else self._error_of(raw, document))
        return b"" if self._meter.read(data, document) and not self._keep_usage_chunk else raw

    def _note(self, data: bytes, document: Any, error: JsonObject | None) -> None:
        """Note what an event says."""
        dialect = self._dialect
        if error is None and not self._begun and document is None and data:
            error = {"message": _NO_JSON}
        has_substance = (self.in_doubt or not self.answered) and dialect.has_substance(document)
        self.in_doubt = self.in_doubt and not (has_substance or error is not None or states_usage(data))
        self.error = self.error or error
        self.answered = self.answered or (has_substance and self.error is None)
        self._begun = self._begun or bool(data)
        self.finished = self.finished or dialect.finishes(document)
        self.concluded = self.concluded or dialect.is_last(document)
        self.ended = self.ended or self.concluded

    def _may_matter(self, data: bytes) -> bool:
        """Return whether an event with the model's words may also state how the answer ends, or what it costs."""
        return self._dialect.end.search(data) is not None or states_something(data)

    def _error_of(self, raw: bytes, document: Any) -> JsonObject | None:
        """Return the error in an event, by its name or its JSON; None if there is none."""
        named = _is_named_error(raw)
        if not named and self._is_models(raw):
            return None
        error = self._dialect.error_of(document)
        if error is None and named:
            return document if isinstance(document, dict) else {"message": "an error event"}
        return error

    def _is_words(self, raw: bytes) -> bool:
        """Return whether an event seems to have the model's words only: no error, no comment."""
        if raw.find(self._spoken_in) < 0 or raw.find(_ERROR) >= 0:
            return False
        return raw[:1] != b":" and raw.find(b"\n:") < 0 and (raw.find(b"\r") < 0 or raw.find(b"\r:") < 0)

    def _is_models(self, raw: bytes) -> bool:
        """Return whether an event has the model's words and no error."""
        return raw.find(self._spoken_in) >= 0 and (raw.find(_ERROR) < 0 or _ERROR_VALUE.search(raw) is None)


def _is_named_error(raw: bytes) -> bool:
    if raw.find(b"event: error") < 0 and raw.find(b"event:error") < 0:  # almost always, and found ten times as fast
        return False
    return _NAMES_AN_ERROR.search(raw) is not None


def _is_whole(event: bytes) -> bool:
    data = data_of(event)
    return data is not None and (data.strip() == _DONE or lenient_json.loads_or_none(data) is not None)
