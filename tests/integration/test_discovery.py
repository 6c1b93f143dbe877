"""The market as relays announce it: forged, future and flooding events change nothing; nodes are asked with care."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
import tomllib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from arbstr.config.loader import load
from arbstr.config.proxies import NO_PROXIES, parse_proxy
from arbstr.config.schema import Config, Discovery
from arbstr.discovery import relay as relay_module
from arbstr.discovery import survey as survey_module
from arbstr.discovery.mix import Mix, Part, mix_of
from arbstr.discovery.survey import MOST_PER_HOST, Survey, survey
from arbstr.transport.resolver import AddressInfo, Resolver
from tests.support.command import Done, run_command
from tests.support.forward_proxy import ForwardProxy
from tests.support.ledger_builders import first_ledger, insert
from tests.support.nostr import Author, Document, FakeNode, FakeRelay
from tests.unit.transport.test_resolver import at

ALPHA, BETA, EVIL, REVIEWER = map(Author, range(1, 5))
MIX = Mix((Part("gpt-4o", 0.5, 1000, 100), Part("cheap", 0.5, 1000, 100)), "ledger")
ONION = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion"


class NoLookups:
    """A look-up that fails the test when it is asked."""

    def __init__(self, *allowed: str) -> None:
        self.asked: list[str] = []
        self._allowed = allowed

    def __call__(self, host: str) -> Sequence[AddressInfo]:
        self.asked.append(host)
        return at("127.0.0.1") if host in self._allowed else []


async def look(*relays: FakeRelay | str, resolver: Resolver | None = None, **settings: Any) -> Survey:
    urls = tuple(relay if isinstance(relay, str) else relay.url for relay in relays)
    wanted = Discovery(relays=urls, trusted=(REVIEWER.pubkey,), **settings)
    return await survey(wanted, MIX, NO_PROXIES, now_s=time.time(), resolver=resolver)


def urls(found: Survey) -> list[str]:
    return [offer.node.url for offer in found.offers]


def events_of(found: Survey) -> list[int]:
    return [len(heard.events) for heard in found.relays]


# --- what is found


async def test_nodes_are_found_with_price_reviews_version_and_answer() -> None:
    async with FakeNode({"gpt-4o": (0.01, 0.03)}, version="9.9") as node:
        announced = ALPHA.announces(node.url, name="Alpha", version="0.1")
        async with FakeRelay(announced, BETA.reviews(ALPHA, "lgtm"), REVIEWER.reviews(ALPHA, "lgtm")) as relay:
            found = await look(relay)
    (offer,) = found.offers
    assert (offer.node.url, offer.node.announcement.name, offer.node.version) == (node.url, "Alpha", "9.9")
    assert (offer.reviews.good, offer.reviews.trusted) == (2, "lgtm")
    assert offer.quote is not None
    assert (offer.quote.sats_per_request, offer.quote.covered, offer.quote.times_cheapest) == (13.0, 0.5, 1.0)
    assert offer.node.latency_ms is not None
    (filters,) = relay.asked
    assert [kind for asked in filters for kind in asked["kinds"]] == [38421, 38425, 38426]


async def test_a_node_is_asked_without_any_secret() -> None:
    async with FakeNode() as node, FakeRelay(ALPHA.announces(node.url)) as relay:
        await look(relay)
        assert [request.path for request in node.asked] == ["/v1/models", "/v1/info"]
        for request in node.asked:
            assert not {"authorization", "cookie", "x-cashu", "x-api-key"} & {name.lower() for name in request.headers}


async def test_nodes_are_listed_by_what_they_sell_and_ask() -> None:
    both, dear = {"gpt-4o": (0.01, 0.03), "cheap": (0.001, 0.002)}, {"gpt-4o": (0.02, 0.06), "cheap": (0.002, 0.004)}
    async with FakeNode({"gpt-4o": (0.001, 0.003)}) as one, FakeNode(both) as two, FakeNode(dear) as three:
        authors = {one.url: ALPHA, two.url: BETA, three.url: Author(9)}
        async with FakeRelay(*(author.announces(url) for url, author in authors.items())) as relay:
            relay.events.append(Author(10).announces("http://127.0.0.1:9"))
            found = await look(relay)
    assert urls(found) == [two.url, three.url, one.url, "http://127.0.0.1:9"]
    ratios = [offer.quote and offer.quote.times_cheapest for offer in found.offers]
    assert ratios[0] is not None
    assert ratios[1] is not None
    assert ratios[1] == pytest.approx(2 * ratios[0])
    assert "127.0.0.1:9" in (found.offers[3].node.problem or "")


async def test_a_node_that_a_trusted_author_warns_of_comes_after_the_others() -> None:
    async with FakeNode({"gpt-4o": (0.001, 0.003)}) as bad, FakeNode({"gpt-4o": (0.01, 0.03)}) as good:
        events = [ALPHA.announces(bad.url), BETA.announces(good.url), REVIEWER.reviews(ALPHA, "avoid")]
        async with FakeRelay(*events) as relay:
            assert urls(await look(relay)) == [good.url, bad.url]


async def test_a_models_name_at_a_node_is_found_by_the_trusted_table() -> None:
    async with FakeNode({"node-own-name": (0.01, 0.03)}) as node:
        mapped = {"node-own-name": "gpt-4o"}
        async with FakeRelay(ALPHA.announces(node.url), REVIEWER.maps(mapped), EVIL.maps({"x": "gpt-4o"})) as relay:
            (offer,) = (await look(relay)).offers
    assert offer.quote is not None


# --- what changes nothing


def forged(event: Document, **fields: Any) -> Document:
    return {**event, **fields}


async def test_forged_and_future_announcements_change_nothing() -> None:
    async with (
        FakeNode() as node,
        FakeNode() as evil,
        FakeRelay(ALPHA.announces(node.url, at_s=time.time() - 9)) as relay,
    ):
        genuine = await look(relay)
        mine = EVIL.announces(evil.url)
        relay.events += [
            forged(mine, pubkey=ALPHA.pubkey),
            forged(ALPHA.announces(node.url), tags=mine["tags"]),
            forged(ALPHA.announces(evil.url), sig=mine["sig"]),
            forged(ALPHA.announces(evil.url), id=mine["id"]),
            ALPHA.announces(evil.url, at_s=time.time() + 16 * 60),
            EVIL.announces(evil.url, at_s=time.time() + 10**9),
            forged(REVIEWER.reviews(ALPHA, "avoid"), pubkey=BETA.pubkey),
            REVIEWER.reviews(ALPHA, "avoid", at_s=time.time() + 16 * 60),
            EVIL.signs(38421, ("d", "1"), content="another protocol's"),
            {"not": "an event"},
        ]
        found = await look(relay)
        assert evil.asked == []
    assert [offer.node.announcement for offer in found.offers] == [offer.node.announcement for offer in genuine.offers]
    assert [offer.reviews for offer in found.offers] == [offer.reviews for offer in genuine.offers]
    assert found.relays[0].forged == 6


async def test_a_relay_that_floods_is_cut_short_and_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "MOST_EVENTS", 50)
    async with FakeNode() as node, FakeRelay(ALPHA.announces(node.url)) as good, FakeRelay() as bad:
        bad.events = [forged(EVIL.announces("http://evil.example"), content=str(number)) for number in range(500)]
        bad.ends = False
        found = await look(bad, good)
    assert urls(found) == [node.url]
    assert found.relays[0].forged == 50
    assert "more than 50 events" in (found.relays[0].problem or "")
    assert found.relays[1].problem is None


async def test_a_relay_that_sends_too_many_bytes_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "MOST_BYTES", 100_000)
    async with FakeRelay(ALPHA.announces("http://127.0.0.1:9")) as relay:
        relay.texts = [json.dumps(["NOTICE", "x" * 50_000])] * 10
        found = await look(relay)
    assert "more than" in (found.relays[0].problem or "")
    assert events_of(found) == [1], "what came before counts"


@pytest.mark.parametrize(
    "texts",
    [
        ["x" * (relay_module.MOST_MESSAGE_BYTES + 1)],
        [b"\x00\x01"],
        ['["CLOSED", "arbstr", "rate-limited: \\u001b[31m slow down"]'],
    ],
    ids=["a huge message", "bytes", "a refusal"],
)
async def test_a_relay_that_misbehaves_has_said_what_it_said_before(texts: list[str | bytes]) -> None:
    async with FakeNode() as node, FakeRelay(ALPHA.announces(node.url)) as relay:
        relay.texts = texts
        found = await look(relay)
    assert urls(found) == [node.url]
    assert found.relays[0].problem
    assert "\x1b" not in found.relays[0].problem


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", "7", '["EVENT"]', '["EVENT", "x", null]', "[" * 9999])
async def test_messages_that_mean_nothing_are_passed_over(text: str) -> None:
    async with FakeNode() as node, FakeRelay() as relay:
        relay.texts = [text, json.dumps(["EVENT", "arbstr", ALPHA.announces(node.url)])]
        found = await look(relay)
    assert urls(found) == [node.url]
    assert found.relays[0].problem is None


async def test_a_relay_that_never_ends_is_given_up_in_time() -> None:
    async with FakeRelay(ALPHA.announces("http://127.0.0.1:9")) as relay:
        relay.ends = False
        heard = await relay_module.ask(relay.url, [{"kinds": [38421]}], within_s=0.3)
    assert (len(heard.events), heard.problem) == (1, "it was not done within 0.3 s")


@pytest.mark.parametrize("relay", ["ws://127.0.0.1:9", "wss://127.0.0.1:9", "ws://no-such-host.invalid"])
async def test_a_relay_that_can_not_be_reached_says_so(relay: str) -> None:
    resolver = Resolver(NoLookups())
    async with FakeNode() as node, FakeRelay(ALPHA.announces(node.url)) as good:
        found = await look(relay, good, resolver=resolver)
    assert found.relays[0].problem
    assert urls(found) == [node.url]


# --- nodes that misbehave


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"no JSON", "lists no model with a price"),
        (b"[]", "lists no model with a price"),
        (b'{"data": [{"id": "m"}]}', "lists no model with a price"),
        (b"x" * 3_000_000, "more than 2,097,152 bytes"),
    ],
    ids=["no JSON", "empty", "no price", "huge"],
)
async def test_a_node_whose_list_is_none_says_so(body: bytes, problem: str) -> None:
    async with FakeNode() as node, FakeRelay(ALPHA.announces(node.url)) as relay:
        node.body = body
        (offer,) = (await look(relay)).offers
    assert problem in (offer.node.problem or "")
    assert (offer.quote, offer.node.listing) == (None, None)


async def test_a_nodes_second_address_is_tried_when_the_first_does_not_answer() -> None:
    async with FakeNode() as node, FakeRelay(ALPHA.announces("http://127.0.0.1:9", node.url)) as relay:
        assert urls(await look(relay)) == [node.url]


async def test_a_node_that_never_answers_is_given_up_at_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_module, "NODE_WITHIN_S", 0.3)
    async with FakeNode() as slow, FakeNode() as node:
        slow.pause_s = 60
        announced = ALPHA.announces(slow.url, f"{slow.url}/again", f"{slow.url}/and-again")
        async with FakeRelay(announced, BETA.announces(node.url)) as relay:
            found = await look(relay)
    assert urls(found) == [node.url, slow.url]
    assert found.offers[1].node.problem == "it did not answer within 0.3 s"


async def test_nodes_that_never_answer_hold_up_the_others_only_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone can announce hundreds of them; the latest are asked first."""
    monkeypatch.setattr(survey_module, "AT_ONCE", 1)
    monkeypatch.setattr(survey_module, "ALL_WITHIN_S", 0.3)
    async with FakeNode() as node, FakeNode() as slow:
        slow.pause_s = 60
        ahead = [Author(20 + number).announces(f"{slow.url}/{number}") for number in range(3)]
        async with FakeRelay(ALPHA.announces(node.url, at_s=time.time() - 60), *ahead) as relay:
            found = await look(relay)
    problems = [offer.node.problem for offer in found.offers]
    assert problems.count("it did not answer in the time left") == 1
    assert problems.count("it was not asked: others took the time") == 3


async def test_a_relay_that_does_not_agree_to_the_end_holds_nothing_up() -> None:
    """Its last words were EOSE; half a second later arbstr is gone."""

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        end = b'["EOSE", "arbstr"]'
        writer.write(upgrade + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + bytes([0x81, len(end)]) + end)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    heard = await relay_module.ask(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", [], within_s=5)
    server.close()
    assert heard.problem is None


async def test_a_host_is_asked_for_few_of_those_who_announce_it() -> None:
    async with FakeNode() as node:
        events = [Author(number).announces(node.url) for number in range(100, 120)]
        async with FakeRelay(*events) as relay:
            found = await look(relay)
        assert len(node.asked) == 2 * MOST_PER_HOST
    assert (len(found.offers), found.left_out) == (MOST_PER_HOST, 20 - MOST_PER_HOST)


# --- private networks and Tor


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "inside.test"])
@pytest.mark.parametrize("private", [False, True])
async def test_a_relay_elsewhere_can_not_send_arbstr_into_private_networks(host: str, private: bool) -> None:
    """The relay is elsewhere by its name, and the node's name is in its owner's hands."""
    resolver = Resolver(NoLookups("relay.test", "inside.test"))
    async with FakeNode() as node, FakeRelay(ALPHA.announces(f"http://{host}:{node.port}")) as relay:
        wanted = Discovery(relays=(f"ws://relay.test:{relay.port}",))
        found = await survey(wanted, MIX, NO_PROXIES, now_s=time.time(), private=private, resolver=resolver)
        assert bool(node.asked) == private
    (offer,) = found.offers
    assert private or "is not an address to connect to" in (offer.node.problem or "")


async def test_an_onion_node_is_asked_through_the_proxy_and_never_looked_up() -> None:
    names = NoLookups()
    relay = FakeRelay(ALPHA.announces(f"http://{ONION}"))
    async with FakeNode() as node, ForwardProxy({ONION: node.port}) as proxy, relay:
        found = await look(relay, resolver=Resolver(names), proxy=parse_proxy(proxy.url("socks5h")))
        (without,) = (await look(relay, resolver=Resolver(names))).offers
    (offer,) = found.offers
    assert offer.node.listing is not None
    assert {asked[:2] for asked in proxy.asked} == {("socks5", ONION)}
    assert without.node.problem == "its .onion address takes a SOCKS proxy; set discovery.proxy"
    assert names.asked == []


async def test_an_onion_relay_is_asked_through_the_proxy_and_never_looked_up() -> None:
    names = NoLookups()
    async with FakeRelay(ALPHA.announces("http://127.0.0.1:9")) as relay, ForwardProxy({ONION: relay.port}) as proxy:
        found = await look(f"ws://{ONION}", resolver=Resolver(names), proxy=parse_proxy(proxy.url("socks5h")))
        refused = await look(f"ws://{ONION}", resolver=Resolver(names))
    assert events_of(found) == [1]
    assert "through a SOCKS proxy only" in (refused.relays[0].problem or "")
    assert names.asked == []


# --- the command


async def command(directory: Path, *arguments: str, **environ: str) -> Done:
    return await asyncio.to_thread(run_command, "discover", *arguments, environ=environ, cwd=directory)


CONFIG = """# my providers
[discovery]
relays = ["RELAY"]   # mine alone

[[providers]]
name = "node"    # an old friend
url = "https://old.example/v1"
input_rate = 1
"""


async def test_the_command_shows_a_table_and_adds_what_answers(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(FakeNode()) for _ in range(2)]
        events = [ALPHA.announces(one.url, name="Node"), BETA.announces(two.url, name="Évil\x1b[31m [[name]]")]
        relay = await stack.enter_async_context(FakeRelay(*events, EVIL.announces("http://127.0.0.1:9", name="gone")))
        before = CONFIG.replace("RELAY", relay.url)
        path.write_text(before)
        done = await command(tmp_path, "--add")
        again = await command(tmp_path, "--add")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert next(line.split()[0] for line in done.stdout.splitlines()[2:]) == "node"
    assert "gone" in done.stdout
    assert path.read_text().startswith(before)
    assert path.stat().st_mode & 0o777 == 0o600
    added = tomllib.loads(path.read_text())["providers"][1:]
    assert {table["url"] for table in added} == {f"{one.url}/v1", f"{two.url}/v1"}
    assert {table["kind"] for table in added} == {"routstr"}
    assert sorted(table["name"] for table in added) == ["node-2", "vil-31m-name"]
    assert again.returncode == 1
    assert "nothing was added" in again.stderr
    check = await asyncio.to_thread(run_command, "check", environ={}, cwd=tmp_path)
    assert check.returncode == 0
    assert "is not used; 'arbstr fund node-2' gets it one" in check.stderr


async def test_the_command_adds_only_those_that_were_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    async with FakeNode() as one, FakeNode() as two, FakeRelay() as relay:
        relay.events = [ALPHA.announces(one.url, name="One"), BETA.announces(two.url, name="Two")]
        done = await command(tmp_path, "--relay", relay.url, "--add", BETA.pubkey[:10])
        unknown = await command(tmp_path, "--relay", relay.url, "--add", "three")
    assert done.returncode == 0
    (added,) = tomllib.loads((tmp_path / "config.toml").read_text())["providers"]
    assert (added["name"], added["url"]) == ("two", f"{two.url}/v1")
    assert unknown.returncode == 2
    assert "no node that was found" in unknown.stderr


async def test_an_address_that_names_a_variable_is_added_as_it_is_and_gets_nothing_of_it(tmp_path: Path) -> None:
    """Strangers know how keys are usually called."""
    (tmp_path / "config.toml").write_text("")
    async with FakeNode(below="/${OTHER_KEY}") as node, FakeRelay() as relay:
        relay.events = [ALPHA.announces(f"{node.url}/${{OTHER_KEY}}")]
        done = await command(tmp_path, "--relay", relay.url, "--add", OTHER_KEY="sk-of-another-provider")
        assert done.returncode == 0
        (provider,) = load(tmp_path / "config.toml", {"OTHER_KEY": "sk-of-another-provider"}).config.providers
        assert provider.url == f"{node.url}/${{OTHER_KEY}}/v1"
        again = await command(tmp_path, "--relay", relay.url, "--add", OTHER_KEY="sk-of-another-provider")
    assert "(configured: node)" in done.stdout + again.stdout


async def test_a_node_is_added_by_no_name_that_gives_it_a_key_at_once(tmp_path: Path) -> None:
    """Neither the key of a configured provider whose name is written otherwise, nor one that the environment has."""
    path = tmp_path / "config.toml"
    path.write_text('[[providers]]\nname = "my_node"\nurl = "https://mine.example/v1"\ninput_rate = 1\n')
    keys = {"ARBSTR_MY_NODE_API_KEY": "sk-my-nodes", "ARBSTR_OPENAI_API_KEY": "sk-openais"}
    async with FakeNode() as one, FakeNode() as two, FakeRelay() as relay:
        relay.events = [ALPHA.announces(one.url, name="my node"), BETA.announces(two.url, name="OpenAI")]
        done = await command(tmp_path, "--relay", relay.url, "--add", **keys)
    assert done.returncode == 0
    added = load(path, keys).config.providers[1:]
    assert sorted(provider.name for provider in added) == ["my-node-2", "openai-2"]
    assert all(provider.is_inert for provider in added)


async def test_the_command_prints_json(tmp_path: Path) -> None:
    async with FakeNode() as node, FakeRelay(ALPHA.announces(node.url)) as relay:
        done = await command(tmp_path, "--relay", relay.url, "--json")
    document = json.loads(done.stdout)
    assert document["mix"]["source"] == "default"
    assert document["relays"] == [{"url": relay.url, "events": 1, "forged": 0, "problem": None}]
    (entry,) = document["nodes"]
    assert (entry["name"], entry["url"], entry["reachable"], entry["models"]) == ("Node", node.url, True, 1)
    assert entry["reviews"] == {"good": 0, "bad": 0, "trusted": None}


async def test_the_command_fails_when_no_relay_answers(tmp_path: Path) -> None:
    done = await command(tmp_path, "--relay", "ws://127.0.0.1:9")
    assert done.returncode == 1
    assert "arbstr: ws://127.0.0.1:9: " in done.stderr
    assert done.stderr.endswith("arbstr: no relay answered; check your network, or name others with --relay\n")


@pytest.mark.parametrize("arguments", [("--relay", "https://x.example"), ("--relay", "wss://u:p@x.example")])
async def test_the_command_refuses_what_is_no_relay(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert (await command(tmp_path, *arguments)).returncode == 2


async def test_adding_needs_a_configuration_file(tmp_path: Path) -> None:
    done = await command(tmp_path, "--relay", "ws://127.0.0.1:9", "--add")
    assert done.returncode == 1
    assert "there is no configuration file to add to; 'arbstr init' writes one" in done.stderr


async def test_the_mix_is_what_was_bought_in_the_last_month(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[aliases]\n"mine" = "gpt-4o"\n')
    lately, before = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - days * 86_400)) for days in (3, 40))
    database = tmp_path / "arbstr.db"
    first_ledger(database)
    for model, tokens in (("gpt-4o", (100, 10)), ("mine", (300, 30)), ("other", (50, 5)), ("other", (50, 5))):
        insert(database, timestamp=lately, model=model, input_tokens=tokens[0], output_tokens=tokens[1])
    insert(database, timestamp=before, model="long-ago", input_tokens=9, output_tokens=9)
    insert(database, timestamp=lately, model="failed", input_tokens=9, output_tokens=9, success=0)
    async with FakeNode({"gpt-4o": (0.01, 0.1)}) as node, FakeRelay(ALPHA.announces(node.url)) as relay:
        done = await command(tmp_path, "--relay", relay.url, "--json")
    document = json.loads(done.stdout)
    assert document["mix"]["source"] == "ledger"
    assert sorted((part["model"], part["share"]) for part in document["mix"]["models"]) == [
        ("gpt-4o", 0.5),
        ("other", 0.5),
    ]
    (entry,) = document["nodes"]
    assert entry["sats_per_request"] == pytest.approx(200 * 0.01 + 20 * 0.1)
    assert entry["mix_covered"] == 0.5


def test_the_mix_is_the_configurations_where_there_are_no_requests() -> None:
    provider = {"name": "a", "url": "https://a.example", "models": ("gpt-4o", "alias")}
    config = Config.model_validate(
        {"providers": (provider,), "policies": {"rules": ({"name": "r", "allowed_models": ("b",)},)}}
    )
    mix = mix_of(config, None, lambda name: {"alias": "meant"}.get(name, name))
    assert [part.model for part in mix.parts] == ["gpt-4o", "meant", "b"]
    assert sum(part.share for part in mix.parts) == pytest.approx(1)
    assert mix.source == "configuration"
