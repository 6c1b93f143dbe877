"""A Responses request as a chat request."""

from __future__ import annotations

from arbstr.engine.dialects.translation import responses_tools
from arbstr.engine.dialects.translation.caps import cap_field
from arbstr.engine.dialects.translation.fields import copied, table, text, unsupported, wrong
from arbstr.engine.dialects.translation.responses_input import messages_of
from arbstr.types import JsonObject

# Of the same name and meaning in both APIs.
_SAME = ("temperature", "top_p", "user", "safety_identifier", "prompt_cache_key")
# Not of the Responses API, but sent along by clients that know their provider.
_EXTRAS = (
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "top_k",
    "min_p",
    "repetition_penalty",
)
_LOGPROBS = "message.output_text.logprobs"
_WHOLE_INPUT = "send the whole conversation as 'input'"


def to_chat(document: JsonObject) -> JsonObject:
    """Return the chat request for a Responses request.

    Raises `UnsupportedParameter` for what chat completions can't express, `InvalidParameter` for a wrong type. What a
    request refers to by id has to be in it: see `ResponseHistory`.
    """
    _refuse(document)
    chat: JsonObject = {"model": document.get("model"), "messages": messages_of(document)}
    if document.get("stream"):
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    if document.get("max_output_tokens") is not None:
        chat[cap_field(document.get("model"))] = document["max_output_tokens"]
    copied(document, _SAME, chat)
    copied(document, _EXTRAS, chat)
    if document.get("service_tier") not in (None, "auto"):
        chat["service_tier"] = document["service_tier"]
    effort = table(document.get("reasoning"), "reasoning").get("effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    _add_tools(document, chat)
    _add_format(document, chat)
    _add_logprobs(document, chat)
    return chat


def _refuse(document: JsonObject) -> None:
    """Refuse what needs a server with a memory, or work that goes on after the answer."""
    for name in ("conversation", "prompt", "moderation"):
        if document.get(name) is not None:
            raise unsupported(name)
    if document.get("background"):
        raise unsupported("background", advice="leave it out and wait for the answer")
    if document.get("previous_response_id") is not None:
        raise unsupported("previous_response_id", document["previous_response_id"], advice=_WHOLE_INPUT)


def _add_tools(document: JsonObject, chat: JsonObject) -> None:
    tools = responses_tools.chat_tools(document)
    choice = responses_tools.chat_choice(document, tools)
    if tools:
        chat["tools"] = tools
        copied(document, ("parallel_tool_calls",), chat)
    if choice is not None:
        chat["tool_choice"] = choice


def _add_format(document: JsonObject, chat: JsonObject) -> None:
    settings = table(document.get("text"), "text")
    copied(settings, ("verbosity",), chat)
    form = table(settings.get("format"), "text.format")
    kind = form.get("type")
    if kind == "json_object":
        chat["response_format"] = {"type": "json_object"}
    elif kind == "json_schema":
        schema: JsonObject = {"name": text(form.get("name", "output"), "text.format.name")}
        schema["schema"] = table(form.get("schema"), "text.format.schema")
        copied(form, ("description", "strict"), schema)
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind not in (None, "text"):
        raise unsupported("text.format.type", kind)


def _add_logprobs(document: JsonObject, chat: JsonObject) -> None:
    include = document.get("include")
    if include is not None and not isinstance(include, list):
        raise wrong("include", "a list")
    top = document.get("top_logprobs")
    if top or _LOGPROBS in (include or ()):
        chat["logprobs"] = True
        if top:
            chat["top_logprobs"] = top
