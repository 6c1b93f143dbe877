"""What a client is told when every provider that was asked failed."""

from __future__ import annotations

from collections.abc import Collection, Iterable

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
    how: str,
    served: Iterable[str],
    retry_after_s: float,
) -> ApiError:
    """The error for a request whose attempts all failed.

    Where all providers refuse alike it is their status, by the last attempt at each. `how` says in words how each
    failed, `served` are the models that are listed, `retry_after_s` is when the first takes requests again, in seconds.
    """
    last = {attempt.provider: attempt for attempt in attempts}.values()
    statuses = {attempt.status for attempt in last}
    if statuses == {_TOO_MANY}:
        message = f"Every provider of '{model}' is rate-limiting: {how}."
        return RateLimited(message, retry_after_s=retry_after_s)
    if statuses == {_PAYMENT_REQUIRED}:
        return InsufficientBalance(f"The balance is insufficient at every provider of '{model}': {how}.")
    if all(attempt.failure == "stale_catalogue" for attempt in last):
        listed = ", ".join(served) or "none"
        return ModelNotFound(f"No provider has the model '{model}': {how}; listed: {listed}.", param="model")
    message = f"Every provider of '{model}' failed: {how}."
    kinds = {attempt.failure for attempt in attempts}
    if kinds == {"bad_response"}:
        return BadUpstreamResponse(message)
    return UpstreamTimeout(message) if kinds == {"timeout"} else AllProvidersFailed(message)
