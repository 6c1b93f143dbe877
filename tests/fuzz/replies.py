"""What providers answer: completions, streams and errors with anything in any field, under any head, cut anywhere."""

from __future__ import annotations

import gzip
import zlib

from hypothesis import strategies as st

from tests.fuzz.json_text import ANYTHING, Text, encoded, mostly, objects
from tests.fuzz.spoil import SNAGS, in_chunks, in_pieces, maybe_spoilt, spoilt
from tests.support.harness import key_of
from tests.support.provider import Move, Part

KEY = key_of("alpha")

_COUNTS = mostly("0", "12", "9.0", "-1", "1.5", "1e300", "null", "true", '"12"', "9007199254740993", "1" * 400)
_COST = objects({"total_msats": _COUNTS, "input_msats": _COUNTS, "base_msats": _COUNTS})
_USAGE = objects(
    {
        "prompt_tokens": _COUNTS,
        "completion_tokens": _COUNTS,
        "prompt_tokens_details": objects({"cached_tokens": _COUNTS}) | ANYTHING,
        "cost": _COST | ANYTHING,
        "cost_sats": _COUNTS,
    }
)
_ERROR = objects(
    {
        "message": mostly('"no."', f'"your key {KEY} is bad"', r'"\u001b[2J"', '""', '"' + "x" * 2000 + '"'),
        "type": mostly('"invalid_model"', '"server_error"', "null"),
        "code": mostly('"model_not_found"', "500", "null"),
        "details": objects({"retry_after_seconds": _COUNTS}),
    }
)
_SHAPES = st.one_of(
    objects({"error": _ERROR | ANYTHING}),
    objects({"message": mostly('"no"'), "code": mostly("429", '"x"'), "type": mostly('"invalid_model"')}),
    objects({"object": mostly('"error"'), "message": mostly('"no"')}),
    objects({"detail": mostly('"no"', '[{"loc":["body","x"],"msg":"no"}]', '{"error":{"message":"no"}}') | ANYTHING}),
    objects({"success": mostly("false"), "errors": _ERROR.map(lambda text: f"[{text}]") | ANYTHING}),
    objects({"choices": objects({"error": _ERROR | ANYTHING, "finish_reason": mostly('"error"')}).map("[{}]".format)}),
    _ERROR.map(lambda text: f'[{{"error":{text}}}]'),
)
_CONTENT = mostly('"Hello"', '""', "null", r'"cut \ud83d"', '"grüße 😀"', '"data: [DONE]"', r'"\"usage\":{"')
_FINISH = mostly("null", "null", '"stop"', '""', '"null"', '"error"')
_CHOICE = objects({"index": mostly("0"), "delta": objects({"content": _CONTENT}), "finish_reason": _FINISH})
_WHOLE_CHOICE = objects({"index": mostly("0"), "message": objects({"content": _CONTENT}), "finish_reason": _FINISH})


def _listed(item: Text) -> Text:
    return st.lists(item, max_size=2).map(lambda parts: f"[{','.join(parts)}]") | ANYTHING


_COMPLETION = objects(
    {"id": mostly('"c"'), "choices": _listed(_WHOLE_CHOICE), "usage": _USAGE | ANYTHING, "cost": _COST}
)
_CHUNK = (
    objects({"choices": _listed(_CHOICE)})
    | objects({"choices": _listed(_CHOICE)})
    | objects({"choices": mostly("[]"), "usage": _USAGE | ANYTHING, "cost": _COST})
    | objects({"choices": mostly('[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]')})
    | _SHAPES
)
_LINE_ENDS = st.sampled_from((b"\n", b"\n", b"\n", b"\r\n", b"\r"))
_EVENTS = st.one_of(
    *[_CHUNK.map(lambda text: [b"data: " + encoded(text)])] * 6,
    st.just([b"data: [DONE]"]),
    st.sampled_from(
        [[b": ping"], [b"event: error", b"data: {}"], [b"id: 1", b"data:{}"], [b"data"], [b""], [b"retry: 1"]]
    ),
    st.sampled_from(SNAGS).map(lambda snag: [snag]),
    st.sampled_from(SNAGS).map(lambda snag: [b"data: " + snag]),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    end = draw(_LINE_ENDS)
    events = draw(st.lists(_EVENTS, max_size=5))
    if draw(st.booleans()):
        good = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}'
        events = [[good], *events, [good.replace(b"null", b'"stop"')], [b"data: [DONE]"]]
    mark = draw(st.sampled_from([b""] * 5 + [b"\xef\xbb\xbf"]))
    return draw(maybe_spoilt(mark + b"".join(b"".join(line + end for line in event) + end for event in events)))


_BODIES = st.one_of(
    _COMPLETION.map(encoded),
    streams(),
    streams(),
    _SHAPES.map(encoded),
    ANYTHING.map(encoded),
    st.sampled_from([b"", b"<h1>Oops</h1>", b"\xff\xfe"]),
)
_STATUSES = [b"200 OK"] * 8 + [
    b"%d X" % status for status in (201, 204, 206, 301, 304, 400, 401, 402, 403, 404, 422, 424, 429, 500, 503)
]
_ODD_STATUSES = [b"200", b"0 X", b"099 X", b"999 X", b"1000 X", b"-200 X", b"101 Switching Protocols", b"xyz"]
_ODD_HEADERS = [
    *(
        b"Retry-After: " + value
        for value in (b"0", b"-1", b"1e9", b"inf", b"nan", b"Wed, 21 Oct 2015 07:28:00 -0000", b"x")
    ),
    *(
        b"Retry-After: " + value
        for value in (b"99999999999999999999", b"Fri, 31 Dec 9999 23:59:59 GMT", b"0.5", b"\xff")
    ),
    *(b"Retry-After: " + value for value in (b"21 Oct 99999999999 07:28:00 GMT", b"Mon, 01 Jan 0000 00:00:00 -9999")),
    *(b"retry-after-ms: " + value for value in (b"6", b"-1", b"x", b"9" * 30)),
    *(b"X-Routstr-Cost-Msats: " + value for value in (b"7", b"-7", b"7.5", b"1" * 400, b"nan", b"\xd9\xa3", b"")),
    *(b"Set-Cookie: a=b", b"Connection: close", b"X-Arbstr-Provider: me", b"Location: /x", b"X-Long: " + b"x" * 9000),
    *(b"X-Key: " + KEY.encode(), b"X-Esc: \x1b[31m", b"X-Bad: \xff\xfe", b"X-U: \xe2\x80\xae", b"Content-Length: 5"),
    *(
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Trailer: X",
        b"Content-Type: text/event-stream",
        b"\xff: 1",
    ),
    *(b"no colon", b" folded", b"Access-Control-Allow-Origin: *", b"Content-Encoding: br", b"Content-Encoding: \xff"),
    *(b"Connection: Upgrade\r\nUpgrade: websocket", b"Transfer-Encoding: gzip, chunked", b"Connection: keep-alive"),
]
_TYPES = [
    b"application/json",
    b"text/event-stream",
    b"text/event-stream; charset=utf-8",
    b"text/html",
    b"",
    b"\xff",
    None,
]


@st.composite
def _packed(draw: st.DrawFn, body: bytes) -> tuple[bytes, list[bytes]]:
    """A body under a content encoding: what it says, and perhaps what it is."""
    how = draw(st.sampled_from(["plain"] * 8 + ["gzip", "deflate", "a lie", "torn"]))
    if how == "plain":
        return body, []
    packed = zlib.compress(body) if how == "deflate" else gzip.compress(body, mtime=0)
    if how == "torn":
        packed = packed[: draw(st.integers(0, len(packed)))]
    named = b"deflate" if how == "deflate" else b"gzip"
    return body if how == "a lie" else packed, [b"Content-Encoding: " + named]


@st.composite
def replies(draw: st.DrawFn) -> list[Part]:
    """A provider's whole side of an exchange; only where its framing is in order it may keep the connection."""
    body, headers = draw(_BODIES.flatmap(_packed))
    kind = draw(st.sampled_from(_TYPES))
    headers += [] if kind is None else [b"Content-Type: " + kind]
    odd = draw(st.lists(st.sampled_from(_ODD_HEADERS), max_size=2))
    headers += odd
    framing = draw(st.sampled_from(("length", "length", "chunked", "chunked", "none", "wrong length")))
    if framing == "chunked":
        headers.append(b"Transfer-Encoding: chunked")
        body = draw(in_chunks(body))
    elif framing != "none":
        off = draw(st.sampled_from((-1, 1, 5000))) if framing == "wrong length" else 0
        headers.append(b"Content-Length: %d" % max(0, len(body) + off))
    status = draw(st.sampled_from(_STATUSES if draw(st.integers(0, 9)) else _ODD_STATUSES))
    version = draw(st.sampled_from([b"HTTP/1.1"] * 12 + [b"HTTP/1.0", b"HTTP/2", b"HTTP/9.9", b"ICY"]))
    interim = draw(
        st.sampled_from([b""] * 9 + [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\n"])
    )
    whole = interim + b"\r\n".join([version + b" " + status, *headers, b"", body])
    in_order = framing == "length" and not odd and status in _STATUSES and version == b"HTTP/1.1"
    if in_order and draw(st.booleans()):
        return [*draw(in_pieces(whole))]
    if draw(st.integers(0, 3)) == 0:
        whole = draw(spoilt(whole))
    end = draw(st.sampled_from((Move.CLOSE, Move.CLOSE, Move.CLOSE, Move.RESET)))
    return [*draw(in_pieces(whole)), end]
