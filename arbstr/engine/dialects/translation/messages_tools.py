"""The tools of a Messages request as functions of chat completions.

Tools that Anthropic's servers run have no equivalent: they are left out where `tool_choice` leaves the choice to the
model in so many words ("auto", "none"); otherwise the request is refused.
"""

from __future__ import annotations

from typing import Any

from arbstr.engine.dialects.translation.fields import objects, optional_text, table, text, unsupported, wrong
from arbstr.engine.dialects.translation.functions import NO_PARAMETERS, function_name, is_strict
from arbstr.types import JsonObject

_ADVICE = "leave it out, or send tool_choice {'type': 'auto'} to do without it"


def chat_tools(document: JsonObject) -> list[JsonObject]:
    """Return the tools for the chat request; raises `UnsupportedParameter` for a built-in one that is not optional."""
    tools = []
    for index, tool in enumerate(objects(document.get("tools"), "tools")):
        path = f"tools[{index}]"
        if tool.get("type") in (None, "custom"):
            tools.append({"type": "function", "function": _function(tool, path)})
        elif not _is_optional(document):
            raise unsupported(f"{path}.type", tool.get("type"), advice=_ADVICE)
    return tools


def chat_choice(choice: JsonObject) -> Any:
    """Return `tool_choice` for the chat request."""
    kind = choice.get("type")
    if kind == "any":
        return "required"
    if kind in ("auto", "none"):
        return kind
    if kind == "tool":
        name = function_name(text(choice.get("name"), "tool_choice.name"))
        return {"type": "function", "function": {"name": name}}
    raise wrong("tool_choice.type", "'auto', 'any', 'tool' or 'none'")


def client_names(document: JsonObject) -> dict[str, str]:
    """Return the names of the client's tools that had to be changed, by those in the chat request."""
    tools = objects(document.get("tools"), "tools")
    names = [name for tool in tools if isinstance(name := tool.get("name"), str)]
    return {changed: name for name in names if (changed := function_name(name)) != name}


def _function(tool: JsonObject, path: str) -> JsonObject:
    function: JsonObject = {"name": function_name(text(tool.get("name"), f"{path}.name"))}
    description = optional_text(tool.get("description"), f"{path}.description")
    if description:
        function["description"] = description
    function["parameters"] = table(tool.get("input_schema"), f"{path}.input_schema") or NO_PARAMETERS
    if tool.get("strict") is True and is_strict(function["parameters"]):
        function["strict"] = True
    return function


def _is_optional(document: JsonObject) -> bool:
    """Return whether the client leaves it to the model, in so many words, to call any tool at all."""
    choice = document.get("tool_choice")
    return isinstance(choice, dict) and choice.get("type") in ("auto", "none")
