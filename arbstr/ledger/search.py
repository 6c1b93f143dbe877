"""Filters of what only rows can tell, as parts each of which an index can find.

A text occurs in the names of a row (then its facet is among a few), or in its error (of which there is an index), or in
its id (whose index is read through); how a row ended is in its facet, but for what the error's status was. The parts of
a filter have no row in common, so they can be counted one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from arbstr.ledger import filters
from arbstr.ledger.dialect import SqlDialect
from arbstr.ledger.filters import ERROR_STATUS, ID_CHARS, PART_OF_ID, Condition, Part, both, either
from arbstr.ledger.model import SUCCEEDED, Filter
from arbstr.ledger.sql import values


def all_fields(where: Filter) -> dict[str, Any]:
    """Return a filter's fields, for its parts."""
    return {field.name: getattr(where, field.name) for field in fields(Filter)}


def refused_part(where: Filter) -> Part | None:
    """Return the part of a filter that is refused rows; None if it names no models, or only what succeeded."""
    refused = filters.of_refused(where)
    if refused is None or where.success is True:
        return None
    return Part(**{**all_fields(where), "model": None, "models": None, "success": False}, rows=refused)


def parts(
    where: Filter,
    dialect: SqlDialect,
    *,
    other_ids: bool,
    refused: bool,
    having_id: Callable[[Condition], Condition],
) -> list[Part]:
    """Split a filter into parts.

    `other_ids`: some request ids were not made by arbstr. `refused`: rows of the filter's models were refused.
    `having_id` turns a condition on a request id into one that a row is among those.
    """
    texts = tuple(text.casefold() for text in where.texts)
    whole = replace(where, texts=())
    by_outcome = [Part(**all_fields(whole)), *([refused_part(whole)] if refused else [])]
    return [
        replace(part, rows=both(part.rows, place.rows), named=place.named, unnamed=place.unnamed)
        for outcome in by_outcome
        if outcome is not None
        for session in _by_session(outcome)
        for part in _by_end(session, dialect)
        for place in _by_place(texts, other_ids=other_ids, having_id=having_id)
    ]


def _by_session(where: Part) -> Iterator[Part]:
    """Yield a part for each beginning of a session, and for rows without one: each is found by an index."""
    if where.sessions is None and where.without_sessions == (None,):
        yield replace(where, sessions=("",), without_sessions=())
        return
    wanted = [*dict.fromkeys(None if one is None else one.lower() for one in where.sessions or ())]
    if len(wanted) < 2:
        yield where
        return
    for one in wanted:
        shorter = [other for other in wanted if other is not None and other != one]
        if one is None or not any(map(one.startswith, shorter)):
            yield replace(where, sessions=(one,))


def _by_end(where: Part, dialect: SqlDialect) -> Iterator[Part]:
    """Yield the part that succeeded and the part that failed, if the filter is about statuses."""
    if where.statuses is None and not where.without_statuses:
        yield where
        return
    bare = replace(where, statuses=None, without_statuses=())
    wanted = (where.statuses is None or SUCCEEDED in where.statuses) and SUCCEEDED not in where.without_statuses
    if wanted and where.success is not False:
        yield replace(bare, success=True)
    if where.success is not True and where.statuses != ():
        yield replace(bare, success=False, rows=both(where.rows, Condition(dialect.failed), _failed_with(where)))


def _failed_with(where: Filter) -> Condition:
    among = []
    if where.statuses is not None:
        among.append(Condition(f"{ERROR_STATUS} IN {values(1, len(where.statuses))}", where.statuses))
    if where.without_statuses:
        marks = values(1, len(where.without_statuses))
        among.append(Condition(f"{ERROR_STATUS} NOT IN {marks}", where.without_statuses))
    return both(*among)


def _by_place(
    texts: tuple[str, ...], *, other_ids: bool, having_id: Callable[[Condition], Condition]
) -> Iterator[Part]:
    """Yield a part for each place: all texts in names, else one in the error, in a refused model's name, in the id."""
    if not texts:
        yield Part()
        return
    yield Part(named=texts)
    in_error = either(*map(filters.in_error, texts))
    rest = [filters.containing(text) for text in texts] if len(texts) > 1 else []
    yield Part(unnamed=texts, rows=both(Condition("error_message IS NOT NULL"), in_error, *rest))
    in_refused = either(*map(filters.in_refused, texts))
    named_refused = both(Condition("refused_key IS NOT NULL"), in_refused, _not(in_error))
    yield Part(unnamed=texts, rows=both(named_refused, *rest))
    in_ids = [filters.in_id(text) for text in texts if _may_be_in_id(text, other_ids=other_ids)]
    if in_ids:
        elsewhere = both(_not(in_error), _not(in_refused))
        yield Part(unnamed=texts, rows=both(having_id(either(*in_ids)), elsewhere, *rest))


def _not(condition: Condition) -> Condition:
    """Return that a condition does not hold, or is unknown."""
    return Condition(f"NOT COALESCE({condition.sql}, FALSE)", condition.values)


def _may_be_in_id(text: str, *, other_ids: bool) -> bool:
    return len(text) >= ID_CHARS and (other_ids or PART_OF_ID.fullmatch(text) is not None)
