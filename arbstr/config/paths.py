"""Paths of the configuration and the ledger: flag, then environment, then file, then default."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from arbstr.config.environment import checked_value
from arbstr.config.toml_file import IN_MEMORY, Loc, expand, key_path, read, sentence
from arbstr.errors import ConfigError

DEFAULT_CONFIG = Path("config.toml")
DEFAULT_DATABASE = "./arbstr.db"
_MAC_STATE = "Library/Application Support"


def config_path(flag: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the configuration file to read, existing or not. Raises ConfigError for an unusable `ARBSTR_CONFIG`."""
    if flag is not None:
        return flag
    return Path(checked_value(environ, "ARBSTR_CONFIG") or DEFAULT_CONFIG)


def state_directory(environ: Mapping[str, str]) -> Path | None:
    """Return where arbstr keeps what it remembers of its user; None for a user without a home."""
    named = environ.get("XDG_STATE_HOME", "")
    if named.startswith("/"):  # a relative one is to be ignored, says the specification
        return Path(named) / "arbstr"
    try:
        return Path.home() / (_MAC_STATE if sys.platform == "darwin" else ".local/state") / "arbstr"
    except RuntimeError:
        return None


def database_from_environment(environ: Mapping[str, str]) -> str | None:
    """Return the path in `DATABASE_URL`, None if it is unset or empty. Raises ConfigError, never repeating it."""
    url = checked_value(environ, "DATABASE_URL")
    if url in (IN_MEMORY, f"sqlite:///{IN_MEMORY}"):
        raise ConfigError([_NOT_SQLITE])
    if not url or not ("://" in url or url.startswith("sqlite:")):
        return url or None
    path = url.removeprefix("sqlite:///")
    if path in ("", url) or "?" in path:  # the prefix was not there, or there was nothing after it, or options
        raise ConfigError([_NOT_SQLITE])
    return os.fsdecode(unquote_to_bytes(os.fsencode(path)))  # a file's name need not be UTF-8


_NOT_SQLITE = (
    "DATABASE_URL is not the path or URL of an SQLite file; "
    "write a path, sqlite:///relative/path or sqlite:////absolute/path"
)


def database_path(environ: Mapping[str, str], config: Path | None = None) -> str:
    """Return the ledger's path for a command that needs no configuration; an existing one is read, valid or not.

    Raises ConfigError when a file that is there or was named can't be read, or the path in it can't be expanded: the
    default may be another ledger than the one that is served.
    """
    if path := database_from_environment(environ):
        return path
    file = config_path(config, environ)
    named = config is not None or bool(checked_value(environ, "ARBSTR_CONFIG"))
    if not named and not file.exists():
        return DEFAULT_DATABASE
    return _database_in(read(file).table, file, environ) or DEFAULT_DATABASE


def _database_in(table: dict[str, Any], file: Path, environ: Mapping[str, str]) -> str | None:
    database = table.get("database")
    text = database.get("path") if isinstance(database, dict) else None
    problems: dict[Loc, str] = {}
    path = expand(text, environ, problems, ("database", "path"))
    if problems:
        raise ConfigError([sentence(file, f"{key_path(loc)} {problem}") for loc, problem in problems.items()])
    return path if isinstance(path, str) else None
