"""Writes a provider's key into the configuration file; every other byte stays as it is.

A writer of TOML would have to keep comments, blank lines and layout, and know where in a table a key looks right. Here
the parser is the judge instead: a line is put in where it ought to be, and the file is only written if it then says
exactly what it said before, and the key.
"""

from __future__ import annotations

import copy
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arbstr import private_files
from arbstr.errors import ConfigError

_FIT = re.compile(r"[A-Za-z0-9_.-]{6,300}")  # needs no escape in TOML, no `$$`, and fits a header


def is_fit(key: str) -> bool:
    """Return whether a key that a node gives can stand in the file as it is."""
    return _FIT.fullmatch(key) is not None


def with_key(data: bytes, index: int, key: str) -> bytes | None:
    """Return the file's bytes with `api_key` in the provider table of that number; None if no place is found."""
    text = data.decode("utf-8-sig")
    mark = data[: len(data) - len(text.encode())]
    before = tomllib.loads(text)
    wanted = copy.deepcopy(before)
    table: dict[str, Any] = wanted["providers"][index]
    table["api_key"] = key
    for candidate in _candidates(text, before["providers"][index], f'api_key = "{key}"'):
        try:
            if tomllib.loads(candidate) == wanted:
                return mark + candidate.encode()
        except tomllib.TOMLDecodeError:
            continue
    return None


def write_key(path: Path, index: int, key: str) -> None:
    """Write the key; the file is readable by its owner alone afterwards, and a link to it stays one.

    Raises ConfigError if that can't be done; then nothing has changed.
    """

    def changed(data: bytes) -> bytes:
        written = with_key(data, index, key)
        if written is None:
            raise ConfigError([no_place(path, index)])
        return written

    try:
        private_files.change(Path(os.path.realpath(path)), changed)
    except OSError as error:
        raise ConfigError([f"{path} can't be written ({error.strerror}); make it and its directory writable"]) from None


def no_place(path: Path, index: int) -> str:
    """Return the sentence for a table that is written in a way which takes more than a line to change."""
    return f"{path}: found no place for api_key in providers[{index}]; write that table as [[providers]], a key a line"


def _candidates(text: str, table: dict[str, Any], setting: str) -> Iterator[str]:
    """Yield texts with the setting after a line with the table's URL or name, then in a table within braces."""
    for value in (table.get("url"), table.get("name")):
        for place in _places(text, str(value)):
            end = text.find("\n", place)
            line = text[text.rfind("\n", 0, place) + 1 : end if end >= 0 else len(text)]
            indent, line_end = line[: len(line) - len(line.lstrip())], "\r\n" if line.endswith("\r") else "\n"
            if end < 0:
                yield f"{text}{line_end}{indent}{setting}{line_end}"
            else:
                yield f"{text[: end + 1]}{indent}{setting}{line_end}{text[end + 1 :]}"
            brace = text.rfind("{", 0, place) + 1
            if brace:
                yield f"{text[:brace]} {setting},{text[brace:]}"


def _places(text: str, value: str) -> Iterator[int]:
    place = text.find(value)
    while place >= 0:
        yield place
        place = text.find(value, place + 1)
