"""Chat answers and chunks to translate, and the official clients' readers as judges of what comes out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from arbstr.engine.dialects.translation import messages, responses

if TYPE_CHECKING:
    from anthropic.types import Message
    from openai.types.responses import Response

USAGE = {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}


def chunk(finish: str | None = None, /, **delta: Any) -> dict[str, Any]:
    """Return a chunk of a chat stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "served", "choices": [choice]}


def usage_chunk(**usage: Any) -> dict[str, Any]:
    """Return the last chunk, which only has the usage."""
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "served", "choices": [], "usage": usage}


def call_chunk(index: int, arguments: str = "", **fields: Any) -> dict[str, Any]:
    """Return a chunk with a piece of a tool call; `id` and `name` begin one."""
    name = {"name": fields.pop("name")} if "name" in fields else {}
    return chunk(tool_calls=[{"index": index, **fields, "function": {**name, "arguments": arguments}}])


def answer(finish: str = "stop", usage: Any = None, /, **message: Any) -> dict[str, Any]:
    """Return a whole chat answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "served",
        "choices": [choice],
        "usage": usage or USAGE,
    }


def call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """Return a tool call of a whole chat answer."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def events_of(body: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream; each event's name has to be its type."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        name, _, data = block.partition("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def responses_stream(chunks: Iterable[dict[str, Any]], **request: Any) -> bytes:
    """Return the whole Responses stream for chat chunks."""
    translator = responses.StreamTranslator({"model": "asked", **request}, answer_id="resp_1", now_s=1000.5)
    return b"".join(map(translator.feed, chunks)) + translator.end()


def messages_stream(chunks: Iterable[dict[str, Any]], **request: Any) -> bytes:
    """Return the whole Messages stream for chat chunks."""
    translator = messages.StreamTranslator({"model": "asked", **request}, answer_id="msg_1", now_s=1000.5)
    return b"".join(map(translator.feed, chunks)) + translator.end()


def read_response(document: dict[str, Any]) -> Response:
    """Return a Responses answer as the official package types it, every field checked."""
    from openai.types.responses import Response

    return Response.model_validate(document)


def read_message(document: dict[str, Any]) -> Message:
    """Return an answer of Messages as the official package types it, every field checked."""
    from anthropic.types import Message

    return Message.model_validate(document)


def read_responses_stream(body: bytes) -> Response:
    """Check every event of a Responses stream and return the answer that the official client makes of them."""
    import openai
    from openai.lib.streaming.responses._responses import ResponseStreamState

    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=openai.omit, text_format=openai.omit)
    events = events_of(body)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        state.handle_event(_response_event().validate_python(event))
    assert events[-1]["type"] in ("response.completed", "response.incomplete")
    return read_response(events[-1]["response"])


def read_messages_stream(body: bytes) -> Message:
    """Check every event of a Messages stream and return the answer that the official client makes of them."""
    from anthropic.lib.streaming._messages import accumulate_event

    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    open_block: int | None = None
    for event in events_of(body):
        open_block = _checked_order(event, open_block)
        typed = _message_event().validate_python(event)
        snapshot = accumulate_event(event=typed, current_snapshot=snapshot, json_bufs=buffers)
    assert open_block is None
    return read_message(snapshot.to_dict())


@cache
def _response_event() -> TypeAdapter[Any]:
    from openai.types.responses import ResponseStreamEvent

    return TypeAdapter(ResponseStreamEvent)


@cache
def _message_event() -> TypeAdapter[Any]:
    from anthropic.types import RawMessageStreamEvent

    return TypeAdapter(RawMessageStreamEvent)


def _checked_order(event: dict[str, Any], open_block: int | None) -> int | None:
    """Check that blocks are open one at a time; return the one that is."""
    kind = event["type"]
    if kind == "content_block_start":
        assert open_block is None
        return int(event["index"])
    if kind in ("content_block_delta", "content_block_stop"):
        assert open_block == event["index"]
    return None if kind == "content_block_stop" else open_block


def as_chunks(message: dict[str, Any], finish: str, cuts: Sequence[int], **usage: Any) -> list[dict[str, Any]]:
    """Return a whole answer's message as a stream, its texts cut into pieces of the sizes given."""
    sizes = list(cuts) or [1]
    chunks = [chunk(role="assistant", content="")]
    for field in ("reasoning_content", "content", "refusal"):
        chunks += [chunk(**{field: piece}) for piece in _pieces(message.get(field) or "", sizes)]
    streams = []
    for index, one in enumerate(message.get("tool_calls") or []):
        chunks.append(call_chunk(index, id=one["id"], name=one["function"]["name"]))
        streams.append([call_chunk(index, piece) for piece in _pieces(one["function"]["arguments"], sizes)])
    for place in range(max(map(len, streams), default=0)):  # interleaved, as servers with parallel decoding send them
        chunks += [stream[place] for stream in streams if place < len(stream)]
    return [*chunks, chunk(finish), usage_chunk(**usage)]


def _pieces(text: str, sizes: Sequence[int]) -> list[str]:
    pieces, start, turn = [], 0, 0
    while start < len(text):
        size = max(1, sizes[turn % len(sizes)])
        pieces.append(text[start : start + size])
        start, turn = start + size, turn + 1
    return pieces
