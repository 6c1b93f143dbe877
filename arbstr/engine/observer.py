"""Watches a stream go by: usage, charge, progress, how it ended. Sans-IO; what passes is not altered but for one thing.

That one: the chunk which only carries usage (`choices: []`) is left out if the client had not asked for it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from arbstr.engine import documents, metering
from arbstr.engine.sse import EventFramer, data_of, event_start, events
from arbstr.types import Usage

logger = logging.getLogger(__name__)

# What makes a block worth reading; everything else passes unparsed. Inside a chunk's text quotes are escaped, so that a
# model writing about usage does not look like it.
_METERED = re.compile(rb'"(?:usage|cost)"\s*:\s*\{')
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')
_DONE = b"[DONE]"
_ERROR = b"error"


class StreamObserver:
    """Takes the provider's bytes by `feed` and gives back what goes to the client.

    `mask` hides what nobody may see in errors, where providers quote keys. `opened` is True once the first event with
    data is there, and `opening_error` then holds its error, if it is one.
    `done` says that `[DONE]` came, `finished` that a `finish_reason` did. `usage` and `charged_msats` stay None until
    the provider says them. A fault of the metering is logged once and leaves both None; the bytes go on.
    """

    def __init__(self, *, keep_usage_chunk: bool, mask: Callable[[bytes], bytes] = bytes) -> None:
        self._framer = EventFramer()
        self._keep_usage_chunk = keep_usage_chunk
        self._mask = mask
        self._broken = False
        self.opened = False
        self.opening_error: dict[str, Any] | None = None
        self.done = False
        self.finished = False
        self.events = 0
        self.usage: Usage | None = None
        self.charged_msats: int | None = None

    @property
    def between_events(self) -> bool:
        """Whether the client has seen whole events only, so that a comment may be put in here."""
        return self._framer.between_events

    @property
    def complete(self) -> bool:
        """Whether the stream came to its own end."""
        return self.done or self.finished

    def feed(self, data: bytes) -> bytes:
        """Take the provider's bytes in; return what goes to the client now. What follows `[DONE]` goes nowhere."""
        if self.done:
            return b""
        block = self._framer.feed(data)
        return self._watch(block) if block else b""

    def end(self) -> bytes:
        """The provider closed the stream: what is left for the client.

        An event without its empty line still counts if it is whole; a torn one is dropped, as a reader of events would.
        """
        if self.done:
            return b""
        whole_so_far = self._framer.between_events
        rest = self._framer.flush()
        if not whole_so_far:
            return rest + b"\n\n"  # the start of this event has gone out; the client's reader needs its end
        if not _is_whole(rest):
            return b""
        return self._watch(rest.rstrip(b"\r\n") + b"\n\n")

    def _watch(self, block: bytes) -> bytes:
        if _ERROR in block:
            block = self._mask(block)
        self.events += block.count(b"\ndata:") + block.startswith(b"data:")
        if not self.opened:
            self._open(block)
        if not self.finished:
            self.finished = _FINISH.search(block) is not None
        metered = None if self._broken else _METERED.search(block)
        done = block.find(_DONE)
        if metered is None and done < 0:
            return block
        first = done if metered is None else metered.start() if done < 0 else min(done, metered.start())
        start = event_start(block, first)
        return block[:start] + self._sift(block[start:])

    def _open(self, block: bytes) -> None:
        """Judge the first event that has data."""
        for raw, data in events(block):
            if not data:
                continue
            self.opened = True
            document = documents.read_or_none(data)
            self.opening_error = metering.error_of(document)
            torn = not self._framer.between_events and data.startswith(b"{")  # too long to be held, so not all here
            if document is None and data.strip() != _DONE and not torn:
                self.opening_error = {"message": "HTTP 200 whose first event is not JSON"}
            if self.opening_error is None and raw.startswith(b"event: error"):
                self.opening_error = document if isinstance(document, dict) else {"message": "an error event"}
            return

    def _sift(self, block: bytes) -> bytes:
        """Go through a block event by event: read what is metered, stop after `[DONE]`."""
        kept: list[bytes] = []
        for raw, data in events(block):
            if data is not None and data.strip() == _DONE:
                self.done = True
                kept.append(raw)
                break
            if data is None or self._broken or not self._meter(data) or self._keep_usage_chunk:
                kept.append(raw)
        return b"".join(kept)

    def _meter(self, data: bytes) -> bool:
        """Read usage and charge; True for a chunk that carries nothing else. The edge at which metering may fail."""
        try:
            return self._read(data)
        except Exception:
            if not self._broken:
                logger.exception("the usage of a stream could not be read; it is unknown")
            self._broken = True
            self.usage = self.charged_msats = None
            return False

    def _read(self, data: bytes) -> bool:
        if _METERED.search(data) is None:
            return False
        document = documents.read_or_none(data)
        usage = metering.usage_of(document)
        charged = metering.charged_msats(document)
        if usage is not None:
            self.usage = usage
        if charged is not None:
            self.charged_msats = charged
        return usage is not None and document.get("choices") == []


def _is_whole(event: bytes) -> bool:
    data = data_of(event)
    return data is not None and (data.strip() == _DONE or documents.read_or_none(data) is not None)
