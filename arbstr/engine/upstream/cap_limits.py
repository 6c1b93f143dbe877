"""The most output tokens that a provider lets a request ask for.

Clients of other dialects ask for as many as the model has that they were made for: Claude Code for 64,000. A provider
whose model has fewer refuses that, though all that the client wants is an answer no longer than this. A cap is only
ever lowered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from arbstr.engine.upstream.optional_fields import UNSUPPORTED_S
from arbstr.types import JsonObject

_OLD, _NEW = "max_tokens", "max_completion_tokens"
_REMEMBERED = 4096  # clients may ask for any model
_LEAST = 1024  # tokens; a lower cap is not what such a refusal is about
_TOO_LARGE = re.compile(
    rb"too (?:large|high|big)|valid range|less than|at most|maximum|exceed|(?:not be|cannot be) greater", re.IGNORECASE
)
_NUMBER = re.compile(rb"\d{4,9}")
_CONTEXT = re.compile(rb"context", re.IGNORECASE)


class Cap(NamedTuple):
    """How a provider takes a cap: no larger than `tokens`, under its newer name if `renamed`.

    `lasting`: for other requests too; what is left of a context depends on the prompt.
    """

    tokens: int | None = None
    renamed: bool = False
    lasting: bool = True

    def applied(self, document: JsonObject) -> JsonObject:
        """Return a chat request with its cap as the provider takes it."""
        name = _name_in(document)
        if name is None:
            return document
        tokens = document[name] if self.tokens is None else min(document[name], self.tokens)
        rest = {field: value for field, value in document.items() if field != name}
        return {**rest, _NEW if self.renamed else name: tokens}


def cap_taken(document: JsonObject, refusal: bytes) -> Cap | None:
    """Return how a provider may take a request's cap that it has refused; None if the refusal is about another thing.

    It is lowered to what the refusal names, else by half.
    """
    name = _name_in(document)
    if name is None or (_OLD.encode() not in refusal and _NEW.encode() not in refusal):
        return None
    if _TOO_LARGE.search(refusal) is not None:
        half = document[name] // 2
        tokens = max(
            (number for found in _NUMBER.findall(refusal) if half <= (number := int(found)) < document[name]),
            default=half,
        )
        lasting = _CONTEXT.search(refusal) is None
        return Cap(tokens, renamed=name == _NEW, lasting=lasting) if tokens >= _LEAST else None
    return Cap(renamed=True) if name == _OLD and _NEW.encode() in refusal else None


class CapLimits:
    """Remembers how providers take caps, for a day. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._caps: dict[tuple[str, str], tuple[float, Cap]] = {}  # by provider and model: until when

    def applied(self, document: JsonObject, provider: str) -> JsonObject:
        """Return a chat request with its cap as the provider is known to take it."""
        if not self._caps:
            return document
        until_s, cap = self._caps.get((provider, document["model"]), (0.0, Cap()))
        return cap.applied(document) if until_s > self._clock() else document

    def keep(self, cap: Cap, provider: str, model: str) -> None:
        """Remember a cap that was taken, if it is lasting."""
        if not cap.lasting:
            return
        if len(self._caps) > _REMEMBERED:
            self._caps.clear()
        self._caps[provider, model] = (self._clock() + UNSUPPORTED_S, cap)


def _name_in(document: JsonObject) -> str | None:
    for name in (_OLD, _NEW):
        if type(document.get(name)) is int:
            return name
    return None
