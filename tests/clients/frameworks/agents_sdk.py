"""OpenAI's Agents SDK in its default mode, which is Responses."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pydantic
from agents import Agent, Runner, function_tool, set_default_openai_client, set_tracing_disabled
from checks import BASE, CITIES, ECHO, KEY, MODEL, QUESTION, SAYING, TWO_CALLS, has, run, same, weather
from connect import program

set_tracing_disabled(True)
asked: list[str] = []


class Answer(pydantic.BaseModel):
    """An answer."""

    answer: str


@function_tool
def get_weather(city: str) -> str:
    """Say what the weather is."""
    asked.append(city)
    return weather(city)


def made(model: str, **options: Any) -> Any:
    """Make an agent; its client belongs to one event loop."""
    client = openai.AsyncOpenAI(base_url=BASE, api_key=KEY, max_retries=0)
    set_default_openai_client(client, use_for_tracing=False)
    asked.clear()
    return Agent(name="a", model=model, **options)


def connected() -> None:
    same(Runner.run_sync(program("openai-agents", ECHO)["agent"], SAYING).final_output, SAYING)


def agent() -> None:
    result = Runner.run_sync(made(ECHO), SAYING)
    same(result.final_output, SAYING)
    assert result.context_wrapper.usage.output_tokens > 0


def stream() -> None:
    async def read() -> tuple[str, str]:
        result = Runner.run_streamed(made(ECHO), SAYING)
        events = [event async for event in result.stream_events()]
        raw = [event.data for event in events if event.type == "raw_response_event"]
        return "".join(data.delta for data in raw if data.type == "response.output_text.delta"), result.final_output

    same(asyncio.run(read()), (SAYING, SAYING))


def tools() -> None:
    result = Runner.run_sync(made(MODEL, tools=[get_weather]), TWO_CALLS)
    same(sorted(asked), CITIES)
    has(result.final_output, "sunny in Bern sunny in Zürich")


def streamed_tools() -> None:
    async def read() -> str:
        result = Runner.run_streamed(made(MODEL, tools=[get_weather]), TWO_CALLS)
        async for _ in result.stream_events():
            pass
        return str(result.final_output)

    has(asyncio.run(read()), "sunny in Bern sunny in Zürich")
    same(sorted(asked), CITIES)


def structured() -> None:
    assert Runner.run_sync(made(MODEL, output_type=Answer), QUESTION).final_output.answer


run(connected, agent, stream, tools, streamed_tools, structured)
