"""Adds provider tables to the configuration file; what is there stays byte for byte, comments and all."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arbstr import private_files
from arbstr.errors import ConfigError

Table = Mapping[str, str]

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_LONGEST_NAME = 40


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """Return a provider's name like the wanted one: lower case, digits and hyphens, and not taken yet in any case."""
    used = {name.casefold() for name in taken}
    base = _NOT_IN_NAMES.sub("-", wanted.lower()).strip("-")[:_LONGEST_NAME].strip("-") or "node"
    name, number = base, 1
    while name in used:
        number += 1
        name = f"{base}-{number}"
    return name


def add_providers(path: Path, tables: Sequence[Table]) -> None:
    """Write the tables at the file's end; only its owner can read it afterwards, and a link to it stays one.

    Raises ConfigError if that can't be done; then nothing has changed.
    """
    real = Path(os.path.realpath(path))
    try:
        data = with_providers(real.read_bytes(), tables)
        if data is None:
            raise ConfigError(
                [f"{path}: found no place for more providers; write those it has as [[providers]] tables"]
            )
        private_files.replace(real, data)
    except OSError as error:
        raise ConfigError([f"{path} can't be written ({error.strerror}); make it and its directory writable"]) from None


def with_providers(data: bytes, tables: Sequence[Table]) -> bytes | None:
    """Return the file's bytes with more provider tables; None if it would then say anything else than before and these.

    Raises ValueError if it is not valid TOML.
    """
    before = data.decode("utf-8-sig")
    line_end = "\r\n" if "\r\n" in before else "\n"
    gap = "" if not before else line_end if before.endswith("\n") else line_end * 2
    added = data + gap.encode() + (line_end * 2).join(line_end.join(_lines(table)) for table in tables).encode()
    added += line_end.encode()
    try:
        after = tomllib.loads(added.decode("utf-8-sig"))
    except tomllib.TOMLDecodeError:  # the providers are a list within brackets
        return None
    known: dict[str, Any] = tomllib.loads(before)
    return added if after == {**known, "providers": [*known.get("providers", []), *map(dict, tables)]} else None


def _lines(table: Table) -> list[str]:
    return ["[[providers]]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items())]
