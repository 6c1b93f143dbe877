"""A Messages request as a chat request."""

from __future__ import annotations

from typing import Any

from arbstr.engine.dialects.translation.caps import cap_field
from arbstr.engine.dialects.translation.conversation import Conversation
from arbstr.engine.dialects.translation.fields import copied, objects, table, unsupported, wrong
from arbstr.engine.dialects.translation.functions import is_strict
from arbstr.engine.dialects.translation.messages_content import add_assistant, add_user, system_text
from arbstr.engine.dialects.translation.messages_tools import chat_choice, chat_tools
from arbstr.types import JsonObject

_SAME = ("temperature", "top_p", "top_k")
_USUAL_EFFORT = "high"  # where nothing is said too; models without reasoning refuse any
_BUDGETS = (("low", 4096), ("medium", 16_384))  # tokens of thinking
_LONGEST_USER = 64  # what OpenAI takes; Claude Code's are longer


def to_chat(document: JsonObject) -> JsonObject:
    """Return the chat request for a Messages request.

    Raises `UnsupportedParameter` for what chat completions can't express, `InvalidParameter` for a wrong type.
    """
    _refuse(document)
    chat: JsonObject = {"model": document.get("model"), "messages": _messages(document)}
    if document.get("stream"):
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    if document.get("max_tokens") is not None:
        chat[cap_field(document.get("model"))] = document["max_tokens"]
    if document.get("stop_sequences"):
        chat["stop"] = document["stop_sequences"]
    copied(document, _SAME, chat)
    user = table(document.get("metadata"), "metadata").get("user_id")
    if isinstance(user, str) and 0 < len(user) <= _LONGEST_USER:
        chat["user"] = user
    if document.get("service_tier") == "standard_only":
        chat["service_tier"] = "default"
    _add_tools(document, chat)
    _add_output(document, chat)
    return chat


def _refuse(document: JsonObject) -> None:
    """Refuse what only Anthropic's own servers can do."""
    for name in ("mcp_servers", "container", "thread"):
        if document.get(name):
            raise unsupported(name)
    if document.get("inference_geo") not in (None, "global"):
        raise unsupported("inference_geo", document["inference_geo"])


def _messages(document: JsonObject) -> list[JsonObject]:
    conversation = Conversation()
    system = system_text(document.get("system"), "system")
    if system:
        conversation.instruct(system)
    messages = objects(document.get("messages"), "messages")
    if not messages:
        raise wrong("messages", "a list of at least one message")
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        role, content = message.get("role"), message.get("content")
        if role == "user":
            add_user(conversation, content, f"{path}.content")
        elif role == "assistant":
            add_assistant(conversation, content, f"{path}.content")
        elif role == "system":
            conversation.instruct(system_text(content, f"{path}.content"))
        else:
            raise wrong(f"{path}.role", "'user' or 'assistant'")
    return conversation.messages()


def _add_tools(document: JsonObject, chat: JsonObject) -> None:
    tools = chat_tools(document)
    if not tools:
        return
    chat["tools"] = tools
    choice = table(document.get("tool_choice"), "tool_choice")
    if choice:
        chat["tool_choice"] = chat_choice(choice)
    if choice.get("disable_parallel_tool_use") is True:
        chat["parallel_tool_calls"] = False


def _add_output(document: JsonObject, chat: JsonObject) -> None:
    """Add the effort, and the schema of the answer."""
    config = table(document.get("output_config"), "output_config")
    effort = config.get("effort") or _effort_of(table(document.get("thinking"), "thinking"))
    if effort not in (None, _USUAL_EFFORT):
        chat["reasoning_effort"] = effort
    path, form = "output_config.format", _format(config.get("format"), "output_config.format")
    if not form:
        path, form = "output_format", _format(document.get("output_format"), "output_format")
    if form:
        schema = table(form.get("schema"), f"{path}.schema")
        named: JsonObject = {"name": "output", "schema": schema}
        if is_strict(schema):
            named["strict"] = True
        chat["response_format"] = {"type": "json_schema", "json_schema": named}


def _effort_of(thinking: JsonObject) -> str | None:
    """Return the effort for a budget of thinking; None if the client has set none."""
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or not isinstance(budget, int):
        return None
    return next((effort for effort, most in _BUDGETS if budget <= most), _USUAL_EFFORT)


def _format(value: Any, path: str) -> JsonObject:
    form = table(value, path)
    if form and form.get("type") != "json_schema":
        raise unsupported(f"{path}.type", form.get("type"))
    return form
