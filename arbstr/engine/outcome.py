"""The error for a request that failed at every provider tried."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import groupby

from arbstr.engine.routing.names import some
from arbstr.errors import (
    AllProvidersFailed,
    ApiError,
    BadUpstreamResponse,
    InsufficientBalance,
    ModelNotFound,
    RateLimited,
    UpstreamTimeout,
)
from arbstr.types import Attempt

_PAYMENT_REQUIRED = 402
_TOO_MANY = 429


def all_failed(
    model: str,
    attempts: Collection[Attempt],
    *,
    served: Iterable[str],
    retry_after_s: float,
) -> ApiError:
    """Return the error for a request whose attempts all failed.

    If the last attempt at every provider got the same status it decides the error. `served` are the models listed,
    `retry_after_s` is when the first provider takes requests again, in seconds.
    """
    how = _in_words(attempts)
    last = {attempt.provider: attempt for attempt in attempts}.values()
    statuses = {attempt.status for attempt in last}
    if statuses == {_TOO_MANY}:
        message = f"Every provider of '{model}' is rate-limiting: {how}."
        return RateLimited(message, retry_after_s=retry_after_s)
    if statuses == {_PAYMENT_REQUIRED}:
        return InsufficientBalance(f"The balance is insufficient at every provider of '{model}': {how}.")
    if all(attempt.failure in ("stale_catalogue", "no_endpoint") for attempt in last):
        return ModelNotFound(f"No provider has the model '{model}': {how}; listed: {some(served)}.", param="model")
    message = f"Every provider of '{model}' failed: {how}."
    kinds = {attempt.failure for attempt in attempts}
    if kinds == {"bad_response"}:
        return BadUpstreamResponse(message)
    return UpstreamTimeout(message) if kinds == {"timeout"} else AllProvidersFailed(message)


def _in_words(attempts: Iterable[Attempt]) -> str:
    """Return in words which providers were tried and how each failed."""
    parts = []
    for name, run in groupby(attempts, key=lambda attempt: attempt.provider):
        tries = list(run)
        times = "once" if len(tries) == 1 else f"{len(tries)} times"
        parts.append(f"'{name}' was tried {times}, last: {tries[-1].message}")
    return "; ".join(parts)
