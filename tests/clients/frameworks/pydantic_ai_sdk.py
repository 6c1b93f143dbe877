"""pydantic-ai: its default for OpenAI, which is Responses, chat completions, and Anthropic's messages."""

from __future__ import annotations

import asyncio
from typing import Any

import pydantic
from checks import BASE, CITIES, ECHO, KEY, MODEL, QUESTION, ROOT, SAYING, TWO_CALLS, has, run, same, weather
from connect import program
from pydantic_ai import Agent, Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


def openai_provider() -> OpenAIProvider:
    return OpenAIProvider(base_url=BASE, api_key=KEY)  # one for each check: a client belongs to one event loop


class Answer(pydantic.BaseModel):
    """An answer."""

    answer: str


def response_model(model: str) -> Any:
    return OpenAIResponsesModel(model, provider=openai_provider())


def chat_model(model: str) -> Any:
    return OpenAIChatModel(model, provider=openai_provider())


def message_model(model: str) -> Any:
    return AnthropicModel(model, provider=AnthropicProvider(base_url=ROOT, api_key=KEY))


def connected() -> None:
    same(program("pydantic-ai", ECHO)["agent"].run_sync(SAYING).output, SAYING)


def answers(model: Any) -> None:
    result = Agent(model(ECHO)).run_sync(SAYING)
    same(result.output, SAYING)
    assert result.usage.output_tokens > 0


def streams(model: Any) -> None:
    async def read() -> str:
        async with Agent(model(ECHO)).run_stream(SAYING) as result:
            return "".join([part async for part in result.stream_text(delta=True)])

    same(asyncio.run(read()), SAYING)


def uses_tools(model: Any) -> None:
    agent, asked = Agent(model(MODEL)), []

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Say what the weather is."""
        asked.append(city)
        return weather(city)

    answer = agent.run_sync(TWO_CALLS).output
    same(sorted(asked), CITIES)
    has(answer, "sunny in Bern sunny in Zürich")


def response() -> None:
    answers(response_model)


def response_stream() -> None:
    streams(response_model)


def response_tools() -> None:
    uses_tools(response_model)


def response_structured() -> None:
    assert Agent(response_model(MODEL), output_type=Answer).run_sync(QUESTION).output.answer


def chat() -> None:
    answers(chat_model)


def stream() -> None:
    streams(chat_model)


def tools() -> None:
    uses_tools(chat_model)


def structured() -> None:
    assert Agent(chat_model(MODEL), output_type=Answer).run_sync(QUESTION).output.answer


def message() -> None:
    answers(message_model)


def message_stream() -> None:
    streams(message_model)


def message_tools() -> None:
    uses_tools(message_model)


def message_structured() -> None:
    assert Agent(message_model(MODEL), output_type=Answer).run_sync(QUESTION).output.answer


def embeddings() -> None:
    embedder = Embedder(OpenAIEmbeddingModel("text-embedding-3-small", provider=openai_provider()))
    same(len(embedder.embed_documents_sync(["one", "two"]).embeddings), 2)


run(
    connected,
    response,
    response_stream,
    response_tools,
    response_structured,
    chat,
    stream,
    tools,
    structured,
    message,
    message_stream,
    message_tools,
    message_structured,
    embeddings,
)
