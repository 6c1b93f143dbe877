"""OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from arbstr.mock.billing import NOTHING, Bill, TokenCounts
from arbstr.mock.completion import Choice, Completion, ToolCall
from arbstr.mock.dialects.base import Stream, event
from arbstr.mock.failures import Failure
from arbstr.mock.parsed_request import (
    ANY_OBJECT,
    ParsedRequest,
    Role,
    Tool,
    ToolChoice,
    Turn,
    member,
    objects,
    parsed,
    text_of,
    tool_of,
)
from arbstr.types import JsonObject

DONE = b"data: [DONE]\n\n"
_ROLES: dict[Any, Role] = {
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
    "system": "system",
    "developer": "system",
}


class Chat:
    """`/v1/chat/completions`."""

    name = "chat"
    path = "/chat/completions"

    def parse(self, document: JsonObject) -> ParsedRequest | None:
        """Parse a request. Return None if it has no list of messages."""
        messages = document.get("messages")
        if not isinstance(messages, list):
            return None
        return parsed(
            document,
            [_turn(message) for message in messages],
            limits=("max_tokens", "max_completion_tokens"),
            several=True,
            tools=_tools(document.get("tools")),
            choice=_choice(document),
            schema=_schema(document.get("response_format")),
            reasons=document.get("reasoning_effort", "none") not in ("none", None),
        )

    def body(self, answer: Completion) -> JsonObject:
        """Return an answer in one piece."""
        choices = [
            {"index": i, "message": _message(choice), "finish_reason": choice.finish_reason}
            for i, choice in enumerate(answer.choices)
        ]
        return _head(answer, "chat.completion", choices) | bill_fields(answer.bill)

    def stream(self, answer: Completion) -> Stream:
        """Return an event for each token, then finish reasons, usage and `[DONE]`."""
        tokens = [
            _chunk(answer, [_piece(i, delta)]) for i, choice in enumerate(answer.choices) for delta in _deltas(choice)
        ]
        ends = [_chunk(answer, [_piece(i, {}, choice.finish_reason)]) for i, choice in enumerate(answer.choices)]
        usage = _chunk(answer, [], bill_fields(answer.bill)) if answer.bill else b""
        return Stream(tokens, b"".join(ends) + usage, DONE, cut=_chunk(answer, [], bill_fields(NOTHING)))

    def error(self, failure: Failure) -> tuple[int, JsonObject]:
        """Return the status and the body of an error."""
        return failure.status, failure.body

    def error_event(self, failure: Failure, position: int) -> bytes:
        """Return the event of an error in a stream."""
        return event(failure.body)


def bill_fields(bill: Bill | None) -> JsonObject:
    """Return the fields that report a bill; none if the provider reports nothing."""
    return bill.fields(usage(bill.tokens)) if bill else {}


def usage(tokens: TokenCounts) -> JsonObject:
    """Return OpenAI's usage: the input counts all, and says how much of it was cached."""
    written = {"cache_write_tokens": tokens.written} if tokens.written else {}
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, **written},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    }


def _turn(message: Any) -> Turn:
    """Return a message as a turn; what is no message says nothing."""
    if not isinstance(message, dict):
        return Turn("user", "")
    role = message.get("role")
    return Turn(_ROLES.get(role, "user") if isinstance(role, str) else "user", text_of(message.get("content")))


def _tools(declared: Any) -> list[Tool]:
    tools = [tool_of(member(tool, "function"), "parameters") for tool in objects(declared)]
    return [tool for tool in tools if tool is not None]


def _choice(document: JsonObject) -> ToolChoice:
    choice = document.get("tool_choice")
    parallel = document.get("parallel_tool_calls") is not False
    if isinstance(choice, dict):
        return ToolChoice(name=str(member(choice, "function").get("name")))
    return ToolChoice(choice, parallel=parallel) if choice in ("none", "required") else ToolChoice(parallel=parallel)


def _schema(wanted: Any) -> Any:
    """Return the schema of the answer, None for text."""
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        return member(member(wanted, "json_schema"), "schema")
    return ANY_OBJECT if kind == "json_object" else None


def _message(choice: Choice) -> JsonObject:
    thoughts = {"reasoning_content": choice.thoughts} if choice.reasoning else {}
    if not choice.calls:
        return {"role": "assistant", "content": choice.text, **thoughts}
    calls = [_call(call, call.arguments) for call in choice.calls]
    return {"role": "assistant", "content": None, **thoughts, "tool_calls": calls}


def _deltas(choice: Choice) -> Iterator[JsonObject]:
    """Yield the message as deltas, one for each token."""
    role: JsonObject = {"role": "assistant"}
    for token in choice.reasoning:
        yield {**role, "content": None, "reasoning_content": token}
        role = {}
    for i, call in enumerate(choice.calls):
        yield {**role, "content": None, "tool_calls": [{"index": i, **_call(call, "")}]}
        role = {}
        for token in call.tokens:
            yield {"tool_calls": [{"index": i, "function": {"arguments": token}}]}
    for token in choice.tokens:
        yield {**role, "content": token}
        role = {}


def _call(call: ToolCall, arguments: str) -> JsonObject:
    return {"id": f"call_{call.id}", "type": "function", "function": {"name": call.tool.name, "arguments": arguments}}


def _piece(index: int, delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
    return {"index": index, "delta": delta, "finish_reason": finish_reason}


def _chunk(answer: Completion, choices: list[JsonObject], extra: JsonObject | None = None) -> bytes:
    return event(_head(answer, "chat.completion.chunk", choices) | (extra or {}))


def _head(answer: Completion, kind: str, choices: list[JsonObject]) -> JsonObject:
    return {
        "id": f"chatcmpl-{answer.id}",
        "object": kind,
        "created": answer.created_s,
        "model": answer.model,
        "choices": choices,
    }
