"""Bytes that are almost right: what was good, cut, doubled, overwritten, interspersed with what parsers trip over."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

SNAGS = [
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b";", b",", b'"', b"\\", b"{", b"}", b"[", b"]"),
    *(b"-1", b"0", b"1e400", b"99999999999999999999", b"NaN", b"null", b"\xff", b"\xc3", b"\xf0\x9f", b"\xef\xbb\xbf"),
    *("é\u2028\u202e".encode(), b"\x1b[31m", b"\x7f", b"x" * 70_000, b"HTTP/1.1 200 OK\r\n", b"POST / HTTP/1.1\r\n"),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Connection: close\r\n",
    ),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffffffffffffff\r\n", b"-5\r\n", b"data: [DONE]\n\n", b"[DONE]", b"\n\n"),
    *(
        b"data:",
        b"event: error\n",
        b'"usage":{"prompt_tokens":-1}',
        b'"finish_reason":"stop"',
        b'"error":{"message":1}',
    ),
]


@st.composite
def spoilt(draw: st.DrawFn, good: bytes) -> bytes:
    """These bytes after one to three accidents."""
    data = good
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + draw(st.sampled_from((0, 1, 2, 8, 100_000))))))
        new = draw(st.sampled_from(SNAGS) | st.binary(max_size=4) | st.just(b"") | st.just(data[start:end] * 2))
        data = data[:start] + new + data[end:]
    return data


def maybe_spoilt(good: bytes) -> st.SearchStrategy[bytes]:
    """These bytes, most often as they are."""
    return st.one_of(st.just(good), st.just(good), spoilt(good))


@st.composite
def in_pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """These bytes as a network may deliver them."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=6))
    return [data[start:end] for start, end in pairwise([0, *sorted(cuts), len(data)]) if start < end]


@st.composite
def in_chunks(draw: st.DrawFn, data: bytes) -> bytes:
    """These bytes as a chunked body, now and then with a chunk that is none."""
    bad = [b"zz\r\nhe\r\n", b"-1\r\n\r\n", b"5\r\nhel\r\n", b"\r\n", b"1" * 40 + b"\r\n", b"3;a=b;c\r\nabc\r\n", b"\0"]
    pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in draw(in_pieces(data))]
    if draw(st.integers(0, 4)) == 0:
        pieces.insert(draw(st.integers(0, len(pieces))), draw(st.sampled_from(bad)))
    ends = (
        b"0\r\n\r\n",
        b"0\r\n\r\n",
        b"0\r\n\r\n",
        b"0\r\nX-Trailer: 1\r\n\r\n",
        b"0\r\nbad trailer\r\n\r\n",
        b"0\r\n",
        b"",
    )
    return b"".join(pieces) + draw(st.sampled_from(ends))
