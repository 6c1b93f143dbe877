"""Many clients at once at a real arbstr, few of them polite: memory stays bounded, and the others are served."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import pytest

from tests.perf.bench.process import cpu_s, resident_mb
from tests.support.patience import PATIENCE_S
from tests.support.provider import (
    Part,
    Reply,
    ScriptedProvider,
    chunk,
    completion,
    json_reply,
    reply,
    sse_reply,
    stream_events,
)
from tests.support.serve_process import ServeProcess, chat, eventually

IDLE_STREAMS = 2000
MB = 1024 * 1024
HELD_UP_S = 0.5  # of CPU; to read 20 million values at once takes more
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def many_files() -> Iterator[int]:
    """As many files as the system lets this process have; it begins with fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def configured(home: Path, url: str, server: str = "") -> str:
    provider = f'[[providers]]\nname = "alpha"\nurl = "{url}"\nmodels = ["gpt-4o"]\non_client_gone = "cancel"\n'
    (home / "config.toml").write_text(f"[server]\n{server}\n{provider}[logging]\nlog_requests = false\n")
    return "config.toml"


def request(**fields: Any) -> bytes:
    body = json.dumps(chat(**fields)).encode()
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


@asynccontextmanager
async def connected(arbstr: ServeProcess, count: int) -> AsyncIterator[list[Connection]]:
    """So many connections, closed at the end."""
    async with AsyncExitStack() as stack:
        connections = []
        for _ in range(count):
            connections.append(await asyncio.open_connection("127.0.0.1", urlsplit(arbstr.url).port))
            stack.callback(connections[-1][1].close)
        yield connections


async def until(connection: Connection, text: bytes) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        return await connection[0].readuntil(text)


async def counts(arbstr: ServeProcess) -> tuple[int, int]:
    """Rows, and those of them that are errors."""
    counts = (await asyncio.to_thread(arbstr.get, "/v1/stats"))["counts"]
    return counts["total"], counts["error"]


async def test_thousands_of_idle_streams_cost_little_each_and_all_end_well(tmp_path: Path, many_files: int) -> None:
    streams = min(IDLE_STREAMS, many_files // 2 - 200)  # each has two ends here
    go_on = asyncio.Event()
    async with ScriptedProvider(sse_reply(chunk("a"), go_on, *stream_events("b"))) as provider:
        options = ("-c", configured(tmp_path, provider.url, "max_in_flight = 2000"))
        with ServeProcess(tmp_path, *options, ulimit="-Sn 256") as arbstr:
            before = resident_mb(arbstr.process.pid) or 0
            async with connected(arbstr, streams) as connections:
                for connection in connections:
                    connection[1].write(request(stream=True))
                await asyncio.gather(*(until(connection, b'"a"') for connection in connections))
                each_kb = ((resident_mb(arbstr.process.pid) or 0) - before) * 1000 / streams
                assert each_kb < 100
                go_on.set()
                ends = await asyncio.gather(*(until(connection, b"0\r\n\r\n") for connection in connections))
                assert all(b"[DONE]" in end for end in ends)
            assert await asyncio.to_thread(eventually, lambda: arbstr.get("/v1/stats")["counts"]["success"] == streams)


async def test_providers_wait_for_clients_that_do_not_read(tmp_path: Path) -> None:
    readers, sent = 30, 0
    events = chunk("x" * 8000) * 8

    def endless() -> Iterator[Part]:
        nonlocal sent
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        while True:
            sent += len(events)
            yield events

    # A reply that is made as it is played.
    async with ScriptedProvider(lambda asked: cast("Reply", endless())) as provider:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, provider.url), forked=False) as arbstr:
            before = resident_mb(arbstr.process.pid) or 0
            sockets = [socket.create_connection(("127.0.0.1", urlsplit(arbstr.url).port or 0)) for _ in range(readers)]
            for each in sockets:
                each.sendall(request(stream=True))
            await provider.asked(readers)
            async with asyncio.timeout(PATIENCE_S):
                seen = -1
                while seen != sent:
                    seen = sent
                    await asyncio.sleep(0.5)  # as long as anything moves, it moves within that
            assert (resident_mb(arbstr.process.pid) or 0) - before < 2 * readers
            assert (await asyncio.to_thread(arbstr.get, "/health"))["status"] == "ok"
            for each in sockets:
                each.close()
            assert await asyncio.to_thread(eventually, lambda: arbstr.get("/v1/stats")["counts"]["error"] == readers)


async def test_large_answers_that_nobody_reads_take_bounded_memory_and_leave_others_be(tmp_path: Path) -> None:
    clients, size = 8, 50 * MB
    large = json_reply(completion("x" * size))
    async with ScriptedProvider(*[large] * clients, json_reply(completion())) as provider:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, provider.url), forked=False) as arbstr:
            before = arbstr.peak_mb()
            sockets = [socket.create_connection(("127.0.0.1", urlsplit(arbstr.url).port or 0)) for _ in range(clients)]
            for each in sockets:
                each.sendall(request())
            await provider.asked(clients)
            await asyncio.sleep(2)  # what comes in that time is much more than may stay
            assert arbstr.peak_mb() - before < 450
            assert (await asyncio.to_thread(arbstr.chat)).status_code == 200
            for each in sockets:
                each.close()
            assert await asyncio.to_thread(
                eventually, lambda: arbstr.get("/v1/stats")["counts"]["total"] == clients + 1
            )


async def is_held_up(arbstr: ServeProcess, until: asyncio.Future[Any]) -> bool:
    """Ask for /health again and again until something is done; whether arbstr worked long before it answered.

    Its CPU time says so, which is the same on a busy machine.
    """
    longest_s = 0.0
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        while not until.done():
            before_s = cpu_s(arbstr.process.pid) or 0
            await client.get(f"{arbstr.url}/health")
            longest_s = max(longest_s, (cpu_s(arbstr.process.pid) or 0) - before_s)
            await asyncio.sleep(0.01)
    return longest_s > HELD_UP_S


async def test_millions_of_values_neither_stop_the_others_nor_take_their_memory(tmp_path: Path) -> None:
    many = b"[" + b"{}," * 20_000_000 + b"0]"
    answer = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"x":%b,' % many
    answer += b'"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}'
    sent = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"x":%b}' % many
    async with ScriptedProvider(reply(answer)) as provider:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, provider.url), forked=False) as arbstr:
            before = arbstr.peak_mb()
            url, labelled = f"{arbstr.url}/v1/chat/completions", {"Content-Type": "application/json"}
            async with httpx.AsyncClient(timeout=60) as client:
                refusing = asyncio.ensure_future(client.post(url, content=sent, headers=labelled))
                assert not await is_held_up(arbstr, refusing)
                answering = asyncio.ensure_future(client.post(url, json=chat()))
                assert not await is_held_up(arbstr, answering)
            assert (await refusing).json()["error"]["code"] == "invalid_json"
            assert (await answering).content == answer
            assert arbstr.peak_mb() - before < 450
            (row,) = (await asyncio.to_thread(arbstr.get, "/v1/requests?success=true"))["data"]
            assert (row["tokens"]["input"], row["tokens"]["output"]) == (3, 4)


async def test_silent_connections_keep_no_token_holder_out(tmp_path: Path) -> None:
    async with ScriptedProvider(json_reply(completion())) as provider:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, provider.url), ulimit="-n 600") as arbstr:
            async with connected(arbstr, 450):
                for _ in range(3):
                    answered = await asyncio.to_thread(eventually, lambda: arbstr.chat().status_code == 200)
                    assert answered


async def test_a_body_of_100_mb_is_refused_before_it_was_sent(tmp_path: Path) -> None:
    async with ScriptedProvider(json_reply(completion())) as provider:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, provider.url)) as arbstr:
            async with connected(arbstr, 1) as (connection,):
                connection[1].write(HEAD + b"Content-Length: %d\r\n\r\n" % (100 * MB))
                assert (await until(connection, b"\r\n")).split()[1] == b"413"
            assert await asyncio.to_thread(eventually, lambda: arbstr.get("/v1/stats")["counts"]["total"] == 1)


async def test_bodies_of_100_mb_without_a_length_cost_an_error_and_bounded_memory(tmp_path: Path) -> None:
    senders = 6

    async def send(connection: Connection) -> bytes:
        reader, writer = connection
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        piece = b"%x\r\n%b\r\n" % (MB, b" " * MB)
        try:
            for _ in range(100):
                writer.write(piece)
                await writer.drain()
                if reader._buffer:  # type: ignore[attr-defined]  # an answer is there: nobody sends on then
                    break
        except ConnectionError:
            pass
        return (await until(connection, b"\r\n")).split()[1]

    async with ScriptedProvider(json_reply(completion())) as provider:
        config = configured(tmp_path, provider.url, "max_request_mb = 8")
        with ServeProcess(tmp_path, "-c", config, forked=False) as arbstr:
            before = arbstr.peak_mb()
            async with connected(arbstr, senders) as connections:
                statuses = await asyncio.gather(*map(send, connections))
                assert set(statuses) <= {b"413", b"503"}
                assert b"413" in statuses
            assert arbstr.peak_mb() - before < 200
            assert (await asyncio.to_thread(arbstr.chat)).status_code == 200
            assert await counts(arbstr) == (senders + 1, senders)


async def test_clients_that_send_byte_by_byte_keep_nobody_waiting(tmp_path: Path) -> None:
    async with ScriptedProvider(json_reply(completion())) as provider:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, provider.url)) as arbstr:
            text = request()
            async with connected(arbstr, 300) as connections:
                for place in range(3):
                    for index, (_, writer) in enumerate(connections):
                        writer.write(text[place : place + 1] if index % 2 else (text[:-9] if place == 0 else b" "))
                    assert (await asyncio.to_thread(arbstr.chat)).status_code == 200
            assert await asyncio.to_thread(eventually, lambda: arbstr.get("/v1/stats")["counts"]["total"] == 153)


async def test_a_crowd_that_takes_every_place_leaves_them_to_who_asks_and_the_ways_to_providers_free(
    tmp_path: Path,
) -> None:
    async with ScriptedProvider(json_reply(completion())) as provider:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, provider.url), ulimit="-n 200") as arbstr:
            assert "open files" in arbstr.stderr
            async with connected(arbstr, 60) as connections:
                # For a moment after a burst newcomers are asked to come again.
                assert await asyncio.to_thread(eventually, lambda: arbstr.chat().status_code == 200)
                connections[0][1].write(request())
                assert b" 200 OK" in await until(connections[0], b"\r\n")
            assert await asyncio.to_thread(arbstr.stop) == 0


async def test_a_crowd_of_more_than_the_files_keeps_neither_arbstr_nor_providers_from_anybody(
    tmp_path: Path, many_files: int
) -> None:
    assert many_files > 1200
    async with ScriptedProvider(json_reply(completion())) as provider:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, provider.url), ulimit="-n 256") as arbstr:
            async with connected(arbstr, 30) as early:
                crowd = [socket.socket() for _ in range(900)]
                for place, one in enumerate(crowd):
                    one.setblocking(False)
                    one.connect_ex(("127.0.0.1", urlsplit(arbstr.url).port))
                    if place % 30 == 0:
                        early[place // 30][1].write(request())
                for connection in early:
                    assert b" 200 OK" in await until(connection, b"\r\n")
                for one in crowd:
                    one.close()
            assert await asyncio.to_thread(eventually, lambda: arbstr.chat().status_code == 200)
            assert "accepting no connections" not in arbstr.stderr
            assert "attempt failed" not in arbstr.stderr
            assert await asyncio.to_thread(arbstr.stop) == 0
