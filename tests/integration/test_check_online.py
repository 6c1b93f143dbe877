"""`arbstr check --online`: what providers say is wrong with the configuration, and how to mend it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from arbstr.market.fetching import MAX_BYTES
from tests.support.command import Done, run_command
from tests.support.forward_proxy import ForwardProxy
from tests.support.nostr import FakeNode
from tests.support.recordings import RECORDINGS
from tests.unit.transport.test_pool import OK, tls_server

KEY = "sk-0123456789abcdef0123456789abcdef"
ONION = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion"


def recorded(name: str) -> tuple[int, dict[str, Any]]:
    response = json.loads((RECORDINGS / f"{name}.json").read_text())["response"]
    return response["status"], response["body_json"]


def holding(msats: int, **fields: Any) -> tuple[int, dict[str, Any]]:
    """What a node says of a key with so much on it."""
    status, document = recorded("balance_info")
    return status, {**document, "balance": msats, **fields}


def table(name: str, url: str, *lines: str, kind: str = "routstr", key: str = KEY) -> str:
    written = [f'name = "{name}"', f'url = "{url}"', f'kind = "{kind}"', *([f'api_key = "{key}"'] if key else [])]
    return "\n".join(["[[providers]]", *written, *lines, ""])


async def check(directory: Path, *tables: str, online: bool = True) -> Done:
    (directory / "config.toml").write_text("\n".join(tables))
    (directory / "config.toml").chmod(0o600)
    arguments = ("check", "--online") if online else ("check",)
    return await asyncio.to_thread(run_command, *arguments, environ={}, cwd=directory)


def problems(done: Done) -> list[str]:
    assert KEY not in done.stdout + done.stderr
    found = [line.removeprefix("problem: ") for line in done.stderr.splitlines() if line.startswith("problem: ")]
    assert done.returncode == (1 if found else 0)
    assert f"online: {len(found)} problem" in done.stdout
    return found


async def test_providers_that_are_what_they_should_be(tmp_path: Path) -> None:
    async with FakeNode({"gpt-4o": (1, 1)}, version="0.4.5") as node, FakeNode({"b": (1, 1)}) as server:
        node.keys[KEY] = holding(1_000_500)
        rated = ("input_rate = 1", 'models = ["B"]')
        done = await check(
            tmp_path,
            table("node", f"{node.url}/v1", 'models = ["openai/gpt-4o"]'),
            table("server", f"{server.url}/v1", *rated, kind="openai"),
            table("later", f"{server.url}/v1", key=""),
        )
    assert problems(done) == []
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.startswith(("node ", "ser"))}
    assert rows["node"] == ["ok", "1", "1,000.500", "0.4.5"]
    assert rows["server"] == ["ok", "1", "-", "-"]
    assert "no key" in done.stdout


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (recorded("err_info_bad_key"), ".api_key: the node does not know it; check it, or remove it and get one with"),
        (recorded("err_expired_key"), ".api_key: the key has expired there; 'arbstr refund node' gets back what it"),
        (holding(50_000, validity_date=int(time.time()) - 10), ".api_key: the key has expired there"),
        (
            holding(0),
            ".api_key: the key holds nothing, it was refunded or is used up; top it up with 'arbstr fund node'",
        ),
        ((404, {"error": "?"}), ".url is not a Routstr node: URL/balance/info answers HTTP 404; set kind to openai"),
        ((200, {"data": []}), ".url is not a Routstr node: URL/balance/info answers no balance; set kind to openai"),
        ((500, {}), ": its balance can't be read (HTTP 500); try again later"),
    ],
    ids=["bad", "expired", "past its date", "refunded", "none", "nonsense", "failing"],
)
async def test_a_key_that_is_bad_expired_or_empty(
    tmp_path: Path, answer: tuple[int, dict[str, Any]], said: str
) -> None:
    async with FakeNode() as node:
        node.keys[KEY] = answer
        (problem,) = problems(await check(tmp_path, table("node", f"{node.url}/v1")))
        assert f"node: providers[0]{said}".replace("URL", f"{node.url}/v1") in problem


async def test_a_key_whose_money_is_all_reserved_is_not_empty(tmp_path: Path) -> None:
    async with FakeNode() as node:
        node.keys[KEY] = holding(0, reserved=5_000)
        assert problems(await check(tmp_path, table("node", f"{node.url}/v1"))) == []


@pytest.mark.parametrize("kind", ["routstr", "openai"])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://no-such-host.invalid/v1", ".url: the host name no-such-host.invalid does not resolve"),
        ("http://127.0.0.1:9/v1", ".url: 127.0.0.1:9 can't be asked"),
        ("https://127.0.0.1:9/v1", ".url: 127.0.0.1:9 can't be asked"),
    ],
)
async def test_an_address_where_nothing_answers(tmp_path: Path, kind: str, url: str, said: str) -> None:
    (problem,) = problems(await check(tmp_path, table("node", url, "input_rate = 1", kind=kind)))
    assert problem.startswith(f"node: providers[0]{said}")


async def test_a_certificate_that_is_not_valid(tmp_path: Path) -> None:
    async with tls_server(OK) as url:
        (problem,) = problems(await check(tmp_path, table("node", f"{url}/v1")))
    assert ".url: no secure connection to localhost:" in problem
    assert "certificate" in problem


@pytest.mark.parametrize("kind", ["routstr", "openai"])
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"{}", ".api_key: the provider refuses it (HTTP 401); check api_key"),
        (403, b"{}", ".api_key: the provider refuses it (HTTP 403); check api_key"),
        (301, b"", ".url leads elsewhere (HTTP 301)"),
        (503, b"", ": the provider fails (HTTP 503); try again later"),
        (404, b"<html>", "/v1/models answers HTTP 404; check the URL"),
        (200, b"<html>", "/v1/models answers no list of models; check the URL"),
        (200, b'{"data": []}', "/v1/models answers no list of models; check the URL"),
        (
            200,
            b" " * (MAX_BYTES + 1),
            ".url: its list of models can't be used (an answer of more than 4,194,304 bytes)",
        ),
    ],
)
async def test_an_answer_that_is_no_list(tmp_path: Path, kind: str, status: int, body: bytes, said: str) -> None:
    async with FakeNode() as node:
        node.status, node.body = status, body
        (problem,) = problems(await check(tmp_path, table("node", f"{node.url}/v1", "input_rate = 1", kind=kind)))
    assert said in problem


async def test_a_provider_that_wants_a_key_and_has_none_configured(tmp_path: Path) -> None:
    async with FakeNode() as node:
        node.status, node.body = 401, b"{}"
        done = await check(tmp_path, table("node", f"{node.url}/v1", "input_rate = 1", kind="openai", key=""))
    assert ".api_key: the provider refuses requests without one (HTTP 401); set api_key" in problems(done)[0]


async def test_a_url_that_lacks_v1(tmp_path: Path) -> None:
    async with FakeNode() as node:
        (problem,) = problems(await check(tmp_path, table("node", node.url, "input_rate = 1", kind="openai")))
        assert problem == f"node: providers[0].url lacks /v1; write {node.url}/v1"
        assert "Authorization" not in node.asked[-1].headers, "where it was not configured the key is not sent"


async def test_a_server_without_prices_is_no_node(tmp_path: Path) -> None:
    async with FakeNode() as node:
        node.body = b'{"data": [{"id": "gpt-4o"}]}'
        (problem,) = problems(await check(tmp_path, table("node", f"{node.url}/v1")))
    assert ".kind: the provider lists models without prices, so it is no Routstr node" in problem


@pytest.mark.parametrize("kind", ["routstr", "openai"])
async def test_models_that_are_not_offered(tmp_path: Path, kind: str) -> None:
    models = 'models = ["gpt-4o", "gpt-5o", { id = "mine", upstream_id = "theirs" }]'
    async with FakeNode({"gpt-4o": (1, 1), "other": (1, 1)}) as node:
        node.keys[KEY] = holding(1000)
        (problem,) = problems(
            await check(tmp_path, table("node", f"{node.url}/v1", models, "input_rate = 1", kind=kind))
        )
    assert problem == (
        'node: providers[0].models: the provider does not list "gpt-5o", "theirs"; did you mean "gpt-4o"?'
    )


async def test_policies_and_aliases_that_nobody_can_serve(tmp_path: Path) -> None:
    rules = """
[aliases]
fine = "gpt-4o"
wrong = "gpt-99"

[[policies.rules]]
name = "one"
allowed_models = ["gpt-4o", "gone"]
fallback_models = ["gone-too"]

[[policies.rules]]
name = "two"
providers = ["later"]

[[policies.rules]]
name = "three"
allowed_models = ["fine"]
max_sats_per_1k_output = 0.5

[[policies.rules]]
name = "four"
allowed_models = ["fine"]
max_sats_per_1k_output = 2000
"""
    async with FakeNode({"gpt-4o": (1, 1)}) as node:
        node.keys[KEY] = holding(1000)
        done = await check(tmp_path, table("node", f"{node.url}/v1"), table("later", f"{node.url}/v1", key=""), rules)
    assert problems(done) == [
        'policies.rules[0].allowed_models ("one"): no provider sells "gone"; correct or remove it',
        'policies.rules[0].fallback_models ("one"): no provider sells "gone-too"; correct or remove it',
        'policies.rules[1] ("two") leaves no provider that can be used; correct its providers, or fund one',
        'policies.rules[2].max_sats_per_1k_output ("three") is 0.5, but its cheapest model costs 1000; raise it',
        'aliases.wrong stands for "gpt-99", which no provider sells; correct it',
    ]


async def test_nothing_is_said_of_what_a_silent_provider_may_sell(tmp_path: Path) -> None:
    rules = '[[policies.rules]]\nname = "one"\nallowed_models = ["gone"]\nmax_sats_per_1k_output = 0.5\n'
    async with FakeNode() as node:
        node.keys[KEY] = holding(1000)
        done = await check(tmp_path, table("a", f"{node.url}/v1"), table("b", "http://127.0.0.1:9/v1"), rules)
    (problem,) = problems(done)
    assert problem.startswith("b: ")


async def test_what_is_wrong_with_an_unused_node_is_a_note(tmp_path: Path) -> None:
    done = await check(tmp_path, table("later", "http://127.0.0.1:9/v1", key=""))
    assert done.returncode == 0
    assert "note: later: providers[0].url: 127.0.0.1:9 can't be asked" in done.stderr


async def test_a_providers_words_are_made_harmless_and_its_key_masked(tmp_path: Path) -> None:
    class Careless(FakeNode):
        async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
            transport = request.transport
            assert isinstance(transport, asyncio.WriteTransport)
            transport.write(f"HTTP/1.1 \x1b[31m {KEY}\r\n\r\n".encode())
            transport.close()
            return web.Response()

    async with Careless() as node:
        done = await check(tmp_path, table("node", f"{node.url}/v1"))
    assert len(problems(done)) == 1
    assert "\x1b" not in done.stderr


async def test_an_onion_provider_is_checked_through_its_proxy_alone(tmp_path: Path) -> None:
    async with FakeNode() as node, ForwardProxy({ONION: node.port}) as proxy:
        node.keys[KEY] = holding(1000)
        way = f'proxy = "{proxy.url("socks5h")}"'
        assert problems(await check(tmp_path, table("node", f"http://{ONION}/v1", way))) == []
        assert {asked[:2] for asked in proxy.asked} == {("socks5", ONION)}
        refused = await check(tmp_path, table("node", f"http://{ONION}/v1"))
    assert refused.returncode == 1
    assert "is an .onion address, which needs a SOCKS proxy; add proxy =" in refused.stderr


async def test_without_online_nobody_is_asked(tmp_path: Path) -> None:
    async with FakeNode() as node:
        done = await check(tmp_path, table("node", f"{node.url}/v1"), online=False)
        assert node.asked == []
    assert done.returncode == 0
    assert "online" not in done.stdout
