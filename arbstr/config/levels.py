"""Log levels: `info`, or per logger `warning,arbstr=debug`."""

from __future__ import annotations

import logging

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "off": logging.CRITICAL + 1,
}
ROOT = ""
_LOGS_ROW_VALUES = "aiosqlite"  # logs every statement at debug, the row's values with it


def parse_levels(spec: str) -> dict[str, int]:
    """Return levels by logger name, the root logger's under the empty name. Raises ValueError saying how to mend it."""
    levels = {ROOT: logging.INFO}
    for part in spec.split(","):
        logger, equals, level = part.rpartition("=")
        if equals and not logger.strip():
            raise ValueError("has no logger name before a `=`; write `info` or `arbstr=debug,aiohttp=warning`")
        levels[logger.strip()] = _level(level.strip())
    if levels[ROOT] < logging.WARNING:
        levels.setdefault(_LOGS_ROW_VALUES, logging.WARNING)
    return levels


def _level(name: str) -> int:
    try:
        return LEVELS[name.lower()]
    except KeyError:
        raise ValueError(f"has an unknown level; the levels are {', '.join(LEVELS)}") from None
