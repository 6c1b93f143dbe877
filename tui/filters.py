"""The filter language: `model:gpt provider:alpha status:error policy:code >5sats text`.

Parts stand for names that contain them; all terms must hold. Words without a colon are text to find.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from arbstr.query import Filter
from tui.rows import Row

FIELDS = ("model", "provider", "policy", "status")
EXAMPLE = "model:gpt provider:alpha status:error policy:code >5sats text"

_COST = re.compile(r">=?(\d+(?:\.\d*)?|\.\d+)(?:sats?)?", re.IGNORECASE)
_STATUS = {"error": False, "failed": False, "fail": False, "ok": True, "success": True}


@dataclass(frozen=True, slots=True)
class Query:
    """A filter as typed, understood. Parts are lower case; `problems` says what was not understood."""

    model: str = ""
    provider: str = ""
    policy: str = ""
    success: bool | None = None
    min_cost_msats: int | None = None
    texts: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != Query(problems=self.problems)

    def matches(self, row: Row) -> bool:
        """Whether a row of the feed passes. A running request has neither status nor cost yet, and so never does
        when those are asked for."""
        return (
            self.model in row.model.lower()
            and self.provider in (row.path[-1] if row.path else "").lower()
            and self.policy in (row.policy or "").lower()
            and (self.success is None or (not row.running and self.success == (row.state == "ok")))
            and (self.min_cost_msats is None or (row.cost_msats is not None and row.cost_msats >= self.min_cost_msats))
            and self._found_in(row)
        )

    def _found_in(self, row: Row) -> bool:
        return not self.texts or all(text in _haystack(row) for text in self.texts)

    def to_filter(self, models: Iterable[str], providers: Iterable[str], policies: Iterable[str]) -> Filter:
        """The question to the ledger, with the names it knows: parts become the names that contain them."""
        return Filter(
            success=self.success,
            min_cost_msats=self.min_cost_msats,
            texts=self.texts,
            models=_containing(self.model, models),
            providers=_containing(self.provider, providers),
            policies=_containing(self.policy, policies),
        )


def parse(typed: str) -> Query:
    """Read a filter. It never fails: what isn't understood is named in `problems` and left out."""
    found: dict[str, str] = {}
    words: list[str] = []
    problems: list[str] = []
    success: bool | None = None
    cost: int | None = None
    for term in typed.lower().split():
        name, colon, value = term.partition(":")
        if colon and name in FIELDS[:3]:
            found[name] = value
        elif colon and name == "status":
            success = _STATUS.get(value)
            if value and success is None:
                problems.append("status is ok or error")
        elif term.startswith(">"):
            cost = _cost(term)
            if cost is None and term.strip(">="):
                problems.append("a cost looks like >5sats")
        else:
            words.append(term)
    return Query(**found, success=success, min_cost_msats=cost, texts=tuple(words), problems=tuple(problems))


def named_so(typed: str, name: str) -> bool:
    """Whether every word that was typed occurs in a name."""
    return all(word in name.lower() for word in typed.lower().split())


def _cost(term: str) -> int | None:
    match = _COST.fullmatch(term)
    return None if match is None else round(float(match[1]) * 1000)


def _containing(part: str, names: Iterable[str]) -> tuple[str, ...] | None:
    return tuple(name for name in names if part in name.lower()) if part else None


def _haystack(row: Row) -> str:
    return " ".join((row.model, *row.path, row.policy or "", row.request_id, row.error)).lower()
