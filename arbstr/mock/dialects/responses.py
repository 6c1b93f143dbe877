"""OpenAI's Responses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from arbstr.mock.billing import TokenCounts
from arbstr.mock.completion import Choice, Completion, ToolCall
from arbstr.mock.dialects.base import Stream, named_event
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

_ROLES: dict[Any, Role] = {"assistant": "assistant", "system": "system", "developer": "system"}
_ECHOED: JsonObject = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}  # what an answer repeats of the request, and what it says where the request did not


class Responses:
    """`/v1/responses`, without memory: conversations are sent whole."""

    name = "responses"
    path = "/responses"

    def parse(self, document: JsonObject) -> ParsedRequest | None:
        """Parse a request. Return None if it has no input, or continues an answer that is not kept."""
        given = document.get("input")
        if not isinstance(given, str | list) or document.get("previous_response_id") is not None:
            return None
        instructions = [Turn("system", text_of(document.get("instructions")))]
        turns = [Turn("user", given)] if isinstance(given, str) else [_turn(item) for item in objects(given)]
        effort = member(document, "reasoning").get("effort")
        return parsed(
            document,
            [*instructions, *(turn for turn in turns if turn is not None)],
            limits=("max_output_tokens",),
            tools=_tools(document.get("tools")),
            choice=_choice(document),
            schema=_schema(member(member(document, "text"), "format")),
            reasons=effort not in (None, "none"),
        )

    def body(self, answer: Completion) -> JsonObject:
        """Return an answer in one piece."""
        (choice,) = answer.choices
        return _whole(answer, choice) | _cost(answer)

    def stream(self, answer: Completion) -> Stream:
        """Return the events of a response: its creation, each item, and the response as a whole."""
        (choice,) = answer.choices
        number = count()
        whole = _whole(answer, choice)

        def send(document: JsonObject) -> bytes:
            return named_event({**document, "sequence_number": next(number)})

        begun = _response(answer, "in_progress", []) | {"usage": None}
        start = b"".join(send({"type": f"response.{kind}", "response": begun}) for kind in ("created", "in_progress"))
        pieces = [
            b"".join(send({**document, "output_index": i}) for document in documents)
            for i, item in enumerate(_items(answer, choice))
            for documents in item.events()
        ]
        kind = "incomplete" if choice.finish_reason == "length" else "completed"
        end = send({"type": f"response.{kind}", "response": whole, **_cost(answer)})
        return Stream([start + pieces[0], *pieces[1:]], b"", end)

    def error(self, failure: Failure) -> tuple[int, JsonObject]:
        """Return the status and the body of an error."""
        return failure.status, failure.body

    def error_event(self, failure: Failure, position: int) -> bytes:
        """Return the event of an error in a stream: at its start an error, later the response that failed."""
        error = {"code": "server_error", "message": failure.message}
        if not position:
            return named_event({"type": "error", **error, "param": None, "sequence_number": 0})
        response = {"id": "resp_mock", "object": "response", "status": "failed", "error": error, "output": []}
        return named_event({"type": "response.failed", "response": response, "sequence_number": position + 2})


def _turn(item: JsonObject) -> Turn | None:
    """Return an input item as a turn; None for what says nothing."""
    match item.get("type", "message"):
        case "message":
            return Turn(_ROLES.get(item.get("role"), "user"), text_of(item.get("content")))
        case "function_call_output" | "custom_tool_call_output":
            return Turn("tool", text_of(item.get("output")))
        case "function_call" | "custom_tool_call":
            return Turn("assistant", str(item.get("arguments") or item.get("input") or ""))
    return None


def _tools(declared: Any) -> list[Tool]:
    """Return the client's tools; other types are the provider's own."""
    kinds = {"function": False, "custom": True}
    tools = [
        tool_of(tool, "parameters", custom=kinds[tool["type"]])
        for tool in objects(declared)
        if tool.get("type") in ("function", "custom")
    ]
    return [tool for tool in tools if tool is not None]


def _choice(document: JsonObject) -> ToolChoice:
    choice = document.get("tool_choice")
    parallel = document.get("parallel_tool_calls") is not False
    if isinstance(choice, dict) and isinstance(choice.get("name"), str):
        return ToolChoice(name=choice["name"])
    return ToolChoice(choice, parallel=parallel) if choice in ("none", "required") else ToolChoice(parallel=parallel)


def _schema(wanted: JsonObject) -> Any:
    """Return the schema of the answer, None for text."""
    if wanted.get("type") == "json_schema":
        return member(wanted, "schema")
    return ANY_OBJECT if wanted.get("type") == "json_object" else None


def _whole(answer: Completion, choice: Choice) -> JsonObject:
    """Return the response at its end, usage included."""
    output = [item.done for item in _items(answer, choice)]
    status = "incomplete" if choice.finish_reason == "length" else "completed"
    usage = {"usage": _usage(answer.bill.tokens)} if answer.bill else {}
    return _response(answer, status, output) | usage


def _response(answer: Completion, status: str, output: list[JsonObject]) -> JsonObject:
    given = answer.request.document
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": answer.created_s,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "model": answer.model,
        "output": output,
        "previous_response_id": None,
        "store": given.get("store", True) is not False,
        **{name: unsaid if (said := given.get(name)) is None else said for name, unsaid in _ECHOED.items()},
    }


@dataclass(frozen=True, slots=True)
class _Item:
    """An output item: how it begins, its tokens, and how its events are called.

    Its text is the `key` of the item, or that of its one `part`, which is in the item's list of that name.
    """

    begun: JsonObject
    tokens: list[str]
    kind: str
    key: str
    part: tuple[str, str, JsonObject] | None = None  # the list, the name in events, and the part without its text
    extra: JsonObject = field(default_factory=dict)  # what each event about the text has besides

    @property
    def text(self) -> str:
        """The text or the arguments in one piece."""
        return "".join(self.tokens)

    @property
    def done(self) -> JsonObject:
        """The item at its end."""
        finished = {**self.begun, "status": "completed"} if "status" in self.begun else self.begun
        if self.part is None:
            return {**finished, self.key: self.text}
        listed, _, part = self.part
        return {**finished, listed: [{**part, "text": self.text}]}

    def events(self) -> Iterator[list[JsonObject]]:
        """Yield the item's events, one list for each token; the first opens the item, the last closes it."""
        place, opening, closing = self._part_events()
        yield [{"type": "response.output_item.added", "item": self.begun}, *opening]
        deltas = [
            {"type": f"response.{self.kind}.delta", **place, "delta": token, **self.extra} for token in self.tokens
        ]
        yield from ([delta] for delta in deltas[:-1])
        text = {"type": f"response.{self.kind}.done", **place, self.key: self.text, **self.extra}
        yield [*deltas[-1:], text, *closing, {"type": "response.output_item.done", "item": self.done}]

    def _part_events(self) -> tuple[JsonObject, list[JsonObject], list[JsonObject]]:
        """Return where the text is, and the events that open and close its part."""
        place = {"item_id": self.begun["id"]}
        if self.part is None:
            return place, [], []
        listed, name, part = self.part
        place |= {f"{listed}_index": 0}
        added = {"type": f"response.{name}.added", **place, "part": {**part, "text": ""}}
        return place, [added], [{"type": f"response.{name}.done", **place, "part": {**part, "text": self.text}}]


def _items(answer: Completion, choice: Choice) -> list[_Item]:
    """Return the output items: reasoning, then calls or a message."""
    reasoning = [_reasoning(answer, choice.reasoning)] if choice.reasoning else []
    return [*reasoning, *([_call(call) for call in choice.calls] or [_message(answer, choice.tokens)])]


def _reasoning(answer: Completion, tokens: list[str]) -> _Item:
    included = answer.request.document.get("include")
    wanted = isinstance(included, list) and "reasoning.encrypted_content" in included
    begun = {"type": "reasoning", "id": f"rs_{answer.id}", "summary": []}
    part = ("summary", "reasoning_summary_part", {"type": "summary_text"})
    encrypted = {"encrypted_content": "bW9jaw=="} if wanted else {}
    return _Item(begun | encrypted, tokens, "reasoning_summary_text", "text", part)


def _message(answer: Completion, tokens: list[str]) -> _Item:
    begun = {"type": "message", "id": f"msg_{answer.id}", "role": "assistant", "status": "in_progress", "content": []}
    part = ("content", "content_part", {"type": "output_text", "annotations": [], "logprobs": []})
    return _Item(begun, tokens, "output_text", "text", part, {"logprobs": []})


def _call(call: ToolCall) -> _Item:
    """Return a call of a function, or of a custom tool, whose input is text."""
    prefix, kind, key = (
        ("ctc", "custom_tool_call", "input") if call.tool.custom else ("fc", "function_call", "arguments")
    )
    begun = {
        "type": kind,
        "id": f"{prefix}_{call.id}",
        "call_id": f"call_{call.id}",
        "name": call.tool.name,
        "status": "in_progress",
        key: "",
    }
    return _Item(begun, call.tokens, f"{kind}_{key}", key)


def _cost(answer: Completion) -> JsonObject:
    """Return what a node adds beside the response."""
    if answer.bill is None:
        return {}
    fields = answer.bill.fields(_usage(answer.bill.tokens))
    return {"cost": fields["cost"], "metadata": fields["metadata"]}


def _usage(tokens: TokenCounts) -> JsonObject:
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": tokens.written},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }
