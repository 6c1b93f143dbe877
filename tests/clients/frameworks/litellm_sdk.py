"""LiteLLM's SDK, pointed at an OpenAI-compatible server."""

from __future__ import annotations

import json

import litellm
from checks import BASE, KEY, MESSAGES, MODEL, TOOLS, run

litellm.telemetry = False
common = {"model": f"openai/{MODEL}", "api_base": BASE, "api_key": KEY, "messages": MESSAGES, "num_retries": 0}


def chat() -> None:
    answer = litellm.completion(**common)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def stream() -> None:
    parts = list(litellm.completion(**common, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in parts)
    assert parts[-1].choices[0].finish_reason or any(part.choices[0].finish_reason for part in parts)


def tools() -> None:
    (call,) = litellm.completion(**common, tools=TOOLS).choices[0].message.tool_calls
    assert isinstance(json.loads(call.function.arguments)["city"], str)


def streamed_tools() -> None:
    parts = list(litellm.completion(**common, tools=TOOLS, stream=True))
    whole = litellm.stream_chunk_builder(parts, messages=MESSAGES)
    (call,) = whole.choices[0].message.tool_calls
    assert isinstance(json.loads(call.function.arguments)["city"], str)


run(chat, stream, tools, streamed_tools)
