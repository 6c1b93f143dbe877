"""Paths of the configuration and the ledger: flag, then environment, then file, then default."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote_to_bytes

from arbstr.config.environment import checked_value
from arbstr.config.toml_file import IN_MEMORY, Loc, expand, key_path, read, sentence
from arbstr.errors import ConfigError
from arbstr.places import Place, PostgresPlace, is_postgres

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
    """Return the path in `DATABASE_URL`, or PostgreSQL's URL; None if it is unset or empty.

    Raises ConfigError, never repeating it.
    """
    url = checked_value(environ, "DATABASE_URL")
    if url and is_postgres(url):
        with _named("DATABASE_URL"):
            PostgresPlace.at(url, Path())
        return url
    if url in (IN_MEMORY, f"sqlite:///{IN_MEMORY}"):
        raise ConfigError([_NO_LEDGER])
    if not url or not ("://" in url or url.startswith("sqlite:")):
        return url or None
    path = url.removeprefix("sqlite:///")
    if path in ("", url) or "?" in path:  # the prefix was not there, or there was nothing after it, or options
        raise ConfigError([_NO_LEDGER])
    return os.fsdecode(unquote_to_bytes(os.fsencode(path)))  # a file's name need not be UTF-8


_NO_LEDGER = (
    "DATABASE_URL names neither a file nor a database of SQLite or PostgreSQL; "
    "write a path, sqlite:///relative/path or sqlite:////absolute/path, or postgresql://user:password@host/name"
)


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ConfigError([f"{name} {error}"]) from None


def place_of(database: str, local: str) -> Place:
    """Return the place that a path or a valid URL of PostgreSQL names; `local` is the path of this machine's files."""
    return PostgresPlace.at(database, Path(local)) if is_postgres(database) else database


def database_place(environ: Mapping[str, str], config: Path | None = None) -> Place:
    """Return the ledger's place for a command that needs no configuration; an existing one is read, valid or not.

    Raises ConfigError when a file that is there or was named can't be read, or the path in it can't be expanded: the
    default may be another ledger than the one that is served.
    """
    named = database_from_environment(environ)
    if named and not is_postgres(named):
        return named
    file = config_path(config, environ)
    if config is None and not checked_value(environ, "ARBSTR_CONFIG") and not file.exists():
        return place_of(named or DEFAULT_DATABASE, DEFAULT_DATABASE)
    table = read(file).table.get("database")
    local = _text_in(table, "path", file, environ) or DEFAULT_DATABASE
    url = named or _text_in(table, "url", file, environ)
    with _named(sentence(file, "database.url")):
        return place_of(url, local) if url else local


def _text_in(table: object, key: str, file: Path, environ: Mapping[str, str]) -> str | None:
    """Return a text of the table `[database]`; None where there is none."""
    problems: dict[Loc, str] = {}
    text = expand(table.get(key) if isinstance(table, dict) else None, environ, problems, ("database", key))
    if problems:
        raise ConfigError([sentence(file, f"{key_path(loc)} {problem}") for loc, problem in problems.items()])
    return text if isinstance(text, str) else None
