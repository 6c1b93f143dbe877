"""The ways in which a provider fails, by name, each as the reply that it gives."""

from __future__ import annotations

import json
from typing import Any

from tests.support.provider import (
    DONE,
    Move,
    Part,
    byte_by_byte,
    chunk,
    completion,
    error_reply,
    event,
    head,
    json_reply,
    reply,
    sse_reply,
    usage_chunk,
)

ROLE = chunk(delta={"role": "assistant", "content": ""})

NO_CHOICES: list[Any] = [
    *(None, [], {}, "Hello"),
    *([None], [{}], [{"message": None}], [{"message": {}}], [{"index": 0}]),
]

# What may pass: the same provider is asked again.
PASSING: dict[str, list[Part]] = {
    "429": error_reply(429),
    "500": error_reply(500),
    "502": error_reply(502),
    "503": error_reply(503),
    "504": error_reply(504),
    "500 in HTML": reply(b"<h1>Oops</h1>", status=500, content_type="text/html"),
    "503 without a body": [head(503, ("Content-Length", "0"))],
    "503 that breaks off": [head(503, ("Content-Length", "100")), b"{", Move.CLOSE],
    "closed without a response": [Move.CLOSE],
    "reset": [Move.RESET],
}

# What will not, or may have been charged: the next provider is asked at once.
LEFT: dict[str, list[Part]] = {
    **{str(status): error_reply(status) for status in (401, 402, 403, 408, 424, 425, 501, 505, 507, 599)},
    **{str(status): error_reply(status, Location="/elsewhere") for status in (300, 301, 302, 303, 304, 307, 308)},
    "400 invalid_model by type": error_reply(400, kind="invalid_model"),
    "400 model_not_found by code": error_reply(400, code="model_not_found"),
    "404 model_not_found by code": error_reply(404, code="model_not_found"),
    "404 invalid_model by code": error_reply(404, code="invalid_model"),
    "404 of any kind, the model is gone": error_reply(404, "nothing here"),
    "404 page, no model": reply(b"<h1>Not Found</h1>", status=404, content_type="text/html"),
    "400 flat, of a model": json_reply({"message": "no", "type": "invalid_model"}, status=400),
    "400 in words, of a model": error_reply(400, "The model `gpt-4o` does not exist"),
    "422 by code, of a model": error_reply(422, code="model_not_found"),
    "closed within its status line": [b"HTTP/1.1 20", Move.CLOSE],
    "closed within its head": [b"HTTP/1.1 200 OK\r\nContent-", Move.CLOSE],
    "reset within its head": [b"HTTP/1.1 200 OK\r\nContent-", Move.RESET],
    "closed within the head of a 503": [b"HTTP/1.1 503 Busy\r\nRetry-", Move.CLOSE],
    "closed after an interim answer": [b"HTTP/1.1 103 Early Hints\r\n\r\n", Move.CLOSE],
    "not HTTP": [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Move.CLOSE],
    "a header beyond all measure": [head(200, ("X-Huge", "x" * 200_000)), Move.CLOSE],
    "200 in HTML": reply(b"<h1>Welcome</h1>", content_type="text/html"),
    "200 without a body": reply(b""),
    "204": [head(204)],
    "200 that is a list": json_reply([completion()]),
    "200 that is a text": json_reply("Hello"),
    "200 that is no UTF-8": reply(b'{"choices": "\xff\xfe"}'),
    "200 that ends early": [
        head(200, ("Content-Length", "9999"), ("Content-Type", "application/json")),
        b"{",
        Move.CLOSE,
    ],
    "200 with a torn chunk": [head(200, ("Transfer-Encoding", "chunked")), b"5\r\nhe", Move.CLOSE],
    "200 with a chunk of no size": [head(200, ("Transfer-Encoding", "chunked")), b"xyz\r\nhe\r\n", Move.CLOSE],
    "200 that breaks off": [head(200, ("Content-Length", "100")), b"{", Move.RESET],
    "200 with an error in it": json_reply({"error": {"message": "out of coffee"}}),
    "200 with an error and no choice": json_reply({"error": {"message": "out of coffee"}, "choices": None}),
    "200 with an error and a choice": json_reply({**completion(), "error": {"message": "out of coffee"}}),
    "200 with a flat error": json_reply({"message": "out of coffee", "code": 429}),
    "200 that is an error": json_reply({"object": "error", "message": "out of coffee", "code": 429}),
    "200 with a detail": json_reply({"detail": "out of coffee"}),
    "200 with a list of errors": json_reply({"errors": [{"message": "out of coffee"}], "success": False}),
    "200 that is a list of errors": json_reply([{"error": {"message": "out of coffee"}}]),
    "200 with an error in a choice": json_reply(
        {"choices": [{"error": {"message": "no"}, "message": {"content": ""}}]}
    ),
    "200 that finished in an error": json_reply(completion(finish_reason="error")),
    "200 that says only that it is an error": json_reply({"error": True}),
    "200 that is empty": json_reply({}),
    **{f"200 with choices {json.dumps(choices)}": json_reply({"choices": choices}) for choices in NO_CHOICES},
}

# A stream that does not begin: the same.
FAILS_TO_OPEN: dict[str, list[Part]] = {
    "an error first": sse_reply(event({"error": {"message": "out of coffee", "type": "server_error"}})),
    "a bare error first": sse_reply(event({"error": "out of coffee"})),
    "a named error event first": sse_reply(b'event: error\ndata: {"message": "out of coffee"}\n\n'),
    "an error after a comment": sse_reply(b": ping\n\n", event({"error": {"message": "no"}})),
    "an error in bytes": sse_reply(*byte_by_byte(event({"error": {"message": "no"}}))),
    "an error of other servers first": sse_reply(event({"object": "error", "message": "out of coffee", "code": 429})),
    "a flat error first": sse_reply(event({"message": "out of coffee", "code": 429})),
    "a detail first": sse_reply(event({"detail": "out of coffee"})),
    "a list of errors first": sse_reply(event([{"error": {"message": "out of coffee"}}])),
    "an error in a choice first": sse_reply(
        event({"choices": [{"error": {"message": "out of coffee"}, "delta": {}, "finish_reason": "error"}]})
    ),
    "an error after a role": sse_reply(ROLE, event({"error": {"message": "out of coffee"}})),
    "a role and its end": sse_reply(ROLE, DONE),
    "a role and nothing": sse_reply(ROLE),
    "its end first": sse_reply(DONE),
    "usage and its end": sse_reply(usage_chunk(12, 0), DONE),
    "an empty finish_reason": sse_reply(ROLE, chunk(finish_reason="")),
    "an event without anything": sse_reply(event({}), DONE),
    "nothing at all": sse_reply(),
    "an error in JSON": reply(b'{"error": {"message": "out of coffee"}}', content_type="text/event-stream"),
    "only comments": sse_reply(b": ping\n\n", b": ping\n\n"),
    "half an event": [head(200, ("Content-Type", "text/event-stream")), b'data: {"cho', Move.CLOSE],
    "half an event and a reset": [head(200, ("Content-Type", "text/event-stream")), b'data: {"cho', Move.RESET],
    "a head and a reset": [
        head(200, ("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")),
        Move.RESET,
    ],
    "a chunk of no size": [
        head(200, ("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")),
        b"zz\r\n",
        Move.CLOSE,
    ],
}
