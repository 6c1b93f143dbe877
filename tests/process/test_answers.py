"""Answers of providers that are not what they say they are, or far too much of it."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import pytest

from tests.support.faulty_provider import CHUNKED, EVENTS, JSON, FaultyProviderHarness
from tests.support.provider import (
    DONE,
    Move,
    Part,
    byte_by_byte,
    chunk,
    chunked,
    completion,
    head,
    json_reply,
    reply,
    sse_reply,
    stream_events,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

WHOLE = json.dumps(completion("from alpha")).encode()
BEGUN = [head(200, EVENTS, CHUNKED), chunked(chunk("from alpha"))]
MOST_MEMORY_MB = 300.0

# Lengths, trailers, interim answers

STRAY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n" + b'{"choices":1}'


async def test_a_body_longer_than_it_says_is_cut_and_the_request_sent_on(faulty: FaultyProviderHarness) -> None:
    script = [head(200, JSON, ("Content-Length", str(len(WHOLE) - 9))) + WHOLE]
    answer = await faulty.chat(script)
    assert (answer.headers["x-arbstr-provider"], answer.headers["x-arbstr-retries"]) == ("beta", "1/alpha")


@pytest.mark.parametrize("together", [True, False], ids=["at once", "later"])
async def test_an_answer_that_nobody_asked_for_answers_nobody(faulty: FaultyProviderHarness, together: bool) -> None:
    good = [head(200, JSON, ("Content-Length", str(len(WHOLE)))), WHOLE]
    later = asyncio.Event()
    first = await faulty.chat([b"".join(good) + STRAY] if together else [*good, later, STRAY])
    later.set()
    await faulty.alpha.requests[-1].answered.wait()
    assert first.json()["choices"][0]["message"]["content"] == "from alpha"
    for _ in range(3):
        answer = await faulty.chat(good)
        assert answer.json()["choices"] != 1
        assert answer.headers["x-arbstr-provider"] == "alpha"


async def test_a_stream_longer_than_it_says_breaks_off_there(faulty: FaultyProviderHarness) -> None:
    first, rest = chunk("from alpha"), b"".join(stream_events("and more"))
    cut, arrived = rest.index(b"and more"), asyncio.Event()
    script: list[Part] = [head(200, EVENTS, ("Content-Length", str(len(first) + cut))), first, arrived, rest]
    got = b"".join([data async for data in faulty.stream(script, arrived)])
    assert b"from alpha" in got
    assert b"and more" not in got
    assert b"broke off" in got
    assert DONE not in got


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_trailers_are_read_and_go_nowhere(faulty: FaultyProviderHarness, stream: bool) -> None:
    parts = stream_events("from alpha") if stream else [WHOLE]
    kind = EVENTS if stream else JSON
    script = [head(200, kind, CHUNKED, ("Trailer", "X-Sum")), *map(chunked, parts), b"0\r\nX-Sum: 1\r\n\r\n"]
    for _ in range(2):
        answer = await faulty.chat(script, stream=stream)
        assert "from alpha" in answer.text
        assert not {"x-sum", "trailer"} & set(answer.headers)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints", b"199 Whatever"])
async def test_interim_answers_are_passed_over(faulty: FaultyProviderHarness, interim: bytes, stream: bool) -> None:
    good = sse_reply(*stream_events("from alpha")) if stream else json_reply(completion("from alpha"))
    script = [b"HTTP/1.1 %b\r\nLink: </x>\r\n\r\n" % interim] * 3
    answer = await faulty.chat([*script, *good], stream=stream)
    assert (answer.status_code, answer.headers["x-arbstr-provider"]) == (200, "alpha")
    assert "from alpha" in answer.text
    assert "link" not in answer.headers


@pytest.mark.parametrize("status", ["101 Switching Protocols", "204 No Content", "205 Reset", "304 Not Modified"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_status_that_has_no_body_is_no_answer(faulty: FaultyProviderHarness, status: str, stream: bool) -> None:
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade")] if status.startswith("101") else []
    answer = await faulty.chat([head(status, *headers), Move.CLOSE], stream=stream)
    assert (answer.headers["x-arbstr-provider"], answer.headers["x-arbstr-retries"]) == ("beta", "1/alpha")


# Encodings


def bomb(window_bits: int) -> bytes:
    """400 MB of zeroes, compressed; the checksum at its end is not theirs."""
    compressor, zeroes = zlib.compressobj(1, wbits=window_bits), bytes(1_000_000)
    first, again = (compressor.compress(zeroes) + compressor.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * 399 + compressor.flush()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("name", "window_bits"), [("gzip", 31), ("deflate", 15)], ids=["gzip", "deflate"])
async def test_a_bomb_costs_an_attempt_and_little_memory(
    faulty: FaultyProviderHarness, name: str, window_bits: int, stream: bool
) -> None:
    answer = await faulty.chat(reply(bomb(window_bits), headers=[("Content-Encoding", name)]), stream=stream)
    assert (answer.headers["x-arbstr-provider"], answer.headers["x-arbstr-retries"]) == ("beta", "1/alpha")
    assert faulty.arbstr.peak_mb() < MOST_MEMORY_MB


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd", "what"])
async def test_a_body_that_is_not_encoded_as_it_says_costs_an_attempt(faulty: FaultyProviderHarness, name: str) -> None:
    answer = await faulty.chat(reply(b"\x1b not this", headers=[("Content-Encoding", name)]))
    assert (answer.headers["x-arbstr-provider"], answer.headers["x-arbstr-retries"]) == ("beta", "1/alpha")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_compressed_answer_reaches_the_client_readable(faulty: FaultyProviderHarness, stream: bool) -> None:
    data = b"".join(stream_events("from alpha")) if stream else WHOLE
    kind = EVENTS[1] if stream else JSON[1]
    script = reply(gzip.compress(data), content_type=kind, headers=[("Content-Encoding", "gzip")])
    answer = await faulty.chat(script, stream=stream)
    assert "from alpha" in answer.text
    assert answer.headers["x-arbstr-provider"] == "alpha"


async def test_bytes_that_are_no_utf_8_are_no_json_and_send_the_request_on(faulty: FaultyProviderHarness) -> None:
    answer = await faulty.chat(reply(WHOLE.replace(b"from alpha", b"\xff\xfe\xc3")))
    assert (answer.headers["x-arbstr-provider"], answer.headers["x-arbstr-retries"]) == ("beta", "1/alpha")


async def test_bytes_that_are_no_utf_8_pass_within_a_stream(faulty: FaultyProviderHarness) -> None:
    events = stream_events("from alpha", "torn")
    script = sse_reply(*(event.replace(b"torn", b"\xff\xfe\xc3") for event in events))
    answer = await faulty.chat(script, stream=True)
    assert b"\xff\xfe\xc3" in answer.content
    assert answer.content.endswith(DONE)
    assert (await faulty.row(answer))["success"]


async def test_bytes_that_are_no_utf_8_may_be_in_an_error(faulty: FaultyProviderHarness) -> None:
    script = reply(b'{"error":{"message":"\xff\xfe","type":"x"}}', status=422, headers=[("X-Odd", "\u00e9")])
    answer = await faulty.chat(script)
    assert (answer.status_code, answer.content) == (422, script[1])


# Very much, very slowly


async def test_a_stream_of_single_bytes_arrives_whole(faulty: FaultyProviderHarness) -> None:
    answer = await faulty.chat(sse_reply(*byte_by_byte(b"".join(stream_events("h\u00e9llo")))), stream=True)
    assert "h\u00e9llo" in answer.text
    assert answer.content.endswith(DONE)


async def test_a_head_without_end_costs_an_attempt(faulty: FaultyProviderHarness) -> None:
    answer = await faulty.chat([Move.ENDLESS])
    assert answer.headers["x-arbstr-retries"] == "1/alpha"
    assert faulty.arbstr.peak_mb() < MOST_MEMORY_MB


async def test_a_body_without_end_costs_an_attempt_and_little_memory(faulty: FaultyProviderHarness) -> None:
    answer = await faulty.chat([head(200, JSON), b"{", Move.ENDLESS])
    assert answer.headers["x-arbstr-retries"] == "1/alpha"
    assert faulty.arbstr.peak_mb() < MOST_MEMORY_MB


async def test_a_line_without_end_passes_within_a_stream_and_costs_little_memory(faulty: FaultyProviderHarness) -> None:
    megabyte = chunked(b"x" * 1_000_000)
    got, last = 0, b""
    async for data in faulty.stream([*BEGUN, chunked(b"data: "), *[megabyte] * 200, Move.CLOSE]):
        got, last = got + len(data), data
    assert got > 200_000_000
    assert b"bad_upstream_response" in last
    assert faulty.arbstr.peak_mb() < MOST_MEMORY_MB


@pytest.mark.parametrize(
    "said", [b"x" * 100_000, b": hi\n\n" * 20_000], ids=["a line without end", "nothing but comments"]
)
async def test_a_stream_that_does_not_begin_costs_an_attempt_and_little_memory(
    faulty: FaultyProviderHarness, said: bytes
) -> None:
    answer = await faulty.chat([head(200, EVENTS, CHUNKED), *[chunked(said)] * 1000, Move.CLOSE], stream=True)
    assert (answer.headers["x-arbstr-provider"], answer.headers["x-arbstr-retries"]) == ("beta", "1/alpha")
    assert faulty.arbstr.peak_mb() < MOST_MEMORY_MB
