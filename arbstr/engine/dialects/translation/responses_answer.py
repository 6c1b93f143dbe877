"""A chat answer as a Responses answer, and the pieces that a stream is made of too."""

from __future__ import annotations

from typing import Any

from arbstr.engine import metering
from arbstr.engine.dialects.translation import chat_answer
from arbstr.engine.dialects.translation.chat_answer import Call, Reasoning, suffix_of
from arbstr.engine.dialects.translation.conversation import reasoning_mark
from arbstr.engine.dialects.translation.responses_tools import ClientTool, client_tools, custom_input
from arbstr.engine.lenient_json import loads
from arbstr.types import JsonObject

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED: JsonObject = {  # and what they are where the client does not say
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def from_chat(answer: JsonObject, request: JsonObject, *, answer_id: str, now_s: float) -> JsonObject:
    """Return the Responses answer for a whole chat answer."""
    choice = chat_answer.choice_of(answer) or {}
    finish = chat_answer.finish_of(choice)
    response = skeleton(request, answer, answer_id, now_s)
    output = _output(choice, request, answer_id, item_status(finish))
    response |= ending(finish, output, metering.counts_of(answer))
    if response["status"] == "completed":
        response["completed_at"] = int(now_s)
    return response


def skeleton(request: JsonObject, answer: JsonObject, answer_id: str, now_s: float) -> JsonObject:
    """Return what an answer says from its beginning; `answer` is a whole chat answer or the first chunk."""
    given = {name: default if (value := request.get(name)) is None else value for name, default in _ECHOED.items()}
    given["model"] = chat_answer.text_of(answer.get("model")) or request.get("model")
    if isinstance(answer.get("service_tier"), str):
        given["service_tier"] = answer["service_tier"]
    return {"id": answer_id, "object": "response", "created_at": int(now_s), **given}


def ending(finish: str | None, output: list[JsonObject], counts: metering.Counts | None) -> JsonObject:
    """Return what an answer says at its end."""
    reason = _INCOMPLETE.get(finish or "")
    return {
        "status": "completed" if reason is None else "incomplete",
        "error": None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "output": output,
        "usage": usage_of(counts),
    }


def item_status(finish: str | None) -> str:
    """Return the status of the answer's last item."""
    return "incomplete" if finish in _INCOMPLETE else "completed"


def usage_of(counts: metering.Counts | None) -> JsonObject:
    """Return the usage; cached, written and reasoning tokens are parts of the input and the output."""
    tokens = chat_answer.tokens_of(counts)
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": tokens.written},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }


def reasoning_item(item_id: str, reasoning: Reasoning, status: str) -> JsonObject:
    """Return reasoning as an item; its mark lets it go back to the provider in the next request."""
    summary = [{"type": "summary_text", "text": reasoning.text}]
    mark = reasoning_mark(reasoning.field)
    return {"id": item_id, "type": "reasoning", "summary": summary, "encrypted_content": mark, "status": status}


def message_item(item_id: str, content: list[JsonObject], status: str) -> JsonObject:
    """Return a message as an item."""
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def text_part(text: str, annotations: list[JsonObject], logprobs: list[JsonObject]) -> JsonObject:
    """Return a text as a part of a message."""
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": logprobs}


def call_item(answer_id: str, call: Call, tools: dict[str, ClientTool], status: str) -> JsonObject:
    """Return a tool call as the item that the client's tool is called by."""
    suffix = f"{suffix_of(answer_id)}_{call.position}"
    tool = tools.get(call.name) or ClientTool("function", call.name)
    item: JsonObject = {"call_id": call.id, "name": tool.name, "status": status}
    if tool.namespace is not None:
        item["namespace"] = tool.namespace
    if tool.kind == "custom":
        return {"id": f"ctc_{suffix}", "type": "custom_tool_call", "input": custom_input(call.arguments), **item}
    if tool.kind == "tool_search":
        found = {"execution": "client", "arguments": _parsed(call.arguments), "call_id": call.id, "status": status}
        return {"id": f"tsc_{suffix}", "type": "tool_search_call", **found}
    return {"id": f"fc_{suffix}", "type": "function_call", "arguments": call.arguments or "{}", **item}


def annotation_of(annotation: JsonObject) -> JsonObject | None:
    """Return a citation as Responses has it, None if it is of another kind."""
    cited = annotation.get("url_citation")
    if not isinstance(cited, dict):
        return None
    start, end = (cited.get(name) if isinstance(cited.get(name), int) else 0 for name in ("start_index", "end_index"))
    title, url = (chat_answer.text_of(cited.get(name)) for name in ("title", "url"))
    return {"type": "url_citation", "start_index": start, "end_index": end, "title": title, "url": url}


def _output(choice: JsonObject, request: JsonObject, answer_id: str, status: str) -> list[JsonObject]:
    message = chat_answer.message_of(choice)
    suffix = suffix_of(answer_id)
    reasoning = chat_answer.reasoning_of(message)
    output = [] if reasoning is None else [reasoning_item(f"rs_{suffix}_0", reasoning, "completed")]
    parts = _message_parts(message, choice)
    if parts:
        output.append(message_item(f"msg_{suffix}_{len(output)}", parts, "completed"))
    calls = chat_answer.whole_calls(message, answer_id)
    tools = client_tools(request) if calls else {}
    output += [call_item(answer_id, call, tools, "completed") for call in calls]
    if not output:
        output = [message_item(f"msg_{suffix}_0", [text_part("", [], [])], "completed")]
    output[-1]["status"] = status
    return output


def _message_parts(message: JsonObject, choice: JsonObject) -> list[JsonObject]:
    parts = []
    text, refusal = chat_answer.content_of(message), chat_answer.refusal_of(message)
    if text:
        found = [shown for one in chat_answer.annotations_of(message) if (shown := annotation_of(one)) is not None]
        parts.append(text_part(text, found, chat_answer.logprobs_of(choice)))
    if refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    return parts


def _parsed(arguments: str) -> Any:
    try:
        return loads(arguments.encode("utf-8", "surrogatepass"))
    except ValueError:
        return arguments
