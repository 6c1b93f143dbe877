"""The ways in which a provider fails, by name, each as the reply that it gives."""

from __future__ import annotations

from tests.provider import (
    Move,
    Part,
    byte_by_byte,
    completion,
    error_reply,
    event,
    head,
    json_reply,
    reply,
    sse_reply,
)

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
    "closed without an answer": [Move.CLOSE],
    "reset": [Move.RESET],
    "closed within its head": [b"HTTP/1.1 200 OK\r\nContent-", Move.CLOSE],
    "not HTTP": [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Move.CLOSE],
    "a header beyond all measure": [head(200, ("X-Huge", "x" * 200_000)), Move.CLOSE],
}

# What will not, or may have been charged: the next provider is asked at once.
LEFT: dict[str, list[Part]] = {
    **{str(status): error_reply(status) for status in (401, 402, 403, 408, 425, 501, 505, 507, 599)},
    **{str(status): error_reply(status, Location="/elsewhere") for status in (300, 301, 302, 303, 304, 307, 308)},
    "400 invalid_model by type": error_reply(400, kind="invalid_model"),
    "400 model_not_found by code": error_reply(400, code="model_not_found"),
    "404 model_not_found by code": error_reply(404, code="model_not_found"),
    "404 invalid_model by code": error_reply(404, code="invalid_model"),
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
}

# A stream that does not begin: the same.
FAILS_TO_OPEN: dict[str, list[Part]] = {
    "an error first": sse_reply(event({"error": {"message": "out of coffee", "type": "server_error"}})),
    "a bare error first": sse_reply(event({"error": "out of coffee"})),
    "a named error event first": sse_reply(b'event: error\ndata: {"message": "out of coffee"}\n\n'),
    "an error after a comment": sse_reply(b": ping\n\n", event({"error": {"message": "no"}})),
    "an error in bytes": sse_reply(*byte_by_byte(event({"error": {"message": "no"}}))),
    "nothing at all": sse_reply(),
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
