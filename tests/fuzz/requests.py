"""What clients send: requests with anything in any field, chat's under any head."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.fuzz.json_text import ANYTHING, Text, encoded, mostly, objects
from tests.fuzz.spoil import in_chunks, in_pieces, maybe_spoilt, spoilt

TOKEN = "client-token-0123456789abcdef"
CHAT = "/v1/chat/completions"
MODELS = ('"gpt-4o"', '"gpt-4o"', '"gpt-4o"', '"mini"', '"gpt-5"', '""', r'"\u001b"')
KNOWN_POLICIES = ("code", "thrifty")

_TEXT_PART = objects({"type": mostly('"text"', '"image_url"'), "text": mostly('"hi"', '"code this"', r'"\ud83d"')})
_MESSAGE = objects(
    {
        "role": mostly('"user"', '"user"', '"system"', '"tool"'),
        "content": mostly('"hi"', '"Code, please"', r'"cut \ud83d"', "null")
        | st.lists(_TEXT_PART | ANYTHING, max_size=3).map(lambda parts: f"[{','.join(parts)}]"),
        "name": ANYTHING,
    }
)
_FIELDS: dict[str, Text] = {
    "model": mostly(*MODELS),
    "messages": st.lists(_MESSAGE, min_size=1, max_size=3).map(lambda parts: f"[{','.join(parts)}]")
    | mostly('[{"role":"user","content":"hi"}]'),
    "stream": mostly("true", "false", "null"),
    "stream_options": mostly('{"include_usage":true}', '{"include_usage":false}', "{}", "null"),
    "max_tokens": mostly("null", "1", "100", "1" * 400, "18446744073709551615"),
    "max_completion_tokens": mostly("null", "7"),
    "x_unknown": ANYTHING,
}


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A chat request's body, right or wrong."""
    text = draw(objects(_FIELDS) | ANYTHING) if draw(st.integers(0, 9)) else draw(ANYTHING)
    form = draw(st.integers(0, 19))
    if form == 0:
        return text.encode("utf-16", "surrogatepass")
    return draw(maybe_spoilt(encoded(text)))


_VALUES = st.sampled_from(
    [
        b"",
        b" ",
        b"code",
        b" CODE ",
        b"nope",
        b"caf\xc3\xa9",
        b"\xff\xfe",
        b"a\x1b[31mb",
        b"x" * 9000,
        b"a,b",
        b'"',
        b"*",
    ]
) | st.binary(max_size=12).map(lambda data: data.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b""))
_NAMES = st.sampled_from(
    [
        *(b"X-Arbstr-Policy", b"X-Arbstr-Policy", b"X-Arbstr-Request-Id", b"Content-Encoding", b"Expect", b"Origin"),
        *(b"Accept", b"Connection", b"Upgrade", b"Cookie", b"Content-Type", b"User-Agent", b"X-Custom", b"TE", b"Host"),
    ]
)


@dataclass(frozen=True)
class Sent:
    """Bytes in the pieces in which a client sends them; `orderly` ones are a request with its token, and whole."""

    pieces: list[bytes]
    orderly: bool = False
    path: str = CHAT


@st.composite
def orderly(draw: st.DrawFn) -> Sent:
    """A POST that no HTTP parser could find fault with, and whose token is right; its body may be anything."""
    body = draw(bodies())
    headers = [b"Host: localhost", b"Authorization: Bearer " + TOKEN.encode(), b"Content-Type: application/json"]
    if draw(st.booleans()):
        policy = draw(
            st.sampled_from([*(name.encode() for name in KNOWN_POLICIES), b"nope", b"caf\xc3\xa9", b"\xff", b""])
        )
        headers.append(b"X-Arbstr-Policy: " + policy)
    if draw(st.integers(0, 3)):
        headers.append(b"Content-Length: %d" % len(body))
    else:
        headers.append(b"Transfer-Encoding: chunked")
        body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    head = b"POST %b HTTP/1.1\r\n%b\r\n\r\n" % (CHAT.encode(), b"\r\n".join(headers))
    return Sent(draw(in_pieces(head + body)), orderly=True)


@st.composite
def disorderly(draw: st.DrawFn) -> Sent:
    """Bytes that are more or less an HTTP request."""
    body = draw(bodies())
    method = draw(st.sampled_from([b"POST"] * 6 + [b"GET", b"OPTIONS", b"PUT", b"post", b"BREW", b"\xff"]))
    paths = [CHAT.encode()] * 6 + [b"/v1/cost", b"/v1/models/x", b"/", b"*", b"/%ff/\xff", b"//", b"http://x/v1/models"]
    token = draw(st.sampled_from([TOKEN.encode()] * 6 + [b"wrong", b"", b"\xff"]))
    kind = draw(st.sampled_from([b"application/json"] * 6 + [b"text/plain", b"", b"application/json; charset=\xff"]))
    headers = [b"Host: localhost", b"Authorization: Bearer " + token, b"Content-Type: " + kind]
    headers += [b"%b: %b" % (draw(_NAMES), draw(_VALUES)) for _ in range(draw(st.integers(0, 3)))]
    if draw(st.booleans()):
        headers.append(b"Transfer-Encoding: chunked")
        body = draw(in_chunks(body))
    else:
        off = draw(st.sampled_from([0] * 6 + [-1, 1, 10_000]))
        headers.append(b"Content-Length: %d" % max(0, len(body) + off))
    version = draw(st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9.9", b""]))
    line = b"%b %b %b" % (method, draw(st.sampled_from(paths)), version)
    whole = b"\r\n".join([line, *headers, b"", body])
    return Sent(draw(in_pieces(draw(spoilt(whole)) if draw(st.booleans()) else whole)))


def asking(*, stream: bool = False, usage: bool = False) -> Sent:
    """A plain request."""
    options = b',"stream_options":{"include_usage":true}' if usage else b""
    body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":%b%b}' % (
        b"true" if stream else b"false",
        options,
    )
    return posted(CHAT, body)


def posted(path: str, body: bytes) -> Sent:
    """A request with this body, at once."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    labels = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return Sent([(head + labels).encode() + body], orderly=True, path=path)
