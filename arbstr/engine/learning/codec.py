"""The JSON encoding of learned state; a database that it is read back from may hold anything."""

from __future__ import annotations

import json
from typing import Any, TypeGuard

Ratios = dict[str, tuple[float, int]]  # by policy: output tokens per input token, and from how many requests
Cells = dict[tuple[str, str], str]  # by (kind, name): the learned state as JSON

# The kinds of cells; token ratios are of a kind of their own.
RATIOS, LENGTHS, TEXTS, CHARGES, COUNTS, CACHES = "ratios", "lengths", "texts", "charges", "counts", "caches"
HEALTH = "health"  # the breakers' state

_LARGEST = 2**53


def dumps(value: Any) -> str:
    """Return the compact JSON of a value."""
    return json.dumps(value, separators=(",", ":"))


def is_pair(value: Any) -> TypeGuard[list[float]]:
    """Return whether a value is a list of two numbers, each from 0 to 2**53."""
    return is_numbers(value, 2)


def is_numbers(value: Any, count: int) -> TypeGuard[list[float]]:
    """Return whether a value is a list of `count` numbers, each from 0 to 2**53."""
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(number, int | float) and 0 <= number <= _LARGEST for number in value)
    )


def read_pairs(value: Any) -> list[list[float]]:
    """Return the pairs of numbers in a list, leaving out everything else."""
    return [pair for pair in value if is_pair(pair)] if isinstance(value, list) else []
