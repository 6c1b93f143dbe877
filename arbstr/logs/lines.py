"""What a line of the log looks like: text or JSON; in the journal, which knows time and level itself, without these."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

import orjson

from arbstr.clock import format_ms

Format = Literal["text", "json"]
Fields = Mapping[str, str | int | float | bool | None]

_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # syslog's, as the journal reads them
_LEAST = 7


class Layout(NamedTuple):
    """How lines look. `journal`: systemd's journal reads them, and takes a number in front for their level."""

    form: Format = "text"
    journal: bool = False

    def text_start(self, level: int, logger: str, at_ms: int) -> str:
        """Return how a line of text begins."""
        return _journal_start(level, logger) if self.journal else _text_start(level, logger, at_ms)

    def json_line(self, level: int, logger: str, message: str, fields: Fields, at: float) -> str:
        """Return a line of JSON; `at` is in seconds since the epoch."""
        name = logging.getLevelName(level).lower()
        start = {"time": format_ms(int(at * 1000)), "level": name, "logger": logger, "message": message}
        return f"{_priority(level) if self.journal else ''}{orjson.dumps({**start, **fields}).decode()}\n"

    def line(self, level: int, logger: str, message: str, fields: Fields, at: float) -> str:
        """Return a line in either form, its fields left out of text; `message` is clean already."""
        if self.form == "json":
            return self.json_line(level, logger, message, fields, at)
        return f"{self.text_start(level, logger, int(at * 1000))}{message}\n"


def is_journal(fd: int, environ: Mapping[str, str]) -> bool:
    """Check whether a descriptor leads to systemd's journal, by what systemd says of it."""
    try:
        known = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{known.st_dev}:{known.st_ino}"


@lru_cache(maxsize=8)
def _text_start(level: int, logger: str, at_ms: int) -> str:
    """Return how a line begins: most lines are of a batch, and alike so far."""
    return f"{format_ms(at_ms)} {logging.getLevelName(level):<7} {logger}: "


@lru_cache(maxsize=64)
def _journal_start(level: int, logger: str) -> str:
    return f"{_priority(level)}{logger}: "


def _priority(level: int) -> str:
    return f"<{next((priority for least, priority in _PRIORITIES if level >= least), _LEAST)}>"
