"""Statements over many rows at once.

One statement that takes a whole batch is one step of SQLite: `executemany` would let go of Python's lock and fight for
it again at every row, which beside a busy event loop makes a batch last seconds instead of milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Rows(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """How many rows a statement has changed."""
        ...

    def fetchone(self) -> Any:
        """Return the next row; None at the end."""
        ...

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Statements(Protocol):
    """A connection on which statements run, with `?` for their values."""

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Rows:
        """Run one statement."""
        ...


# Rows of one statement. Few sizes make few statements: SQLite keeps those it has compiled, a megabyte for 256 rows,
# and a batch of a new size would be one more. Larger ones are no faster. Columns times rows must stay below 32,766.
_SIZES = (64, 16, 4, 1)
MOST_AMONG = 4096  # items of an `IN` list
_LISTS = (64, 1024, MOST_AMONG)


@lru_cache(maxsize=512)
def values(rows: int, columns: int) -> str:
    """Return placeholders for rows of columns: `(?, ?), (?, ?)`."""
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the items in chunks of a few fixed sizes, one for each statement."""
    start = 0
    for size in _SIZES:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


def among(items: Sequence[T]) -> tuple[str, tuple[T, ...]]:
    """Return an `IN` list and its values for 1 to `MOST_AMONG` items: of a few sizes, filled up with the first item."""
    size = next(size for size in _LISTS if len(items) <= size)
    return values(1, size), (*items, *(items[0],) * (size - len(items)))
