"""LiteLLM's SDK, pointed at a server of OpenAI's and Anthropic's APIs."""

from __future__ import annotations

import json
from typing import Any

import litellm
from checks import (
    BASE,
    CITIES,
    ECHO,
    ECHOED,
    EMBEDDINGS,
    KEY,
    MODEL,
    PARAMETERS,
    ROOT,
    SAYING,
    TOOLS,
    TWO_CALLS,
    has,
    run,
    same,
    weather,
)
from connect import program

litellm.telemetry = False
COMMON: Any = {"api_base": BASE, "api_key": KEY, "num_retries": 0}
CHAT: Any = {"model": f"openai/{MODEL}", **COMMON}
CHAT_ECHO: Any = {"model": f"openai/{ECHO}", **COMMON}
MESSAGE: Any = {"model": f"anthropic/{MODEL}", **COMMON, "api_base": ROOT}
MESSAGE_ECHO: Any = {"model": f"anthropic/{ECHO}", **COMMON, "api_base": ROOT}


def connected() -> None:
    same(program("litellm", ECHO)["answer"].choices[0].message.content, "Hello")


def answers(common: Any) -> None:
    answer = litellm.completion(**common, messages=ECHOED)
    same(answer.choices[0].message.content, SAYING)
    assert answer.usage.completion_tokens > 0


def streams(common: Any) -> None:
    parts = list(litellm.completion(**common, messages=ECHOED, stream=True))
    same("".join(part.choices[0].delta.content or "" for part in parts), SAYING)
    same(next(part.choices[0].finish_reason for part in parts if part.choices[0].finish_reason), "stop")


def uses_tools(common: Any) -> None:
    turns: list[Any] = [{"role": "user", "content": TWO_CALLS}]
    asked = litellm.completion(**common, messages=turns, tools=TOOLS).choices[0].message
    same([json.loads(call.function.arguments)["city"] for call in asked.tool_calls], CITIES)
    turns.append(asked.model_dump())
    for call in asked.tool_calls:
        result = weather(json.loads(call.function.arguments)["city"])
        turns.append({"role": "tool", "tool_call_id": call.id, "content": result})
    answer = litellm.completion(**common, messages=turns, tools=TOOLS)
    has(answer.choices[0].message.content, "sunny in Bern sunny in Zürich")


def streams_tools(common: Any) -> None:
    turns = [{"role": "user", "content": TWO_CALLS}]
    whole = litellm.stream_chunk_builder(list(litellm.completion(**common, messages=turns, tools=TOOLS, stream=True)))
    same([json.loads(call.function.arguments)["city"] for call in whole.choices[0].message.tool_calls], CITIES)


def chat() -> None:
    answers(CHAT_ECHO)


def stream() -> None:
    streams(CHAT_ECHO)


def tools() -> None:
    uses_tools(CHAT)


def streamed_tools() -> None:
    streams_tools(CHAT)


def message() -> None:
    answers(MESSAGE_ECHO)


def message_stream() -> None:
    streams(MESSAGE_ECHO)


def message_tools() -> None:
    uses_tools(MESSAGE)


def message_streamed_tools() -> None:
    streams_tools(MESSAGE)


def response() -> None:
    answer = litellm.responses(input=SAYING, **CHAT_ECHO)
    same("".join(part.text for item in answer.output if item.type == "message" for part in item.content), SAYING)


def response_stream() -> None:
    events = list(litellm.responses(input=SAYING, stream=True, **CHAT_ECHO))
    same("".join(event.delta for event in events if event.type == "response.output_text.delta"), SAYING)


def response_tools() -> None:
    declared: Any = [{"type": "function", "name": "get_weather", "parameters": PARAMETERS}]
    answer = litellm.responses(input=TWO_CALLS, tools=declared, **CHAT)
    same([json.loads(item.arguments)["city"] for item in answer.output if item.type == "function_call"], CITIES)


def embeddings() -> None:
    answer = litellm.embedding(model=f"openai/{EMBEDDINGS}", input=["one", "two"], **COMMON)
    same(len(answer.data), 2)


run(
    connected,
    chat,
    stream,
    tools,
    streamed_tools,
    message,
    message_stream,
    message_tools,
    message_streamed_tools,
    response,
    response_stream,
    response_tools,
    embeddings,
)
