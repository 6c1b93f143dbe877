"""The error for a request that failed at every provider tried."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import groupby

from arbstr.engine.routing.names import shown, some, wanted
from arbstr.errors import (
    AllProvidersFailed,
    ApiError,
    BadUpstreamResponse,
    BudgetExceeded,
    InsufficientBalance,
    InvalidRequest,
    ModelNotFound,
    NoHealthyProvider,
    NotFound,
    RateLimited,
    UpstreamTimeout,
)
from arbstr.types import Attempt

_PAYMENT_REQUIRED = 402
_TOO_MANY = 429


def why_skipped(skipped: Collection[ApiError], *, any_asked: bool) -> ApiError | None:
    """Return the error for a request of which candidates were skipped, None if it is not what they were skipped for.

    A budget decides even if others were asked; what can't be translated or paid for there, only if none was.
    """
    kinds = (BudgetExceeded,) if any_asked else (InvalidRequest, BudgetExceeded, InsufficientBalance)
    latest = list(skipped)[::-1]
    return next((error for kind in kinds for error in latest if isinstance(error, kind)), None)


def all_failed(
    model: str,
    path: str,
    attempts: Collection[Attempt],
    *,
    candidates: Iterable[str],
    served: Iterable[str],
    retry_after_s: float,
) -> ApiError:
    """Return the error for a request whose attempts all failed, or that no candidate took.

    If the last attempt at every provider got the same status it decides the error. `path` is the endpoint's below
    `/v1`, `served` are the models listed, `retry_after_s` is when the first provider takes requests again, in seconds.
    """
    what = wanted(model, path)
    if not attempts:
        message = f"No provider of {what} can take a request now: {', '.join(candidates)}."
        return NoHealthyProvider(message, retry_after_s=retry_after_s)
    how = _in_words(attempts)
    last = {attempt.provider: attempt for attempt in attempts}.values()
    statuses = {attempt.status for attempt in last}
    if statuses == {_TOO_MANY}:
        message = f"Every provider of {what} is rate-limiting: {how}."
        return RateLimited(message, retry_after_s=retry_after_s)
    if statuses == {_PAYMENT_REQUIRED}:
        return InsufficientBalance(f"The balance is insufficient at every provider of {what}: {how}.")
    failures = {attempt.failure for attempt in last}
    if failures <= {"stale_catalogue", "no_endpoint"}:
        return _missing(model, path, how, served, has_endpoint="stale_catalogue" in failures)
    message = f"Every provider of {what} failed: {how}."
    kinds = {attempt.failure for attempt in attempts}
    if kinds == {"bad_response"}:
        return BadUpstreamResponse(message)
    return UpstreamTimeout(message) if kinds == {"timeout"} else AllProvidersFailed(message)


def _missing(model: str, path: str, how: str, served: Iterable[str], *, has_endpoint: bool) -> NotFound:
    """Return the error for what no provider has: the endpoint, or the model there."""
    if not model:
        return NotFound(f"No provider serves /v1/{path}: {how}.")
    has = "has" if has_endpoint else f"serves /v1/{path} for"
    return ModelNotFound(f"No provider {has} the model {shown(model)}: {how}; listed: {some(served)}.", param="model")


def _in_words(attempts: Iterable[Attempt]) -> str:
    """Return in words which providers were tried and how each failed."""
    parts = []
    for name, run in groupby(attempts, key=lambda attempt: attempt.provider):
        tries = list(run)
        times = "once" if len(tries) == 1 else f"{len(tries)} times"
        parts.append(f"'{name}' was tried {times}, last: {tries[-1].message}")
    return "; ".join(parts)
