"""What breaks around a running arbstr: its own process, disk, database, providers. All of it real, sockets too."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.provider import (
    Move,
    ScriptedProvider,
    byte_by_byte,
    completion,
    error_reply,
    json_reply,
    reply,
    sse_reply,
    stream_events,
)
from tests.served import Served, chat, eventually

PATIENCE_S = 20.0
MARGIN_S = 0.1  # so much of the ledger a crash may cost


def configured(home: Path, url: str, more: str = "") -> str:
    provider = f'[[providers]]\nname = "alpha"\nurl = "{url}"\nmodels = ["gpt-4o"]\noutput_rate = 30\n'
    (home / "config.toml").write_text(f"{provider}{more}\n[retry]\nmax_retries = 0\nbackoff = 0\n")
    return "config.toml"


async def asks(client: httpx.AsyncClient, url: str, answered: dict[str, float], *, stream: bool) -> None:
    """Ask again and again until arbstr is no more; note which answers came whole, and when."""
    while True:
        try:
            answer = await client.post(f"{url}/v1/chat/completions", json=chat(stream=stream))
        except httpx.TransportError:
            return
        if b"[DONE]" in answer.content or not stream:
            answered[answer.headers["x-arbstr-request-id"]] = time.monotonic()


async def test_a_kill_under_load_costs_no_row_but_those_of_the_last_moment(tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    answered: dict[str, float] = {}

    def by_kind(asked: object) -> list[bytes | asyncio.Event | Move]:
        streams = b'"stream":true' in asked.body.replace(b" ", b"")  # type: ignore[attr-defined]
        return sse_reply(*stream_events("a", "b")) if streams else json_reply(completion())

    async with ScriptedProvider(by_kind) as provider:
        with Served(tmp_path, "-c", configured(tmp_path, provider.url)) as arbstr:
            async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
                load = [asyncio.create_task(asks(client, arbstr.url, answered, stream=i % 2 == 0)) for i in range(16)]
                await asyncio.to_thread(eventually, lambda: len(answered) >= 200)
                killed_at = time.monotonic()
                arbstr.process.kill()
                await asyncio.gather(*load)
    due = {request_id for request_id, at in answered.items() if at < killed_at - MARGIN_S}
    with closing(sqlite3.connect(path)) as db:
        kept = {row[0] for row in db.execute("SELECT correlation_id FROM requests WHERE open = 0")}
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert due
    assert due <= kept
    with Served(tmp_path, "-c", "config.toml") as again:
        assert again.get("/v1/stats")["counts"]["total"] >= len(due)
        again.stop()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT COUNT(*) FROM requests WHERE open <> 0").fetchone() == (0,)


async def test_a_full_disk_fails_no_request_and_is_said_once(tmp_path: Path) -> None:
    async with ScriptedProvider(json_reply(completion())) as provider:
        with Served(tmp_path, "-c", configured(tmp_path, provider.url), largest_file_kb=200) as arbstr:
            async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
                statuses = set()
                for _ in range(2000):
                    answer = await client.post(f"{arbstr.url}/v1/chat/completions", json=chat())
                    statuses.add(answer.status_code)
                    if "wait in memory" in arbstr.said:
                        break
                answer = await client.post(f"{arbstr.url}/v1/chat/completions", json=chat())
            assert statuses | {answer.status_code} == {200}
            # A smaller batch may still fit, and be said too; but nothing is said twice in a row.
            assert 1 <= arbstr.said.count("wait in memory") <= arbstr.said.count("written again") + 1


async def test_a_locked_ledger_fails_no_request_and_gets_its_rows_later(tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    async with ScriptedProvider(json_reply(completion())) as provider:
        with Served(tmp_path, "-c", configured(tmp_path, provider.url)) as arbstr:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                assert (await asyncio.to_thread(arbstr.chat)).status_code == 200
                await asyncio.to_thread(eventually, lambda: "wait in memory" in arbstr.said)
                other.execute("ROLLBACK")
            await asyncio.to_thread(eventually, lambda: "written again" in arbstr.said)
            assert (await asyncio.to_thread(arbstr.get, "/v1/stats"))["counts"]["total"] == 1


def test_a_corrupt_ledger_is_set_aside_and_said(tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    path.write_bytes(b"this is no database at all" * 1000)
    with Served(tmp_path, "--mock", env={"DATABASE_URL": str(path)}) as arbstr:
        assert arbstr.chat().status_code == 200
        assert "set aside as" in arbstr.said
        assert arbstr.stop() == 0
    (aside,) = tmp_path.glob("arbstr.db.corrupt-*")
    assert aside.read_bytes().startswith(b"this is no database")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([Move.ENDLESS], id="endless head"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{", Move.CLOSE], id="too short"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Le", Move.CLOSE], id="half a head"),
        pytest.param([Move.RESET], id="reset"),
        pytest.param(reply(b"\xff\xfe{"), id="no UTF-8"),
        pytest.param(
            reply(gzip.compress(bytes(400_000_000), 1), headers=[("Content-Encoding", "gzip")]), id="gzip bomb"
        ),
    ],
)
async def test_a_provider_that_talks_nonsense_costs_an_error_and_little_memory(
    tmp_path: Path, script: list[bytes | Move]
) -> None:
    async with ScriptedProvider(script) as provider:
        with Served(tmp_path, "-c", configured(tmp_path, provider.url)) as arbstr:
            answer = await asyncio.to_thread(arbstr.chat)
            assert answer.status_code == 502, answer.text
            assert arbstr.peak_mb() < 450
            assert (await asyncio.to_thread(arbstr.get, "/v1/stats"))["counts"]["error"] == 1


async def test_a_stream_of_single_bytes_arrives_whole_after_interim_answers(tmp_path: Path) -> None:
    script = [b"HTTP/1.1 103 Early Hints\r\n\r\n", *sse_reply(*byte_by_byte(b"".join(stream_events("h\u00e9"))))]
    async with ScriptedProvider(script) as provider:
        with Served(tmp_path, "-c", configured(tmp_path, provider.url)) as arbstr:
            answer = await asyncio.to_thread(arbstr.chat, stream=True)
            assert "h\u00e9" in answer.text
            assert answer.text.endswith("data: [DONE]\n\n")


async def test_an_open_breaker_is_seen_and_stays_open_over_a_restart(tmp_path: Path) -> None:
    async with ScriptedProvider(error_reply(500)) as provider:
        options = ("-c", configured(tmp_path, provider.url))
        with Served(tmp_path, *options) as arbstr:
            for _ in range(3):
                assert (await asyncio.to_thread(arbstr.chat)).status_code == 502
            refused = await asyncio.to_thread(arbstr.chat)
            assert refused.json()["error"]["code"] == "no_healthy_provider"
            assert 1 <= int(refused.headers["Retry-After"]) <= 37
            assert await asyncio.to_thread(arbstr.stop) == 0
        with Served(tmp_path, *options) as again:
            health = await asyncio.to_thread(again.get, "/health")
            assert (health["status"], health["providers"]["alpha"]["state"]) == ("unhealthy", "open")
            assert (await asyncio.to_thread(again.chat)).status_code == 503
    assert len(provider.requests) == 3
