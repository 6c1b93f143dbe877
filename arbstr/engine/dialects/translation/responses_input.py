"""The `instructions` and `input` of a Responses request as chat messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arbstr.engine.dialects.translation.conversation import Conversation, marked_field
from arbstr.engine.dialects.translation.fields import dumps_text, objects, optional_text, text, unsupported, wrong
from arbstr.engine.dialects.translation.responses_tools import CUSTOM_INPUT, TOOL_SEARCH, chat_name, found_names
from arbstr.types import JsonObject

_SYSTEM = ("system", "developer")  # few providers know "developer"
_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
# Of tools that another server ran; what they found is in the words of the message after them.
_PASSED_OVER = frozenset(
    ("web_search_call", "file_search_call", "code_interpreter_call", "mcp_list_tools", "configuration_update")
)


def messages_of(document: JsonObject) -> list[JsonObject]:
    """Return the chat messages; raises `InvalidParameter` or `UnsupportedParameter` with the path of what is wrong."""
    conversation = Conversation()
    instructions = optional_text(document.get("instructions"), "instructions")
    if instructions:
        conversation.instruct(instructions)
    given = document.get("input")
    if isinstance(given, str):
        conversation.say(given)
    elif given is not None:
        for index, item in enumerate(objects(given, "input")):
            _add(conversation, item, f"input[{index}]")
    messages = conversation.messages()
    if not messages:
        raise wrong("input", "a text or a list of items")
    return messages


def _add(conversation: Conversation, item: JsonObject, path: str) -> None:
    kind = item.get("type", "message")
    if not isinstance(kind, str):
        raise wrong(f"{path}.type", "a string")
    if kind in _PASSED_OVER:
        return
    add = _ITEMS.get(kind)
    if add is None:
        raise unsupported(f"{path}.type", kind)
    add(conversation, item, path)


def _add_message(conversation: Conversation, item: JsonObject, path: str) -> None:
    content = item.get("content")
    role = item.get("role")
    if role == "assistant":
        conversation.answer(_joined(content, f"{path}.content", ""), _refusal_of(content))
    elif role == "user":
        conversation.say(_parts(content, f"{path}.content"))
    elif role in _SYSTEM:
        conversation.instruct(_joined(content, f"{path}.content", "\n\n"))
    else:
        raise wrong(f"{path}.role", "'user', 'assistant', 'system' or 'developer'")


def _add_function_call(conversation: Conversation, item: JsonObject, path: str) -> None:
    name = chat_name(text(item.get("name"), f"{path}.name"), item.get("namespace"))
    arguments = text(item.get("arguments"), f"{path}.arguments")
    conversation.call(_call_id(item, path), name, arguments or "{}")


def _add_custom_call(conversation: Conversation, item: JsonObject, path: str) -> None:
    name = chat_name(text(item.get("name"), f"{path}.name"), item.get("namespace"))
    arguments = {CUSTOM_INPUT: text(item.get("input"), f"{path}.input")}
    conversation.call(_call_id(item, path), name, dumps_text(arguments))


def _add_search_call(conversation: Conversation, item: JsonObject, path: str) -> None:
    arguments = item.get("arguments")
    arguments = arguments if isinstance(arguments, str) else dumps_text(arguments or {})
    conversation.call(_call_id(item, path), TOOL_SEARCH, arguments)


def _add_search_output(conversation: Conversation, item: JsonObject, path: str) -> None:
    if item.get("call_id") is None:  # of a search that the API's server made; its tools are declared all the same
        return
    conversation.result(_call_id(item, path), dumps_text({"tools": found_names(item, path)}), [])


def _add_output(conversation: Conversation, item: JsonObject, path: str) -> None:
    output = item.get("output")
    if isinstance(output, list):
        parts = [_part(part, f"{path}.output[{i}]") for i, part in enumerate(objects(output, f"{path}.output"))]
        texts = [part["text"] for part in parts if part["type"] == "text"]
        shown = [part for part in parts if part["type"] != "text"]
        conversation.result(_call_id(item, path), "\n".join(texts), shown)
    else:
        words = output if isinstance(output, str) else dumps_text(output)
        conversation.result(_call_id(item, path), words, [])


def _add_reasoning(conversation: Conversation, item: JsonObject, path: str) -> None:
    """Add reasoning that came from a provider of chat completions; only its own API's server can read another's."""
    field = marked_field(item.get("encrypted_content"))
    if field is None:
        return
    said = [*objects(item.get("summary"), f"{path}.summary"), *objects(item.get("content"), f"{path}.content")]
    words = "".join(part["text"] for part in said if isinstance(part.get("text"), str))
    if words:
        conversation.reason(field, words)


def _add_nothing(_conversation: Conversation, _item: JsonObject, _path: str) -> None:
    """Add nothing: the item only declares tools."""


_ITEMS: dict[str, Callable[[Conversation, JsonObject, str], None]] = {
    "message": _add_message,
    "function_call": _add_function_call,
    "function_call_output": _add_output,
    "custom_tool_call": _add_custom_call,
    "custom_tool_call_output": _add_output,
    "tool_search_call": _add_search_call,
    "tool_search_output": _add_search_output,
    "reasoning": _add_reasoning,
    "additional_tools": _add_nothing,
}


def _call_id(item: JsonObject, path: str) -> str:
    return text(item.get("call_id"), f"{path}.call_id")


def _joined(content: Any, path: str, separator: str) -> str:
    """Return the text of a message that chat completions has as one text."""
    if isinstance(content, str):
        return content
    texts = []
    for index, part in enumerate(objects(content, path)):
        kind = part.get("type")
        if kind in _TEXTS:
            texts.append(text(part.get("text"), f"{path}[{index}].text"))
        elif kind != "refusal":
            raise unsupported(f"{path}[{index}].type", kind)
    return separator.join(texts)


def _refusal_of(content: Any) -> str | None:
    """Return the refusal among an assistant's parts."""
    if not isinstance(content, list):
        return None
    found = [part.get("refusal") for part in content if part.get("type") == "refusal"]
    return next((refusal for refusal in found if isinstance(refusal, str)), None)


def _parts(content: Any, path: str) -> str | list[JsonObject]:
    """Return a user's content, as a text where it is a single one."""
    if isinstance(content, str):
        return content
    parts = [_part(part, f"{path}[{index}]") for index, part in enumerate(objects(content, path))]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return text(parts[0]["text"], path)
    return parts or ""


def _part(part: JsonObject, path: str) -> JsonObject:
    kind = part.get("type")
    if kind == "input_image":
        return _image(part, path)
    if kind == "input_file":
        return _file(part, path)
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part.get("input_audio")}
    if kind in _TEXTS:
        return {"type": "text", "text": text(part.get("text"), f"{path}.text")}
    raise unsupported(f"{path}.type", kind)


def _image(part: JsonObject, path: str) -> JsonObject:
    if part.get("file_id") is not None:
        raise unsupported(f"{path}.file_id", advice="send the image as a data URL in 'image_url'")
    image: JsonObject = {"url": text(part.get("image_url"), f"{path}.image_url")}
    detail = part.get("detail")
    if detail is not None:
        image["detail"] = "high" if detail == "original" else detail
    return {"type": "image_url", "image_url": image}


def _file(part: JsonObject, path: str) -> JsonObject:
    if part.get("file_url") is not None:
        raise unsupported(f"{path}.file_url", advice="send the file in 'file_data'")
    file = {name: text(part[name], f"{path}.{name}") for name in ("filename", "file_data", "file_id") if part.get(name)}
    return {"type": "file", "file": file}
