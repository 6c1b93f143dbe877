"""What clients ask: fake providers directly, and arbstr in front of ones that speak every dialect, or chat alone."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from arbstr.config.schema import Config, Mock, MockDialect, MockProvider
from arbstr.mock import FakeFleet
from tests.support.patience import PATIENCE_S
from tests.support.serve_process import ServeProcess

MODELS = (
    "gpt-4o",
    "gpt-4o-mini",
    "mock-echo",
    "mock-error-429-after-0",
    "mock-error-529",
    "mock-late-error",
    "mock-drop-stream",
    "text-embedding-3-small",
)
TRANSLATED: tuple[MockDialect, ...] = (
    "chat",
    "completions",
    "embeddings",
    "images/generations",
    "audio/speech",
    "audio/transcriptions",
    "moderations",
    "rerank",
)  # Responses and messages are for arbstr to translate
TOKEN = "clients-own-key"
CONFIG = """
[server]
auth_token = "${{ARBSTR_TOKEN}}"

[[providers]]
name = "provider-alpha"
url = "{url}"
api_key = "sk-provider-alpha"
models = [{models}]
input_rate = 10
output_rate = 30

[retry]
max_retries = 0

[aliases]
"claude-*" = "gpt-4o"
"""


@dataclass(frozen=True)
class Server:
    """Something to ask: its name, its address, the providers behind it, and arbstr's configuration, if it is there."""

    name: str
    url: str
    fleet: FakeFleet
    config: Path | None = None

    async def rows(self) -> list[dict[str, Any]]:
        """The rows of requests that a provider had, oldest first."""
        if self.config is None:
            return []
        rows: list[dict[str, Any]] = []
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=PATIENCE_S) as client:
            while len(rows) % 100 == 0:
                query: dict[str, str | int] = {"per_page": 100, "order": "asc", "page": len(rows) // 100 + 1}
                found = (await client.get(f"{self.url}/requests", params=query)).json()["data"]
                rows += found
                if not found:
                    break
        return [row for row in rows if row["provider"] is not None]


@asynccontextmanager
async def server(name: str) -> AsyncIterator[Server]:
    """Start what has that name: `provider` alone, or arbstr in front of one, `native` or `translated`."""
    dialects = TRANSLATED if name == "translated" else None
    fake = MockProvider(name="a", models=MODELS, delay_ms=5, tokens_per_second=0, dialects=dialects)
    async with FakeFleet(Config(mock=Mock(providers=(fake,)))) as fleet:
        url = fleet.config.providers[0].url
        if name == "provider":
            yield Server(name, url, fleet)
            return
        with tempfile.TemporaryDirectory(prefix="arbstr-clients-") as home:
            listed = ", ".join(f'"{model}"' for model in MODELS)
            path = Path(home) / "config.toml"
            path.write_text(CONFIG.format(url=url, models=listed))
            path.chmod(0o600)
            arbstr = ServeProcess(Path(home), "-c", "config.toml", env={"ARBSTR_TOKEN": TOKEN})
            with await asyncio.to_thread(arbstr.__enter__):
                yield Server(name, f"{arbstr.url}/v1", fleet, path)
