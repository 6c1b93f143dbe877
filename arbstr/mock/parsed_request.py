"""Parsing of requests to fake providers: the question, limits, tools and the response format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from arbstr.mock import filler_text
from arbstr.types import JsonObject

ANY_OBJECT = {"type": "object"}
_MOST_CHOICES = 16
_WORD = re.compile(r"[a-z]{3,}")


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request, parsed. `tool` is the function to call, None for a text answer; `schema` is the response format.

    `max_tokens` limits each of the `choices`; None is no limit.
    """

    model: str
    stream: bool
    max_tokens: int | None
    input_tokens: int
    question: str
    choices: int = 1
    tool: JsonObject | None = None
    schema: Any = None


def parse_request(body: bytes) -> ParsedRequest | None:
    """Parse a body. Return None if it is no chat request."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    messages = document.get("messages") if isinstance(document, dict) else None
    if not isinstance(messages, list) or not isinstance(document.get("model"), str):
        return None
    texts = [_text(message) for message in messages]
    question = texts[-1] if texts else ""
    return ParsedRequest(
        model=document["model"],
        stream=document.get("stream") is True,
        max_tokens=next((limit for name in _LIMITS if _is_count(limit := document.get(name))), None),
        input_tokens=max(1, (sum(map(len, texts)) + _tool_chars(document)) // filler_text.CHARS_PER_TOKEN),
        question=question,
        choices=min(document["n"], _MOST_CHOICES) if _is_count(document.get("n")) else 1,
        tool=_tool(document, messages, question),
        schema=_schema(document.get("response_format")),
    )


_LIMITS = ("max_tokens", "max_completion_tokens")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _text(message: Any) -> str:
    """Return a message's text, joined if it comes in parts."""
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return " ".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _tool_chars(document: JsonObject) -> int:
    tools = document.get("tools")
    return len(orjson.dumps(tools)) if tools else 0


def _tool(document: JsonObject, messages: list[Any], question: str) -> JsonObject | None:
    """Return the function to call: the one asked for or the one that fits the question; None once it has a result."""
    functions = _functions(document.get("tools"))
    choice = document.get("tool_choice")
    if isinstance(choice, dict):
        name = _member(choice, "function").get("name")
        return next((function for function in functions if function["name"] == name), None)
    answered = isinstance(messages[-1], dict) and messages[-1].get("role") == "tool" if messages else False
    if choice == "none" or not functions or (answered and choice != "required"):
        return None
    words = set(_WORD.findall(question.lower()))
    return max(functions, key=lambda function: len(words & _words_of(function)))  # the first of equals


def _functions(tools: Any) -> list[JsonObject]:
    declared = [tool.get("function") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return [one for one in declared if isinstance(one, dict) and isinstance(one.get("name"), str)]


def _words_of(function: JsonObject) -> set[str]:
    return set(_WORD.findall(f"{function['name']} {function.get('description') or ''}".lower()))


def _schema(wanted: Any) -> Any:
    """Return the schema of the answer, None for text."""
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        return _member(_member(wanted, "json_schema"), "schema")
    return ANY_OBJECT if kind == "json_object" else None


def _member(document: JsonObject, name: str) -> JsonObject:
    """Return the object of that name, empty if absent."""
    member = document.get(name)
    return member if isinstance(member, dict) else {}
