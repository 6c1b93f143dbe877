"""Anthropic's official client for Python."""

from __future__ import annotations

from typing import Any

import anthropic
import pydantic
from checks import (
    AT,
    BUSY,
    CITIES,
    ECHO,
    ECHOED,
    FAILING,
    KEY,
    MESSAGES,
    MODEL,
    OVERLOADED,
    PARAMETERS,
    ROOT,
    SAYING,
    TORN,
    TWO_CALLS,
    breaks_off,
    has,
    raises,
    run,
    same,
    weather,
)
from connect import variables

client = anthropic.Anthropic(base_url=ROOT, api_key=KEY, max_retries=0)
TOOLS: Any = [{"name": "get_weather", "input_schema": PARAMETERS}]
LIMIT = 4096
THINKING: Any = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}


class Answer(pydantic.BaseModel):
    answer: str


def connected() -> None:
    variables("anthropic", ECHO)
    unnamed = anthropic.Anthropic(max_retries=0)
    same(unnamed.messages.create(model=ECHO, max_tokens=LIMIT, messages=ECHOED).content[0].text, SAYING)


def message() -> None:
    answer = client.messages.create(model=ECHO, max_tokens=LIMIT, messages=ECHOED, system="Be brief.")
    same((answer.stop_reason, answer.content[0].text), ("end_turn", SAYING))
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0


def stream() -> None:
    with client.messages.stream(model=ECHO, max_tokens=LIMIT, messages=ECHOED) as stream:
        same("".join(stream.text_stream), SAYING)
        answer = stream.get_final_message()
    same((answer.stop_reason, answer.content[0].text), ("end_turn", SAYING))
    assert answer.usage.output_tokens > 1


def raw_stream() -> None:
    events = list(client.messages.create(model=ECHO, max_tokens=LIMIT, messages=ECHOED, stream=True))
    kinds = [event.type for event in events if event.type]  # a node says what it charged in an event of its own
    same((kinds[0], kinds[-1]), ("message_start", "message_stop"))


def limit() -> None:
    same(client.messages.create(model=MODEL, max_tokens=20, messages=MESSAGES).stop_reason, "max_tokens")


def tools() -> None:
    turns: list[Any] = [{"role": "user", "content": TWO_CALLS}]
    asked = client.messages.create(model=MODEL, max_tokens=LIMIT, messages=turns, tools=TOOLS)
    same((asked.stop_reason, [use.input["city"] for use in asked.content]), ("tool_use", CITIES))
    results = [
        {"type": "tool_result", "tool_use_id": use.id, "content": weather(use.input["city"])} for use in asked.content
    ]
    turns += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": results}]
    answer = client.messages.create(model=MODEL, max_tokens=LIMIT, messages=turns, tools=TOOLS)
    has(answer.content[0].text, "sunny in Bern sunny in Zürich")


def streamed_tools() -> None:
    turns: Any = [{"role": "user", "content": TWO_CALLS}]
    with client.messages.stream(model=MODEL, max_tokens=LIMIT, messages=turns, tools=TOOLS) as stream:
        answer = stream.get_final_message()
    same((answer.stop_reason, [use.input["city"] for use in answer.content]), ("tool_use", CITIES))


def one_of_the_tools_at_a_time() -> None:
    choice: Any = {"type": "auto", "disable_parallel_tool_use": True}
    turns: Any = [{"role": "user", "content": TWO_CALLS}]
    answer = client.messages.create(model=MODEL, max_tokens=LIMIT, messages=turns, tools=TOOLS, tool_choice=choice)
    same(len(answer.content), 1)


def parse() -> None:
    answer = client.messages.parse(model=MODEL, max_tokens=LIMIT, messages=MESSAGES, output_format=Answer)
    assert answer.parsed_output.answer


def thinking() -> None:
    answer = client.messages.create(model=MODEL, max_tokens=LIMIT, messages=MESSAGES, **THINKING)
    same([block.type for block in answer.content], ["thinking", "text"])
    assert answer.content[0].thinking


def streamed_thinking() -> None:
    with client.messages.stream(model=MODEL, max_tokens=LIMIT, messages=MESSAGES, **THINKING) as stream:
        answer = stream.get_final_message()
    same([block.type for block in answer.content], ["thinking", "text"])
    assert answer.content[0].thinking


def counted() -> None:
    if AT != "provider":  # nodes are never asked to count
        assert client.messages.count_tokens(model=MODEL, messages=MESSAGES).input_tokens > 0


def unknown_model() -> None:
    body: Any = None
    try:
        client.messages.create(model="no-such-model", max_tokens=LIMIT, messages=MESSAGES)
    except (anthropic.NotFoundError, anthropic.BadRequestError) as refused:
        body = refused.body
    assert body, "it was answered"
    same(body.get("type"), "error")
    assert body["error"]["message"]


def busy() -> None:
    request: Any = {"model": BUSY, "max_tokens": LIMIT, "messages": MESSAGES}
    raises(anthropic.RateLimitError, lambda: client.messages.create(**request))
    raises(anthropic.InternalServerError, lambda: client.messages.create(**{**request, "model": OVERLOADED}))


def failing_stream() -> None:
    for model in (FAILING, TORN):
        request: Any = {"model": model, "max_tokens": LIMIT, "messages": MESSAGES, "stream": True}
        breaks_off(lambda request=request: client.messages.create(**request))


run(
    connected, message, stream, raw_stream, limit, tools, streamed_tools, one_of_the_tools_at_a_time, parse, thinking,
    streamed_thinking, counted, unknown_model, failing_stream, busy,
)  # fmt: skip
