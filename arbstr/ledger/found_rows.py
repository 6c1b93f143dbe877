"""Rows as lists find them: ids and what they are sorted by first, whole rows only for what is shown."""

from __future__ import annotations

from typing import Any

from arbstr.ledger.filters import Condition, both
from arbstr.ledger.model import Entry, Filter, Order, Sort
from arbstr.ledger.read_view import ReadTransaction
from arbstr.ledger.row_mapping import ENTRY_COLUMNS, entry_of
from arbstr.ledger.sql import values

Found = tuple[int, Any]  # a row's id, and what it is sorted by

COLUMN = {"timestamp": "at_ms", "cost_sats": "cost_sats", "latency_ms": "latency_ms"}


def found_in_order(
    view: ReadTransaction, condition: Condition, sort: Sort, order: Order, aside: str, depth: int
) -> list[Found]:
    """Return the first rows for which a condition holds; `aside` precedes the column where its index is not meant."""
    if aside or (sort, order) != ("cost_sats", "asc"):
        return found_rows(view, "requests", condition, sort, plain_order(sort, order, aside), depth, 0)
    # The index by cost begins with rows without one, which come last here.
    priced, unpriced = Condition("cost_sats IS NOT NULL"), Condition("cost_sats IS NULL")
    found = found_rows(view, "requests", both(priced, condition), sort, "cost_sats ASC, id ASC", depth, 0)
    if len(found) < depth:
        found += found_rows(view, "requests", both(unpriced, condition), sort, "id ASC", depth - len(found), 0)
    return found


def plain_order(sort: Sort, order: Order, aside: str = "") -> str:
    """Return the order of a list in SQL: unknown costs last, and then by when rows were written."""
    column = COLUMN[sort]
    known = f"{column} IS NULL, " if (sort, order) == ("cost_sats", "asc") else ""  # descending, nulls are last anyway
    return f"{known}{aside}{column} {directed(sort, order)}, id {order}"


def directed(sort: Sort, order: Order) -> str:
    """Return the direction with where nulls are, as SQLite has it and as PostgreSQL's index by cost does."""
    if sort != "cost_sats":
        return order
    return "DESC NULLS LAST" if order == "desc" else "ASC NULLS FIRST"


def merged(found: list[Found], sort: Sort, order: Order) -> list[Found]:
    """Sort rows of several lists into the order of `plain_order`."""
    if order == "desc":
        return sorted(found, key=lambda row: (row[1] is not None, row[1] or 0, row[0]), reverse=True)
    return sorted(found, key=lambda row: (row[1] is None, row[1] or 0, row[0]))


def found_rows(
    view: ReadTransaction, table: str, condition: Condition, sort: Sort, order: str, limit: int, offset: int
) -> list[Found]:
    """Return ids and sort keys, most often from an index alone; only the page's own rows are read then."""
    sql = f"SELECT id, {COLUMN[sort]} FROM {table} WHERE {condition.sql} ORDER BY {order} LIMIT ? OFFSET ?"
    return [tuple(row) for row in view.all(sql, (*condition.values, limit, offset))]


def read_rows(view: ReadTransaction, where: Filter, table: str, found: list[Found]) -> list[Entry]:
    """Return the whole rows that were found, in their order."""
    ids = [row_id for row_id, _ in found]
    if not ids:
        return []
    wanted = view.in_months(where, Condition(f"id IN {values(1, len(ids))}", tuple(ids)))
    read = view.all(f"SELECT {ENTRY_COLUMNS} FROM {table} WHERE {wanted.sql}", wanted.values)
    entries = {row[0]: entry_of(row) for row in read}
    return [entries[row_id] for row_id in ids]


def ordered(view: ReadTransaction, where: Filter, sort: Sort, order: Order) -> tuple[str, Condition]:
    """Return a statement for all matching rows in order; the condition has the values of its placeholders."""
    table, condition = view.matching(where)
    sql = f"SELECT {ENTRY_COLUMNS} FROM {table} WHERE {condition.sql} ORDER BY {plain_order(sort, order)} LIMIT ?"
    return sql, condition
