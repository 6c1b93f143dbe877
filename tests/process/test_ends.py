"""How a running arbstr may end (killed under load, stopped amid streams, asked twice), and what is left of it then."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.patience import PATIENCE_S
from tests.support.provider import (
    DONE,
    Asked,
    Move,
    Reply,
    ScriptedProvider,
    chunk,
    completion,
    error_reply,
    json_reply,
    sse_reply,
    stream_events,
)
from tests.support.serve_process import ServeProcess, chat, eventually


def configured(home: Path, url: str, more: str = "") -> str:
    provider = f'[[providers]]\nname = "alpha"\nurl = "{url}"\nmodels = ["gpt-4o"]\noutput_rate = 30\n'
    (home / "config.toml").write_text(f"{provider}{more}\n[retry]\nmax_retries = 0\nbackoff = 0\n")
    return "config.toml"


def rows(home: Path, columns: str) -> list[tuple[object, ...]]:
    """The rows of a ledger that is sound."""
    with closing(sqlite3.connect(home / "arbstr.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return db.execute(f"SELECT {columns} FROM requests ORDER BY id").fetchall()


def ended_rows(home: Path) -> set[object]:
    """The requests whose rows are whole."""
    return {request_id for request_id, still_open in rows(home, "correlation_id, open") if not still_open}


async def ask(client: httpx.AsyncClient, url: str, answered: set[str], *, stream: bool) -> None:
    """Ask again and again until arbstr is no more; note which answers came whole."""
    while True:
        try:
            answer = await client.post(f"{url}/v1/chat/completions", json=chat(stream=stream))
        except httpx.TransportError:
            return
        if b"[DONE]" in answer.content or not stream:
            answered.add(answer.headers["x-arbstr-request-id"])


@asynccontextmanager
async def streaming(arbstr: ServeProcess) -> AsyncIterator[AsyncIterator[bytes]]:
    """A stream's bytes, piece by piece."""
    async with (
        httpx.AsyncClient(base_url=arbstr.url, timeout=PATIENCE_S) as client,
        client.stream("POST", "/v1/chat/completions", json=chat(stream=True)) as answer,
    ):
        yield answer.aiter_raw()


async def state(arbstr: ServeProcess) -> dict[str, Any]:
    """How its provider fares."""
    health: dict[str, Any] = await asyncio.to_thread(arbstr.get, "/health")
    return dict(health["providers"]["alpha"])


async def stopped(arbstr: ServeProcess, number: int = signal.SIGTERM) -> int:
    return await asyncio.to_thread(arbstr.stop, number)


async def holds(true: Callable[[], object]) -> None:
    await asyncio.to_thread(eventually, true)


async def test_a_kill_under_load_costs_no_row_but_those_of_the_last_moment(tmp_path: Path) -> None:
    answered: set[str] = set()

    def by_kind(asked: Asked) -> Reply:
        return sse_reply(*stream_events("a", "b")) if asked.json["stream"] else json_reply(completion())

    async with ScriptedProvider(by_kind) as provider:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, provider.url)) as arbstr:
            async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
                load = [asyncio.create_task(ask(client, arbstr.url, answered, stream=i % 2 == 0)) for i in range(16)]
                await holds(lambda: len(answered) >= 200)
                due = answered.copy()
                await holds(lambda: due <= ended_rows(tmp_path))  # soon, without being asked for
                arbstr.process.kill()
                await asyncio.gather(*load)
    assert due <= ended_rows(tmp_path)
    with ServeProcess(tmp_path, "-c", "config.toml") as again:
        assert again.get("/v1/stats")["counts"]["total"] >= len(due)
        assert again.stop() == 0
    assert {still_open for (still_open,) in rows(tmp_path, "open")} == {0}


async def test_streams_that_a_kill_cut_off_are_listed_as_interrupted_after_the_next_start(tmp_path: Path) -> None:
    async with ScriptedProvider(sse_reply(chunk("a"), Move.NEVER)) as provider:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, provider.url)) as arbstr:
            async with streaming(arbstr) as pieces:
                await anext(pieces)
                await holds(lambda: rows(tmp_path, "open > 0") == [(1,)])
                arbstr.process.kill()
        with ServeProcess(tmp_path, "-c", "config.toml") as again:
            [entry] = again.get("/v1/requests")["data"]
            assert (entry["success"], entry["error"]["status"]) == (False, 500)
            assert entry["error"]["message"].startswith("interrupted")
            assert again.get("/v1/stats")["counts"]["total"] == 1
            assert await stopped(again) == 0


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_an_open_breaker_stays_open_over_a_restart(tmp_path: Path, end: int) -> None:
    async with ScriptedProvider(error_reply(429, Retry_After="300")) as provider:
        options = ("-c", configured(tmp_path, provider.url))
        with ServeProcess(tmp_path, *options) as arbstr:
            await asyncio.to_thread(arbstr.chat)
            refused = await asyncio.to_thread(arbstr.chat)
            assert refused.json()["error"]["code"] == "no_healthy_provider"
            assert 1 <= int(refused.headers["Retry-After"]) <= 300
            await asyncio.to_thread(arbstr.get, "/v1/stats")  # once that is answered, all so far is in the ledger
            await stopped(arbstr, end)
        with ServeProcess(tmp_path, *options) as again:
            assert (await state(again))["state"] == "open"
            assert (await asyncio.to_thread(again.chat)).status_code == 503
    assert len(provider.requests) == 1


async def test_what_was_learned_of_a_provider_is_kept_no_later_than_its_breaker_opens(tmp_path: Path) -> None:
    async with ScriptedProvider(json_reply(completion()), error_reply(500)) as provider:
        options = ("-c", configured(tmp_path, provider.url))
        with ServeProcess(tmp_path, *options) as arbstr:
            for number in range(4):
                await asyncio.to_thread(arbstr.chat, seed=number)
            learned = await state(arbstr)
            await asyncio.to_thread(arbstr.get, "/v1/stats")
            arbstr.process.kill()
        with ServeProcess(tmp_path, *options) as again:
            kept = await state(again)
    assert learned["latency_ms"] is not None
    for figure in ("state", "latency_ms", "success_rate"):
        assert kept[figure] == learned[figure]


async def test_a_stream_that_ends_within_the_grace_is_whole(tmp_path: Path) -> None:
    stopping = asyncio.Event()
    events = stream_events("a", "b")
    async with ScriptedProvider(sse_reply(*events[:2], stopping, *events[2:])) as provider:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, provider.url)) as arbstr:
            async with streaming(arbstr) as pieces:
                got = await anext(pieces)
                arbstr.process.send_signal(signal.SIGTERM)
                await holds(lambda: "stopping: 1 request has" in arbstr.stderr)
                stopping.set()
                got += b"".join([piece async for piece in pieces])
            assert got.endswith(DONE)
            assert b'"arbstr"' in got
            assert await asyncio.to_thread(arbstr.process.wait, PATIENCE_S) == 0
    assert rows(tmp_path, "success, open, output_tokens") == [(1, 0, 5)]


@pytest.mark.parametrize("again", [False, True], ids=["after its grace", "when asked twice"])
async def test_streams_that_do_not_end_are_cut_off(tmp_path: Path, again: bool) -> None:
    grace = f"[server]\nshutdown_grace = {3600 if again else 0.2}\n"
    async with ScriptedProvider(sse_reply(chunk("a"), Move.NEVER)) as provider:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, provider.url, grace)) as arbstr:
            async with streaming(arbstr) as one, streaming(arbstr) as other:
                await anext(one)
                await anext(other)
                arbstr.process.send_signal(signal.SIGTERM)
                await holds(lambda: "stopping: 2 requests have" in arbstr.stderr)
                if again:
                    arbstr.process.send_signal(signal.SIGTERM)
                with pytest.raises(httpx.RemoteProtocolError):  # no end that could be taken for a whole answer's
                    await anext(one)
                assert await asyncio.to_thread(arbstr.process.wait, PATIENCE_S) == int(again)
            assert "Traceback" not in arbstr.stderr
    assert rows(tmp_path, "success, open, error_status") == [(0, 0, 503)] * 2
