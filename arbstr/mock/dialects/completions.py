"""OpenAI's older completions: a prompt that goes on."""

from __future__ import annotations

from typing import Any

from arbstr.mock.billing import NOTHING
from arbstr.mock.completion import Completion
from arbstr.mock.dialects.base import Stream, event
from arbstr.mock.dialects.chat import DONE, bill_fields
from arbstr.mock.failures import Failure
from arbstr.mock.parsed_request import ParsedRequest, Turn, parsed
from arbstr.types import JsonObject


class Completions:
    """`/v1/completions`."""

    name = "completions"
    path = "/completions"

    def parse(self, document: JsonObject) -> ParsedRequest | None:
        """Parse a request. Return None if it has no prompt."""
        prompt = document.get("prompt")
        if not isinstance(prompt, str | list):
            return None
        return parsed(document, [Turn("user", _text(prompt))], limits=("max_tokens",), several=True)

    def body(self, answer: Completion) -> JsonObject:
        """Return an answer in one piece."""
        choices = [_piece(i, choice.text, choice.finish_reason) for i, choice in enumerate(answer.choices)]
        return _head(answer, choices) | bill_fields(answer.bill)

    def stream(self, answer: Completion) -> Stream:
        """Return an event for each token, then finish reasons, usage and `[DONE]`."""
        tokens = [
            event(_head(answer, [_piece(i, token)]))
            for i, choice in enumerate(answer.choices)
            for token in choice.tokens
        ]
        ends = [event(_head(answer, [_piece(i, "", choice.finish_reason)])) for i, choice in enumerate(answer.choices)]
        usage = event(_head(answer, []) | bill_fields(answer.bill)) if answer.bill else b""
        return Stream(tokens, b"".join(ends) + usage, DONE, cut=event(_head(answer, []) | bill_fields(NOTHING)))

    def error(self, failure: Failure) -> tuple[int, JsonObject]:
        """Return the status and the body of an error."""
        return failure.status, failure.body

    def error_event(self, failure: Failure, position: int) -> bytes:
        """Return the event of an error in a stream."""
        return event(failure.body)


def _text(prompt: Any) -> str:
    """Return a prompt's text; one in tokens says nothing, but is as long."""
    if isinstance(prompt, str):
        return prompt
    return " ".join(part if isinstance(part, str) else "...." for part in prompt)


def _piece(index: int, text: str, finish_reason: str | None = None) -> JsonObject:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}


def _head(answer: Completion, choices: list[JsonObject]) -> JsonObject:
    return {
        "id": f"cmpl-{answer.id}",
        "object": "text_completion",
        "created": answer.created_s,
        "model": answer.model,
        "choices": choices,
    }
