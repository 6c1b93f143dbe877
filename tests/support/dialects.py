"""What is sent and answered in each dialect, so that a test can be written once for all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.provider import DONE, MODEL, completion, event, stream_events, usage_chunk

TOKENS = (12, 7)


@dataclass(frozen=True)
class Speech:
    """One dialect. `answer` is a whole answer of 12 tokens in and 7 out, `events` are those of the same as a stream.

    `ask` is the request's body without its model, `content` the index of the first event that brings something, `end`
    that of the first after which the answer is complete.
    """

    name: str
    path: str
    ask: dict[str, Any]
    answer: dict[str, Any]
    events: Sequence[bytes] = ()
    content: int = 1
    end: int = -1
    output: int = TOKENS[1]
    hidden: Sequence[bytes] = field(default=())  # events that clients do not get

    def request(self, **fields: Any) -> bytes:
        """A request's body."""
        return json.dumps({"model": MODEL, **self.ask, **fields}).encode()

    @property
    def stream(self) -> bytes:
        """The whole stream as the provider sends it."""
        return b"".join(self.events)

    @property
    def shown(self) -> bytes:
        """The whole stream as the client gets it, before what arbstr adds."""
        return b"".join(each for each in self.events if each not in self.hidden)


def named(document: dict[str, Any]) -> bytes:
    """An event that is named for its type."""
    return f"event: {document['type']}\n".encode() + event(document)


def message_events(*words: str, tokens: tuple[int, int] = TOKENS) -> list[bytes]:
    """The events of a message."""
    usage = {"input_tokens": tokens[0], "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": []}
    start = {**message, "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    block = {"type": "text", "text": ""}
    return [
        named({"type": "message_start", "message": start}),
        named({"type": "content_block_start", "index": 0, "content_block": block}),
        named({"type": "ping"}),
        *(
            named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
            for word in words
        ),
        named({"type": "content_block_stop", "index": 0}),
        named(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": tokens[1]},
            }
        ),
        named({"type": "message_stop"}),
    ]


def response(text: str = "Hello there", *, tokens: tuple[int, int] | None = TOKENS) -> dict[str, Any]:
    """A whole response; without tokens one that has only begun."""
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    usage = {
        "input_tokens": (tokens or TOKENS)[0],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": (tokens or TOKENS)[1],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": sum(tokens or TOKENS),
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_755_000_000,
        "model": MODEL,
        "status": "completed" if tokens else "in_progress",
        "error": None,
        "incomplete_details": None,
        "output": [item] if tokens else [],
        "usage": usage if tokens else None,
    }


def response_events(*words: str, tokens: tuple[int, int] = TOKENS) -> list[bytes]:
    """The events of a response."""
    begun = response(tokens=None)
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    text = "".join(words)
    documents: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **where, "part": part},
        *({"type": "response.output_text.delta", **where, "delta": word, "logprobs": []} for word in words),
        {"type": "response.output_text.done", **where, "text": text},
        {"type": "response.content_part.done", **where, "part": {**part, "text": text}},
        {"type": "response.output_item.done", "output_index": 0, "item": response(text)["output"][0]},
        {"type": "response.completed", "response": response(text, tokens=tokens)},
    ]
    return [named({**document, "sequence_number": number}) for number, document in enumerate(documents)]


def text_chunk(text: str, finish_reason: str | None = None) -> bytes:
    """An event of a text completion."""
    choice = {"index": 0, "text": text, "finish_reason": finish_reason, "logprobs": None}
    return event({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": MODEL, "choices": [choice]})


_MESSAGES = [{"role": "user", "content": "Say hello."}]
_CHAT = stream_events("Hello", " there", tokens=TOKENS)

CHAT = Speech(
    "chat",
    "/v1/chat/completions",
    {"messages": _MESSAGES},
    completion("Hello there", tokens=TOKENS),
    _CHAT,
    hidden=(usage_chunk(*TOKENS),),
)
COMPLETIONS = Speech(
    "completions",
    "/v1/completions",
    {"prompt": "Say hello."},
    {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "text": "Hello there", "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19},
    },
    [text_chunk("Hello"), text_chunk(" there"), text_chunk("", "stop"), usage_chunk(*TOKENS), DONE],
    content=0,
    hidden=(usage_chunk(*TOKENS),),
)
RESPONSES = Speech(
    "responses",
    "/v1/responses",
    {"input": "Say hello."},
    response(),
    response_events("Hello", " there"),
    content=4,
)
MESSAGES = Speech(
    "messages",
    "/v1/messages",
    {"messages": _MESSAGES, "max_tokens": 100},
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": "Hello there"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 7},
    },
    message_events("Hello", " there"),
    content=3,
)
EMBEDDINGS = Speech(
    "embeddings",
    "/v1/embeddings",
    {"input": ["Say hello."]},
    {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}],
        "model": MODEL,
        "usage": {"prompt_tokens": 12, "total_tokens": 12},
    },
    output=0,
)

STREAMED = (CHAT, COMPLETIONS, RESPONSES, MESSAGES)
ALL = (*STREAMED, EMBEDDINGS)
