"""What providers of other dialects than chat answer: with anything in any field, in any order, cut anywhere."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.json_text import ANYTHING, Text, encoded, mostly, objects
from tests.fuzz.replies import KEY
from tests.fuzz.spoil import in_chunks, in_pieces, maybe_spoilt
from tests.support.dialects import COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, Speech, named
from tests.support.provider import DONE, Move, Part, event

_COUNTS = mostly("0", "12", "9.0", "-1", "1.5", "1e300", "null", "true", '"12"', "9007199254740993", "1" * 400)
_USAGE = objects(
    {
        "input_tokens": _COUNTS,
        "output_tokens": _COUNTS,
        "prompt_tokens": _COUNTS,
        "total_tokens": _COUNTS,
        "cache_read_input_tokens": _COUNTS,
        "cache_creation_input_tokens": _COUNTS,
        "input_tokens_details": objects({"cached_tokens": _COUNTS}) | ANYTHING,
        "output_tokens_details": objects({"reasoning_tokens": _COUNTS}) | ANYTHING,
        "cost": objects({"total_msats": _COUNTS}),
    }
)
_ERROR = objects(
    {"type": mostly('"overloaded_error"'), "message": mostly('"no"', f'"your key {KEY}"'), "code": ANYTHING}
)
_REASON = mostly('"end_turn"', '"tool_use"', '""', "null", '"error"')
_PARTS = st.lists(
    objects({"type": mostly('"text"', '"output_text"', '"message"', '"tool_use"'), "text": mostly('"Hi"', "null")})
    | ANYTHING,
    max_size=2,
).map(lambda parts: f"[{','.join(parts)}]")
_WHOLE = {
    MESSAGES.name: objects(
        {"content": _PARTS, "stop_reason": _REASON, "usage": _USAGE | ANYTHING, "error": mostly("null")}
    ),
    RESPONSES.name: objects(
        {
            "status": mostly('"completed"', '"incomplete"', '"failed"', '"in_progress"'),
            "output": _PARTS,
            "usage": _USAGE | ANYTHING,
            "error": mostly("null"),
        }
    ),
    EMBEDDINGS.name: objects(
        {"data": mostly('[{"embedding":[0.1]}]', '[{"embedding":null}]', "[]", "null"), "usage": _USAGE | ANYTHING}
    ),
    COMPLETIONS.name: objects(
        {
            "choices": mostly('[{"text":"Hi","finish_reason":"stop"}]', '[{"text":null}]', "[]", "null"),
            "usage": _USAGE | ANYTHING,
        }
    ),
}
_ODD_EVENTS: Text = st.one_of(
    objects({"type": mostly('"error"'), "error": _ERROR | ANYTHING}),
    objects({"type": mostly('"response.failed"'), "response": objects({"error": _ERROR | ANYTHING})}),
    objects({"type": mostly('"response.completed"'), "response": objects({"usage": _USAGE | ANYTHING})}),
    objects({"type": mostly('"message_delta"'), "delta": objects({"stop_reason": _REASON}), "usage": _USAGE}),
    objects({"type": mostly('"message_start"'), "message": objects({"usage": _USAGE | ANYTHING}) | ANYTHING}),
    objects({"type": mostly('"content_block_delta"'), "delta": objects({"text": mostly('"x"', "null")}) | ANYTHING}),
    objects({"type": mostly('"response.output_text.delta"'), "delta": mostly('"x"', "null", "1")}),
    objects({"cost": objects({"total_msats": _COUNTS})}),
    ANYTHING,
)
_OTHERS = st.sampled_from([DONE, b": hi\n\n", b"event: error\ndata: {}\n\n", event({}), named({"type": "ping"})])


@st.composite
def _streams(draw: st.DrawFn, speech: Speech) -> bytes:
    """A stream's events, some of them left out, odd ones among them, its lines ended in any way."""
    events = [each for each in speech.events if draw(st.integers(0, 9))]
    for _ in range(draw(st.integers(0, 2))):
        odd = draw(_ODD_EVENTS.map(lambda text: b"data: " + encoded(text) + b"\n\n") | _OTHERS)
        events.insert(draw(st.integers(0, len(events))), odd)
    stream = b"".join(events)
    how = draw(st.integers(0, 5))
    if how == 0:
        stream = stream.replace(b"\n", draw(st.sampled_from([b"\r\n", b"\r"])))
    elif how == 1:
        stream = stream.replace(b": ", b":")
    elif how == 2:
        stream = stream.replace(b', "', b',\ndata: "')
    return draw(maybe_spoilt(stream))


@st.composite
def replies_in(draw: st.DrawFn, speech: Speech) -> list[Part]:
    """A provider's answer in a dialect, with its length or in chunks."""
    streams = bool(speech.events) and draw(st.booleans())
    body = draw(_streams(speech)) if streams else draw(maybe_spoilt(encoded(draw(_WHOLE[speech.name]))))
    kind = draw(st.sampled_from([b"text/event-stream" if streams else b"application/json"] * 5 + [b"text/html"]))
    status = draw(st.sampled_from([b"200 OK"] * 8 + [b"404 X", b"405 X", b"400 X", b"529 X", b"500 X"]))
    chunked = draw(st.booleans())
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\n%b\r\nConnection: close\r\n\r\n" % (status, kind, framing)
    return [*draw(in_pieces(head + (draw(in_chunks(body)) if chunked else body))), Move.CLOSE]
