"""What was learned as short JSON texts: how it is kept in a database, and read back from one that may hold anything."""

from __future__ import annotations

import json
from typing import Any, TypeGuard

Ratios = dict[str, tuple[float, int]]  # by policy: output tokens per input token, and from how many requests
Cells = dict[tuple[str, str], str]  # by (kind, name): what is known, as JSON

_LARGEST = 2**53


def dumps(value: Any) -> str:
    """The JSON text of a value."""
    return json.dumps(value, separators=(",", ":"))


def is_pair(value: Any) -> TypeGuard[list[float]]:
    """Whether a value is two numbers, none negative nor beyond any count."""
    return is_numbers(value, 2)


def is_numbers(value: Any, count: int) -> TypeGuard[list[float]]:
    """Whether a value is a list of so many numbers, none negative nor beyond any count."""
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(number, int | float) and 0 <= number <= _LARGEST for number in value)
    )


def read_pairs(value: Any) -> list[list[float]]:
    """The pairs of numbers in a list, leaving out everything else."""
    return [pair for pair in value if is_pair(pair)] if isinstance(value, list) else []
