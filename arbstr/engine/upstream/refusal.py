"""Classify a response with an error status: a failed attempt, or about the request itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.upstream import verdict
from arbstr.engine.upstream.retry_after import retry_after_s
from arbstr.errors import AttemptError
from arbstr.types import FailureKind, JsonObject

# About arbstr's account at the provider, the provider's own upstream, or timing.
_ELSEWHERE = frozenset({401, 402, 403, 408, 424, 425})
_FORBIDDEN = 403
_NOT_FOUND = 404
_NO_ENDPOINT = frozenset({405, 501})


def failure_of(
    status: int,
    document: Any,
    dialect: Dialect,
    *,
    mask: Callable[[str], str],
    retry_after: str | None,
    retry_after_ms: str | None,
) -> AttemptError | None:
    """Return a refusal as a failed attempt; None if it is about the request and goes to the client.

    `document` is the body's JSON, None if it has none; `mask` hides keys in the message.
    """
    error = verdict.refusal_of(document)
    message = in_words(status, error, mask)
    if status in dialect.retryable:
        wait_s = retry_after_s(retry_after, _with_details(error, document), milliseconds=retry_after_ms)
        return AttemptError("status", message, status=status, retryable=True, retry_after_s=wait_s)
    if status == _NOT_FOUND and verdict.says_unknown_reference(error):
        return None
    if dialect is not CHAT and _is_without_endpoint(status, error):
        return AttemptError("no_endpoint", message, status=status)
    if status == _NOT_FOUND and document is None:
        return AttemptError("stale_catalogue", f"{message} (not JSON; check the provider's url)", status=status)
    kind = _kind(status, error)
    passes = kind == "status" and status not in _ELSEWHERE and 400 <= status < 500
    return None if passes else AttemptError(kind, message, status=status)


def in_words(status: int, error: JsonObject, mask: Callable[[str], str]) -> str:
    """Return the message for a refusal: its status, and the provider's own words if any."""
    text = verdict.error_summary(error, mask, default="")
    return f"HTTP {status}: {text}" if text else f"HTTP {status}"


def _kind(status: int, error: JsonObject) -> FailureKind:
    if status == _NOT_FOUND or (400 <= status < 500 and verdict.says_unknown_model(error)):
        return "stale_catalogue"
    return "content" if status == _FORBIDDEN and verdict.says_content(error) else "status"


def _is_without_endpoint(status: int, error: JsonObject) -> bool:
    """Whether there seems to be no endpoint: a 404 that does not speak of the model, or one that says so."""
    return status in _NO_ENDPOINT or (status == _NOT_FOUND and not verdict.says_unknown_model(error))


def _with_details(error: JsonObject, document: Any) -> JsonObject:
    """Return the error with the fields beside it, which may say when to retry."""
    return {**document, **error} if isinstance(document, dict) else error
