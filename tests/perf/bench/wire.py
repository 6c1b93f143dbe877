"""The bytes that all processes agree on: requests of 1.5 KB, answers of 650 B, streams of 54 events."""

from __future__ import annotations

import json
from typing import Any, Literal

JsonObject = dict[str, Any]
Kind = Literal["json", "stream", "paced"]

PATH = "/v1/chat/completions"
EVENTS = 54  # of a stream: contents, one with the finish_reason, one with the usage, [DONE]
PACE_S = 0.005  # between two events of a paced stream
PACED_MODEL = "bench-paced"

_REQUEST_BYTES = 1500
_ANSWER_BYTES = 650
_DONE = b"data: [DONE]\n\n"


def request_body(kind: Kind) -> bytes:
    """A client's question, padded to its size."""
    user = {"role": "user", "content": ""}
    document: JsonObject = {
        "model": PACED_MODEL if kind == "paced" else "bench-model",
        "messages": [
            {"role": "system", "content": "You are a careful assistant. Answer in one paragraph."},
            user,
        ],
        "temperature": 0.7,
        "max_tokens": 256,
    }
    if kind != "json":
        document["stream"] = True
    return _padded(document, user, "Tell me about the weather in spring. ", _REQUEST_BYTES)


def request(kind: Kind, port: int, path: str = PATH) -> bytes:
    """The whole HTTP request, as a client library would send it."""
    return http_request(path, request_body(kind), port)


def http_request(path: str, body: bytes, port: int) -> bytes:
    """A whole HTTP request with this body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n"
        "Content-Type: application/json\r\nUser-Agent: bench\r\nAuthorization: Bearer sk-of-the-client\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def answer_body() -> bytes:
    """A whole completion with its usage."""
    message = {"role": "assistant", "content": ""}
    document: JsonObject = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1750000000,
        "model": "bench-model",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 350, "completion_tokens": 52, "total_tokens": 402},
    }
    return _padded(document, message, "Spring is mild. ", _ANSWER_BYTES)


def events() -> list[bytes]:
    """The events of a stream, in order."""
    contents = [
        _event({"delta": {"content": f" word{number:03}"}, "finish_reason": None}) for number in range(EVENTS - 3)
    ]
    finish = _event({"delta": {}, "finish_reason": "stop"})
    usage = _event(None, usage={"prompt_tokens": 350, "completion_tokens": 52, "total_tokens": 402})
    return [*contents, finish, usage, _DONE]


def is_whole_answer(body: bytes) -> bool:
    """Whether a body is the whole completion."""
    return body == _ANSWER


def is_whole_stream(body: bytes) -> bool:
    """Whether a stream has all its contents and its end; the usage chunk may have been left out."""
    return body.count(b'"delta"') == EVENTS - 2 and body.endswith(_DONE)


def chunk(data: bytes) -> bytes:
    """Data as one chunk of HTTP's chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def dechunked(coded: bytes) -> bytes:
    """What a complete chunked body says. Raises ValueError if it is broken."""
    parts: list[bytes] = []
    at = 0
    while True:
        line_end = coded.index(b"\r\n", at)
        size = int(coded[at:line_end], 16)
        start = line_end + 2
        if size == 0:
            return b"".join(parts)
        parts.append(coded[start : start + size])
        at = start + size + 2


def _event(choice: JsonObject | None, **more: object) -> bytes:
    document = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1750000000,
        "model": "bench-model",
        "choices": [] if choice is None else [{"index": 0, **choice}],
        **more,
    }
    return b"data: " + _dumps(document) + b"\n\n"


def _padded(document: JsonObject, holder: dict[str, str], filler: str, size: int) -> bytes:
    """The document as JSON of `size` bytes, its `holder`'s content filled up."""
    missing = size - len(_dumps(document))
    holder["content"] = (filler * (missing // len(filler) + 1))[:missing]
    return _dumps(document)


def _dumps(document: JsonObject) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


_ANSWER = answer_body()
