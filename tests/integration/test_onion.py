"""Nodes within Tor: whatever asks them does so through their SOCKS proxy, and no name server hears of them."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from arbstr.config.proxies import parse_proxy
from tests.support.command import Done, run_command
from tests.support.forward_proxy import ForwardProxy
from tests.support.harness import ProxyHarness
from tests.support.money_node import Account, MoneyNodes
from tests.support.nostr import Author, FakeNode, FakeRelay
from tests.support.paths import TOP
from tests.support.provider import MODEL, ScriptedProvider, json_reply

ONION = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion"
LIST = {"data": [{"id": MODEL, "sats_pricing": {"prompt": 1e-6, "completion": 1e-6}}]}
KEY = "sk-0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def lookups(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A name server that fails the test when it is asked; addresses and this machine's own name need none."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in (None, "localhost") and not re.fullmatch(r"[0-9.:a-f]*", name):
            if not options.get("flags", 0) & socket.AI_NUMERICHOST:
                asked.append(name)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield asked
    assert asked == []


def test_the_name_server_would_be_heard_of(lookups: list[str]) -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("node.example", 80)
    assert lookups == ["node.example"]
    lookups.clear()


async def test_requests_catalogue_and_balance_go_through_the_proxy(harness: ProxyHarness) -> None:
    async with ScriptedProvider(listing=json_reply(LIST)) as node:
        port = urlsplit(node.url).port
        assert port is not None
        async with ForwardProxy({ONION: port}) as proxy:
            way = parse_proxy(proxy.url("socks5h"))
            harness.add_provider_at("node", f"http://{ONION}/v1", kind="routstr", proxy=way, refresh=0.1, models=())
            arbstr = await harness.start()
            await node.looked_up(2)
            assert (await arbstr.chat()).status == 200
            await node.polled()
            await harness.close()
        assert {asked[:2] for asked in proxy.asked} == {("socks5", ONION)}


@pytest.mark.parametrize("scheme", ["socks5h", "socks5"])
async def test_money_and_checks_go_through_the_proxy(tmp_path: Path, scheme: str) -> None:
    with MoneyNodes() as nodes:
        node = nodes.node("node")
        node.accounts[KEY] = Account(free=5_000, history=["in"])
        port = urlsplit(nodes.url("node")).port
        assert port is not None
        async with ForwardProxy({ONION: port}) as proxy:
            path = tmp_path / "config.toml"
            path.write_text(
                f'[[providers]]\nname = "node"\nurl = "http://{ONION}/node/v1"\nkind = "routstr"\napi_key = "{KEY}"\n'
                f'proxy = "{proxy.url(scheme)}"\n'
            )
            path.chmod(0o600)
            for command in (("balance",), ("fund", "node", "--token", nodes.mint.token(7)), ("refund", "node")):
                done = await run(tmp_path, *command)
                assert done.returncode == 0, done.stderr
            await run(tmp_path, "check", "--online")
        assert {"GET /v1/balance/info", "POST /v1/balance/topup", "POST /v1/balance/refund", "GET /v1/models"} <= {
            *node.asked
        }
        assert {asked[:2] for asked in proxy.asked} == {("socks5", ONION)}


async def test_discovery_goes_through_the_proxy(tmp_path: Path) -> None:
    relay_onion, author = ONION.replace("2", "3", 1), Author(1)
    async with FakeNode() as node, FakeRelay(author.announces(f"http://{ONION}", name="Node")) as relay:
        async with ForwardProxy({ONION: node.port, relay_onion: relay.port}) as proxy:
            way = f'proxy = "{proxy.url("socks5h")}"'
            (tmp_path / "config.toml").write_text(f'[discovery]\nrelays = ["ws://{relay_onion}"]\n{way}\n')
            done = await run(tmp_path, "discover", "--add")
            text = (tmp_path / "config.toml").read_text()
        assert done.returncode == 0, done.stderr
        assert f'url = "http://{ONION}/v1"\nkind = "routstr"\n{way}' in text
        assert {asked[:2] for asked in proxy.asked} == {("socks5", ONION), ("socks5", relay_onion)}


@pytest.mark.parametrize("way", ["", 'proxy = "http://127.0.0.1:9"\n'], ids=["no proxy", "an HTTP proxy"])
@pytest.mark.parametrize("command", [("check",), ("serve",), ("balance",), ("fund", "node"), ("refund", "node")])
async def test_without_a_socks_proxy_nothing_starts(tmp_path: Path, way: str, command: tuple[str, ...]) -> None:
    (tmp_path / "config.toml").write_text(
        f'[[providers]]\nname = "node"\nurl = "http://{ONION}/v1"\nkind = "routstr"\napi_key = "{KEY}"\n{way}'
    )
    done = await run(tmp_path, *command, ALL_PROXY="socks5h://127.0.0.1:9")
    assert done.returncode == 1
    assert "providers[0].url is an .onion address, which needs a SOCKS proxy; add proxy =" in done.stderr


async def run(directory: Path, *arguments: str, **environ: str) -> Done:
    return await asyncio.to_thread(run_command, *arguments, environ=environ, cwd=directory)


# --- one place

_CLIENTS = re.compile(
    r"\b(ClientSession|AsyncClient|httpx\.Client|HTTPTransport|urlopen|HTTPConnection|getaddrinfo|open_connection)\("
)
_MAY = {
    "cli/checkup.py": "the address that arbstr is to listen on",
    "cli/running.py": "the arbstr that runs on this machine",
    "discovery/relay.py": "WebSockets, by the transport's own connector",
    "mock/demo_traffic.py": "the demo's requests to arbstr itself",
    "server/acceptor.py": "the address that clients connect to",
    "transport/resolver.py": "the one that looks names up",
}


def test_the_transport_alone_connects_to_providers() -> None:
    """Names, proxies and barred addresses are minded in one place, so nothing else may open connections."""
    modules = {path.relative_to(TOP / "arbstr").as_posix(): path.read_text() for path in (TOP / "arbstr").rglob("*.py")}
    assert {name for name, text in modules.items() if _CLIENTS.search(text)} == set(_MAY)
    assert "connector=connector" in modules["discovery/relay.py"]
