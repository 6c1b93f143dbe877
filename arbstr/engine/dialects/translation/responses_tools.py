"""The tools of a Responses request as functions of chat completions, and calls of those functions back as items.

Custom tools (free-form input) become functions with one string argument, tools of namespaces functions with a longer
name. Built-in tools, which the API's own server runs, have no equivalent: they are left out where `tool_choice` leaves
the choice to the model in so many words ("auto", "none"), as Codex does with `web_search`; otherwise the request is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from arbstr.engine.dialects.translation.fields import objects, optional_text, table, text, unsupported, wrong
from arbstr.engine.dialects.translation.functions import NO_PARAMETERS, function_name
from arbstr.engine.lenient_json import loads
from arbstr.types import JsonObject

CUSTOM_INPUT = "input"
TOOL_SEARCH = "tool_search"

_DEFAULT_NAMESPACE = "functions"  # tools in it go by their plain names
_ADVICE = "leave it out, or send tool_choice 'auto' to do without it"


class ClientTool(NamedTuple):
    """A tool as the client knows it."""

    kind: Literal["function", "custom", "tool_search"]
    name: str
    namespace: str | None = None


class _Declared(NamedTuple):
    path: str
    tool: JsonObject
    namespace: str | None


def chat_tools(document: JsonObject) -> list[JsonObject]:
    """Return the tools for the chat request; raises `UnsupportedParameter` for a built-in one that is not optional."""
    allowed = _allowed(document)
    found: dict[str, JsonObject] = {}
    for path, tool, namespace in _declared(document):
        client = _client_tool(tool, path, namespace)
        if client is None:
            if not _is_optional(document):
                raise unsupported(f"{path}.type", tool.get("type"), advice=_ADVICE)
            continue
        name = _chat_name(client)
        if name not in found and (allowed is None or client.name in allowed):
            found[name] = {"type": "function", "function": _function(tool, path, name)}
    return list(found.values())


def client_tools(document: JsonObject) -> dict[str, ClientTool]:
    """Return the client's tools by their names in the chat request."""
    found: dict[str, ClientTool] = {}
    for path, tool, namespace in _declared(document):
        client = _client_tool(tool, path, namespace)
        if client is not None:
            found.setdefault(_chat_name(client), client)
    return found


def chat_name(name: str, namespace: Any) -> str:
    """Return a tool's name in the chat request."""
    return _chat_name(ClientTool("function", name, namespace if isinstance(namespace, str) else None))


def found_names(item: JsonObject, path: str) -> list[str]:
    """Return the names in the chat request of the tools that a search has found."""
    declared = _flat(item.get("tools"), f"{path}.tools")
    clients = [_client_tool(tool, here, namespace) for here, tool, namespace in declared]
    return [_chat_name(client) for client in clients if client is not None]


def chat_choice(document: JsonObject, tools: list[JsonObject]) -> Any:
    """Return `tool_choice` for the chat request, None for the default."""
    choice = document.get("tool_choice")
    if isinstance(choice, dict):
        choice = _choice_of_object(choice)
    elif choice not in (None, "auto", "none", "required"):
        raise wrong("tool_choice", "'auto', 'none', 'required' or an object")
    if choice == "required" and not tools:
        raise wrong("tools", "a list of at least one tool where tool_choice is 'required'")
    return choice if tools else None


def custom_input(arguments: str) -> str:
    """Return the input of a custom tool from the arguments of the function it became.

    Models that were trained on the tool write its input bare: then all of it is the input.
    """
    try:
        value = loads(arguments.encode("utf-8", "surrogatepass"))
    except ValueError:
        return arguments
    if not isinstance(value, dict):
        return arguments
    given = value.get(CUSTOM_INPUT, next(iter(value.values()), "") if len(value) == 1 else None)
    return given if isinstance(given, str) else arguments


def _declared(document: JsonObject) -> Iterator[_Declared]:
    """Yield all tools, also those that items of the input add."""
    yield from _flat(document.get("tools"), "tools")
    items = document.get("input")
    if not isinstance(items, list):
        return
    for index, item in enumerate(items):
        if isinstance(item, dict) and item.get("type") in ("additional_tools", "tool_search_output"):
            yield from _flat(item.get("tools"), f"input[{index}].tools")


def _flat(tools: Any, path: str) -> Iterator[_Declared]:
    for index, tool in enumerate(objects(tools, path)):
        here = f"{path}[{index}]"
        if tool.get("type") != "namespace":
            yield _Declared(here, tool, None)
            continue
        namespace = text(tool.get("name"), f"{here}.name")
        for place, inner in enumerate(objects(tool.get("tools"), f"{here}.tools")):
            yield _Declared(f"{here}.tools[{place}]", inner, namespace)


def _client_tool(tool: JsonObject, path: str, namespace: str | None) -> ClientTool | None:
    """Return what the client calls a tool; None for one that its API's server runs."""
    kind = tool.get("type")
    if kind in ("function", "custom"):
        name = tool.get("name")
        if name is None and isinstance(tool.get("function"), dict):  # the shape of chat completions, sent by mistake
            name = tool["function"].get("name")
        return ClientTool(kind, text(name, f"{path}.name"), namespace)
    if kind == TOOL_SEARCH and tool.get("execution") == "client":
        return ClientTool("tool_search", TOOL_SEARCH)
    return None


def _function(tool: JsonObject, path: str, name: str) -> JsonObject:
    if isinstance(tool.get("function"), dict):
        tool = tool["function"]
    function: JsonObject = {"name": name}
    description = optional_text(tool.get("description"), f"{path}.description")
    if tool.get("type") == "custom":
        return function | _custom(tool, path, description or "")
    if description:
        function["description"] = description
    function["parameters"] = table(tool.get("parameters"), f"{path}.parameters") or NO_PARAMETERS
    if tool.get("strict") is True:
        function["strict"] = True
    return function


def _custom(tool: JsonObject, path: str, description: str) -> JsonObject:
    """Return a custom tool's description, with its grammar in it, and the schema of its one argument."""
    form = table(tool.get("format"), f"{path}.format")
    grammar = form.get("definition")
    if isinstance(grammar, str):
        description += f"\n\nThe input follows this grammar ({form.get('syntax')}):\n{grammar}"
    properties = {CUSTOM_INPUT: {"type": "string", "description": "The tool's whole input, as plain text."}}
    schema = {"type": "object", "properties": properties, "required": [CUSTOM_INPUT], "additionalProperties": False}
    return {"description": description.strip(), "parameters": schema}


def _chat_name(tool: ClientTool) -> str:
    if tool.namespace in (None, _DEFAULT_NAMESPACE):
        return function_name(tool.name)
    return function_name(f"{tool.namespace}__{tool.name}")


def _is_optional(document: JsonObject) -> bool:
    """Return whether the client leaves it to the model, in so many words, to call any tool at all."""
    choice = document.get("tool_choice")
    if isinstance(choice, dict):
        return choice.get("type") == "allowed_tools" and choice.get("mode") == "auto"
    return choice in ("auto", "none")


def _allowed(document: JsonObject) -> set[str] | None:
    """Return the names of the only tools that may be called, None for all."""
    choice = document.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return None
    tools = objects(choice.get("tools"), "tool_choice.tools")
    return {name for tool in tools if isinstance(name := tool.get("name"), str)}


def _choice_of_object(choice: JsonObject) -> Any:
    kind = choice.get("type")
    if kind == "allowed_tools":
        return choice.get("mode") if choice.get("mode") in ("auto", "required") else "auto"
    if kind in ("function", "custom"):
        inner = choice if kind == "custom" else table(choice.get("function"), "tool_choice.function") or choice
        name = text(inner.get("name"), "tool_choice.name")
        namespace = optional_text(choice.get("namespace"), "tool_choice.namespace")
        return {"type": "function", "function": {"name": _chat_name(ClientTool(kind, name, namespace))}}
    raise unsupported("tool_choice.type", kind)
