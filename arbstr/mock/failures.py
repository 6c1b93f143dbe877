"""Errors of a Routstr node, before a dialect gives them a shape."""

from __future__ import annotations

from dataclasses import dataclass, field

from arbstr.types import JsonObject


@dataclass(frozen=True, slots=True)
class Failure:
    """An error: the status it comes with, and what its body says."""

    status: int
    message: str
    type: str
    code: str | int
    more: JsonObject = field(default_factory=dict)

    @property
    def body(self) -> JsonObject:
        """Return the error as nodes and OpenAI write it."""
        return {"error": {"message": self.message, "type": self.type, "code": self.code, **self.more}}


def no_request() -> Failure:
    """Return the error for a body that cannot be read."""
    message = "The body is no JSON object with a model and what is asked of it"
    return Failure(400, message, "invalid_request_error", "invalid_json", {"param": None})


def failure(model: str, status: int = 500) -> Failure:
    """Return a node's error for a failure of its own upstream."""
    return Failure(status, f"Upstream base returned {status} for model {model}", "upstream_error", status)


def unknown_model(model: str) -> Failure:
    """Return the error for an unknown model."""
    return Failure(400, f"Model '{model}' not found", "invalid_model", 400)


def refusal(status: int, model: str, retry_after_s: int | None) -> Failure:
    """Return an error with that status."""
    if status == 402:
        message = "Insufficient balance: 9.83 sats (9830 msats) required for this model; 5 sats (5000 msats) available."
        return Failure(402, message, "insufficient_quota", "insufficient_balance")
    if status == 429:
        message = f"Rate limit reached for {model}. Please try again in {retry_after_s}s."
        details = {"details": {"retry_after_seconds": retry_after_s}}
        return Failure(429, message, "requests", "UPSTREAM_RATE_LIMIT", details)
    if status in (401, 403):
        return Failure(status, "Incorrect API key provided", "invalid_request_error", "invalid_api_key")
    if status < 500:
        message = f"The fake provider was asked to refuse with {status}"
        return Failure(status, message, "invalid_request_error", "invalid_value", {"param": None})
    return failure(model, status)
