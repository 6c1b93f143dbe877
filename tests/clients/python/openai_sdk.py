"""The official client for Python."""

from __future__ import annotations

import json

import openai
import pydantic
from checks import BASE, KEY, MESSAGES, MODEL, TOOLS, run

client = openai.OpenAI(base_url=BASE, api_key=KEY, max_retries=0)


class Answer(pydantic.BaseModel):
    answer: str


def chat() -> None:
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert answer.choices[0].message.content
    assert answer.usage
    assert answer.usage.completion_tokens > 0


def stream() -> None:
    chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert any(choice.finish_reason for chunk in chunks for choice in chunk.choices)


def stream_helper() -> None:
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content


def tools() -> None:
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=TOOLS)
    (call,) = answer.choices[0].message.tool_calls or ()
    assert isinstance(json.loads(call.function.arguments)["city"], str)


def streamed_tools() -> None:
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES, tools=TOOLS) as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls or ()
    assert isinstance(json.loads(call.function.arguments)["city"], str)


def parse() -> None:
    answer = client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=Answer)
    assert answer.choices[0].message.parsed.answer


def unknown_model() -> None:
    try:
        client.chat.completions.create(model="no-such-model", messages=MESSAGES)
    except (openai.NotFoundError, openai.BadRequestError):
        return
    raise AssertionError("it was answered")


def models() -> None:
    assert MODEL in [model.id for model in client.models.list()]


run(chat, stream, stream_helper, tools, streamed_tools, parse, unknown_model, models)
