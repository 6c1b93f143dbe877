"""A chat answer as an answer of Messages."""

from __future__ import annotations

from typing import Any

from arbstr.engine import metering
from arbstr.engine.dialects.translation import chat_answer
from arbstr.engine.dialects.translation.chat_answer import Call, Reasoning
from arbstr.engine.dialects.translation.conversation import reasoning_mark
from arbstr.engine.dialects.translation.messages_tools import client_names
from arbstr.engine.lenient_json import loads
from arbstr.types import JsonObject

_STOP_REASONS = {"length": "max_tokens", "content_filter": "refusal"}


def from_chat(answer: JsonObject, request: JsonObject, *, answer_id: str, now_s: float) -> JsonObject:
    """Return the answer of Messages for a whole chat answer."""
    choice = chat_answer.choice_of(answer) or {}
    message = chat_answer.message_of(choice)
    calls = chat_answer.whole_calls(message, answer_id)
    refusal = chat_answer.refusal_of(message)
    shown = skeleton(request, answer, answer_id)
    names = client_names(request) if calls else {}
    shown["content"] = _content(message, refusal, [tool_use(call, names, _input(call)) for call in calls])
    shown |= stop_of(choice, request, has_calls=bool(calls), refusal=refusal)
    shown["usage"] = usage_of(metering.counts_of(answer))
    return shown


def skeleton(request: JsonObject, answer: JsonObject, answer_id: str) -> JsonObject:
    """Return what an answer says from its beginning; `answer` is a whole chat answer or the first chunk."""
    model = chat_answer.text_of(answer.get("model")) or request.get("model")
    return {"id": answer_id, "type": "message", "role": "assistant", "model": model}


def stop_of(choice: JsonObject, request: JsonObject, *, has_calls: bool, refusal: str) -> JsonObject:
    """Return why the answer ended."""
    finish = chat_answer.finish_of(choice) or ""
    met = chat_answer.stop_sequence_of(choice)
    if refusal:
        details = {"type": "refusal", "category": None, "explanation": refusal}
        return {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}
    if finish in _STOP_REASONS:
        return {"stop_reason": _STOP_REASONS[finish], "stop_sequence": None}
    if has_calls:
        return {"stop_reason": "tool_use", "stop_sequence": None}
    if met is not None and met in _list(request.get("stop_sequences")):
        return {"stop_reason": "stop_sequence", "stop_sequence": met}
    return {"stop_reason": "end_turn", "stop_sequence": None}


def usage_of(counts: metering.Counts | None) -> JsonObject:
    """Return the usage; what was read from a cache or written to it is not part of `input_tokens`."""
    tokens = chat_answer.tokens_of(counts)
    return {
        "input_tokens": tokens.input - tokens.cached - tokens.written,
        "cache_creation_input_tokens": tokens.written,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.output,
    }


def thinking_block(reasoning: Reasoning) -> JsonObject:
    """Return reasoning as a block; its mark lets it go back to the provider in the next request."""
    return {"type": "thinking", "thinking": reasoning.text, "signature": reasoning_mark(reasoning.field)}


def tool_use(call: Call, names: dict[str, str], arguments: JsonObject) -> JsonObject:
    """Return a tool call as a block; `names` are the client's where they had to be changed."""
    return {"type": "tool_use", "id": call.id, "name": names.get(call.name, call.name), "input": arguments}


def _content(message: JsonObject, refusal: str, calls: list[JsonObject]) -> list[JsonObject]:
    reasoning = chat_answer.reasoning_of(message)
    content = [] if reasoning is None else [thinking_block(reasoning)]
    words = [words for words in (chat_answer.content_of(message), refusal) if words]
    return [*content, *({"type": "text", "text": text} for text in words), *calls]


def _input(call: Call) -> JsonObject:
    """Return a call's arguments as an object, which they have to be."""
    try:
        value = loads((call.arguments or "{}").encode("utf-8", "surrogatepass"))
    except ValueError:
        value = call.arguments
    return value if isinstance(value, dict) else {"arguments": value}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
