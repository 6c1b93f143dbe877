"""Statements over many rows at once.

One statement that takes a whole batch is one step of SQLite: `executemany` would let go of Python's lock and fight for
it again at every row, which beside a busy event loop makes a batch last seconds instead of milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")

MOST_VARIABLES = 16_000  # SQLite takes 32,766 in a statement unless built otherwise


@lru_cache(maxsize=512)
def values(rows: int, columns: int) -> str:
    """`(?, ?), (?, ?)`: as many rows of as many marks."""
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


def chunks(items: Sequence[T], columns: int) -> Iterator[Sequence[T]]:
    """The items in pieces that one statement can take."""
    size = max(1, MOST_VARIABLES // columns)
    for start in range(0, len(items), size):
        yield items[start : start + size]
