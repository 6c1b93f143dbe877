"""LangChain's chat model for OpenAI-compatible servers."""

from __future__ import annotations

import pydantic
from checks import BASE, KEY, MESSAGES, MODEL, TOOLS, run
from langchain_openai import ChatOpenAI

chat_model = ChatOpenAI(base_url=BASE, api_key=KEY, model=MODEL, max_retries=0, use_responses_api=False)


class Answer(pydantic.BaseModel):
    """An answer."""

    answer: str


def invoke() -> None:
    answer = chat_model.invoke(MESSAGES)
    assert answer.content
    assert answer.usage_metadata["output_tokens"] > 0


def stream() -> None:
    parts = list(chat_model.stream(MESSAGES, stream_usage=True))
    assert "".join(str(part.content) for part in parts)
    assert sum(part.usage_metadata["output_tokens"] for part in parts if part.usage_metadata) > 0


def tools() -> None:
    (call,) = chat_model.bind_tools(TOOLS).invoke(MESSAGES).tool_calls
    assert isinstance(call["args"]["city"], str)


def streamed_tools() -> None:
    whole = None
    for part in chat_model.bind_tools(TOOLS).stream(MESSAGES):
        whole = part if whole is None else whole + part
    (call,) = whole.tool_calls
    assert isinstance(call["args"]["city"], str)


def structured() -> None:
    assert chat_model.with_structured_output(Answer, method="json_schema").invoke(MESSAGES).answer


run(invoke, stream, tools, streamed_tools, structured)
