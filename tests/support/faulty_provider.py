"""An arbstr, a process of its own, between a client and providers that do what no provider should."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.patience import PATIENCE_S
from tests.support.provider import Asked, Reply, ScriptedProvider, completion, json_reply, sse_reply, stream_events
from tests.support.serve_process import ServeProcess, chat

JSON = ("Content-Type", "application/json")
EVENTS = ("Content-Type", "text/event-stream")
CHUNKED = ("Transfer-Encoding", "chunked")

CONFIG = """
[[providers]]
name = "alpha"
url = "{alpha}"
models = ["gpt-4o", "deaf", "nameless"]
base_fee = 1

[[providers]]
name = "beta"
url = "{beta}"
models = ["gpt-4o", "deaf", "nameless"]
base_fee = 100_000  # dear enough to be asked last however often alpha fails

[[providers]]
name = "deaf"
url = "{deaf}"
models = ["deaf"]

[[providers]]
name = "nameless"
url = "http://there-is-no-such-name.invalid/v1"
models = ["nameless", "nameless-alone"]

[retry]
max_retries = 0

[breaker]  # so short that each test finds its provider willing
open_for = 0.001
max_open_for = 0.001
"""


@dataclass
class FaultyProviderHarness:
    """An arbstr whose cheapest provider plays `script`, and whose other one is sound."""

    arbstr: ServeProcess
    client: httpx.AsyncClient
    alpha: ScriptedProvider
    beta: ScriptedProvider
    script: Reply = ()
    asked: list[str] = field(default_factory=list)

    async def chat(self, script: Reply = (), model: str = "gpt-4o", **fields: Any) -> httpx.Response:
        """Ask with alpha answering so."""
        self.script = script
        answer = await self.client.post("/v1/chat/completions", json=chat(model, **fields))
        self.asked.append(answer.headers["x-arbstr-request-id"])
        return answer

    async def stream(self, script: Reply, arrived: asyncio.Event | None = None) -> AsyncIterator[bytes]:
        """Ask for a stream, and get it piece by piece; `arrived` is set when the first one is there."""
        self.script = script
        async with self.client.stream("POST", "/v1/chat/completions", json=chat(stream=True)) as answer:
            self.asked.append(answer.headers["x-arbstr-request-id"])
            async for data in answer.aiter_raw():
                if arrived is not None:
                    arrived.set()
                yield data

    async def row(self, answer: httpx.Response) -> Any:
        """The row of the request that was answered so."""
        async with asyncio.timeout(PATIENCE_S):
            while (row := await self.client.get(f"/v1/requests/{answer.headers['x-arbstr-request-id']}")).is_error:
                pass  # a busy machine may take longer to write it than a reader waits
        return row.json()


def sound(asked: Asked) -> Reply:
    return sse_reply(*stream_events("from beta")) if asked.json.get("stream") else json_reply(completion("from beta"))


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@asynccontextmanager
async def faulty_provider_harness(home: Path) -> AsyncIterator[FaultyProviderHarness]:
    """Start one; at its end every request has its row in a sound ledger, and the log no fault of arbstr's own."""
    async with (
        await asyncio.start_server(hang_up, "127.0.0.1", 0) as deaf,
        ScriptedProvider(lambda asked: made.script) as alpha,
        ScriptedProvider(sound) as beta,
    ):
        deaf_url = f"http://127.0.0.1:{deaf.sockets[0].getsockname()[1]}/v1"
        (home / "config.toml").write_text(CONFIG.format(alpha=alpha.url, beta=beta.url, deaf=deaf_url))
        with ServeProcess(home, "-c", "config.toml", forked=False) as arbstr:
            async with httpx.AsyncClient(base_url=arbstr.url, timeout=PATIENCE_S) as client:
                made = FaultyProviderHarness(arbstr, client, alpha, beta)
                yield made
            assert await asyncio.to_thread(arbstr.stop) == 0
            assert "Traceback" not in arbstr.stderr
    check_ledger(home / "arbstr.db", made.asked)


def check_ledger(path: Path, asked: list[str]) -> None:
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = db.execute("SELECT correlation_id, open FROM requests ORDER BY id").fetchall()
    assert sorted(rows) == sorted((request_id, 0) for request_id in asked)
