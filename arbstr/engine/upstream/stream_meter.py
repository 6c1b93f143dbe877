"""Usage and charge of a stream, read from its events as they pass."""

from __future__ import annotations

import logging
import re
from typing import Any

from arbstr.engine import lenient_json, metering
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.upstream.sse import data_of, event_start, events, raw_events
from arbstr.types import Usage

logger = logging.getLogger(__name__)

# What makes a block worth parsing; everything else passes unparsed. Quotes in a chunk's text are escaped, so a model
# that writes about usage does not match.
USAGE = re.compile(rb'"usage"\s*:\s*\{')  # both at once would take twice as long
_COST = re.compile(rb'"cost"\s*:\s*\{')
_USAGE_FIELD = b'"usage"'
_COST_FIELD = b'"cost"'


class EventReader:
    """Parses the data of events; the same one asked for again at once is not parsed again."""

    def __init__(self) -> None:
        self._data = b""
        self._document: Any = None

    def read(self, data: bytes) -> Any:
        """Return an event's document, None if it is not JSON."""
        if data != self._data:
            self._data, self._document = data, lenient_json.loads_or_none(data)
        return self._document


class StreamMeter:
    """Meters a stream in `dialect`. `usage` and `charged_msats` stay None until the provider says them.

    A fault of the metering is logged once and leaves both None; the bytes go on.
    """

    def __init__(self, dialect: Dialect, reader: EventReader, *, keep_usage_chunk: bool) -> None:
        self._dialect = dialect
        self._reader = reader
        self._keep_usage_chunk = keep_usage_chunk
        self._broken = False
        self.charged_msats: int | None = None
        self._counts: metering.Counts | None = None

    @property
    def usage(self) -> Usage | None:
        """The usage over all events; None until the provider states it."""
        return None if self._counts is None else self._counts.usage()

    def sift(self, block: bytes) -> bytes:
        """Meter whole events; return them without the chunk that only carries usage, unless it is to be kept."""
        usage, cost = USAGE.search(block), _COST.search(block)
        if (usage is None and cost is None) or self._broken:
            return block
        start = event_start(block, min(found.start() for found in (usage, cost) if found is not None))
        if self._keep_usage_chunk:
            self._meter_events(block[start:])
            return block
        return block[:start] + self._filter_events(block[start:])

    def _meter_events(self, block: bytes) -> None:
        for raw in raw_events(block):
            if raw.find(_USAGE_FIELD) >= 0 or raw.find(_COST_FIELD) >= 0:
                self._is_usage_only(data_of(raw))

    def _filter_events(self, block: bytes) -> bytes:
        """Meter a block event by event; drop the chunk that only carries usage."""
        if block.find(b"\n\n") == len(block) - 2 and block.find(b"\r") < 0:  # one event, as a rule
            return b"" if self._is_usage_only(data_of(block)) else block
        return b"".join(raw for raw, data in events(block) if not self._is_usage_only(data))

    def _is_usage_only(self, data: bytes | None) -> bool:
        """Meter an event; return True for one with nothing else. Exceptions end the metering only."""
        if data is None or self._broken:
            return False
        try:
            return self._read(data)
        except Exception:
            logger.exception("could not read the usage of a stream; it is unknown")
            self._broken = True
            self._counts = self.charged_msats = None
            return False

    def _read(self, data: bytes) -> bool:
        cost = _COST.search(data)
        if cost is None and USAGE.search(data) is None:
            return False
        document = self._reader.read(data)
        counts = self._dialect.counts_of(document)
        charged = None if cost is None else metering.charged_msats(document)
        if counts is not None:
            self._counts = metering.merge(self._counts, counts)
        if charged or self.charged_msats is None:
            self.charged_msats = charged
        return counts is not None and self._dialect.is_usage_only(document)
