"""Behaviors of fake providers, chosen by the model's name. The package's docstring lists the names."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

_PREFIX = "mock-"
_STATUS = re.compile(r"mock-error-([345]\d\d)(?:-after-(\d{1,6}))?")


class Behavior(StrEnum):
    """How a provider behaves; the value is the model's name without its `mock-`."""

    USUAL = ""
    STATUS = "error-STATUS"  # never a name itself: see `_STATUS`
    SLOW = "slow"
    HANG = "hang"
    STALL = "stall"
    REFUSE = "refuse"
    BAD_JSON = "bad-json"
    EMPTY = "empty"
    EMPTY_STREAM = "empty-stream"
    ERROR_EVENT = "error-event"
    LATE_ERROR = "late-error"
    DROP = "drop-stream"
    CUT = "cut-stream"
    NO_DONE = "no-done"
    NO_USAGE = "no-usage"
    JSON_STREAM = "json-stream"
    OVERCHARGE = "overcharge"
    UNKNOWN_MODEL = "unknown-model"
    ECHO = "echo"


@dataclass(frozen=True, slots=True)
class BehaviorRequest:
    """What a request asks for: a behavior, and with `Behavior.STATUS` the status and `Retry-After`, in seconds."""

    behavior: Behavior
    status: int = 200
    retry_after_s: int | None = None


USUAL = BehaviorRequest(Behavior.USUAL)
_NAMED = {
    f"{_PREFIX}{behavior}": BehaviorRequest(behavior)
    for behavior in Behavior
    if behavior not in (Behavior.USUAL, Behavior.STATUS)
}


def refusal(status: int) -> BehaviorRequest:
    """Return the request for an error with that status."""
    return BehaviorRequest(Behavior.STATUS, status, 1 if status == 429 else None)


def behavior_for(model: str, provider: str) -> BehaviorRequest:
    """Return what a model's name asks of the provider: the usual, unless it names a behavior for it."""
    name, _, whose = model.partition("@")
    return (_requested(name) or USUAL) if whose in ("", provider, provider.removeprefix(_PREFIX)) else USUAL


def chooses_behavior(model: str) -> bool:
    """Check whether a model's name chooses a behavior."""
    return _requested(model.partition("@")[0]) is not None


def _requested(name: str) -> BehaviorRequest | None:
    match = _STATUS.fullmatch(name)
    if match is None:
        return _NAMED.get(name)
    requested = refusal(int(match[1]))
    return replace(requested, retry_after_s=int(match[2])) if match[2] else requested
