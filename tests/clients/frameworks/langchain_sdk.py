"""LangChain's models: chat completions, Responses, messages and embeddings."""

from __future__ import annotations

from typing import Any

import pydantic
from checks import (
    BASE,
    CITIES,
    ECHO,
    ECHOED,
    EMBEDDINGS,
    KEY,
    MESSAGES,
    MODEL,
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
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

QUIET: Any = {"api_key": KEY, "max_retries": 0}


class Answer(pydantic.BaseModel):
    """An answer."""

    answer: str


def chat_model(model: str) -> Any:
    return ChatOpenAI(base_url=BASE, model=model, use_responses_api=False, stream_usage=True, **QUIET)


def response_model(model: str) -> Any:
    return ChatOpenAI(base_url=BASE, model=model, use_responses_api=True, **QUIET)


def message_model(model: str) -> Any:
    return ChatAnthropic(base_url=ROOT, model_name=model, max_tokens=4096, **QUIET)


def connected() -> None:
    same(program("langchain", ECHO)["model"].invoke(ECHOED).text, SAYING)


def answers(model: Any) -> None:
    answer = model(ECHO).invoke(ECHOED)
    same(answer.text, SAYING)
    assert answer.usage_metadata["output_tokens"] > 0


def streams(model: Any) -> None:
    parts = list(model(ECHO).stream(ECHOED))
    same("".join(part.text for part in parts), SAYING)
    assert sum(part.usage_metadata["output_tokens"] for part in parts if part.usage_metadata) > 0


def uses_tools(model: Any) -> None:
    bound = model(MODEL).bind_tools(TOOLS)
    asked = bound.invoke([HumanMessage(TWO_CALLS)])
    same([call["args"]["city"] for call in asked.tool_calls], CITIES)
    results = [ToolMessage(weather(call["args"]["city"]), tool_call_id=call["id"]) for call in asked.tool_calls]
    has(bound.invoke([HumanMessage(TWO_CALLS), asked, *results]).text, "sunny in Bern sunny in Zürich")


def streams_tools(model: Any) -> None:
    whole = None
    for part in model(MODEL).bind_tools(TOOLS).stream([HumanMessage(TWO_CALLS)]):
        whole = part if whole is None else whole + part
    assert whole is not None
    same([call["args"]["city"] for call in whole.tool_calls], CITIES)


def chat() -> None:
    answers(chat_model)


def stream() -> None:
    streams(chat_model)


def tools() -> None:
    uses_tools(chat_model)


def streamed_tools() -> None:
    streams_tools(chat_model)


def structured() -> None:
    assert chat_model(MODEL).with_structured_output(Answer, method="json_schema").invoke(MESSAGES).answer


def response() -> None:
    answers(response_model)


def response_stream() -> None:
    streams(response_model)


def response_tools() -> None:
    uses_tools(response_model)


def response_streamed_tools() -> None:
    streams_tools(response_model)


def response_structured() -> None:
    assert response_model(MODEL).with_structured_output(Answer, method="json_schema").invoke(MESSAGES).answer


def message() -> None:
    answers(message_model)


def message_stream() -> None:
    streams(message_model)


def message_tools() -> None:
    uses_tools(message_model)


def message_streamed_tools() -> None:
    streams_tools(message_model)


def embeddings() -> None:
    # With a length check it would fetch a tokenizer.
    model = OpenAIEmbeddings(base_url=BASE, model=EMBEDDINGS, check_embedding_ctx_length=False, **QUIET)
    same(len(model.embed_documents(["one", "two"])), 2)
    same(len(model.embed_query("one")), len(model.embed_query("two")))


run(
    connected,
    chat,
    stream,
    tools,
    streamed_tools,
    structured,
    response,
    response_stream,
    response_tools,
    response_streamed_tools,
    response_structured,
    message,
    message_stream,
    message_tools,
    message_streamed_tools,
    embeddings,
)
