"""The contents of Messages as chat messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arbstr.engine.dialects.translation.conversation import Conversation, marked_field
from arbstr.engine.dialects.translation.fields import dumps_text, objects, table, text, unsupported, wrong
from arbstr.engine.dialects.translation.functions import function_name
from arbstr.types import JsonObject

# Claude Code's first system block, of another value with each request: Anthropic does not show it to the model, and
# where another provider would, nothing after it could be cached.
_BILLING = "x-anthropic-billing-header:"
_SENT_AS_DATA = "send its content as base64"
# Of tools that Anthropic's servers ran; what they found is in the words of the text after them.
_PASSED_OVER = frozenset(
    (
        *("server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result"),
        *("bash_code_execution_tool_result", "text_editor_code_execution_tool_result", "tool_search_tool_result"),
        *("redacted_thinking", "mcp_tool_use", "mcp_tool_result"),
    )
)


def system_text(system: Any, path: str) -> str:
    """Return a system prompt as one text."""
    if system is None or isinstance(system, str):
        return system or ""
    blocks = objects(system, path)
    for index, block in enumerate(blocks):
        if block.get("type", "text") != "text":
            raise unsupported(f"{path}[{index}].type", block.get("type"))
    texts = [text(block.get("text"), f"{path}[{index}].text") for index, block in enumerate(blocks)]
    return "\n\n".join(words for words in texts if not words.startswith(_BILLING))


def add_user(conversation: Conversation, content: Any, path: str) -> None:
    """Add a user's message: first the results of tools in it, then the rest."""
    if isinstance(content, str):
        conversation.say(content)
        return
    blocks = _blocks(content, path)
    parts: list[JsonObject] = []
    for block, here in blocks:
        if block.get("type") == "tool_result":
            _add_result(conversation, block, here)
        else:
            parts += _parts(block, here)
    if parts or not blocks:
        conversation.say(_simplest(parts))


def add_assistant(conversation: Conversation, content: Any, path: str) -> None:
    """Add an assistant's message: text, tool calls, and reasoning that came from a provider of chat completions."""
    if isinstance(content, str):
        conversation.answer(content)
        return
    texts = []
    calls = []
    for block, here in _blocks(content, path):
        kind = block.get("type")
        if kind == "text":
            texts.append(text(block.get("text"), f"{here}.text"))
        elif kind == "tool_use":
            calls.append((block, here))
        elif kind == "thinking":
            field = marked_field(block.get("signature"))
            if field is not None:
                conversation.reason(field, text(block.get("thinking"), f"{here}.thinking"))
        elif kind not in _PASSED_OVER:
            raise unsupported(f"{here}.type", kind)
    if texts or not calls:
        conversation.answer("".join(texts))
    for block, here in calls:
        arguments = dumps_text(table(block.get("input"), f"{here}.input"))
        name = function_name(text(block.get("name"), f"{here}.name"))
        conversation.call(text(block.get("id"), f"{here}.id"), name, arguments)


def _blocks(content: Any, path: str) -> list[tuple[JsonObject, str]]:
    """Return the blocks of a content, each with its path."""
    if content is None:
        raise wrong(path, "a text or a list of blocks")
    blocks = [(block, f"{path}[{index}]") for index, block in enumerate(objects(content, path))]
    for block, here in blocks:
        text(block.get("type"), f"{here}.type")
    return blocks


def _add_result(conversation: Conversation, block: JsonObject, path: str) -> None:
    call_id = text(block.get("tool_use_id"), f"{path}.tool_use_id")
    content = block.get("content")
    parts: list[JsonObject] = []
    if isinstance(content, str):
        parts.append({"type": "text", "text": content})
    elif content is not None:
        for inner, here in _blocks(content, f"{path}.content"):
            parts += _parts(inner, here)
    words = "\n".join(part["text"] for part in parts if part["type"] == "text")
    if block.get("is_error") is True:
        words = f"Error: {words}"
    conversation.result(call_id, words, [part for part in parts if part["type"] != "text"])


def _simplest(parts: list[JsonObject]) -> str | list[JsonObject]:
    if len(parts) == 1 and parts[0]["type"] == "text":
        return text(parts[0]["text"], "content")
    return parts or ""


def _parts(block: JsonObject, path: str) -> list[JsonObject]:
    """Return a block of a user's or a tool's as parts of a chat content."""
    kind = block.get("type")
    if kind in _PASSED_OVER:
        return []
    make = _KINDS.get(text(kind, f"{path}.type"))
    if make is None:
        raise unsupported(f"{path}.type", kind)
    return make(block, path)


def _text_part(block: JsonObject, path: str) -> list[JsonObject]:
    return [{"type": "text", "text": text(block.get("text"), f"{path}.text")}]


def _image(block: JsonObject, path: str) -> list[JsonObject]:
    source = table(block.get("source"), f"{path}.source")
    kind = source.get("type")
    if kind == "base64":
        url = _data_url(source, f"{path}.source")
    elif kind == "url":
        url = text(source.get("url"), f"{path}.source.url")
    else:
        raise unsupported(f"{path}.source.type", kind, advice=_SENT_AS_DATA)
    return [{"type": "image_url", "image_url": {"url": url}}]


def _document(block: JsonObject, path: str) -> list[JsonObject]:
    source = table(block.get("source"), f"{path}.source")
    kind = source.get("type")
    title = block.get("title")
    named = [{"type": "text", "text": f"{title}:"}] if title and isinstance(title, str) else []
    if kind == "text":
        return [*named, {"type": "text", "text": text(source.get("data"), f"{path}.source.data")}]
    if kind == "content":
        return named + _content_parts(source.get("content"), f"{path}.source.content")
    if kind == "base64":
        name = title if named else "document.pdf"
        return [{"type": "file", "file": {"filename": name, "file_data": _data_url(source, f"{path}.source")}}]
    raise unsupported(f"{path}.source.type", kind, advice=_SENT_AS_DATA)


def _search_result(block: JsonObject, path: str) -> list[JsonObject]:
    named = [value for name in ("title", "source") if isinstance(value := block.get(name), str)]
    return [{"type": "text", "text": " ".join(named)}, *_content_parts(block.get("content"), f"{path}.content")]


def _tool_reference(block: JsonObject, path: str) -> list[JsonObject]:
    return [{"type": "text", "text": text(block.get("tool_name"), f"{path}.tool_name")}]


_KINDS: dict[str, Callable[[JsonObject, str], list[JsonObject]]] = {
    "text": _text_part,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "tool_reference": _tool_reference,
}


def _content_parts(content: Any, path: str) -> list[JsonObject]:
    """Return the parts of a document's or search result's content: texts and images."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    parts: list[JsonObject] = []
    for block, here in _blocks(content, path):
        kind = block["type"]
        if kind not in ("text", "image"):
            raise unsupported(f"{here}.type", kind)
        parts += _KINDS[kind](block, here)
    return parts


def _data_url(source: JsonObject, path: str) -> str:
    media_type = text(source.get("media_type"), f"{path}.media_type")
    return f"data:{media_type};base64,{text(source.get('data'), f'{path}.data')}"
