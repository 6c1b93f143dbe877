"""The most output tokens that a provider lets a request ask for.

Clients of other dialects ask for as many as the model has that they were made for: Claude Code for 64,000. A provider
whose model has fewer refuses that, though all that the client wants is an answer no longer than this.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from arbstr.engine.upstream.optional_fields import UNSUPPORTED_S
from arbstr.types import JsonObject

_OLD, _NEW = "max_tokens", "max_completion_tokens"
_REMEMBERED = 4096  # clients may ask for any model
_TOO_LARGE = re.compile(
    rb"too (?:large|high|big)|valid range|less than|at most|maximum|exceed|(?:not be|cannot be) greater", re.IGNORECASE
)
_NUMBER = re.compile(rb"\d{2,9}")


class _Limit(NamedTuple):
    until_s: float
    tokens: int | None = None  # the most that may be asked for
    renamed: bool = False
    left_out: bool = False


class CapLimits:
    """Remembers what caps providers have refused for which model. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._limits: dict[tuple[str, str], _Limit] = {}  # by provider and model

    def applied(self, document: JsonObject, provider: str) -> JsonObject:
        """Return a chat request with a cap that the provider takes."""
        limit = self._limits.get((provider, document["model"])) if self._limits else None
        name = _name_in(document)
        if limit is None or name is None or limit.until_s <= self._clock():
            return document
        rest = {field: value for field, value in document.items() if field != name}
        if limit.left_out:
            return rest
        tokens = document[name] if limit.tokens is None else min(document[name], limit.tokens)
        return {**rest, _NEW if limit.renamed else name: tokens}

    def learn(self, document: JsonObject, provider: str, refusal: bytes) -> bool:
        """Remember a refusal of a request's cap: by its name, or as too large. Return whether it was one."""
        name = _name_in(document)
        if name is None or (_OLD.encode() not in refusal and _NEW.encode() not in refusal):
            return False
        key = provider, document["model"]
        limit = self._limits.get(key, _Limit(0.0))._replace(until_s=self._clock() + UNSUPPORTED_S)
        if _TOO_LARGE.search(refusal) is not None:
            tokens = _named_limit(refusal, document[name]) if limit.tokens is None else None
            limit = limit._replace(tokens=tokens, left_out=tokens is None)
        elif name == _OLD and _NEW.encode() in refusal:
            limit = limit._replace(renamed=True)
        else:
            return False
        if len(self._limits) > _REMEMBERED:
            self._limits.clear()
        self._limits[key] = limit
        return True


def _name_in(document: JsonObject) -> str | None:
    for name in (_OLD, _NEW):
        if type(document.get(name)) is int:
            return name
    return None


def _named_limit(refusal: bytes, asked: int) -> int | None:
    """Return the largest number in a refusal below what was asked for; None if it names none."""
    return max((number for found in _NUMBER.findall(refusal) if (number := int(found)) < asked), default=None)
