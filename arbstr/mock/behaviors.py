"""What a model's name asks a fake seller to do. The package's docstring lists the names."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

_PREFIX = "mock-"
_STATUS = re.compile(r"mock-error-([345]\d\d)(?:-after-(\d{1,6}))?")


class Behavior(StrEnum):
    """How a seller behaves; the value is the model's name without its `mock-`."""

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
    """What a request asks a seller to do: a manner, and with `Manner.STATUS` which status and `Retry-After`."""

    manner: Behavior
    status: int = 200
    retry_after_s: int | None = None


USUAL = BehaviorRequest(Behavior.USUAL)
_NAMED = {
    f"{_PREFIX}{manner}": BehaviorRequest(manner)
    for manner in Behavior
    if manner not in (Behavior.USUAL, Behavior.STATUS)
}


def refusal(status: int) -> BehaviorRequest:
    """To answer with that status."""
    return BehaviorRequest(Behavior.STATUS, status, 1 if status == 429 else None)


def behavior_for(model: str, seller: str) -> BehaviorRequest:
    """What a model's name asks of the seller: the usual, unless it names a manner, for everybody or for this seller."""
    name, _, whose = model.partition("@")
    return (_wish(name) or USUAL) if whose in ("", seller, seller.removeprefix(_PREFIX)) else USUAL


def chooses_behavior(model: str) -> bool:
    """Whether a model's name chooses a manner."""
    return _wish(model.partition("@")[0]) is not None


def _wish(name: str) -> BehaviorRequest | None:
    match = _STATUS.fullmatch(name)
    if match is None:
        return _NAMED.get(name)
    wish = refusal(int(match[1]))
    return replace(wish, retry_after_s=int(match[2])) if match[2] else wish
