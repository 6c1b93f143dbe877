"""The bytes of every dialect: as much up and down as for chat, so that what differs is what a dialect costs.

A translated one is asked for at a provider that speaks chat alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.perf.bench import wire

TRANSLATED_MODEL = "bench-translated"
_WORDS = [f" word{number:03}" for number in range(wire.EVENTS - 3)]
_TEXT = "Spring is mild. " * 16


@dataclass(frozen=True)
class Spoken:
    """A dialect: what clients ask, `asks` being the field with the prompt, and what a provider answers.

    `ends` is in the last bytes of every stream, `says` in every whole answer.
    """

    path: str
    document: dict[str, Any]
    asks: tuple[str | int, ...]
    answer: bytes
    events: Sequence[bytes]
    ends: bytes
    says: bytes

    def request(self, kind: wire.Kind, port: int) -> bytes:
        """The whole HTTP request, its body as long as chat's."""
        document = json.loads(json.dumps(self.document | ({} if kind == "json" else {"stream": True})))
        missing = len(wire.request_body(kind)) - len(_dumps(document))
        *way, last = self.asks
        holder = document
        for name in way:
            holder = holder[name]
        holder[last] = ("Tell me about the weather in spring. " * 50)[:missing]
        return wire.http_request(self.path, _dumps(document), port)


def _dumps(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _named(document: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), _dumps(document))


def _message_events() -> list[bytes]:
    message = {"id": "msg_bench", "type": "message", "role": "assistant", "model": "bench-model", "content": []}
    usage = {"input_tokens": 350, "output_tokens": 1}
    delta = "content_block_delta"
    return [
        _named({"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}}),
        _named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        *(_named({"type": delta, "index": 0, "delta": {"type": "text_delta", "text": word}}) for word in _WORDS),
        _named({"type": "content_block_stop", "index": 0}),
        _named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 52}}),
        _named({"type": "message_stop"}),
    ]


def _response(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    usage = {"input_tokens": 350, "output_tokens": 52, "total_tokens": 402}
    return {
        "id": "resp_bench",
        "object": "response",
        "created_at": 1750000000,
        "model": "bench-model",
        "status": "completed",
        "error": None,
        "output": [item],
        "usage": usage,
    }


def _response_events() -> list[bytes]:
    begun = {**_response(""), "status": "in_progress", "output": [], "usage": None}
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    documents: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        *({"type": "response.output_text.delta", **where, "delta": word, "logprobs": []} for word in _WORDS),
        {"type": "response.output_text.done", **where, "text": "".join(_WORDS)},
        {"type": "response.completed", "response": _response("".join(_WORDS))},
    ]
    return [_named({**document, "sequence_number": number}) for number, document in enumerate(documents)]


_USER = {"role": "user", "content": ""}
_MESSAGE = {
    "id": "msg_bench",
    "type": "message",
    "role": "assistant",
    "model": "bench-model",
    "content": [{"type": "text", "text": _TEXT}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 350, "output_tokens": 52},
}
_EMBEDDINGS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.0123] * 64}],
    "usage": {"prompt_tokens": 350, "total_tokens": 350},
}
CHAT = Spoken(
    wire.PATH,
    {"model": "bench-model", "messages": [_USER], "temperature": 0.7, "max_tokens": 256},
    ("messages", 0, "content"),
    wire.answer_body(),
    wire.events(),
    ends=b"[DONE]",
    says=b'"choices"',
)
MESSAGES = Spoken(
    "/v1/messages",
    {"model": "bench-model", "messages": [_USER], "temperature": 0.7, "max_tokens": 256},
    ("messages", 0, "content"),
    _dumps(_MESSAGE),
    _message_events(),
    ends=b"message_stop",
    says=b'"end_turn"',
)
RESPONSES = Spoken(
    "/v1/responses",
    {"model": "bench-model", "input": "", "temperature": 0.7, "max_output_tokens": 256},
    ("input",),
    _dumps(_response(_TEXT)),
    _response_events(),
    ends=b"response.completed",
    says=b'"output_text"',
)
EMBEDDINGS = Spoken(
    "/v1/embeddings",
    {"model": "bench-model", "input": ""},
    ("input",),
    _dumps(_EMBEDDINGS),
    [],
    ends=b"",
    says=b'"embedding"',
)


def _translated(spoken: Spoken) -> Spoken:
    document = {**spoken.document, "model": TRANSLATED_MODEL}
    return Spoken(spoken.path, document, spoken.asks, spoken.answer, spoken.events, spoken.ends, spoken.says)


ALL = {
    "chat": CHAT,
    "messages": MESSAGES,
    "responses": RESPONSES,
    "embeddings": EMBEDDINGS,
    "messages, translated": _translated(MESSAGES),
    "responses, translated": _translated(RESPONSES),
}
