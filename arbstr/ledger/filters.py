"""Filters as SQL conditions: on facets where rows have one, on the columns themselves where they have none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from arbstr.ledger.dialect import SqlDialect
from arbstr.ledger.model import SUCCEEDED, Filter, GroupBy
from arbstr.ledger.sql import values

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
    """An SQL expression and the values of its placeholders."""

    sql: str
    values: tuple[Any, ...] = ()


TRUE = Condition("TRUE")
ID_CHARS = 4  # of a text; fewer occur in most ids, and are not looked for there
PART_OF_ID = re.compile(r"[0-9a-f-]+")


def both(*conditions: Condition) -> Condition:
    """Return that all of the conditions hold."""
    said = [condition for condition in conditions if condition != TRUE]
    if not said:
        return TRUE
    return Condition(" AND ".join(c.sql for c in said), tuple(value for c in said for value in c.values))


def either(*conditions: Condition) -> Condition:
    """Return that at least one of the conditions holds."""
    return Condition(
        f"({' OR '.join(c.sql for c in conditions)})", tuple(value for c in conditions for value in c.values)
    )


@dataclass(frozen=True, slots=True)
class Part(Filter):
    """A part of a filter: a filter with three more conditions.

    All of `named` occur in the names of the row, not all of `unnamed` do; `rows` is what must hold of the row itself.
    """

    named: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    rows: Condition = TRUE


def grain_for(where: Filter, group_by: GroupBy | None = None) -> str:
    """Return the coarsest grain of facets that distinguishes the filter's rows, and the groups."""
    names = {name for name in NAMES if _wanted(where, name) is not None}
    if group_by in NAMES:
        names.add(group_by)
    outcome = where.success is not None or where.streaming is not None
    if len(names) > 1 or (names and outcome) or _texts_in_names(where) != TRUE:
        return "row"
    return names.pop() if names else "outcome" if outcome else "all"


def facets(where: Filter, grain: str) -> Condition:
    """Return the condition that a row `f` of the table `facets` matches the filter."""
    conditions = [Condition("f.grain = ?", (grain,)), *(_named(where, name, f"f.{name}_key") for name in NAMES)]
    for column, wanted in (("success", where.success), ("streaming", where.streaming)):
        if wanted is not None:
            conditions.append(Condition(f"f.{column} = ?", (wanted,)))
    return both(*conditions, _texts_in_names(where))


def _texts_in_names(where: Filter) -> Condition:
    """Return the condition of a part on the names of a facet `f`."""
    if not isinstance(where, Part):
        return TRUE
    unnamed = [none_of(both(*map(in_names, where.unnamed)))] if where.unnamed else []
    return both(*map(in_names, where.named), *unnamed)


def in_names(text: str) -> Condition:
    """Return the condition that a text occurs in a name of a facet `f`."""
    return either(*(Condition(f"INSTR(COALESCE(f.{name}_key, ''), ?) > 0", (text,)) for name in _SEARCHED))


def in_error(text: str) -> Condition:
    """Return the condition that a text occurs in a row's error."""
    return Condition("INSTR(LOWER(error_message), ?) > 0", (text,))


def in_refused(text: str) -> Condition:
    """Return the condition that a text occurs in the name of a refused model."""
    return Condition("INSTR(refused_key, ?) > 0", (text,))


def of_refused(where: Filter) -> Condition | None:
    """Return the condition that a row is a refused one of the filter's models; None if the filter names no models."""
    return None if _wanted(where, "model") is None else _named(where, "model", "refused_key")


def in_id(text: str) -> Condition:
    """Return the condition that a text occurs in a row's id."""
    if PART_OF_ID.fullmatch(text):
        return Condition("correlation_id LIKE ?", (f"%{text}%",))  # twice as fast
    return Condition("INSTR(LOWER(correlation_id), ?) > 0", (text,))


def of_row_facets(where: Filter, column: str = "facet") -> Condition:
    """Return the condition that a row's facet matches the filter."""
    if grain_for(where) == "all":
        return TRUE
    meant = facets(where, "row")
    return Condition(f"{column} IN (SELECT f.id FROM facets f WHERE {meant.sql})", meant.values)


def of_columns(where: Filter) -> Condition:
    """Return the same condition on the columns, for rows that may have no facet."""
    conditions = [_named(where, name, f"fold({name})") for name in NAMES]
    for column, wanted in (("success", where.success), ("streaming", where.streaming)):
        if wanted is not None:
            conditions.append(Condition(f"({column} <> 0) = ?", (int(wanted),)))
    return both(*conditions)


def of_any_row(where: Filter, dialect: SqlDialect) -> Condition:
    """Return the condition that a row, which may have no facet, matches in all but its instant."""
    return both(of_columns(where), of_content(where, dialect, faceted=False))


def of_unexplained(where: Filter) -> Condition | None:
    """Return the condition that what was taken for no row matches; None if the filter is about what only rows have."""
    others = replace(where, since_ms=None, until_ms=None, provider=None, providers=None, open_end=False)
    if others != Filter():
        return None
    until = TRUE if where.end_ms is None else Condition("at_ms <= ?", (where.end_ms,))
    return both(Condition("at_ms >= ?", (where.since_ms or 0,)), until, _named(where, "provider", "provider_key"))


def within(start_ms: int, end_ms: int, column: str = "at_ms") -> Condition:
    """Return the condition that a row arrived in [start_ms, end_ms)."""
    return Condition(f"{column} >= ? AND {column} < ?", (start_ms, end_ms))


_LAST = "\U0010ffff"  # sorts behind whatever a session goes on with
_COST = "ROUND(cost_sats * 1000)"
ERROR_STATUS = "COALESCE(error_status, 0)"
_BOUNDS = ("min_cost_msats", "max_cost_msats", "min_took_ms", "max_took_ms", "session")
COSTS = frozenset({"min_cost_msats", "max_cost_msats"})
TIMES = frozenset({"min_took_ms", "max_took_ms"})
SESSIONS = frozenset({"sessions"})
_CONTENT = (
    "sessions",
    "without_sessions",
    "texts",
    "without_texts",
    "statuses",
    "without_statuses",
    *_BOUNDS,
)
_WITHOUT_CONTENT: dict[str, Any] = {name: getattr(Filter(), name) for name in _CONTENT}


def of_content(where: Filter, dialect: SqlDialect, *, faceted: bool, session: str = "session") -> Condition:
    """Return the condition on what only the row holds: cost, duration, session, outcome, and the texts in it.

    `session` is the column, aside where it must not choose the index.
    """
    found = [containing(text.casefold(), faceted=faceted) for text in where.texts]
    facet = f"{dialect.aside}facet" if faceted else None
    left_out = without([text.casefold() for text in where.without_texts], facet)
    rows = where.rows if isinstance(where, Part) else TRUE
    figures = _within_bounds(where, dialect.aside)
    return both(rows, *figures, *_in_sessions(where, session), *_ended(where, dialect), *found, *left_out)


def _within_bounds(where: Filter, aside: str) -> Iterator[Condition]:
    """Yield the conditions on figures: comparisons of columns, which must choose no index, and few calculations."""
    for bound, sign, room in ((where.min_cost_msats, ">=", 1), (where.max_cost_msats, "<=", -1)):
        if bound is not None:  # only the cost of a row beside the bound has to be rounded
            near, sure = ((bound + side) / 1000 for side in (-room, room))
            cost = f"{aside}cost_sats {sign} ?"
            yield Condition(f"({cost} AND ({cost} OR {_COST} {sign} ?))", (near, sure, bound))
    if (least := where.min_took_ms) is not None:
        yield Condition(f"({aside}latency_ms >= ? OR stream_duration_ms >= ?)", (least, least))
    if (most := where.max_took_ms) is not None:
        yield Condition(f"({aside}latency_ms <= ? AND COALESCE(stream_duration_ms, 0) <= ?)", (most, most))
    if where.session is not None:
        yield Condition("session = LOWER(?)", (where.session,))


def _in_sessions(where: Filter, column: str) -> list[Condition]:
    said = []
    if where.sessions is not None:
        wanted = [in_session(one, column) for one in where.sessions]
        said.append(either(*wanted) if wanted else Condition("FALSE"))
    if where.without_sessions:
        others = either(*(in_session(one, column) for one in where.without_sessions))
        said.append(none_of(Condition(f"COALESCE({others.sql}, FALSE)", others.values)))
    return said


def in_session(beginning: str | None, column: str = "session") -> Condition:
    """Return the condition that a row's session begins so; None: that it has none."""
    if beginning is None:
        return Condition(f"{column} IS NULL")
    first = beginning.lower()
    return Condition(f"({column} >= ? AND {column} < ?)", (first, first + _LAST))


def _ended(where: Filter, dialect: SqlDialect) -> list[Condition]:
    said = []
    status = f"CASE WHEN {dialect.succeeded} THEN {SUCCEEDED} ELSE {ERROR_STATUS} END"
    if where.statuses is not None:
        among = f"{status} IN {values(1, len(where.statuses))}" if where.statuses else "FALSE"
        said.append(Condition(among, where.statuses))
    if where.without_statuses:
        said.append(Condition(f"{status} NOT IN {values(1, len(where.without_statuses))}", where.without_statuses))
    return said


def content_of(where: Filter) -> frozenset[str]:
    """Return the names of the filter's fields that rollups can't answer."""
    names = {name for name in _CONTENT if getattr(where, name) != _WITHOUT_CONTENT[name]}
    return frozenset(names | ({"rows"} if isinstance(where, Part) and where.rows != TRUE else set()))


def needs_content(where: Filter) -> bool:
    """Check whether the filter has conditions that rollups can't answer."""
    return bool(content_of(where))


def without_content(where: Filter) -> Filter:
    """Return the filter without the conditions that rollups can't answer."""
    if isinstance(where, Part):
        return replace(where, **_WITHOUT_CONTENT, rows=TRUE)
    return replace(where, **_WITHOUT_CONTENT)


def of_cost_index(where: Filter) -> Condition:
    """Return the bounds of cost for the index by cost, which are a little too wide: rows have yet to be checked."""
    # Half a millisat either way is rounded.
    bounds = [("cost_sats >= ?", where.min_cost_msats, -1), ("cost_sats <= ?", where.max_cost_msats, 1)]
    return both(*(Condition(sql, ((msats + room) / 1000,)) for sql, msats, room in bounds if msats is not None))


def of_latency_index(where: Filter) -> list[Condition]:
    """Return the bounds of the time that rows took, as ranges of the index by latency with no row in common."""
    least, most = where.min_took_ms, where.max_took_ms
    upper = (
        TRUE if most is None else Condition("latency_ms <= ? AND COALESCE(stream_duration_ms, 0) <= ?", (most, most))
    )
    if least is None:
        return [upper]
    return [
        both(Condition("latency_ms >= ?", (least,)), upper),
        both(Condition("latency_ms < ? AND stream_duration_ms >= ?", (least, least)), upper),
    ]


def containing(text: str, *, faceted: bool = True) -> Condition:
    """Return the condition that a text occurs in a row: in its names, its error, or, if long enough, its id.

    It may be unknown where it does not.
    """
    return either(*_places(text, faceted=faceted))


def without(texts: Sequence[str], facet: str | None = "facet") -> list[Condition]:
    """Return the conditions that none of the texts occurs in a row: names first, for which no row has to be read.

    `facet` is the column; None: rows may have none.
    """
    places = [_places(text, faceted=facet is not None) for text in texts]
    if facet is not None and texts:
        names = none_of(either(*map(in_names, texts)))
        among = f"{facet} IN (SELECT f.id FROM facets f WHERE f.grain = 'row' AND {names.sql})"
        named = Condition(among, names.values)
        return [named, *(_nowhere(place) for _, *others in places for place in others)]
    return [_nowhere(place) for each in places for place in each]


def _nowhere(place: Condition) -> Condition:
    return Condition(f"NOT COALESCE({place.sql}, FALSE)", place.values)


def _places(text: str, *, faceted: bool) -> list[Condition]:
    """Return the conditions that a text occurs in a row's names, in its error, in its refused model, and in its id."""
    names = in_names(text)
    if faceted:
        named = Condition(f"facet IN (SELECT id FROM facets f WHERE f.grain = 'row' AND {names.sql})", names.values)
    else:
        named = either(*(Condition(f"INSTR(COALESCE(fold({name}), ''), ?) > 0", (text,)) for name in _SEARCHED))
    return [named, in_error(text), in_refused(text), *([in_id(text)] if len(text) >= ID_CHARS else [])]


def none_of(condition: Condition) -> Condition:
    """Return that the condition does not hold."""
    return Condition(f"NOT ({condition.sql})", condition.values)


def _named(where: Filter, name: str, column: str) -> Condition:
    wanted = _wanted(where, name)
    if wanted is None:
        return TRUE
    if name == "model":  # all have one, but those that were refused, in facets
        wanted = [key for key in wanted if key is not None]
    names = tuple(key for key in wanted if key is not None)
    said = [f"{column} IN {values(1, len(names))}"] if names else []
    said += [f"{column} IS NULL"] if None in wanted else []
    return Condition(f"({' OR '.join(said)})" if said else "FALSE", names)


def _wanted(where: Filter, name: str) -> Sequence[str | None] | None:
    """Return the names that a filter admits, folded; None admits all."""
    one: str | None = getattr(where, name)
    many: tuple[str | None, ...] | None = getattr(where, _SETS[name]) if name in _SETS else None
    keys = None if many is None else [*dict.fromkeys(wanted and wanted.casefold() for wanted in many)]
    if one is None:
        return keys
    key = one.casefold()
    return [key] if keys is None or key in keys else []
