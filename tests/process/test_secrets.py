"""Whole runs at debug level with careless providers: no secret is in anything that arbstr writes, shows or says."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from tests.integration.test_secrets import CARELESS
from tests.support.command import run_command
from tests.support.nostr import Author, FakeNode, FakeRelay
from tests.support.patience import PATIENCE_S
from tests.support.provider import Asked, Part, ScriptedProvider, error_reply
from tests.support.serve_process import ServeProcess
from tests.support.terminal import Terminal, python, url_of
from tests.unit.test_redaction import CHILD_KEY, INVOICE, NSEC, TOKEN

ALPHA_KEY = "sk-alpha-literal-0123456789abcdef"
NODE_KEY = "sk-" + "5ecret" * 8
PROXY_PASSWORD = "pr0xy-passw0rd-0123"
AUTH_TOKEN = "clients-token-0123456789"
WRONG_TOKEN = "a-guess-at-the-token-0123456789"

OURS = (ALPHA_KEY, NODE_KEY, PROXY_PASSWORD, AUTH_TOKEN)
PAID_IN = f"cashuB{'5ecret' * 12}"
MONEY = (
    TOKEN,
    INVOICE,
    NSEC,
    CHILD_KEY,
    PAID_IN,
)  # that providers speak of: they may pass to the client, and no further


def forms(secret: str) -> set[bytes]:
    """How a secret may be written: as it is, in a URL, escaped, in base64 alone or after a user name."""
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in secret)
    packed = [base64.b64encode(f"{before}{secret}".encode()).decode()[8:-4] for before in ("", "u:", "user:")]
    return {form.encode() for form in (secret, secret.upper(), quote(secret, safe=""), escaped, *packed)}


def assert_clean(what: str, data: bytes, *secrets: str) -> None:
    for secret in secrets:
        for form in forms(secret):
            assert form not in data, f"{secret[:12]}… is in {what}"


def blabbing(asked: Asked) -> list[Part]:
    """Says all that it should not know, where it is logged and stored."""
    packed = base64.b64encode(f"u:{ALPHA_KEY}".encode()).decode()
    said = f"bad: {asked.headers['authorization']} {' '.join(MONEY)} Basic {packed}"
    return error_reply(500, said, X_Echo=said)


class CarelessNode(FakeNode):
    """A node that quotes keys wherever it can."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer with the key in the list, in the version, in errors."""
        key = request.headers.get("Authorization", "no key")
        if request.path == "/v1/models":
            price = {"prompt": 1e-6, "completion": 1e-6}
            names = ("gpt-4o", f"for-{key}", f"{TOKEN}")
            return web.json_response({"data": [{"id": name, "sats_pricing": price} for name in names]})
        if request.path == "/v1/info":
            return web.json_response({"version": f"0.4.5 {NODE_KEY} {TOKEN}", "name": NODE_KEY})
        if request.path == "/v1/balance/info":
            document = {"api_key": NODE_KEY, "balance": 1_000_000, "reserved": 0, "detail": f"{key} {INVOICE}"}
            return web.json_response(document)
        return web.json_response({"error": {"message": f"{key} {NODE_KEY} {' '.join(MONEY)}"}}, status=402)


@dataclass
class Scene:
    """Careless providers, and a configuration that names them."""

    directory: Path
    alpha: ScriptedProvider
    environ: dict[str, str]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with contextlib.AsyncExitStack() as stack:
        alpha = await stack.enter_async_context(ScriptedProvider(blabbing, listing=blabbing))
        node = await stack.enter_async_context(CarelessNode())
        announced = [Author(1).announces(node.url, name=TOKEN[:50]), Author(2).announces("http://127.0.0.1:9")]
        relay = await stack.enter_async_context(FakeRelay(*announced))
        relay.texts = [
            json.dumps(["NOTICE", f"{TOKEN} {NSEC}"]),
            json.dumps(["CLOSED", "arbstr", f"no: {NSEC} {TOKEN}"]),
        ]
        (tmp_path / "config.toml").write_text(
            f"""
            [server]
            listen = "127.0.0.1:0"
            auth_token = "{AUTH_TOKEN}"
            [database]
            path = "{tmp_path}/ledger.db"
            [logging]
            level = "debug"
            [retry]
            max_retries = 1
            backoff = 0.01
            [breaker]
            failure_threshold = 1000000
            [discovery]
            relays = ["{relay.url}"]
            [[providers]]
            name = "alpha"
            url = "{alpha.url}"
            api_key = "{ALPHA_KEY}"
            input_rate = 1
            [[providers]]
            name = "node"
            url = "{node.url}/v1"
            kind = "routstr"
            refresh = 0.2
            [[providers]]
            name = "proxied"
            url = "http://127.0.0.1:9/v1"
            api_key = "{ALPHA_KEY}-2"
            models = ["gpt-4o"]
            input_rate = 5
            proxy = "http://user:{PROXY_PASSWORD}@127.0.0.1:9"
            [[providers]]
            name = "no-tls"
            url = "{alpha.url.replace("http:", "https:")}"
            api_key = "{ALPHA_KEY}-3"
            models = ["gpt-4o"]
            input_rate = 6
            timeouts = {{ connect = 0.1 }}
            """
        )
        (tmp_path / "config.toml").chmod(0o644)
        yield Scene(tmp_path, alpha, {"ARBSTR_NODE_API_KEY": NODE_KEY, "ARBSTR_LOG": "debug,asyncio=debug"})


async def ask(session: aiohttp.ClientSession, url: str, *, stream: bool, token: str = AUTH_TOKEN) -> bytes:
    """Ask for an answer, with a wrong token too; all that the client got."""
    body = {"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"Authorization": f"Bearer {token}", "X-Api-Key": token, "Cookie": f"session={token}"}
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        with contextlib.suppress(aiohttp.ClientError):
            return str(answer.headers).encode() + await answer.read()
        return b""


PATHS = (
    *("/", "/health", "/providers", "/v1/models", "/v1/requests?per_page=100", "/v1/stats?group_by=provider"),
    *("/openapi.json", "/v1/nowhere", "/v1/requests/none"),
)


async def test_no_secret_is_in_what_the_proxy_says_logs_or_stores(scene: Scene) -> None:
    arbstr = ServeProcess(scene.directory, "-c", "config.toml", env=scene.environ)
    with await asyncio.to_thread(arbstr.__enter__):
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session:
            for careless in (blabbing, *CARELESS.values()):
                scene.alpha.script = [careless]
                for stream in (False, True):
                    assert_clean("an answer", await ask(session, arbstr.url, stream=stream), *OURS)
            assert_clean(
                "a refusal", await ask(session, arbstr.url, stream=False, token=WRONG_TOKEN), *OURS, WRONG_TOKEN
            )
            for path in PATHS:
                async with session.get(arbstr.url + path, headers={"Authorization": f"Bearer {AUTH_TOKEN}"}) as answer:
                    assert_clean(path, str(answer.headers).encode() + await answer.read(), *OURS, *MONEY)
        assert_files_clean(scene.directory, "as it runs")
    assert_files_clean(scene.directory, "at its end")
    assert "attempt failed" in arbstr.stderr


def assert_files_clean(directory: Path, when: str) -> None:
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != "config.toml"]
    assert "ledger.db" in {path.name for path in files}
    for path in files:
        assert_clean(f"{path.name}, {when}", path.read_bytes(), *OURS, *MONEY, WRONG_TOKEN)


COMMANDS = (
    ("check",),
    ("check", "--online"),
    ("providers",),
    ("providers", "--json"),
    ("requests",),
    ("requests", "--json"),
    ("requests", "--csv"),
    ("stats", "--group-by", "provider"),
    ("discover",),
    ("discover", "--json"),
    ("discover", "--add"),
    ("balance",),
    ("balance", "--json"),
    ("fund", "node", "--token", PAID_IN),
    ("fund", "node", "--lightning", "10"),
    ("refund", "node"),
    ("recover",),
    ("connect", "openai"),
    ("db", "info"),
)


async def test_no_secret_is_in_what_commands_print(scene: Scene) -> None:
    with await asyncio.to_thread(
        ServeProcess(scene.directory, "-c", "config.toml", env=scene.environ).__enter__
    ) as arbstr:
        async with aiohttp.ClientSession() as session:
            await ask(session, arbstr.url, stream=False)
        for command in COMMANDS:
            done = await asyncio.to_thread(run_command, *command, environ=scene.environ, cwd=scene.directory)
            assert_clean(" ".join(command), f"{done.stdout}{done.stderr}".encode(), *OURS, *MONEY)
            assert "Traceback" not in done.stderr
    assert_files_clean(scene.directory, "after the commands")


SCREENS = (
    *(("1", "Spend by model"), ("2", "newest first"), ("\r", "Request in full"), ("\x1b", "newest first")),
    *(("3", "no-tls"), ("\r", "proxied"), ("4", "Last 1 h"), ("5", "attempt failed")),
)


async def test_no_secret_is_on_the_dashboard(scene: Scene) -> None:
    path, log = scene.directory / "config.toml", scene.directory / "arbstr.log"
    path.write_text(path.read_text().replace("[logging]", f'[logging]\nfile = "{log}"'))
    command = [*python("-m", "arbstr"), "tui", "-c", str(path)]
    terminal = Terminal(command, columns=200, rows=50, env=scene.environ)
    try:
        await asyncio.to_thread(terminal.wait_for, "▶ live")
        async with aiohttp.ClientSession() as session:
            await ask(session, url_of(terminal), stream=False)
        for keys, shown in SCREENS:
            terminal.type(keys)
            await asyncio.to_thread(terminal.wait_for, shown)
            await asyncio.to_thread(rest, terminal)
            assert_clean(f"the screen after {keys!r}", terminal.text.encode(), *OURS, *MONEY)
        terminal.type("q")
        await asyncio.to_thread(terminal.wait_end)
    finally:
        terminal.close()
    assert_clean("what the dashboard wrote", bytes(terminal.raw), *OURS, *MONEY)
    assert_files_clean(scene.directory, "after the dashboard")
    assert "attempt failed" in log.read_text()


def rest(terminal: Terminal) -> None:
    """Read on until the dashboard has drawn nothing for a moment, but not for ever."""
    for _ in range(100):
        if not terminal.pump(0.1):
            return


def test_the_scenes_secrets_are_what_they_seem() -> None:
    """Otherwise the search would find nothing for another reason."""
    assert all(form in f"x {secret} y".encode() for secret in (*OURS, *MONEY) for form in [secret.encode()])
    with pytest.raises(AssertionError, match="is in a text"):
        assert_clean("a text", b"Basic " + base64.b64encode(b"user:" + ALPHA_KEY.encode()), ALPHA_KEY)
    with pytest.raises(AssertionError, match="is in a text"):
        assert_clean("a text", TOKEN.encode(), *MONEY)
