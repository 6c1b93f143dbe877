"""arbstr's own log: a record is one line without secrets, and a slow reader never blocks the writer.

Standard logging goes through `configure`; what is frequent (a line per request) goes straight to `Logs.emit`.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from arbstr.config.levels import parse_levels
from arbstr.logs.line_writer import FileWriter, LineWriter
from arbstr.logs.lines import Fields, Format, Layout, is_journal
from arbstr.logs.ring import LogRing
from arbstr.redaction import Redactor
from arbstr.sanitize import sanitize

NO_FIELDS: Fields = {}

LONGEST_MESSAGE = 8000  # characters; a traceback of forty frames
LONGEST_VALUE = 200
LATEST = 500  # entries that are kept
REQUESTS = "arbstr.requests"  # the logger of single requests
_STDERR = 2
_NUMBERS = frozenset({int, float})
_BARE = re.compile(r"[\w.:/@+-]{1,200}")


class LogEntry(NamedTuple):
    """What is logged. `level` is a number of `logging`; `message` is clean already."""

    level: int
    logger: str
    message: str
    fields: Fields = NO_FIELDS


class Logs:
    """The destinations of lines: a writer, a ring, or both. `configure` creates and installs it.

    `as_json`: the writer gets the fields of lines; else they are part of the text.
    Without a ring of its own it keeps the latest entries, so that one that is lent begins with them.
    """

    def __init__(self, layout: Layout, redactor: Redactor, writer: LineWriter | None, ring: LogRing | None) -> None:
        self._layout = layout
        self.as_json = layout.form == "json"
        self._redactor = redactor
        self._writer = writer
        self.ring = ring
        self._latest: deque[tuple[float, LogEntry]] | None = deque(maxlen=LATEST) if ring is None else None
        self._handler = _FromLogging(self)
        self._levels_before: dict[str, int] = {}
        self._handlers_before: list[logging.Handler] = []

    def emit(self, level: int, logger: str, message: str, fields: Fields = NO_FIELDS, *, at: float) -> None:
        """Log a line regardless of levels. `message` is clean already; `at` is in seconds since the epoch."""
        self.emit_all([LogEntry(level, logger, message, fields)], at=at)

    def emit_all(self, entries: Sequence[LogEntry], *, at: float) -> None:
        """Log a line for each entry regardless of levels; `at` is in seconds since the epoch."""
        if self._latest is not None:
            self._latest.extend((at, entry) for entry in entries)
        if self.ring is not None or not self.as_json:
            bodies = self._masked([entry.message + self.in_text(entry.fields) for entry in entries])
            at_ms, start = int(at * 1000), self._layout.text_start
            lines = [
                f"{start(entry.level, entry.logger, at_ms)}{body}\n"
                for entry, body in zip(entries, bodies, strict=True)
            ]
            if self.ring is not None:
                for entry, body in zip(entries, bodies, strict=True):
                    self.ring.add(at_ms, entry.level, entry.logger, body)
        if self._writer is not None:
            if self.as_json:
                lines = self._masked(
                    [self._layout.json_line(*entry[:3], self._cleaned(entry.fields), at) for entry in entries]
                )
            self._writer.write(*lines)

    def lend_ring(self) -> LogRing:
        """Return the ring of lines; without one, another that has the latest lines and gets those from now on."""
        if self.ring is None:
            self.ring = LogRing()
            for at, entry in self._latest or ():
                body = self._redactor.text(entry.message + self.in_text(entry.fields))
                self.ring.add(int(at * 1000), entry.level, entry.logger, body)
        return self.ring

    def take_ring_back(self) -> None:
        """Fill a ring that was lent no more."""
        if self._latest is not None:
            self.ring = None

    def _masked(self, texts: list[str]) -> list[str]:
        """Return the texts with secrets masked; one look at all of them mostly finds none."""
        together = "\n".join(texts)
        return texts if self._redactor.text(together) == together else list(map(self._redactor.text, texts))

    def clean(self, text: str, most: int = LONGEST_VALUE) -> str:
        """Return foreign text fit for a line: secrets masked before it is cut, no control characters."""
        return sanitize(self._redactor.text(text), most)

    def install(self, levels: Mapping[str, int]) -> None:
        """Take over standard logging, with a level by logger's name."""
        root = logging.getLogger()
        self._handlers_before, root.handlers = root.handlers, [self._handler]
        for name, level in levels.items():
            self._set_level(name, level)
        logging.captureWarnings(capture=True)

    def relevel(self, spec: str) -> None:
        """Set the levels again, as `configure` did. Raises ValueError for a wrong `spec`."""
        levels = parse_levels(spec)
        for name, level in self._levels_before.items():
            logging.getLogger(name).setLevel(level)
        for name, level in levels.items():
            self._set_level(name, level)

    def take_stderr(self, *, requests: bool = True) -> None:
        """Write to the terminal from now on, unless there is a file; without `requests` only their warnings."""
        if self._writer is None:
            self._writer = LineWriter(os.dup(_STDERR), self._layout)
            if not requests:
                least = logging.getLogger(REQUESTS).getEffectiveLevel()
                self._set_level(REQUESTS, max(least, logging.WARNING))

    def reopen(self) -> None:
        """Open the log's file again, if it goes to one: it was moved, to be kept or thrown away."""
        if self._writer is not None:
            self._writer.reopen()

    def _set_level(self, name: str, level: int) -> None:
        logger = logging.getLogger(name)
        self._levels_before.setdefault(name, logger.level)
        logger.setLevel(level)

    def close(self) -> None:
        """Write what is queued and restore standard logging."""
        logging.captureWarnings(capture=False)
        logging.getLogger().handlers = self._handlers_before
        for name, level in self._levels_before.items():
            logging.getLogger(name).setLevel(level)
        if self._writer is not None:
            self._writer.close()

    def in_text(self, fields: Fields) -> str:
        """Return ` key=value` for each known field, a value in quotes if it could be misread."""
        return "".join(
            [
                f" {name}={value if type(value) in _NUMBERS else self._shown(value)}"
                for name, value in fields.items()
                if value is not None
            ]
        )

    def _shown(self, value: object) -> str:
        if not isinstance(value, str):
            return str(value).lower()  # booleans as in JSON
        return value if _BARE.fullmatch(value) else orjson.dumps(self.clean(value)).decode()

    def _cleaned(self, fields: Fields) -> Fields:
        return {name: self.clean(value) if isinstance(value, str) else value for name, value in fields.items()}


class _FromLogging(logging.Handler):
    """Forwards records of standard logging."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record as one line, its traceback with it."""
        message = self._logs.clean(_message(record), LONGEST_MESSAGE)
        self._logs.emit(record.levelno, record.name, message, at=record.created)


def configure(
    spec: str,
    *,
    form: Format = "text",
    file: str | None = None,
    stderr: bool = True,
    redactor: Redactor | None = None,
    ring: LogRing | None = None,
) -> Logs:
    """Send all logging to the file if one is named, else to stderr if that is free, and to the ring if there is one.

    To be closed by the caller. Raises ConfigError when the file can't be opened, ValueError for a wrong `spec`.
    """
    levels = parse_levels(spec)
    layout = Layout(form, journal=not file and stderr and is_journal(_STDERR, os.environ))
    writer = FileWriter(file, layout) if file else LineWriter(os.dup(_STDERR), layout) if stderr else None
    logs = Logs(layout, redactor or Redactor([]), writer, ring)
    logs.install(levels)
    return logs


def _message(record: logging.LogRecord) -> str:
    """Return the record's text, then its traceback, the lines separated by a bar."""
    try:
        text = record.getMessage()
    except (TypeError, ValueError, KeyError):
        text = f"{record.msg} (its arguments do not fit; {record.pathname}:{record.lineno})"
    if record.exc_info:
        text += "\n" + "".join(traceback.format_exception(*record.exc_info))
    return " | ".join(line for line in text.splitlines() if line.strip())
