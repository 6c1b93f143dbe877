"""What dashboards in other processes may ask: the ledger's queries and what providers ask, as JSON.

A question is `{"ask": NAME, ...}` with the arguments of that method of `LedgerQueries`, or of `Source.offers`; the
answer is what the method returns. Arguments and answers are read by the methods' own types.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from inspect import signature
from typing import Any, NamedTuple, NotRequired, get_type_hints

import orjson
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from arbstr import shapes
from arbstr.ledger import model
from arbstr.ledger.model import LedgerQueries
from arbstr.monitoring import source

ENTRIES = "entries"  # is answered by a stream of batches
_METHODS = {name: method for name, method in vars(LedgerQueries).items() if not name.startswith("_")}
NAMES = (*(name for name in _METHODS if name != ENTRIES), "offers")


class _Shape(NamedTuple):
    arguments: TypeAdapter[Any]
    answer: TypeAdapter[Any]


class BadQuestion(ValueError):
    """A question that nobody can answer; its text says what is wrong."""


def read_question(question: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a question's name and its arguments. Raises BadQuestion."""
    name = question.get("ask")
    if not isinstance(name, str) or name not in (*NAMES, ENTRIES):
        raise BadQuestion(f"ask is one of {', '.join((*NAMES, ENTRIES))}.")
    try:
        arguments = _shape(name).arguments.validate_python({key: question[key] for key in question if key != "ask"})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise BadQuestion(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
    return name, dict(arguments)


def read_answer(name: str, body: bytes | str) -> Any:
    """Return what a method returned, of `entries` one batch. Raises ValueError for what it can't have."""
    document = orjson.loads(body)
    if name != ENTRIES:
        if not isinstance(document, dict) or "answer" not in document:
            raise ValueError("no answer")
        document = document["answer"]
    return _shape(name).answer.validate_python(document)


@cache
def _shape(name: str) -> _Shape:
    method = source.Source.offers if name == "offers" else _METHODS[name]
    names = {**vars(model), **vars(source), "shapes": shapes}
    hints = get_type_hints(method, names)
    answer = hints.pop("return")
    if name == ENTRIES:
        answer = list[model.Entry]
    for parameter in signature(method).parameters.values():
        if parameter.default is not parameter.empty:
            hints[parameter.name] = NotRequired[hints[parameter.name]]
    arguments = TypedDict("Arguments", hints)  # type: ignore[misc]  # made at run time
    return _Shape(TypeAdapter(with_config(ConfigDict(extra="forbid"))(arguments)), _built(TypeAdapter(answer), names))


def _built(adapter: TypeAdapter[Any], names: dict[str, Any]) -> TypeAdapter[Any]:
    """Return an adapter whose types may name what their module imports for type checkers only."""
    adapter.rebuild(_types_namespace=names, raise_errors=True)
    return adapter
