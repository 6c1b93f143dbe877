"""arbstr's own log: a record is one line without secrets, and a slow reader never blocks the writer.

Standard logging goes through `configure`; what is frequent (a line per request) goes straight to `Logs.emit`.
"""

from __future__ import annotations

import logging
import os
import re
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import orjson

from arbstr.clock import format_ms
from arbstr.config.levels import parse_levels
from arbstr.errors import ConfigError
from arbstr.fd_writer import FdWriter
from arbstr.logs.ring import LogRing
from arbstr.redaction import Redactor
from arbstr.sanitize import sanitize

Format = Literal["text", "json"]
Fields = Mapping[str, str | int | float | bool | None]
_NONE: Fields = {}

LONGEST_MESSAGE = 8000  # characters; a traceback of forty frames
LONGEST_VALUE = 200
WAITING_CHARACTERS = 1024 * 1024  # some thousand lines
REQUESTS = "arbstr.requests"  # the logger of single requests
CLOSE_WITHIN_S = 1.0
_STDERR = 2
_BARE = re.compile(r"[\w.:/@+-]{1,200}")


class LogEntry(NamedTuple):
    """What is logged. `level` is a number of `logging`; `message` is clean already."""

    level: int
    logger: str
    message: str
    fields: Fields = _NONE


class LineWriter(FdWriter):
    """Writes lines. How many were dropped or could not be written is logged as soon as writing goes on."""

    def __init__(self, fd: int, form: Format = "text", capacity: int = WAITING_CHARACTERS) -> None:
        self._form = form
        super().__init__(fd, "arbstr-log", capacity)

    def close(self, within_s: float = CLOSE_WITHIN_S) -> None:
        """Write what is queued and close the descriptor; give up on a reader that has stopped."""
        self.end()
        if self.join(within_s):
            os.close(self._fd)

    def _failed(self, texts: int) -> None:
        self._count_dropped(texts)

    def _recovered(self, dropped: int) -> None:
        message = f"{dropped} log lines were dropped here, as they could not be written fast enough"
        says = (logging.WARNING, "arbstr.logs.setup", message)
        at = time.time()
        if not self._written(_json_line(*says, _NONE, at) if self._form == "json" else _text_line(*says, at)):
            self._count_dropped(dropped)


class Logs:
    """The destinations of lines: a writer, a ring, or both. `configure` creates and installs it."""

    def __init__(self, form: Format, redactor: Redactor, writer: LineWriter | None, ring: LogRing | None) -> None:
        self._as_json = form == "json"
        self._redactor = redactor
        self._writer = writer
        self.ring = ring
        self._handler = _FromLogging(self)
        self._levels_before: dict[str, int] = {}
        self._handlers_before: list[logging.Handler] = []

    def emit(self, level: int, logger: str, message: str, fields: Fields = _NONE, *, at: float) -> None:
        """Log a line regardless of levels. `message` is clean already; `at` is in seconds since the epoch."""
        self.emit_all([LogEntry(level, logger, message, fields)], at=at)

    def emit_all(self, entries: Sequence[LogEntry], *, at: float) -> None:
        """Log a line for each entry regardless of levels; `at` is in seconds since the epoch."""
        if self.ring is not None or not self._as_json:
            bodies = self._masked([entry.message + self._in_text(entry.fields) for entry in entries])
            at_ms = int(at * 1000)
            lines = [
                f"{_text_start(entry.level, entry.logger, at_ms)}{body}\n"
                for entry, body in zip(entries, bodies, strict=True)
            ]
            if self.ring is not None:
                for entry, body in zip(entries, bodies, strict=True):
                    self.ring.add(int(at * 1000), entry.level, entry.logger, body)
        if self._writer is not None:
            if self._as_json:
                lines = self._masked([_json_line(*entry[:3], self._cleaned(entry.fields), at) for entry in entries])
            self._writer.write(*lines)

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
        """Set the levels anew, as `configure` did. Raises ValueError for a wrong `spec`."""
        levels = parse_levels(spec)
        for name, level in self._levels_before.items():
            logging.getLogger(name).setLevel(level)
        for name, level in levels.items():
            self._set_level(name, level)

    def take_stderr(self, *, requests: bool = True) -> None:
        """Write to the terminal from now on, unless there is a file; without `requests` only their warnings."""
        if self._writer is None:
            self._writer = LineWriter(os.dup(_STDERR), "json" if self._as_json else "text")
            if not requests:
                least = logging.getLogger(REQUESTS).getEffectiveLevel()
                self._set_level(REQUESTS, max(least, logging.WARNING))

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

    def _in_text(self, fields: Fields) -> str:
        """Return ` key=value` for each known field, a value in quotes if it could be misread."""
        text = ""
        for name, value in fields.items():
            if value is None:
                continue
            if isinstance(value, str):
                shown = value if _BARE.fullmatch(value) else orjson.dumps(self.clean(value)).decode()
            else:
                shown = str(value).lower()  # booleans as in JSON
            text += f" {name}={shown}"
        return text

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
    fd = _opened(file) if file else os.dup(_STDERR) if stderr else None
    logs = Logs(form, redactor or Redactor([]), None if fd is None else LineWriter(fd, form), ring)
    logs.install(levels)
    return logs


def _opened(file: str) -> int:
    try:
        return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError([f"logging.file cannot be opened ({error.strerror}): {sanitize(file)}"]) from None


def _message(record: logging.LogRecord) -> str:
    """Return the record's text, then its traceback, the lines separated by a bar."""
    try:
        text = record.getMessage()
    except (TypeError, ValueError, KeyError):
        text = f"{record.msg} (its arguments do not fit; {record.pathname}:{record.lineno})"
    if record.exc_info:
        text += "\n" + "".join(traceback.format_exception(*record.exc_info))
    return " | ".join(line for line in text.splitlines() if line.strip())


def _text_line(level: int, logger: str, body: str, at: float) -> str:
    return f"{_text_start(level, logger, int(at * 1000))}{body}\n"


@lru_cache(maxsize=8)
def _text_start(level: int, logger: str, at_ms: int) -> str:
    """Return how a line begins: most lines are of a batch, and alike so far."""
    return f"{format_ms(at_ms)} {logging.getLevelName(level):<7} {logger}: "


def _json_line(level: int, logger: str, message: str, fields: Fields, at: float) -> str:
    name = logging.getLevelName(level).lower()
    start = {"time": format_ms(int(at * 1000)), "level": name, "logger": logger, "message": message}
    return orjson.dumps({**start, **fields}).decode() + "\n"
