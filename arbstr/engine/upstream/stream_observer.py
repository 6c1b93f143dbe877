"""Observes a stream as it passes: usage, charge, progress, how it ended. Sans-IO; alters the bytes in three cases only.

The chunk that only carries usage (`choices: []`) is dropped if the client did not ask for it, keys are masked outside
the model's words, and `[DONE]` is dropped after an error.
"""

from __future__ import annotations

import logging
import re

from arbstr.engine import lenient_json
from arbstr.engine.chunk_template import ChunkTemplate, first_template
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.upstream.long_event import LongEvent
from arbstr.engine.upstream.masking import PieceMasker, mask_events
from arbstr.engine.upstream.sse import BYTE_ORDER_MARK, EventFramer, data_of, event_start, events, raw_events
from arbstr.engine.upstream.stream_meter import USAGE, EventReader, StreamMeter
from arbstr.errors import ApiError
from arbstr.redaction import Redactor
from arbstr.types import JsonObject, Usage

logger = logging.getLogger(__name__)

_ERROR_FIELD = re.compile(rb"(?:^|[\r\n])event: ?error[\r\n]")
_BEGINS_AS_JSON = re.compile(rb"(?:^(?:\xef\xbb\xbf)?|[\r\n])data: ?\s*(\{?)")
_DATA = (b"data:", BYTE_ORDER_MARK + b"data:")
_DONE = b"[DONE]"
_LAST = b"\n\ndata: [DONE]\n\n"
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
    `finished` says that the answer is complete, `ended` that clients have all that they wait for, `done` that `[DONE]`
    came. `in_doubt`, set from outside, has every event read until one says something: for all of them that would cost
    too much.
    """

    def __init__(self, dialect: Dialect, *, keep_usage_chunk: bool, redactor: Redactor = _NO_KEYS) -> None:
        self._dialect = dialect
        self._spoken_in = dialect.spoken_in
        self._framer = EventFramer()
        self._long = LongEvent()  # the passed parts of an event too long to be held back
        self._in_long = False
        self._reader = EventReader()
        self._meter = StreamMeter(dialect, self._reader, keep_usage_chunk=keep_usage_chunk)
        self._redactor = redactor
        self._long_masker = PieceMasker(redactor.of_long)
        self._template: ChunkTemplate | None = None
        self._templates_left = _MOST_TEMPLATES if dialect.text_run is None else 0
        self._begun = False  # an event with data has come
        self.answered = False
        self.error: JsonObject | None = None
        self.done = False
        self.finished = False
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
        return (self.finished or (self.ended and self.answered)) and self.error is None

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
        return self._dialect.error_event(error)

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
        last_part = next(events(block))[0]
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
        if self._dialect.text_run is not None:
            return self._scan_runs(block, self._dialect.text_run)
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

    def _scan_runs(self, block: bytes, text_run: re.Pattern[bytes]) -> bytes:
        """Process complete events, a run of events with text at once; the first of them is looked at."""
        found = None if self.in_doubt else text_run.search(block)
        if found is None:
            return self._look(block)
        start, end = found.span()
        if not self.answered:
            start = block.find(b"\n\n", start) + 2
        out = self._look(block[:start]) if start else b""
        if self.done:
            return out
        run = block[start:end]
        if run and (not self.answered or self.error is not None or self._redactor.seems_to_be_in(run)):
            out += self._look(run)
        else:
            self.events += run.count(b"\n\n")
            out += run
        return out + self._look(block[end:]) if end < len(block) and not self.done else out

    def _find_template(self, block: bytes) -> int:
        """Make a template of a block's first text chunk if no key can be in it; return where the chunk begins."""
        found = first_template(block, self._dialect)
        if found is None or self._redactor.seems_to_be_in(found[1].between):
            return 0
        start, self._template = found
        return start

    def _pass_texts(self, template: ChunkTemplate, block: bytes) -> int:
        """Return how many bytes at a block's beginning are chunks of the template, which need no parsing."""
        found = template.texts(block)
        if found is None or self._redactor.seems_to_be_in(found[2]):
            self._template = None
            self._templates_left = self._templates_left - 1 if template.uses < _FEW_USES else _MOST_TEMPLATES
            return 0
        size, count, texts = found
        if self.in_doubt and texts.strip(b"\t"):
            self.in_doubt = False
        template.uses += count
        self.events += count
        self._begun = self.answered = True
        return size

    def _look(self, block: bytes) -> bytes:
        """Pass whole events on as they are found to be."""
        last = b""
        if block.find(_DONE) >= 0:  # `in` takes three times as long
            block, last = self._cut_at_done(block)
        if not block:
            return last if self.error is None and self.answered else b""
        count = block.count(b"\ndata:") + block.startswith(_DATA)
        if block.find(b"\r") >= 0:
            count += block.count(b"\rdata:")
        self.events += count
        if self.in_doubt:
            self.in_doubt = not self._says_something(block)
        strange = self._is_strange(block)
        if strange or self._redactor.seems_to_be_in(block):
            block = mask_events(block, self._redactor, self._dialect.words_in)
        if not self.answered and self.error is None:
            self._open(block)
        if strange and self.error is None:
            self._look_for_error(block)
        if not self.finished and (found := self._dialect.finish.search(block)) is not None:
            self._look_for_finish(block[event_start(block, found.start()) :])
        last_event = self._dialect.last
        if last_event is not None and not self.ended and (found := last_event.search(block)) is not None:
            self._look_for_last(block[event_start(block, found.start()) :], last_event)
        block = self._meter.sift(block)
        return block + last if self.error is None and self.answered else block

    def _cut_at_done(self, block: bytes) -> tuple[bytes, bytes]:
        """Return the bytes before the final `[DONE]`, and that event; what follows is dropped."""
        if block.endswith(_LAST) and block.find(_DONE) > len(block) - len(_LAST):  # as almost every stream ends
            self.done = self.ended = True
            return block[: 2 - len(_LAST)], block[2 - len(_LAST) :]
        end = start = event_start(block, block.find(_DONE))
        for raw, data in events(block[start:]):
            if data is not None and data.strip() == _DONE:
                self.done = self.ended = True
                return block[:end], raw
            end += len(raw)
        return block, b""

    def _open(self, block: bytes) -> None:
        """Look for the first event with content; the very first event must at least be JSON."""
        for raw, data in events(block):
            if not data:
                continue
            document = self._reader.read(data)
            self.error = self._error_of(raw, data)
            if self.error is None and document is None and not self._begun:
                self.error = {"message": _NO_JSON}
            self._begun = True
            self.answered = self.error is None and self._dialect.has_substance(document)
            if self.answered or self.error is not None:
                return

    def _look_for_error(self, block: bytes) -> None:
        spoken_in = self._spoken_in
        for raw in raw_events(block):
            if raw.find(_ERROR) < 0 and (raw.find(spoken_in) >= 0 or self._is_harmless(raw)):  # almost every one
                continue
            data = data_of(raw)
            if self.error is None and data is not None:
                self.error = self._error_of(raw, data)

    def _look_for_finish(self, block: bytes) -> None:
        for raw in raw_events(block):
            if self._dialect.finish.search(raw) is not None and (data := data_of(raw)) is not None:
                self.finished = self._dialect.finishes(self._reader.read(data))
                self.ended = self.ended or (self.finished and self._dialect.is_last(self._reader.read(data)))
            if self.finished:
                return

    def _look_for_last(self, block: bytes, last: re.Pattern[bytes]) -> None:
        for raw in raw_events(block):
            if last.search(raw) is not None and (data := data_of(raw)) is not None:
                self.ended = self.ended or self._dialect.is_last(self._reader.read(data))

    def _says_something(self, block: bytes) -> bool:
        """Return whether a block has content, an error or usage; pings and empty chunks have not."""
        return any(
            data
            and (
                self._dialect.has_substance(self._reader.read(data))
                or USAGE.search(data) is not None
                or self._error_of(raw, data) is not None
            )
            for raw, data in events(block)
        )

    def _is_strange(self, block: bytes) -> bool:
        """Return whether a block may have more than the model's words: comments, errors, other events."""
        if block.find(_ERROR) >= 0 or block.startswith(b":") or block.find(b"\n:") >= 0:
            return True
        spoken_in = self._spoken_in
        if block.find(b"\n\n") == len(block) - 2:  # one event, as a rule
            return block.find(spoken_in) < 0
        if block.find(b"\r") >= 0:
            return block.find(b"\r:") >= 0 or any(raw.find(spoken_in) < 0 for raw, _ in events(block))
        return any(raw.find(spoken_in) < 0 for raw in block[:-2].split(b"\n\n"))

    def _error_of(self, raw: bytes, data: bytes) -> JsonObject | None:
        """Return the error in an event, by its name or its JSON; None if there is none."""
        named = _ERROR in raw and _ERROR_FIELD.search(raw) is not None
        if not named and _ERROR_VALUE.search(raw) is None and (self._spoken_in in raw or self._is_harmless(raw)):
            return None
        document = self._reader.read(data)
        error = self._dialect.error_of(document)
        if error is None and named:
            return document if isinstance(document, dict) else {"message": "an error event"}
        return error

    def _is_harmless(self, raw: bytes) -> bool:
        harmless = self._dialect.harmless
        return harmless is not None and harmless.search(raw) is not None

    def _is_models(self, raw: bytes) -> bool:
        return self._spoken_in in raw and _ERROR_VALUE.search(raw) is None


def _is_whole(event: bytes) -> bool:
    data = data_of(event)
    return data is not None and (data.strip() == _DONE or lenient_json.loads_or_none(data) is not None)
