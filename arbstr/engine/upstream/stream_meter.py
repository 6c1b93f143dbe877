"""Usage and charge of a stream, read from its events as they pass."""

from __future__ import annotations

import logging
import re
from typing import Any

from arbstr.engine import metering
from arbstr.engine.dialects.dialect import Dialect
from arbstr.types import Usage

logger = logging.getLogger(__name__)

# What makes an event worth parsing. Quotes in a chunk's text are escaped, so a model that writes about usage does not
# match.
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_COST = re.compile(rb'"cost"\s*:\s*\{')
_USAGE_FIELD = b'"usage"'  # found ten times as fast
_COST_FIELD = b'"cost"'


def states_usage(data: bytes) -> bool:
    """Return whether an event may state usage."""
    return data.find(_USAGE_FIELD) >= 0 and _USAGE.search(data) is not None


def states_something(data: bytes) -> bool:
    """Return whether an event may state usage or a charge."""
    return states_usage(data) or (data.find(_COST_FIELD) >= 0 and _COST.search(data) is not None)


class StreamMeter:
    """Meters a stream in `dialect`. `usage` and `charged_msats` stay None until the provider says them.

    A fault of the metering is logged once and leaves both None; the bytes go on.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._broken = False
        self.charged_msats: int | None = None
        self._counts: metering.Counts | None = None

    @property
    def usage(self) -> Usage | None:
        """The usage over all events; None until the provider states it."""
        return None if self._counts is None else self._counts.usage()

    def read(self, data: bytes, document: Any) -> bool:
        """Meter an event; return whether it brings nothing but usage. Exceptions end the metering only."""
        if self._broken or not states_something(data):
            return False
        try:
            return self._read(data, document)
        except Exception:
            logger.exception("could not read the usage of a stream; it is unknown")
            self._broken = True
            self._counts = self.charged_msats = None
            return False

    def _read(self, data: bytes, document: Any) -> bool:
        counts = self._dialect.counts_of(document)
        charged = metering.charged_msats(document) if data.find(_COST_FIELD) >= 0 else None
        if counts is not None:
            self._counts = metering.merge(self._counts, counts)
        if charged or self.charged_msats is None:
            self.charged_msats = charged
        return counts is not None and self._dialect.is_usage_only(document)
