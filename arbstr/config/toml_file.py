"""The configuration file as text: parses TOML, names keys, expands `${VAR}`. Knows nothing of what keys mean."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import arbstr
from arbstr.config.environment import problem_with, value_of
from arbstr.errors import ConfigError
from arbstr.redaction import mask_lookalikes
from arbstr.sanitize import sanitize

IN_MEMORY = ":memory:"  # what SQLite takes for no file at all: everything would be lost at the end
Loc = tuple[str | int, ...]  # the way to a value: ("providers", 1, "input_rate")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_WHERE = re.compile(r"(?P<what>.*) \(at (?P<where>line \d+, column \d+|end of document)\)", re.DOTALL)
_TWICE = re.compile(r"overwrite|twice|declare")  # in the parser's words
_DOLLAR = re.compile(r"\$\$|\$\{(?P<name>[^}]*)(?P<close>\}?)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEEPEST = 12
_LONGEST_PREFIX = 8  # characters that may stand beside `${VAR}` in a key, as in `sk-${VAR}`
_LONGEST = 2000
_LARGEST = 16 * 1024 * 1024  # bytes
_NO_FILE = (
    "no such file; 'arbstr init' writes one, -c or ARBSTR_CONFIG names another, and 'arbstr serve --mock' needs none"
)


@dataclass(frozen=True)
class ConfigFile:
    """A parsed TOML file: its path as given, its permission bits, its tables as written."""

    path: Path
    mode: int
    table: dict[str, Any] = field(repr=False)  # may hold keys
    state: str = ""  # as `state_of` returns it


def read(path: Path) -> ConfigFile:
    """Read and parse the file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise _refused(path, _NO_FILE) from None
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror}); check the path and its permissions") from None
    if len(data) > _LARGEST:
        raise _refused(path, f"is larger than {_LARGEST // 1024**2} MB; is it a configuration?")
    return ConfigFile(path, mode, _parse(path, data), _state(data, mode))


def state_of(path: Path) -> str:
    """Return what tells a file's contents and mode from others, also where it can't be read. Never waits for a pipe."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "no file"
        with path.open("rb") as file:
            return _state(file.read(_LARGEST + 1), stat.S_IMODE(os.fstat(file.fileno()).st_mode))
    except OSError as error:
        return f"error {error.errno}"


def _state(data: bytes, mode: int) -> str:
    """Its times would tell less: a file's next text may have the same one, and the same length."""
    return f"{mode:o} {hashlib.sha256(data).hexdigest()}"


def example_path() -> Path:
    """Return the path of the example configuration: inside an installed package, beside it in a checkout."""
    package = Path(arbstr.__file__).parent
    installed = package / "config.example.toml"
    return installed if installed.exists() else package.parent / "config.example.toml"


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8-sig"))  # editors on Windows may begin a file with a byte order mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refused(path, f"line {line} is not UTF-8; save the file in that encoding") from None
    except RecursionError:
        raise _refused(path, "is nested too deeply; no option needs that") from None
    except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
        raise _refused(path, _syntax(str(error))) from None


def _syntax(message: str) -> str:
    match = _WHERE.fullmatch(message)
    if match is None:
        return "is not valid TOML: it holds a number or date that is out of range"
    what = match["what"].lower()
    hint = "it is defined twice" if _TWICE.search(what) else "strings need quotes, lists brackets"
    return f"{match['where']}: not valid TOML ({what}); {hint}"


def _refused(path: Path, what: str) -> ConfigError:
    return ConfigError([sentence(path, what)])


def sentence(path: Path, what: str) -> str:
    """Return one problem as one line: the file, what is wrong; a key that strayed into it is masked."""
    return sanitize(f"{path}: {mask_lookalikes(what)}", most=_LONGEST)


def key_path(loc: Loc) -> str:
    """Return the key as people write it: `providers[1].input_rate`."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            name = part if _BARE_KEY.fullmatch(part) else f'"{part}"'
            path += f".{name}" if path else name
    return path


def expand(value: Any, environ: Mapping[str, str], problems: dict[Loc, str], loc: Loc = ()) -> Any:
    """Return the value with `${VAR}` replaced in all strings and lists made tuples; what can't be replaced stays.

    Adds problems to `problems`, by place.
    """
    if len(loc) > _DEEPEST:
        problems[loc] = "is nested too deeply; no option needs that"
        return None
    if isinstance(value, str):
        return _expand_text(value, environ, problems, loc)
    if isinstance(value, list):
        return tuple(expand(item, environ, problems, (*loc, i)) for i, item in enumerate(value))
    if isinstance(value, dict):
        return {key: expand(item, environ, problems, (*loc, key)) for key, item in value.items()}
    return value


def _expand_text(text: str, environ: Mapping[str, str], problems: dict[Loc, str], loc: Loc) -> str:
    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name = match["name"]
        if problem := _variable_problem(name, bool(match["close"]), environ):
            problems[loc] = problem
            return match[0]
        return value_of(environ, name) or ""

    return _DOLLAR.sub(replacement, text)


def _variable_problem(name: str, closed: bool, environ: Mapping[str, str]) -> str | None:
    if not closed:
        return "has a `${` without a `}`; close it, or write `$$` for a dollar"
    if not _VARIABLE.fullmatch(name):
        return "needs a variable name between `${` and `}`; write `$$` for a dollar"
    if name not in environ:
        return f"needs the environment variable {name}, which is not set; set it, or write `$$` for a dollar"
    if problem := problem_with(environ, name):
        return f"needs the environment variable {name}, which {problem}"
    return None


def escaped(text: str) -> str:
    """Return a text as the file has to have it: no dollar in it refers to a variable."""
    return text.replace("$", "$$")


def beside_references(text: str) -> str:
    """Return a string of the file without its references to variables."""
    return _DOLLAR.sub(lambda match: "" if match["name"] is not None else "$", text)


def refers(text: str) -> list[str]:
    """Return the names of the variables that a string of the file refers to."""
    return [match["name"] for match in _DOLLAR.finditer(text) if match["name"] is not None]


def is_literal(text: str) -> bool:
    """Check whether the file holds the key, or too much of it."""
    return not refers(text) or len(beside_references(text)) > _LONGEST_PREFIX


def tables(tree: Any, *path: str) -> Iterator[tuple[Loc, dict[str, Any]]]:
    """Yield the tables of a list of tables with their places, skipping values of a wrong type."""
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    for i, item in enumerate(tree if isinstance(tree, list | tuple) else ()):
        if isinstance(item, dict):
            yield (*path, i), item
