"""The official client for Python: every dialect but messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
from checks import (
    AT,
    BASE,
    BUSY,
    CITIES,
    ECHO,
    ECHOED,
    EMBEDDINGS,
    FAILING,
    KEY,
    MESSAGES,
    MODEL,
    ONE_CALL,
    PARAMETERS,
    QUESTION,
    SAYING,
    TOOLS,
    TORN,
    TWO_CALLS,
    breaks_off,
    has,
    raises,
    run,
    same,
    weather,
)  # fmt: skip
from connect import variables

client = openai.OpenAI(base_url=BASE, api_key=KEY, max_retries=0)
RESPONSE_TOOLS: Any = [{"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": False}]


class Answer(pydantic.BaseModel):
    answer: str


def connected() -> None:
    variables("openai", ECHO)
    same(openai.OpenAI(max_retries=0).responses.create(model=ECHO, input=SAYING).output_text, SAYING)


def chat() -> None:
    answer = client.chat.completions.create(model=ECHO, messages=ECHOED)
    same(answer.choices[0].message.content, SAYING)
    assert answer.usage
    assert answer.usage.completion_tokens > 0


def stream() -> None:
    chunks = list(client.chat.completions.create(model=ECHO, messages=ECHOED, stream=True))
    same("".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices), SAYING)
    same([choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason], ["stop"])


def stream_helper() -> None:
    with client.chat.completions.stream(model=ECHO, messages=ECHOED) as stream:
        for _ in stream:
            pass
        same(stream.get_final_completion().choices[0].message.content, SAYING)


def tools() -> None:
    turns: Any = [{"role": "user", "content": TWO_CALLS}]
    asked = client.chat.completions.create(model=MODEL, messages=turns, tools=TOOLS).choices[0].message
    calls = asked.tool_calls or []
    same([json.loads(call.function.arguments)["city"] for call in calls], CITIES)
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": weather(json.loads(call.function.arguments)["city"])}
        for call in calls
    ]
    answer = client.chat.completions.create(model=MODEL, messages=[*turns, asked, *results], tools=TOOLS)
    has(answer.choices[0].message.content, "sunny in Bern sunny in Zürich")


def streamed_tools() -> None:
    turns: Any = [{"role": "user", "content": TWO_CALLS}]
    with client.chat.completions.stream(model=MODEL, messages=turns, tools=TOOLS) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls or ()
    same([json.loads(call.function.arguments)["city"] for call in calls], CITIES)


def parse() -> None:
    answer = client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=Answer)
    assert answer.choices[0].message.parsed.answer


def unknown_model() -> None:
    refusals = (openai.NotFoundError, openai.BadRequestError)
    raises(refusals, lambda: client.chat.completions.create(model="no-such-model", messages=MESSAGES))
    raises(refusals, lambda: client.responses.create(model="no-such-model", input=QUESTION))


def busy() -> None:
    raises(openai.RateLimitError, lambda: client.chat.completions.create(model=BUSY, messages=MESSAGES))
    raises(openai.RateLimitError, lambda: client.responses.create(model=BUSY, input=QUESTION))


def failing_stream() -> None:
    for model in (FAILING, TORN):
        request: Any = {"model": model, "messages": MESSAGES, "stream": True}
        breaks_off(lambda request=request: client.chat.completions.create(**request))


def failing_response_stream() -> None:
    def read(model: str) -> Iterator[Any]:
        for event in client.responses.create(model=model, input=QUESTION, stream=True):
            if event.type == "response.failed":  # an error, but for this client an event like others
                raise RuntimeError(event.response.error.message)
            yield event

    for model in (FAILING, TORN):
        breaks_off(lambda model=model: read(model))


def models() -> None:
    assert MODEL in [model.id for model in client.models.list()]


def response() -> None:
    answer = client.responses.create(model=ECHO, input=SAYING)
    same((answer.status, answer.output_text), ("completed", SAYING))
    assert answer.usage
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0


def response_stream() -> None:
    events = list(client.responses.create(model=ECHO, input=SAYING, stream=True))
    same("".join(event.delta for event in events if event.type == "response.output_text.delta"), SAYING)
    same((events[0].type, events[-1].type), ("response.created", "response.completed"))
    same(events[-1].response.output_text, SAYING)
    assert events[-1].response.usage.output_tokens > 0


def response_stream_helper() -> None:
    with client.responses.stream(model=ECHO, input=SAYING) as stream:
        for _ in stream:
            pass
        same(stream.get_final_response().output_text, SAYING)


def response_limit() -> None:
    answer = client.responses.create(model=MODEL, input=QUESTION, max_output_tokens=20)
    assert answer.incomplete_details
    same((answer.status, answer.incomplete_details.reason), ("incomplete", "max_output_tokens"))


def response_tools() -> None:
    turns: list[Any] = [{"role": "user", "content": TWO_CALLS}]
    asked = client.responses.create(model=MODEL, input=turns, tools=RESPONSE_TOOLS)
    calls = [item for item in asked.output if item.type == "function_call"]
    same([json.loads(call.arguments)["city"] for call in calls], CITIES)
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": weather(json.loads(call.arguments)["city"])}
        for call in calls
    ]
    answer = client.responses.create(model=MODEL, input=[*turns, *asked.output, *results], tools=RESPONSE_TOOLS)
    has(answer.output_text, "sunny in Bern sunny in Zürich")


def response_tools_continued() -> None:
    if AT != "translated":  # fake providers don't remember; arbstr does, for those that speak chat alone
        return
    asked = client.responses.create(model=MODEL, input=TWO_CALLS, tools=RESPONSE_TOOLS)
    results: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": weather(json.loads(call.arguments)["city"])}
        for call in asked.output
        if call.type == "function_call"
    ]
    answer = client.responses.create(model=MODEL, input=results, previous_response_id=asked.id, tools=RESPONSE_TOOLS)
    has(answer.output_text, "sunny in Bern sunny in Zürich")
    assert answer.usage.input_tokens > asked.usage.input_tokens


def response_streamed_tools() -> None:
    with client.responses.stream(model=MODEL, input=TWO_CALLS, tools=RESPONSE_TOOLS) as stream:
        calls = [item for item in stream.get_final_response().output if item.type == "function_call"]
    same([json.loads(call.arguments)["city"] for call in calls], CITIES)


def response_parse() -> None:
    assert client.responses.parse(model=MODEL, input=QUESTION, text_format=Answer).output_parsed.answer


def response_reasoning() -> None:
    answer = client.responses.create(model=MODEL, input=QUESTION, reasoning={"effort": "low", "summary": "auto"})
    same([item.type for item in answer.output], ["reasoning", "message"])
    assert answer.usage.output_tokens_details.reasoning_tokens > 0


def embeddings() -> None:
    both = client.embeddings.create(model=EMBEDDINGS, input=["one", "two"])  # asks for base64 by itself
    plain = client.embeddings.create(model=EMBEDDINGS, input="one", encoding_format="float")
    assert len(both.data) == 2
    assert max(abs(a - b) for a, b in zip(both.data[0].embedding, plain.data[0].embedding, strict=True)) < 1e-6
    same(len(client.embeddings.create(model=EMBEDDINGS, input="one", dimensions=8).data[0].embedding), 8)


def completions() -> None:
    same(client.completions.create(model=ECHO, prompt=SAYING).choices[0].text, SAYING)


def completions_stream() -> None:
    chunks = list(client.completions.create(model=ECHO, prompt=SAYING, stream=True))
    same("".join(choice.text for chunk in chunks for choice in chunk.choices), SAYING)


def images() -> None:
    picture = client.images.generate(model="gpt-image-1", prompt="a cat")
    assert picture.data[0].b64_json
    assert picture.usage.output_tokens > 0


def audio() -> None:
    spoken = client.audio.speech.create(model="tts-1", voice="alloy", input="hello there").read()
    same(spoken[:4], b"RIFF")
    assert client.audio.transcriptions.create(model="whisper-1", file=("hello.wav", spoken)).text


def moderations() -> None:
    assert not client.moderations.create(input="hello there").results[0].flagged


def one_of_the_tools_at_a_time() -> None:
    turns: Any = [{"role": "user", "content": ONE_CALL}]
    answer = client.chat.completions.create(model=MODEL, messages=turns, tools=TOOLS, parallel_tool_calls=False)
    same(len(answer.choices[0].message.tool_calls or ()), 1)


run(
    connected, chat, stream, stream_helper, tools, streamed_tools, one_of_the_tools_at_a_time, parse, models,
    unknown_model, response, response_stream, response_stream_helper, response_limit, response_tools,
    response_tools_continued, response_streamed_tools, response_parse, response_reasoning, embeddings, completions,
    completions_stream, images, audio, moderations, failing_stream, failing_response_stream, busy,
)  # fmt: skip
