"""Limits and doors of a real arbstr: what is beyond them is refused at once, and hostile words stay words."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.paths import TOP
from tests.support.patience import PATIENCE_S
from tests.support.provider import ScriptedProvider, completion, error_reply, json_reply
from tests.support.serve_process import ServeProcess, chat, eventually

HOSTILE = "a\r\nb\x1b]0;owned\x07\x9b31m\u202ec"
CONTROLS = {chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]} - {"\n"} | {"\u202e"}


def configured(home: Path, url: str, server: str = "", provider: str = "") -> str:
    section = f'[[providers]]\nname = "alpha"\nurl = "{url}"\nmodels = ["gpt-4o"]\n{provider}\n'
    (home / "config.toml").write_text(f"[server]\n{server}\n{section}[retry]\nmax_retries = 0\n")
    return "config.toml"


async def posts(arbstr: ServeProcess, headers: Mapping[str, str] | None = None, **fields: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        return await client.post(f"{arbstr.url}/v1/chat/completions", headers=headers, **(fields or {"json": chat()}))


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize(
    ("server", "provider", "code"),
    [("max_in_flight = 1", "", "overloaded"), ("", "max_in_flight = 1", "no_healthy_provider")],
    ids=["of all", "of a provider"],
)
async def test_a_request_beyond_max_in_flight_learns_at_once_when_to_retry(
    tmp_path: Path, server: str, provider: str, code: str
) -> None:
    go_on = asyncio.Event()
    async with ScriptedProvider([go_on, *json_reply(completion())]) as upstream:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, upstream.url, server, provider)) as arbstr:
            first = asyncio.create_task(posts(arbstr))
            await upstream.asked()
            refused = await posts(arbstr)
            assert refusal(refused) == (503, code)
            assert int(refused.headers["Retry-After"]) >= 1
            go_on.set()
            assert (await first).status_code == 200
            assert (await posts(arbstr)).status_code == 200


async def test_a_request_beyond_the_rate_learns_when_to_retry(tmp_path: Path) -> None:
    async with ScriptedProvider() as upstream:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, upstream.url, "rate_limit_rps = 0.1")) as arbstr:
            assert (await posts(arbstr)).status_code == 200
            refused = await posts(arbstr)
            assert refusal(refused) == (429, "rate_limited")
            assert 1 <= int(refused.headers["Retry-After"]) <= 10


@pytest.mark.parametrize(
    ("headers", "content", "expected"),
    [
        ({}, b"x" * 2000, (413, "request_too_large")),
        ({"Content-Type": "text/plain"}, b"{}", (415, "unsupported_media_type")),
        ({"Host": "evil.test"}, b"{}", (403, "forbidden_host")),
        ({"Origin": "http://evil.test"}, b"{}", (403, "forbidden_origin")),
    ],
    ids=["too large", "no JSON", "another host", "another origin"],
)
async def test_a_stranger_or_something_else_than_a_request_goes_no_further(
    tmp_path: Path, headers: dict[str, str], content: bytes, expected: tuple[int, str]
) -> None:
    async with ScriptedProvider() as upstream:
        with ServeProcess(tmp_path, "-c", configured(tmp_path, upstream.url, "max_request_mb = 0.001")) as arbstr:
            refused = await posts(arbstr, {"Content-Type": "application/json"} | headers, content=content)
            assert refusal(refused) == expected
            assert not any(name.startswith("access-control-") for name in refused.headers)
            assert not upstream.requests


async def test_only_a_configured_origin_may_read(tmp_path: Path) -> None:
    page = {"Origin": "https://app.test"}
    async with ScriptedProvider() as upstream:
        with ServeProcess(
            tmp_path, "-c", configured(tmp_path, upstream.url, 'allowed_origins = ["https://app.test"]')
        ) as arbstr:
            assert (await posts(arbstr, page)).headers["Access-Control-Allow-Origin"] == "https://app.test"
            assert refusal(await posts(arbstr, {"Origin": "https://other.test"})) == (403, "forbidden_origin")


def test_listening_to_other_machines_needs_a_token_or_to_be_meant(tmp_path: Path) -> None:
    careless = ServeProcess(tmp_path, "--mock", "-l", "0.0.0.0:0")
    assert careless.refuses_to_start() == 1
    assert "server.auth_token" in careless.stderr
    with ServeProcess(tmp_path, "--mock", "-l", "0.0.0.0:0", "--insecure") as meant:
        assert meant.stop() == 0


@pytest.mark.parametrize("form", ["text", "json"])
async def test_hostile_words_take_effect_in_no_log_header_or_terminal(tmp_path: Path, form: str) -> None:
    logged = f'[logging]\nformat = "{form}"\n'
    async with ScriptedProvider(error_reply(500, HOSTILE)) as upstream:
        configured(tmp_path, upstream.url)
        with (tmp_path / "config.toml").open("a") as config:
            config.write(logged)
        env = {"DATABASE_URL": str(tmp_path / "ledger.db"), "ARBSTR_LOG": "debug"}
        with ServeProcess(tmp_path, "-c", "config.toml", env=env) as arbstr:
            answers = [
                await posts(arbstr, json=chat(HOSTILE)),
                await posts(arbstr, httpx.Headers([(b"X-Arbstr-Policy", b"code\xc2\x9b31m")]), json=chat()),
                await posts(arbstr),
            ]
            assert [answer.status_code for answer in answers] == [400, 400, 502]
            assert not any(set("".join(answer.headers.values())) & CONTROLS for answer in answers)
            assert await asyncio.to_thread(eventually, lambda: arbstr.get("/v1/stats")["counts"]["total"] == 3)
            await asyncio.to_thread(arbstr.stop)
            assert not set(arbstr.stderr) & CONTROLS
        listed = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "arbstr", "requests", "--limit", "0"],
            env={"DATABASE_URL": env["DATABASE_URL"], "PYTHONPATH": str(TOP)},
            capture_output=True,
            check=True,
        )
        text = listed.stdout.decode()
        assert "owned" in text
        assert not set(text) & CONTROLS
