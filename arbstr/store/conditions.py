"""What a filter says in SQL: about facets where rows have one, about the columns themselves where they have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from arbstr.query import SUCCEEDED, Filter, GroupBy
from arbstr.store.sql import values

NAMES = ("model", "provider", "policy", "client", "dialect")  # what has facets of its own
_SEARCHED = ("model", "provider", "policy")
_SETS = {
    "model": "models",
    "provider": "providers",
    "policy": "policies",
    "client": "clients",
    "dialect": "dialects",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """An SQL expression and the values of its marks."""

    sql: str
    values: tuple[Any, ...] = ()


TRUE = Condition("TRUE")


def both(*conditions: Condition) -> Condition:
    """All of them hold."""
    said = [condition for condition in conditions if condition != TRUE]
    if not said:
        return TRUE
    return Condition(" AND ".join(c.sql for c in said), tuple(value for c in said for value in c.values))


def grain_for(where: Filter, group_by: GroupBy | None = None) -> str:
    """The coarsest facets that can tell the filter's rows, and the groups, apart."""
    names = {name for name in NAMES if _wanted(where, name) is not None}
    if group_by in NAMES:
        names.add(group_by)
    if len(names) > 1 or where.success is not None or where.streaming is not None:
        return "row"
    return names.pop() if names else "all"


def facets(where: Filter, grain: str) -> Condition:
    """Which rows `f` of the table `facets` the filter means."""
    conditions = [Condition("f.grain = ?", (grain,)), *(_named(where, name, f"f.{name}_key") for name in NAMES)]
    for column, wanted in (("success", where.success), ("streaming", where.streaming)):
        if wanted is not None:
            conditions.append(Condition(f"f.{column} = ?", (int(wanted),)))
    return both(*conditions)


def of_row_facets(where: Filter, column: str = "facet") -> Condition:
    """That a row's facet is among those that the filter means."""
    if grain_for(where) == "all":
        return TRUE
    meant = facets(where, "row")
    return Condition(f"{column} IN (SELECT f.id FROM facets f WHERE {meant.sql})", meant.values)


def of_columns(where: Filter) -> Condition:
    """The same, said of a row that may have no facet."""
    conditions = [_named(where, name, f"fold({name})") for name in NAMES]
    for column, wanted in (("success", where.success), ("streaming", where.streaming)):
        if wanted is not None:
            conditions.append(Condition(f"({column} <> 0) = ?", (int(wanted),)))
    return both(*conditions)


def of_any_row(where: Filter) -> Condition:
    """That a row, which may have no facet, matches but for its instant."""
    return both(of_columns(where), of_content(where, faceted=False))


def within(start_ms: int, end_ms: int, column: str = "at_ms") -> Condition:
    """That a row came in from `start_ms` to before `end_ms`."""
    return Condition(f"{column} >= ? AND {column} < ?", (start_ms, end_ms))


_COST = "ROUND(cost_sats * 1000)"
_TOOK = "MAX(latency_ms, COALESCE(stream_duration_ms, 0))"
_STATUS = f"IIF(success <> 0, {SUCCEEDED}, COALESCE(error_status, 0))"
_BOUNDS = (
    ("min_cost_msats", f"{_COST} >= ?"),
    ("max_cost_msats", f"{_COST} <= ?"),
    ("min_took_ms", f"{_TOOK} >= ?"),
    ("max_took_ms", f"{_TOOK} <= ?"),
    ("session", "session = LOWER(?)"),
)
_CONTENT = ("texts", "without_texts", "statuses", "without_statuses", *(name for name, _ in _BOUNDS))
_WITHOUT_CONTENT: dict[str, Any] = {name: getattr(Filter(), name) for name in _CONTENT}


def of_content(where: Filter, *, faceted: bool) -> Condition:
    """What only the row itself can tell: cost, duration, session, how it ended, and which texts occur in it."""
    bounds = [Condition(sql, (bound,)) for name, sql in _BOUNDS if (bound := getattr(where, name)) is not None]
    found = [_containing(text.casefold(), faceted=faceted) for text in where.texts]
    left_out = [_none_of(_containing(text.casefold(), faceted=faceted)) for text in where.without_texts]
    return both(*bounds, *_ended(where), *found, *left_out)


def _ended(where: Filter) -> list[Condition]:
    said = []
    if where.statuses is not None:
        among = f"{_STATUS} IN {values(1, len(where.statuses))}" if where.statuses else "FALSE"
        said.append(Condition(among, where.statuses))
    if where.without_statuses:
        said.append(Condition(f"{_STATUS} NOT IN {values(1, len(where.without_statuses))}", where.without_statuses))
    return said


def needs_content(where: Filter) -> bool:
    """Whether rollups can't answer for the filter."""
    return where != without_content(where)


def without_content(where: Filter) -> Filter:
    """What of the filter rollups can answer for."""
    return replace(where, **_WITHOUT_CONTENT)


def _containing(text: str, *, faceted: bool) -> Condition:
    own = [f"INSTR(LOWER(COALESCE({column}, '')), ?) > 0" for column in ("correlation_id", "error_message")]
    keys = [f"{name}_key" if faceted else f"fold({name})" for name in _SEARCHED]
    names = " OR ".join(f"INSTR(COALESCE({key}, ''), ?) > 0" for key in keys)
    if faceted:
        names = f"facet IN (SELECT id FROM facets WHERE grain = 'row' AND ({names}))"
    return Condition(f"({names} OR {' OR '.join(own)})", (text,) * 5)


def _none_of(condition: Condition) -> Condition:
    return Condition(f"NOT {condition.sql}", condition.values)


def _named(where: Filter, name: str, column: str) -> Condition:
    wanted = _wanted(where, name)
    if wanted is None:
        return TRUE
    names = tuple(key for key in wanted if key is not None)
    said = [f"{column} IN {values(1, len(names))}"] if names else []
    said += [f"{column} IS NULL"] if None in wanted else []
    return Condition(f"({' OR '.join(said)})" if said else "FALSE", names)


def _wanted(where: Filter, name: str) -> Sequence[str | None] | None:
    """The names that a filter lets pass, without regard to case; None lets all pass."""
    one: str | None = getattr(where, name)
    many: tuple[str | None, ...] | None = getattr(where, _SETS[name]) if name in _SETS else None
    keys = None if many is None else [*dict.fromkeys(wanted and wanted.casefold() for wanted in many)]
    if one is None:
        return keys
    key = one.casefold()
    return [key] if keys is None or key in keys else []
