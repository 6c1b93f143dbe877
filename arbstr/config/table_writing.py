"""Adds, changes and removes tables of the configuration file; all else in it stays byte for byte, comments and all.

As in `key_writing` the parser is the judge: a file is written only if it then says exactly what it should.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arbstr import private_files
from arbstr.config.loader import convention_variable
from arbstr.config.toml_file import tables as tables_of
from arbstr.errors import ConfigError
from arbstr.sanitize import quoted

Table = Mapping[str, str]

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_LONGEST_NAME = 40


def free_name(wanted: str, taken: Iterable[str], environ: Container[str] = ()) -> str:
    """Return a provider's name like the wanted one: lower case, digits and hyphens, and not taken yet in any case.

    By convention a name stands for the variable of a key. This one's is no taken name's, nor in the environment: a
    provider that strangers have named must not get a key by its name.
    """
    used = {convention_variable(name) for name in taken}
    base = _NOT_IN_NAMES.sub("-", wanted.lower()).strip("-")[:_LONGEST_NAME].strip("-") or "node"
    name, number = base, 1
    while (variable := convention_variable(name)) in used or variable in environ:
        number += 1
        name = f"{base}-{number}"
    return name


def add_tables(path: Path, kind: str, tables: Sequence[Table]) -> None:
    """Write tables of a kind (`providers`, `clients`) at the file's end. Raises ConfigError, and changes nothing."""

    def added(data: bytes) -> bytes | None:
        taken = set(_names(data, kind))
        for table in tables:
            if _name(table) in taken:
                raise ConfigError([f"{path} has {quoted(table['name'])} in its {kind} by now; name it otherwise"])
        return with_tables(data, kind, tables)

    _rewrite(path, kind, added)


def set_value(path: Path, kind: str, name: str, key: str, value: str) -> None:
    """Write another text for a key of a kind's table of that name. Raises ConfigError, and changes nothing."""
    _rewrite(path, kind, lambda data: with_value(data, kind, _index(path, data, kind, name), key, value))


def remove_table(path: Path, kind: str, name: str) -> None:
    """Take a kind's table of that name out of the file. Raises ConfigError, and changes nothing."""
    _rewrite(path, kind, lambda data: without_table(data, kind, _index(path, data, kind, name)))


def _index(path: Path, data: bytes, kind: str, name: str) -> int:
    """Return the number of a kind's table: others may have been added or removed since it was looked at."""
    names = _names(data, kind)
    if name.casefold() not in names:
        raise ConfigError([f"{path} has no {quoted(name)} in its {kind} any more"])
    return names.index(name.casefold())


def _names(data: bytes, kind: str) -> list[str]:
    return [_name(table) for _, table in tables_of(tomllib.loads(data.decode("utf-8-sig")), kind)]


def _name(table: Mapping[str, Any]) -> str:
    """Return the name that a table means, for comparing without regard to case."""
    return str(table.get("name", "")).replace("$$", "$").casefold()


def _rewrite(path: Path, kind: str, change: Callable[[bytes], bytes | None]) -> None:
    """Write what `change` makes of the file, which only its owner can read afterwards; a link to it stays one."""

    def changed(data: bytes) -> bytes:
        written = change(data)
        if written is None:
            raise ConfigError([f"{path} can't be changed there; write its {kind} as [[{kind}]] tables, a key a line"])
        return written

    try:
        private_files.change(Path(os.path.realpath(path)), changed)
    except OSError as error:
        raise ConfigError([f"{path} can't be written ({error.strerror}); make it and its directory writable"]) from None


def with_tables(data: bytes, kind: str, tables: Sequence[Table]) -> bytes | None:
    """Return the file's bytes with more tables; None if it would then say anything else than before and these.

    Raises ValueError if it is not valid TOML.
    """
    before = data.decode("utf-8-sig")
    line_end = "\r\n" if "\r\n" in before else "\n"
    gap = "" if not before else line_end if before.endswith("\n") else line_end * 2
    added = data + gap.encode() + (line_end * 2).join(line_end.join(_lines(kind, table)) for table in tables).encode()
    added += line_end.encode()
    known: dict[str, Any] = tomllib.loads(before)
    return added if _says(added, {**known, kind: [*known.get(kind, []), *map(dict, tables)]}) else None


def with_value(data: bytes, kind: str, index: int, key: str, value: str) -> bytes | None:
    """Return the file's bytes with another text for a key of a table; None if its present one is not found."""
    wanted: dict[str, Any] = tomllib.loads(data.decode("utf-8-sig"))
    table = wanted[kind][index]
    old, table[key] = str(table[key]).encode(), value
    return _first(_replaced(data, old, value.encode()), wanted)


def without_table(data: bytes, kind: str, index: int) -> bytes | None:
    """Return the file's bytes without a table, from its header to its last line; None if it has no header."""
    wanted: dict[str, Any] = tomllib.loads(data.decode("utf-8-sig"))
    del wanted[kind][index]
    if not wanted[kind]:
        del wanted[kind]
    return _first(_shortened(data, kind), wanted)


def _replaced(data: bytes, old: bytes, new: bytes) -> Iterator[bytes]:
    place = data.find(old)
    while place >= 0:
        yield data[:place] + new + data[place + len(old) :]
        place = data.find(old, place + 1)


def _shortened(data: bytes, kind: str) -> Iterator[bytes]:
    """Yield the data without one of the tables of a kind. Comments before the next header are the next table's."""
    lines = data.splitlines(keepends=True)
    header = re.compile(rf"\s*\[\[\s*{kind}\s*\]\]".encode())
    for start in (number for number, line in enumerate(lines) if header.match(line)):
        after = range(start + 1, len(lines) + 1)
        end = next(number for number in after if number == len(lines) or lines[number].lstrip().startswith(b"["))
        while end > start + 1 and lines[end - 1].lstrip().startswith(b"#"):
            end -= 1
        yield b"".join(lines[:start] + lines[end:])


def _first(candidates: Iterable[bytes], wanted: dict[str, Any]) -> bytes | None:
    return next((data for data in candidates if _says(data, wanted)), None)


def _says(data: bytes, wanted: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(data.decode("utf-8-sig")) == wanted
    except tomllib.TOMLDecodeError:  # the tables are a list within brackets, say
        return False


def _lines(kind: str, table: Table) -> list[str]:
    return [f"[[{kind}]]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items())]
