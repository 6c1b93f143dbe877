"""The scripted provider sends its script, byte for byte and in order, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.provider import (
    DONE,
    Move,
    Reply,
    ScriptedProvider,
    byte_by_byte,
    chunk,
    completion,
    cut_at,
    error_reply,
    json_reply,
    reply,
    sse_reply,
    stream_events,
)
from tests.support.recordings import RECORDINGS, recording

BODY = json.dumps({"model": "gpt-4o"}).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Twice: 1\r\nX-Twice: 2\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(provider: ScriptedProvider) -> AsyncIterator[Connection]:
    port = int(provider.url.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def everything(provider: ScriptedProvider) -> bytes:
    """What comes for one request until the provider closes."""
    async with connected(provider) as (reader, writer):
        writer.write(REQUEST)
        return await reader.read()


async def test_a_scripted_provider_notes_its_requests() -> None:
    async with ScriptedProvider() as provider, connected(provider) as (_, writer):
        writer.write(REQUEST)
        asked = await provider.asked()
    assert (asked.method, asked.path, asked.json) == ("POST", "/v1/chat/completions", {"model": "gpt-4o"})
    assert [pair for pair in asked.raw_headers if pair[0] == "X-Twice"] == [("X-Twice", "1"), ("X-Twice", "2")]


async def test_replies_are_given_in_order_and_the_last_again_on_one_connection() -> None:
    script = (error_reply(500), lambda asked: json_reply({"to": asked.path}, retry_after="3"))
    async with ScriptedProvider(*script) as provider, connected(provider) as (reader, writer):
        heads = []
        for _ in range(3):
            writer.write(REQUEST)
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            length = next(line for line in heads[-1].split(b"\r\n") if line.startswith(b"Content-Length"))
            await reader.readexactly(int(length.split(b":")[1]))
        assert [line.split(b" ")[1] for line in heads] == [b"500", b"200", b"200"]
        assert b"retry-after: 3\r\n" in heads[1]
        assert provider.connections == 1


async def test_bytes_arrive_unchanged_however_they_are_split() -> None:
    lie = b"HTTP/9.9 banana\r\n\xff\r\n\r\nrest"
    for parts in ([lie], byte_by_byte(lie), cut_at(lie, 3, 20)):
        async with ScriptedProvider([*parts, Move.CLOSE]) as provider:
            assert await everything(provider) == lie


async def test_a_part_is_read_before_the_next_is_sent() -> None:
    resume = asyncio.Event()
    script: Reply = [b"one", resume, b"two", Move.CLOSE]
    async with ScriptedProvider(script) as provider, connected(provider) as (reader, writer):
        writer.write(REQUEST)
        assert await reader.read(100) == b"one"
        resume.set()
        assert await reader.read() == b"two"


async def test_a_stream_is_chunked_and_ends_or_is_cut() -> None:
    events = [chunk("Grüße"), DONE]
    async with ScriptedProvider([*sse_reply(*events), Move.CLOSE]) as provider:
        answer = await everything(provider)
        assert "Grüße".encode() in answer
        assert answer.endswith(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    async with ScriptedProvider(sse_reply(*events, Move.CLOSE)) as provider:
        assert not (await everything(provider)).endswith(b"0\r\n\r\n")


async def test_a_reset_is_an_error_for_the_reader_and_a_close_is_none() -> None:
    resume = asyncio.Event()
    async with ScriptedProvider([b"one", resume, Move.RESET]) as provider, connected(provider) as (reader, writer):
        writer.write(REQUEST)
        assert await reader.readexactly(3) == b"one"
        resume.set()
        with pytest.raises(ConnectionResetError):
            await reader.read()
    async with ScriptedProvider([b"one", Move.CLOSE]) as provider:
        assert await everything(provider) == b"one"


async def test_a_kept_connection_can_close_on_the_next_request() -> None:
    async with ScriptedProvider([*reply(b"{}"), Move.CLOSE_ON_NEXT]) as provider:
        async with connected(provider) as (reader, writer):
            writer.write(REQUEST)
            await reader.readuntil(b"{}")
            assert not reader.at_eof()
            writer.write(REQUEST)
            assert await reader.read() == b""
        assert len(provider.requests) == 1


@pytest.mark.parametrize("silence", [Move.NEVER, Move.ENDLESS])
async def test_a_scripted_provider_notices_a_caller_that_leaves(silence: Move) -> None:
    async with ScriptedProvider([silence]) as provider:
        async with connected(provider) as (_, writer):
            writer.write(REQUEST)
            asked = await provider.asked()
        await asked.left.wait()
        assert not asked.answered.is_set()


@pytest.mark.parametrize("stuck", [Move.NEVER, Move.ENDLESS])
async def test_stopping_hangs_up_on_everybody_at_once(stuck: Move) -> None:
    """Also on one that does not read what it is sent."""
    async with ScriptedProvider([stuck]) as provider, connected(provider) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
        writer.write(REQUEST)
        await provider.asked()
        assert provider.open
        await provider.stop()
        assert not provider.open


async def test_a_scripted_provider_can_start_again_at_its_address() -> None:
    provider = ScriptedProvider([*reply(b"{}"), Move.CLOSE])
    async with provider:
        url = provider.url
    with pytest.raises(ConnectionRefusedError):
        await everything(provider)
    async with provider:
        assert provider.url == url
        assert (await everything(provider)).endswith(b"{}")


def test_completions_have_usage_and_cost_only_if_they_are_to() -> None:
    assert "usage" not in completion(tokens=None)
    assert "cost" not in completion()["usage"]
    assert completion(cost_msats=1500)["usage"]["cost"]["total_msats"] == 1500
    assert stream_events("a", done=False)[-1] != stream_events("a")[-1] == DONE


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in RECORDINGS.glob("*.json") if '"response"' in path.read_text())
)
async def test_every_recording_plays_with_its_status_and_headers(name: str) -> None:
    recorded = recording(name)
    async with ScriptedProvider([*recorded.reply(), Move.CLOSE]) as provider:
        opening, _, body = (await everything(provider)).partition(b"\r\n\r\n")
    assert opening.startswith(b"HTTP/1.1 %d " % recorded.status)
    assert opening.lower().count(b"\r\nx-routstr-request-id:") == 1
    assert recorded.body in body
