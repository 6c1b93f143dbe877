"""Validation errors as sentences: which key, what is wrong, how to mend it."""

from __future__ import annotations

import re
from typing import Any, TypeGuard, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from arbstr.config.schema import Config, Model
from arbstr.config.section import Section
from arbstr.config.toml_file import Loc, key_path
from arbstr.sanitize import quoted, sanitize
from arbstr.suggest import did_you_mean

SECRET_KEYS = ("api_key", "key_sha256", "auth_token", "metrics_token", "proxy", "webhook", "secret")
SET_BY_LOADER = ("key_source", "key_variable")

_WANTED = {
    "string_type": "a string, in quotes",
    "int_type": "a whole number, without quotes or a decimal point",
    "float_type": "a number, without quotes",
    "bool_type": "true or false, without quotes",
    "tuple_type": 'a list, as in ["a", "b"]',
    "model_type": "a table of keys",
    "dict_type": "a table of keys",
}
_LIMITS = {
    "greater_than_equal": ("ge", "at least {}"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "at most {}"),
    "less_than": ("lt", "less than {}"),
    "string_too_long": ("max_length", "at most {} characters long"),
}


def format_error(error: ErrorDetails, written: Any) -> str:
    """Format one of pydantic's errors as a sentence. `written` is the value in the file, its variables unexpanded."""
    loc, kind = error["loc"], error["type"]
    if kind == "extra_forbidden":
        return unknown_key(loc)
    return f"{key_path(loc)} {_explanation(kind, loc, written, error.get('ctx', {}))}"


def _explanation(kind: str, loc: Loc, written: Any, context: dict[str, Any]) -> str:
    value = shown(loc, written)
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        return f"is {value}; it must be {words.format(_number(context[key]))}"
    match kind:
        case "missing":
            explanation = "is missing; add it"
        case "string_too_short":
            explanation = "is empty; fill it in or leave it out"
        case "value_error":
            explanation = str(context["error"])
        case "literal_error":
            explanation = f"is {value}; {_choice(written, _choices(context['expected']))}"
        case "finite_number":
            explanation = f"is {value}; it must be a finite number"
        case _:
            explanation = f"is {value}; it must be {_wanted(kind, loc)}"
    return explanation


def unknown_key(loc: Loc) -> str:
    """Return the sentence for an unknown key, with the key that was probably meant."""
    name, place = str(loc[-1]), loc[:-1]
    valid = _keys(_section(place))
    if homes := [table for table, keys in _tables() if name in keys]:
        hint = f"it belongs in {' or '.join(homes)}"
    elif meant := did_you_mean(name, valid, lambda key: key_path((*place, key))):
        hint = meant
    else:
        hint = f"the keys there are {', '.join(valid)}"
    return f"{key_path(loc)} is not a known key; {hint}"


def shown(loc: Loc, value: Any) -> str:
    """Return a value fit for a sentence; never a secret's."""
    if any(part in SECRET_KEYS for part in loc):
        return "of the wrong type"
    if isinstance(value, str):
        return f"the string {quoted(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return sanitize(repr(value), most=40)
    kind = {"dict": "a table", "list": "a list"}
    return kind.get(type(value).__name__, "a date or time")


def _wanted(kind: str, loc: Loc) -> str:
    if kind == "model_type" and isinstance(loc[-1], int) and loc[-2:-1] == ("models",):
        return "a string, in quotes, or a table with an id"
    if kind == "tuple_type" and _is_table_list(loc):
        return f"a list of tables; write [[{key_path(loc)}]] above each"
    return _WANTED.get(kind, "something else")


def _choices(expected: str) -> list[str]:
    return re.findall(r"'([^']*)'", expected)


def _choice(written: Any, choices: list[str]) -> str:
    listed = ", ".join(choices).replace("cheapest, lowest_cost", "cheapest (= lowest_cost)")
    meant = did_you_mean(written, choices) if isinstance(written, str) else ""
    return f"it must be one of {listed}" + (meant and f"; {meant}")


def _number(limit: Any) -> str:
    return f"{limit:,.10g}" if isinstance(limit, float) else str(limit)


def _is_table_list(loc: Loc) -> bool:
    section = _section(loc[:-1])
    field = section.model_fields.get(str(loc[-1])) if section else None
    return field is not None and any(_is_section(inner) for inner in get_args(field.annotation))


def _section(loc: Loc) -> type[BaseModel] | None:
    """Return the model of the table at that place."""
    section: type[BaseModel] | None = Config
    for part in loc:
        if isinstance(part, str) and section is not None:
            field = section.model_fields.get(part)
            section = _inner_model(field.annotation) if field else None
    return section


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a table, or of the tables in a list, which may also hold plain names."""
    listed = get_args(annotation)
    for candidate in (annotation, *listed, *(get_args(inner)[0] for inner in listed if get_args(inner))):
        if _is_section(candidate):
            return candidate
    return None


def _is_section(candidate: Any) -> TypeGuard[type[Section]]:
    return isinstance(candidate, type) and issubclass(candidate, Section)


def _keys(section: type[BaseModel] | None) -> list[str]:
    return [key for key in section.model_fields if key not in SET_BY_LOADER] if section else []


def _tables(section: type[BaseModel] = Config, place: Loc = ()) -> list[tuple[str, list[str]]]:
    """Return the header and keys of every table of the file."""
    brackets = "[[{}]]" if place and _is_table_list(place) else "[{}]"
    tables = [(brackets.format(key_path(place)), _keys(section))] if place else []
    for name, field in section.model_fields.items():
        if (inner := _inner_model(field.annotation)) and inner is not Model:  # its entries have no header
            tables += _tables(inner, (*place, name))
    return tables
