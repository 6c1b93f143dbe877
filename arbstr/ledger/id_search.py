"""Searches for parts of request ids, whose index has to be read through: what one has found is kept for the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from arbstr.ledger.filters import Condition
from arbstr.ledger.sql import MOST_AMONG

MOST_FOUND = MOST_AMONG  # rows of one search; more are searched for in each statement
ALONE = 200_000  # rows that one thread searches soon enough
_KEPT = 16  # searches

All = Callable[[str, Sequence[Any]], list[Any]]
Search = Callable[[Condition, int], list[int]]


class FoundIds:
    """Rows that searches have found on one connection, up to a row: ids don't change, and numbers of rows only grow."""

    def __init__(self, search_in_parallel: Search | None = None) -> None:
        self._search_in_parallel = search_in_parallel
        self._found: OrderedDict[Condition, tuple[int, list[int]]] = OrderedDict()

    def rows(self, wanted: Condition, statement: All, by_request_id: str) -> list[int] | None:
        """Return the numbers of the rows that are meant; None if there are more than `MOST_FOUND`."""
        [(newest,)] = statement("SELECT COALESCE(MAX(id), 0) FROM requests", ())
        upto, found = self._found.pop(wanted, (0, []))
        if not upto and newest > ALONE and self._search_in_parallel is not None:
            found = self._search_in_parallel(wanted, MOST_FOUND + 1)
        elif not upto:
            found = _numbers(statement, f"{by_request_id} WHERE {wanted.sql}", wanted.values, MOST_FOUND + 1)
        elif newest > upto and len(found) <= MOST_FOUND:
            later = f"NOT INDEXED WHERE id > ? AND {wanted.sql}"
            found = found + _numbers(statement, later, (upto, *wanted.values), MOST_FOUND + 1 - len(found))
        self._found[wanted] = (newest, found)
        if len(self._found) > _KEPT:
            self._found.popitem(last=False)
        return found if len(found) <= MOST_FOUND else None


def _numbers(statement: All, rest: str, values: Sequence[Any], most: int) -> list[int]:
    return [number for (number,) in statement(f"SELECT id FROM requests {rest} LIMIT {most}", values)]
