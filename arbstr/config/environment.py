"""Reading of environment variables: line ends are dropped, likely mistakes are refused by name.

Env files and secret stores add a line end, shells and Docker's `--env-file` leave the quotes: both would become part of
a key or a path, and fail far from their cause.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from arbstr.errors import ConfigError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_QUOTES = ("'", '"', "`")


def value_of(environ: Mapping[str, str], name: str) -> str | None:
    """Return the variable's value without line ends around it; None where it is unset."""
    value = environ.get(name)
    return None if value is None else value.strip("\r\n")


def problem_with(environ: Mapping[str, str], name: str) -> str | None:
    """Say what is wrong with the variable's value, as a clause that follows its name; never repeats the value."""
    value = value_of(environ, name) or ""
    if _CONTROL.search(value):
        return "has a control character in its value; remove it"
    if len(value) > 1 and value[0] == value[-1] and value[0] in _QUOTES:
        return "has quotes around its value; remove them"
    return None


def checked_value(environ: Mapping[str, str], name: str) -> str | None:
    """Return the value as `value_of` does. Raises ConfigError, by the variable's name, for one that can't be meant."""
    if problem := problem_with(environ, name):
        raise ConfigError([f"{name} {problem}"])
    return value_of(environ, name)
