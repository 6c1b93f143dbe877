"""Requests to fake providers, whatever their dialect: the question, limits, tools and the response format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

import orjson

from arbstr.mock import filler_text
from arbstr.types import JsonObject

ANY_OBJECT: JsonObject = {"type": "object"}
_MOST_CHOICES = 16
_WORD = re.compile(r"[a-z]{3,}")
_REQUESTED_CALL = re.compile(r"\bcall ([\w.:-]+) with (?=\{)", re.IGNORECASE)

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A message, or a part of one; the role `tool` is for results of tools."""

    role: Role
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that may be called, or a custom tool, which takes text instead of arguments."""

    name: str
    description: str = ""
    parameters: JsonObject = field(default_factory=lambda: ANY_OBJECT)
    custom: bool = False


@dataclass(frozen=True, slots=True)
class WantedCall:
    """A tool to call, with the arguments that the question gives, None where it leaves them open."""

    tool: Tool
    arguments: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether a tool is called: `auto`, `none`, `required`, or the one of that `name`; `parallel` allows several."""

    mode: Literal["auto", "none", "required"] = "auto"
    name: str | None = None
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request, parsed. `calls` are the tools to call, none for a text answer; `schema` is the response format.

    `prompt` is all that counts as input. `result` is what tools answered to the last calls. `max_tokens` limits each
    of the `choices`; None is no limit. `caching` says whether the prompt cache works by itself, on request, or not.
    """

    model: str
    document: JsonObject = field(repr=False)
    stream: bool
    max_tokens: int | None
    prompt: tuple[str, ...] = field(repr=False)
    question: str
    result: str | None = None
    choices: int = 1
    calls: tuple[WantedCall, ...] = ()
    schema: Any = None
    reasons: bool = False
    caching: Literal["automatic", "explicit", "none"] = "automatic"

    @property
    def input_tokens(self) -> int:
        """The number of input tokens, at least one."""
        return max(1, sum(map(len, self.prompt)) // filler_text.CHARS_PER_TOKEN)


def parsed(
    document: JsonObject,
    turns: Sequence[Turn],
    *,
    limits: Iterable[str],
    several: bool = False,
    tools: Sequence[Tool] = (),
    choice: ToolChoice | None = None,
    schema: Any = None,
    reasons: bool = False,
    caching: Literal["automatic", "explicit", "none"] = "automatic",
) -> ParsedRequest:
    """Return the request that a dialect found: its turns and tools.

    `limits` are the fields that may limit the answer; `several` dialects may ask for `n` choices.
    """
    question = next((turn.text for turn in reversed(turns) if not _is_systems(turn)), "")
    result = _result(turns)
    declared = document.get("tools")
    return ParsedRequest(
        model=document["model"],
        document=document,
        stream=document.get("stream") is True,
        max_tokens=next((limit for name in limits if is_count(limit := document.get(name))), None),
        prompt=(orjson.dumps(declared).decode() if declared else "", *(turn.text for turn in turns)),
        question=question,
        result=result,
        choices=min(document["n"], _MOST_CHOICES) if several and is_count(document.get("n")) else 1,
        calls=tuple(_calls(tools, choice or ToolChoice(), question, answered=result is not None)),
        schema=schema,
        reasons=reasons,
        caching=caching,
    )


def is_count(value: Any) -> TypeGuard[int]:
    """Check whether a value is a whole number above zero."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def member(document: Any, name: str) -> JsonObject:
    """Return the object of that name, empty if absent."""
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def objects(values: Any) -> list[JsonObject]:
    """Return the objects of a list, none if it is no list."""
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def text_of(content: Any) -> str:
    """Return a content's text, joined if it comes in parts."""
    if isinstance(content, list):
        return " ".join(part["text"] for part in objects(content) if isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def tool_of(declared: JsonObject, schema_name: str, *, custom: bool = False) -> Tool | None:
    """Return the tool that is declared so; None if it has no name."""
    name, description = declared.get("name"), declared.get("description")
    if not isinstance(name, str):
        return None
    schema = member(declared, schema_name) or ANY_OBJECT
    return Tool(name, description if isinstance(description, str) else "", schema, custom)


def _is_systems(turn: Turn) -> bool:
    """Return whether the system speaks, also in a user's place, as where a server takes system messages only first."""
    return turn.role == "system" or turn.text.startswith("<system>")


def _result(turns: Sequence[Turn]) -> str | None:
    """Return what tools answered since the assistant spoke last, None if they did not."""
    results: list[str] = []
    for turn in reversed(turns):
        if turn.role == "assistant":
            break
        if turn.role == "tool":
            results.insert(0, turn.text)
    return " ".join(results) if results else None


def _calls(tools: Sequence[Tool], choice: ToolChoice, question: str, *, answered: bool) -> Iterator[WantedCall]:
    """Yield the calls to make: of the tool asked for, those that the question spells out, or the one that fits it."""
    if choice.name is not None:
        yield from (WantedCall(tool) for tool in tools if tool.name == choice.name)
        return
    if choice.mode == "none" or not tools or (answered and choice.mode != "required"):
        return
    if requested := list(_requested_calls(tools, question)):
        yield from requested if choice.parallel else requested[:1]
        return
    words = set(_WORD.findall(question.lower()))
    yield WantedCall(max(tools, key=lambda tool: len(words & _words_of(tool))))  # the first of equals


def _requested_calls(tools: Sequence[Tool], question: str) -> Iterator[WantedCall]:
    """Yield the calls that a question spells out: `call NAME with {…}`."""
    by_name = {tool.name: tool for tool in tools}
    for found in _REQUESTED_CALL.finditer(question):
        try:
            arguments, _ = json.JSONDecoder().raw_decode(question, found.end())
        except ValueError:
            continue
        if found[1] in by_name:
            yield WantedCall(by_name[found[1]], arguments)


def _words_of(tool: Tool) -> set[str]:
    return set(_WORD.findall(f"{tool.name} {tool.description}".lower()))
