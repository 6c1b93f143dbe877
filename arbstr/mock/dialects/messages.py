"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from arbstr.mock.billing import TokenCounts
from arbstr.mock.completion import Choice, Completion, ToolCall
from arbstr.mock.dialects.base import Stream, event, named_event
from arbstr.mock.failures import Failure
from arbstr.mock.parsed_request import (
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

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ROLES: dict[str, Role] = {"assistant": "assistant", "system": "system"}
_SIGNATURE = "bW9jaw=="  # thinking goes back with a signature that only the provider can read
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Messages:
    """`/v1/messages`."""

    name = "messages"
    path = "/messages"

    def parse(self, document: JsonObject) -> ParsedRequest | None:
        """Parse a request. Return None if it has no list of messages, or no limit, which Anthropic insists on."""
        messages = document.get("messages")
        if not isinstance(messages, list) or not isinstance(document.get("max_tokens"), int):
            return None
        system = Turn("system", text_of(document.get("system")))
        wanted = member(member(document, "output_config"), "format") or member(document, "output_format")
        return parsed(
            document,
            [system, *(turn for message in messages for turn in _turns(message))],
            limits=("max_tokens",),
            tools=_tools(document.get("tools")),
            choice=_choice(member(document, "tool_choice")),
            schema=member(wanted, "schema") if wanted.get("type") == "json_schema" else None,
            reasons=member(document, "thinking").get("type") in ("enabled", "adaptive"),
            caching="explicit" if b'"cache_control":{' in orjson.dumps(document) else "none",
        )

    def body(self, answer: Completion) -> JsonObject:
        """Return an answer in one piece."""
        (choice,) = answer.choices
        content = [_content(block, whole=True) for block in _blocks(choice)]
        message = _message(answer, content, _STOP_REASONS[choice.finish_reason])
        return message | (answer.bill.fields(_usage(answer.bill.tokens)) if answer.bill else {})

    def stream(self, answer: Completion) -> Stream:
        """Return the events of a message: its start, each block, its stop reason and usage, and what a node charged."""
        (choice,) = answer.choices
        pieces = [piece for i, block in enumerate(_blocks(choice)) for piece in _block_events(i, block)]
        start = named_event({"type": "message_start", "message": _message(answer, [], None) | _first_usage(answer)})
        delta = {"stop_reason": _STOP_REASONS[choice.finish_reason], "stop_sequence": None}
        usage = {"usage": _usage(answer.bill.tokens)} if answer.bill else {"usage": {"output_tokens": 0}}
        stop = named_event({"type": "message_stop"})
        cost = b"event: cost\n" + event({"cost": answer.bill.counted}) if answer.bill else b""
        finish = named_event({"type": "message_delta", "delta": delta, **usage})
        return Stream([start + pieces[0], *pieces[1:]], finish, stop + cost)

    def error(self, failure: Failure) -> tuple[int, JsonObject]:
        """Return the status and the body of an error; a model that is unknown is one not found."""
        status = 404 if failure.type == "invalid_model" else failure.status
        error = {"type": _ERROR_TYPES.get(status, "api_error"), "message": failure.message}
        return status, {"type": "error", "error": error, "request_id": "req_mock"}

    def error_event(self, failure: Failure, position: int) -> bytes:
        """Return the event of an error in a stream."""
        return named_event(self.error(failure)[1])


def _turns(message: Any) -> Iterator[Turn]:
    """Yield a message's results of tools, then its text."""
    content = message.get("content") if isinstance(message, dict) else None
    blocks = objects(content)
    for block in blocks:
        if block.get("type") == "tool_result":
            yield Turn("tool", text_of(block.get("content")))
    text = text_of(content)
    if text or not any(block.get("type") == "tool_result" for block in blocks):
        role = message.get("role") if isinstance(message, dict) else None
        yield Turn(_ROLES.get(role, "user") if isinstance(role, str) else "user", text)


def _tools(declared: Any) -> list[Tool]:
    """Return the client's tools; those without a schema are the provider's own."""
    tools = [tool_of(tool, "input_schema") for tool in objects(declared) if "input_schema" in tool]
    return [tool for tool in tools if tool is not None]


def _choice(choice: JsonObject) -> ToolChoice:
    parallel = choice.get("disable_parallel_tool_use") is not True
    match choice.get("type"):
        case "tool":
            return ToolChoice(name=str(choice.get("name")))
        case "any":
            return ToolChoice("required", parallel=parallel)
        case "none":
            return ToolChoice("none")
    return ToolChoice(parallel=parallel)


_Block = ToolCall | tuple[str, list[str]]  # a call, or what the text is for and its tokens


def _blocks(choice: Choice) -> list[_Block]:
    """Return the blocks of a message: thinking, then calls or text."""
    thinking: list[_Block] = [("thinking", choice.reasoning)] if choice.reasoning else []
    return [*thinking, *(choice.calls or [("text", choice.tokens)])]


def _content(block: _Block, *, whole: bool) -> JsonObject:
    """Return a block as content, `whole` or as it begins."""
    if isinstance(block, ToolCall):
        arguments = _arguments(block) if whole else {}
        return {"type": "tool_use", "id": f"toolu_{block.id}", "name": block.tool.name, "input": arguments}
    kind, tokens = block
    text = "".join(tokens) if whole else ""
    if kind == "thinking":
        return {"type": "thinking", "thinking": text, "signature": _SIGNATURE if whole else ""}
    return {"type": "text", "text": text}


def _arguments(call: ToolCall) -> Any:
    """Return a call's arguments; none if the limit cut them."""
    try:
        return orjson.loads(call.arguments)
    except orjson.JSONDecodeError:
        return {}


def _block_events(index: int, block: _Block) -> list[bytes]:
    """Return an item for each token of a block; the first opens it, the last closes it."""
    start = named_event({"type": "content_block_start", "index": index, "content_block": _content(block, whole=False)})
    pieces = [named_event(delta) for delta in _deltas(index, block)]
    stop = named_event({"type": "content_block_stop", "index": index})
    return [start, *pieces[:-1], b"".join(pieces[-1:]) + stop]


def _deltas(index: int, block: _Block) -> Iterator[JsonObject]:
    tokens = block.tokens if isinstance(block, ToolCall) else block[1]
    kind, key = ("input_json_delta", "partial_json") if isinstance(block, ToolCall) else (f"{block[0]}_delta", block[0])
    for token in tokens:
        yield {"type": "content_block_delta", "index": index, "delta": {"type": kind, key: token}}
    if kind == "thinking_delta":
        signature = {"type": "signature_delta", "signature": _SIGNATURE}
        yield {"type": "content_block_delta", "index": index, "delta": signature}


def _message(answer: Completion, content: list[JsonObject], stop_reason: str | None) -> JsonObject:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
    }


def _first_usage(answer: Completion) -> JsonObject:
    """Return the usage at the start of a stream: the input is known, the output has begun."""
    return {"usage": {**_usage(answer.bill.tokens), "output_tokens": 1}} if answer.bill else {"usage": _NO_USAGE}


_NO_USAGE = {"input_tokens": 0, "output_tokens": 0}


def _usage(tokens: TokenCounts) -> JsonObject:
    """Return Anthropic's usage: what was read from the cache or written to it does not count as input."""
    return {
        "input_tokens": tokens.fresh,
        "cache_creation_input_tokens": tokens.written,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.output,
    }
