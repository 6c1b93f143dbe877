"""Providers that are reached through a proxy (SOCKS5, HTTP): where names are looked up, how failures are reported."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from arbstr.config.proxies import EnvironmentProxies, environment_proxies, parse_proxy
from arbstr.transport.pool import PooledTransport
from arbstr.transport.resolver import AddressInfo, Resolver
from tests.support.forward_proxy import ForwardProxy
from tests.support.harness import ProxyHarness
from tests.support.provider import MODEL, ScriptedProvider
from tests.unit.transport.test_pool import CERTIFICATE, OK, exchange, post, tls_server
from tests.unit.transport.test_resolver import at

ONION = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion"


class Names:
    """A resolver's look-up that knows a few names and notes all that are asked of it."""

    def __init__(self, **known: str) -> None:
        self.asked: list[str] = []
        self._known = {name.replace("_", "."): address for name, address in known.items()}

    def __call__(self, host: str) -> Sequence[AddressInfo]:
        self.asked.append(host)
        return at(self._known[host]) if host in self._known else []


@asynccontextmanager
async def transport(
    names: Names | None = None, proxies: EnvironmentProxies | None = None
) -> AsyncIterator[PooledTransport]:
    made = PooledTransport((proxies or EnvironmentProxies()).choose, Resolver(names or Names()))
    try:
        yield made
    finally:
        await made.aclose()


def through(url: str, proxy: str, *, connect_s: float = 5) -> httpx.Request:
    request = post(url, connect_s=connect_s)
    request.extensions["proxy"] = parse_proxy(proxy)
    return request


async def ask(transport: PooledTransport, request: httpx.Request) -> bytes:
    response = await transport.handle_async_request(request)
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return b"".join([chunk async for chunk in response.stream])


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


@pytest.mark.parametrize("host", ["node.test", ONION])
@pytest.mark.parametrize("credentials", ["", "user:p%40ss"])
async def test_socks5h_leaves_the_names_to_the_proxy(host: str, credentials: str) -> None:
    names = Names()
    async with ScriptedProvider() as provider:
        routes = {host: port_of(provider.url)}
        wanted = "user:p@ss" if credentials else None
        async with ForwardProxy(routes, credentials=wanted) as proxy, transport(names) as way:
            for _ in range(2):
                assert b"Hello" in await ask(way, through(f"http://{host}/v1", proxy.url("socks5h", credentials)))
    assert proxy.asked == [("socks5", host, 80)], "and the connection is kept"
    assert names.asked == []


async def test_socks5_looks_names_up_here() -> None:
    names = Names(node_test="127.0.0.1")
    async with ScriptedProvider() as provider, ForwardProxy() as proxy, transport(names) as way:
        port = port_of(provider.url)
        assert b"Hello" in await ask(way, through(f"http://node.test:{port}/v1", proxy.url("socks5")))
    assert proxy.asked == [("socks5", "127.0.0.1", port)]
    assert names.asked == ["node.test"]


async def test_no_name_within_tor_is_ever_looked_up_here() -> None:
    names = Names()
    async with ScriptedProvider() as provider, ForwardProxy() as proxy, transport(names) as way:
        proxy.routes = {ONION: port_of(provider.url)}
        await ask(way, through(f"http://{ONION}/v1", proxy.url("socks5")))
    assert proxy.asked == [("socks5", ONION, 80)]
    assert names.asked == []


async def test_a_proxys_own_name_is_looked_up_as_any_other() -> None:
    names = Names(proxy_test="127.0.0.1")
    async with ScriptedProvider() as provider, ForwardProxy() as proxy, transport(names) as way:
        proxy.routes = {"node.test": port_of(provider.url)}
        for scheme in ("socks5h", "http"):
            await ask(way, through("http://node.test/v1", f"{scheme}://proxy.test:{proxy.port}"))
    assert names.asked == ["proxy.test"]


@pytest.mark.parametrize("credentials", ["", "user:pass"])
async def test_http_hosts_are_asked_of_an_http_proxy_by_their_whole_url(credentials: str) -> None:
    async with ScriptedProvider() as provider:
        routes = {"node.test": port_of(provider.url)}
        async with ForwardProxy(routes, credentials=credentials or None) as proxy, transport() as way:
            await ask(way, through("http://node.test:8000/v1/chat?x=1", proxy.url("http", credentials)))
    assert proxy.asked == [("url", "node.test", 8000)]
    (head,) = proxy.heads
    assert head.startswith(b"POST http://node.test:8000/v1/chat?x=1 HTTP/1.1\r\nHost: node.test:8000\r\n")


@pytest.mark.parametrize("scheme", ["http", "socks5h", "socks5"])
async def test_https_goes_through_a_tunnel_and_certificates_count(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    monkeypatch.setattr("arbstr.transport.pool.tls_context", lambda: trusting)
    names = Names(other_test="127.0.0.1")
    async with tls_server(OK) as url, ForwardProxy() as proxy:
        proxy.routes = {"localhost": port_of(url), "other.test": port_of(url)}
        async with transport(names) as way:
            assert await ask(way, through(url, proxy.url(scheme))) == b"hi"
            with pytest.raises(httpx.ConnectError, match="certificate"):
                await ask(way, through(url.replace("localhost", "other.test"), proxy.url(scheme)))
    kind = "connect" if scheme == "http" else "socks5"
    assert proxy.asked[0] == (kind, "127.0.0.1" if scheme == "socks5" else "localhost", port_of(url))
    assert not any(b"Authorization" in head for head in proxy.heads)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_tunnel_takes_the_proxys_credentials(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    monkeypatch.setattr("arbstr.transport.pool.tls_context", lambda: trusting)
    async with tls_server(OK) as url, ForwardProxy(credentials="user:p:ss") as proxy, transport() as way:
        proxy.routes = {"localhost": port_of(url)}
        assert await ask(way, through(url, proxy.url(scheme, "user:p%3Ass"))) == b"hi"


# --- failures


@pytest.mark.parametrize("scheme", ["http", "socks5h", "socks5"])
@pytest.mark.parametrize("target", ["http://node.test/v1", "https://node.test/v1"])
async def test_a_proxy_that_can_not_be_reached(scheme: str, target: str) -> None:
    async with ForwardProxy() as proxy:
        url = proxy.url(scheme, "user:hunter22")
    async with transport(Names(node_test="127.0.0.1")) as way:
        with pytest.raises(httpx.ProxyError, match=r"the proxy .* can't be reached") as caught:
            await ask(way, through(target, url))
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_does_not_get_there(scheme: str) -> None:
    async with ForwardProxy() as proxy, transport() as way:
        with pytest.raises(httpx.ProxyError, match=r"did not connect: (502 No such host|Host unreachable)"):
            await ask(way, through("https://node.test/v1", proxy.url(scheme)))


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@pytest.mark.parametrize("credentials", ["", "user:wrong"])
@pytest.mark.parametrize("target", ["http://node.test/v1", "https://node.test/v1"])
async def test_a_proxy_that_wants_other_credentials(scheme: str, credentials: str, target: str) -> None:
    async with ForwardProxy(credentials="user:right") as proxy, transport() as way:
        with pytest.raises(httpx.ProxyError) as caught:
            await ask(way, through(target, proxy.url(scheme, credentials)))
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_never_answers_is_given_up_in_the_time_to_connect(scheme: str) -> None:
    async with ForwardProxy(silent=True) as proxy, transport() as way:
        with pytest.raises(httpx.ConnectTimeout):
            await ask(way, through("https://node.test/v1", proxy.url(scheme), connect_s=0.1))


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"x" * 100_000, b"\r\n\r\n"])
async def test_a_proxy_that_speaks_no_http(reply: bytes) -> None:
    from tests.unit.transport.test_pool import head, server

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(reply)

    async with server(talk) as url, transport() as way:
        with pytest.raises(httpx.ProxyError, match="did not connect"):
            await ask(way, through("https://node.test/v1", url.removesuffix("/v1")))


@pytest.mark.parametrize("proxy", [None, "http://127.0.0.1:9"])
@pytest.mark.parametrize("host", [ONION, ONION.upper(), f"{ONION}."])
async def test_an_onion_address_without_a_socks_proxy_is_refused(proxy: str | None, host: str) -> None:
    names = Names()
    environment = environment_proxies({"ALL_PROXY": "socks5h://127.0.0.1:9"}, [])
    request = through(f"http://{host}/v1", proxy) if proxy else post(f"http://{host}/v1")
    async with transport(names, environment) as way:
        with pytest.raises(httpx.UnsupportedProtocol, match="through a SOCKS proxy only"):
            await ask(way, request)
    assert names.asked == []


@pytest.mark.parametrize("proxy", [None, "http://127.0.0.1:9"])
@pytest.mark.parametrize("host", [ONION, ONION.upper(), f"{ONION}."])
async def test_a_transport_that_has_no_rule_looks_no_onion_name_up_either(proxy: str | None, host: str) -> None:
    names = Names()
    way = PooledTransport(resolver=Resolver(names))
    asked = post(f"http://{host}/v1")
    asked.extensions["proxy"] = parse_proxy(proxy) if proxy else None
    with pytest.raises(httpx.ConnectError, match="it takes a SOCKS proxy"):
        await ask(way, asked)
    assert names.asked == []


async def test_a_proxy_with_an_onion_name_is_not_looked_up() -> None:
    names = Names()
    async with transport(names) as way:
        with pytest.raises(httpx.ProxyError, match=r"can't be reached: an \.onion name is not looked up"):
            await ask(way, through("http://node.test/v1", f"http://{ONION}:3128"))
    assert names.asked == []


# --- addresses that are not allowed


def no_loopback(ip: str) -> bool:
    return not ip.startswith("127.") and ip != "::1"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "inside.test"])
@pytest.mark.parametrize("scheme", [None, "socks5"])
async def test_an_address_that_is_not_allowed_gets_no_connection(host: str, scheme: str | None) -> None:
    names = Names(inside_test="127.0.0.1")
    async with ScriptedProvider() as provider, ForwardProxy() as proxy:
        url = f"http://{host}:{port_of(provider.url)}/v1"
        way = PooledTransport(resolver=Resolver(names), allows=no_loopback)
        asked = post(url)
        asked.extensions["proxy"] = parse_proxy(proxy.url(scheme)) if scheme else None
        with pytest.raises(httpx.ConnectError, match="is not an address to connect to"):
            await ask(way, asked)
        assert (provider.connections, proxy.asked) == (0, [])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_is_not_asked_for_an_address_that_is_not_allowed(host: str, scheme: str) -> None:
    async with ForwardProxy() as proxy:
        way = PooledTransport(resolver=Resolver(Names()), allows=no_loopback)
        asked = post(f"http://{host}/v1")
        asked.extensions["proxy"] = parse_proxy(proxy.url(scheme))
        with pytest.raises(httpx.ConnectError, match="is not an address to connect to"):
            await ask(way, asked)
        assert proxy.asked == []


async def test_a_proxy_itself_may_be_where_providers_may_not() -> None:
    async with ScriptedProvider() as provider, ForwardProxy() as proxy:
        proxy.routes = {"node.test": port_of(provider.url)}
        way = PooledTransport(resolver=Resolver(Names()), allows=no_loopback)
        asked = post("http://node.test/v1")
        asked.extensions["proxy"] = parse_proxy(proxy.url("socks5h"))
        await ask(way, asked)
        await way.aclose()
    assert proxy.asked == [("socks5", "node.test", 80)]


# --- which way is taken


async def test_the_environments_proxy_is_taken_but_not_to_loopback() -> None:
    async with ScriptedProvider() as provider, ForwardProxy({"node.test": port_of(provider.url)}) as proxy:
        environment = environment_proxies({"HTTP_PROXY": proxy.url("http")}, [])
        async with transport(Names(), environment) as way:
            assert (await exchange(way, "http://node.test/v1"))[0] == 200
            assert (await exchange(way, provider.url))[0] == 200
    assert proxy.asked == [("url", "node.test", 80)]


async def test_a_providers_own_proxy_wins_for_it_alone_also_to_loopback() -> None:
    async with ScriptedProvider() as provider, ForwardProxy() as own, ForwardProxy() as general:
        environment = environment_proxies({"ALL_PROXY": general.url("http")}, [])
        async with transport(Names(), environment) as way:
            await ask(way, through(provider.url, own.url("socks5h")))
            assert (await exchange(way, provider.url))[0] == 200
    assert own.asked == [("socks5", "127.0.0.1", port_of(provider.url))]
    assert general.asked == []


async def test_a_whole_arbstr_buys_through_a_providers_proxy(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    async with ForwardProxy({ONION: port_of(alpha.url)}) as proxy:
        harness.providers.clear()
        given = proxy.url("socks5h", "user:hunter22hunter22")
        harness.add_provider_at("alpha", f"http://{ONION}/v1", proxy=parse_proxy(given))
        arbstr = await harness.start()
        answer = await arbstr.chat()
        assert (answer.status, answer.headers["X-Arbstr-Provider"]) == (200, "alpha")
        assert proxy.asked == [("socks5", ONION, 80)]
        assert "through the proxy socks5h://[REDACTED]@127.0.0.1" in arbstr.log
        for shown in (arbstr.log, (await arbstr.get("/providers")).body.decode()):
            assert "hunter22hunter22" not in shown


async def test_what_a_proxy_says_of_its_own_failure_shows_no_credentials(harness: ProxyHarness) -> None:
    async with ForwardProxy() as proxy:
        given = proxy.url("http", "user:hunter22hunter22")
        harness.add_provider_at("alpha", "https://node.test/v1", models=(MODEL,), proxy=parse_proxy(given))
        arbstr = await harness.start()
        answer = await arbstr.chat()
    assert answer.status == 502
    assert "did not connect: 502 No such host" in answer.error["message"]
    assert "hunter22" not in answer.error["message"] + arbstr.log
