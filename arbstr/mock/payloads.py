"""Payloads of a Routstr node: completions, streams of chunks, charges, errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

import orjson

from arbstr.mock.behaviors import Behavior
from arbstr.types import JsonObject, Rates

DONE = b"data: [DONE]\n\n"
_MSATS_PER_USD = 1_000_000_000  # a bitcoin at 100,000 USD

After = Literal["close", "abort", "hang"]


@dataclass(frozen=True, slots=True)
class Bill:
    """Tokens used and msats charged for them; the total alone is exact, as with real nodes."""

    input_tokens: int
    output_tokens: int
    input_msats: int
    output_msats: int
    base_msats: int
    total_msats: int

    @property
    def cost(self) -> JsonObject:
        """Return the cost object that appears in several places of an answer."""
        return {
            "base_msats": self.base_msats,
            "input_msats": self.input_msats,
            "output_msats": self.output_msats,
            "total_msats": self.total_msats,
            "total_usd": self.total_msats / _MSATS_PER_USD,
        }

    @property
    def fields(self) -> JsonObject:
        """Return the fields of a body that report usage and cost."""
        counted = {**self.cost, "input_tokens": self.input_tokens, "output_tokens": self.output_tokens}
        return {
            "usage": {
                "prompt_tokens": self.input_tokens,
                "completion_tokens": self.output_tokens,
                "total_tokens": self.input_tokens + self.output_tokens,
                "cost": self.cost,
                "cost_sats": self.total_msats // 1000,
            },
            "cost": counted,
            "metadata": {"routstr": {"cost": counted}},
        }

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that report the same, for answers in one piece."""
        return {
            "x-routstr-cost-msats": str(self.total_msats),
            "x-routstr-input-cost-msats": str(self.input_msats),
            "x-routstr-output-cost-msats": str(self.output_msats),
            "x-routstr-cost-usd": f"{self.total_msats / _MSATS_PER_USD:.9f}",
        }


NOTHING = Bill(0, 0, 0, 0, 0, 0)


def bill(rates: Rates, input_tokens: int, output_tokens: int, factor: float) -> Bill:
    """Return what a provider charges: its rates times a factor, rounded up to whole msats."""
    times = Decimal(repr(factor))
    parts = (input_tokens * rates.input * times, output_tokens * rates.output * times, rates.base_fee * times)
    asked, answered, base = (math.floor(part) for part in parts)
    return Bill(input_tokens, output_tokens, asked, answered, base, math.ceil(sum(parts)))


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice: its tokens and its finish reason.

    With the name of a `tool` the tokens are the arguments it is called with.
    """

    tokens: list[str] = field(repr=False)
    finish_reason: str
    tool: str = ""
    call_id: str = ""

    @property
    def message(self) -> JsonObject:
        """Return the message in one piece."""
        text = "".join(self.tokens)
        if not self.tool:
            return {"role": "assistant", "content": text}
        return {"role": "assistant", "content": None, "tool_calls": [self._call(text)]}

    def deltas(self) -> Iterator[JsonObject]:
        """Return the message as deltas, one for each token."""
        if self.tool:
            yield {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **self._call("")}]}
            for token in self.tokens:
                yield {"tool_calls": [{"index": 0, "function": {"arguments": token}}]}
            return
        role: JsonObject = {"role": "assistant"}
        for token in self.tokens:
            yield {**role, "content": token}
            role = {}

    def _call(self, arguments: str) -> JsonObject:
        return {"id": self.call_id, "type": "function", "function": {"name": self.tool, "arguments": arguments}}


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer: its choices and its bill (None: the provider does not say)."""

    id: str
    model: str
    created_s: int
    choices: list[Choice]
    bill: Bill | None

    @property
    def token_count(self) -> int:
        """The number of tokens in all choices."""
        return sum(len(choice.tokens) for choice in self.choices)

    def body(self) -> bytes:
        """Return the answer as one JSON body."""
        choices = [
            {"index": i, "message": choice.message, "finish_reason": choice.finish_reason}
            for i, choice in enumerate(self.choices)
        ]
        return orjson.dumps(self._head("chat.completion", choices) | (self.bill.fields if self.bill else {}))

    def events(self) -> Iterator[bytes]:
        """Return one event for each token."""
        for i, choice in enumerate(self.choices):
            for delta in choice.deltas():
                yield self._event([_choice(i, delta, None)])

    def finish(self) -> bytes:
        """Return the events that carry the finish reasons."""
        return b"".join(self._event([_choice(i, {}, choice.finish_reason)]) for i, choice in enumerate(self.choices))

    def usage(self, charged: Bill | None) -> bytes:
        """Return the usage event; nothing if the provider does not report usage."""
        return self._event([], charged.fields) if charged else b""

    def _event(self, choices: list[JsonObject], extra: JsonObject | None = None) -> bytes:
        return event(self._head("chat.completion.chunk", choices) | (extra or {}))

    def _head(self, kind: str, choices: list[JsonObject]) -> JsonObject:
        return {"id": self.id, "object": kind, "created": self.created_s, "model": self.model, "choices": choices}


def _choice(index: int, delta: JsonObject, finish_reason: str | None) -> JsonObject:
    return {"index": index, "delta": delta, "finish_reason": finish_reason}


def event(document: JsonObject) -> bytes:
    """Encode a server-sent event."""
    return b"data: " + orjson.dumps(document) + b"\n\n"


@dataclass(frozen=True, slots=True)
class Script:
    """What is sent: token events at the provider's speed, the rest at once, then what happens to the connection."""

    paced: list[bytes]
    rest: bytes
    after: After = "close"


def stream_script(behavior: Behavior, answer: Completion) -> Script:
    """Return how a streamed answer goes."""
    events = list(answer.events())
    half = events[: max(1, len(events) // 2)]
    end = answer.finish() + answer.usage(answer.bill)
    odd = {
        Behavior.NO_DONE: Script(events, end),
        Behavior.DROP: Script(half, b"", "abort"),
        Behavior.STALL: Script(half, b"", "hang"),
        Behavior.CUT: Script(half, answer.usage(NOTHING)),
        Behavior.LATE_ERROR: Script(half, event(failure(answer.model))),
        Behavior.ERROR_EVENT: Script([], event(failure(answer.model))),
        Behavior.BAD_JSON: Script([], b"data: {]\n\n" + DONE),
        Behavior.EMPTY: Script([], b""),
        Behavior.EMPTY_STREAM: Script([], b""),
    }
    return odd.get(behavior) or Script(events, end + DONE)


def failure(model: str, status: int = 500) -> JsonObject:
    """Return a node's error for a failure of its own upstream."""
    message = f"Upstream base returned {status} for model {model}"
    return {"error": {"message": message, "type": "upstream_error", "code": status}}


def unknown_model(model: str) -> JsonObject:
    """Return the body of a 400 for an unknown model."""
    return {"error": {"message": f"Model '{model}' not found", "type": "invalid_model", "code": 400}}


def refusal(status: int, model: str, retry_after_s: int | None) -> JsonObject:
    """Return the body of an error with that status."""
    if status == 402:
        message = "Insufficient balance: 9.83 sats (9830 msats) required for this model; 5 sats (5000 msats) available."
        return {"error": {"message": message, "type": "insufficient_quota", "code": "insufficient_balance"}}
    if status == 429:
        message = f"Rate limit reached for {model}. Please try again in {retry_after_s}s."
        details = {"retry_after_seconds": retry_after_s}
        return {"error": {"message": message, "type": "requests", "code": "UPSTREAM_RATE_LIMIT", "details": details}}
    if status in (401, 403):
        message = "Incorrect API key provided"
        return {"error": {"message": message, "type": "invalid_request_error", "code": "invalid_api_key"}}
    if status < 500:
        message = f"The fake provider was asked to refuse with {status}"
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "invalid_value"}}
    return failure(model, status)
