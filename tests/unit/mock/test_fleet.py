"""Which providers a mock run has, and the configuration that names them."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import aiohttp
import pytest

from arbstr.config.schema import Config, Mock, MockProvider, Policies, Provider, Rule, Timeouts
from arbstr.engine.caps import bounds_ms
from arbstr.mock import FakeFleet
from arbstr.mock.fleet import NODE_MSATS
from arbstr.mock.short_hours import short_bounds_ms
from arbstr.redaction import Secret
from tests.support.patience import PATIENCE_S

REAL = (
    Provider(
        name="alpha", url="https://alpha.example/v1", api_key=Secret("sk-real-0123456789"), key_source="literal",
        models=("gpt-4o",), input_rate=10, output_rate=30, base_fee=1, cached_input_rate=5,
        timeouts=Timeouts(first_byte=7), on_client_gone="cancel", max_in_flight=3, weight=2,
    ),
    Provider(name="Beta", url="https://beta.example/v1", input_rate=8, output_rate=35),
)  # fmt: skip


def with_rule(**fields: tuple[str, ...]) -> Policies:
    return Policies(rules=(Rule(name="picky", **fields),))


# --- without a configuration


async def test_a_newcomer_gets_four_providers_of_the_models_everybody_knows_at_different_prices() -> None:
    async with FakeFleet(Config()) as fleet:
        providers = fleet.config.providers
    assert len(providers) == 4
    assert all(provider.name.startswith("mock-") for provider in providers)
    for model in ("gpt-4o", "gpt-4o-mini", "claude-3.5-sonnet"):
        assert all(model in provider.model_ids for provider in providers)
    assert len({(provider.input_rate, provider.output_rate) for provider in providers}) == 4


async def test_nobody_of_them_is_cheapest_for_everything() -> None:
    async with FakeFleet(Config()) as fleet:
        providers = fleet.config.providers
    by_question, by_answer = (
        min(providers, key=lambda provider: provider.input_rate),
        min(providers, key=lambda provider: provider.output_rate),
    )
    assert by_question != by_answer


async def test_rules_that_show_what_rules_do_come_with_them() -> None:
    async with FakeFleet(Config()) as fleet:
        rules = {rule.name: rule for rule in fleet.config.policies.rules}
        models = {model for provider in fleet.config.providers for model in provider.model_ids}
    assert "function" in rules["code"].keywords
    assert all(models.issuperset(rule.allowed_models) for rule in rules.values())


async def test_what_a_file_says_holds_also_without_providers_in_it() -> None:
    given = Config(policies=Policies(default_strategy="round_robin"))
    async with FakeFleet(given) as fleet:
        assert fleet.config.policies == given.policies
        assert fleet.config.providers


# --- in the place of configured providers


async def test_each_provider_has_its_fake_with_the_same_terms() -> None:
    async with FakeFleet(Config(providers=REAL)) as fleet:
        fakes = fleet.config.providers
    assert [fake.name for fake in fakes] == ["mock-alpha", "mock-Beta"]
    for fake, real in zip(fakes, REAL, strict=True):
        same = set(Provider.model_fields) - {"name", "url", "api_key", "key_source"}
        assert fake.model_dump(include=same) == real.model_dump(include=same)
        assert fake.rates == real.rates


async def test_neither_a_real_key_nor_a_real_address_is_left() -> None:
    async with FakeFleet(Config(providers=REAL)) as fleet:
        config = fleet.config
    assert REAL[0].api_key not in config.secrets()
    assert all(fake.url.startswith("http://127.0.0.1:") for fake in config.providers)


async def test_rules_name_the_fakes() -> None:
    policies = with_rule(providers=("alpha", "Beta"), exclude_providers=("Beta",))
    async with FakeFleet(Config(providers=REAL, policies=policies)) as fleet:
        rule = fleet.config.policies.rules[0]
    assert rule.providers == ("mock-alpha", "mock-Beta")
    assert rule.exclude_providers == ("mock-Beta",)


async def test_each_listens_on_a_port_of_its_own() -> None:
    async with FakeFleet(Config(providers=REAL)) as fleet:
        assert len({fake.url for fake in fleet.config.providers}) == 2


# --- with providers given in [mock]


async def test_providers_that_the_file_makes_up_stand_in_for_all_real_ones() -> None:
    mock = Mock(providers=(MockProvider(name="one", input_rate=3), MockProvider(name="mock-two")))
    async with FakeFleet(Config(providers=REAL, mock=mock)) as fleet:
        assert [provider.name for provider in fleet.config.providers] == ["mock-one", "mock-two"]
        assert fleet.names == ("mock-one", "mock-two")
        assert fleet.config.providers[0].input_rate == 3


async def test_names_stay_one_of_a_kind_and_within_their_length() -> None:
    long = "x" * 100
    names = ("one", "mock-one", "Mock-One", long, long[:97])
    mock = Mock(providers=tuple(MockProvider(name=name) for name in names))
    async with FakeFleet(Config(mock=mock)) as fleet:
        given = [provider.name for provider in fleet.config.providers]
    assert len({name.casefold() for name in given}) == len(names)
    assert all(name.startswith("mock-") and len(name) <= 100 for name in given)


@pytest.mark.parametrize("named", ["one", "mock-one"])
async def test_rules_may_name_them_with_or_without_the_prefix(named: str) -> None:
    mock = Mock(providers=(MockProvider(name="one"),))
    async with FakeFleet(Config(mock=mock, policies=with_rule(providers=(named,)))) as fleet:
        assert fleet.config.policies.rules[0].providers == ("mock-one",)


async def test_a_rule_whose_providers_have_no_fake_can_be_tried_with_any() -> None:
    mock = Mock(providers=(MockProvider(name="one"),))
    async with FakeFleet(Config(providers=REAL, mock=mock, policies=with_rule(providers=("alpha",)))) as fleet:
        assert fleet.config.policies.rules[0].providers == ()


# --- what arbstr may ask them for


async def test_fakes_take_the_models_that_choose_a_behavior_without_listing_them() -> None:
    async with FakeFleet(Config()) as fleet:
        for provider in fleet.config.providers:
            assert provider.serves("mock-error-503")
            assert provider.serves("gpt-4o")
            assert not provider.serves("mock-nonsense")
            assert not any(model.startswith("mock-") for model in provider.model_ids)


# --- beginning and end


async def test_after_the_end_nobody_listens_any_more() -> None:
    async with FakeFleet(Config()) as fleet:
        pass
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"{fleet.config.providers[0].url}/models")


async def test_requests_under_way_do_not_hold_up_the_end() -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_S):
        async with FakeFleet(Config(mock=Mock(providers=(MockProvider(name="a", delay_ms=0),)))) as fleet:
            body = {"model": "mock-stall", "messages": [], "stream": True}
            response = await session.post(f"{fleet.config.providers[0].url}/chat/completions", json=body)
            await response.content.readany()
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_the_fleet_closes_what_it_opened_when_one_provider_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from arbstr.mock.server import FakeProviderServer

    started: list[str] = []
    start = FakeProviderServer.start

    async def second_fails(provider: FakeProviderServer) -> str:
        if started:
            raise OSError("no ports left")
        started.append(await start(provider))
        return started[0]

    monkeypatch.setattr(FakeProviderServer, "start", second_fails)
    with pytest.raises(OSError, match="no ports left"):
        await FakeFleet(Config()).__aenter__()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"{started[0]}/models")


# --- the demo's


async def test_in_the_demo_one_provider_is_a_node_whose_prices_and_balance_are_read_from_it() -> None:
    async with FakeFleet(Config(), demo=True) as fleet, aiohttp.ClientSession() as session:
        (seen,) = [provider for provider in fleet.config.providers if provider.kind == "routstr"]
        (node,) = fleet.nodes
        assert (seen.name, seen.has_account, seen.has_rates) == (node.name, True, False)
        assert fleet.has_short_hours
        before = await listed(session, seen.url)
        node.price_factor = Decimal("1.5")
        after = await listed(session, seen.url)
        assert after["gpt-4o"]["prompt"] == pytest.approx(before["gpt-4o"]["prompt"] * 1.5)
        assert after["gpt-4o"]["input_cache_read"] == pytest.approx(before["gpt-4o"]["input_cache_read"] * 1.5)


async def test_a_nodes_requests_are_paid_from_its_balance_until_nothing_is_left() -> None:
    async with FakeFleet(Config(), demo=True) as fleet, aiohttp.ClientSession() as session:
        (node,) = fleet.nodes
        (seen,) = [provider for provider in fleet.config.providers if provider.kind == "routstr"]
        assert node.account is not None
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        async with session.post(f"{seen.url}/chat/completions", json=body) as response:
            cost = int(response.headers["x-routstr-cost-msats"])
        async with session.get(f"{seen.url}/balance/info") as response:
            balance = await response.json()
        assert (balance["balance"], balance["total_spent"], balance["total_requests"]) == (NODE_MSATS - cost, cost, 1)
        node.account.charge(NODE_MSATS)
        async with session.post(f"{seen.url}/chat/completions", json=body) as response:
            assert response.status == 402
        node.account.top_up(1000)
        async with session.post(f"{seen.url}/chat/completions", json=body) as response:
            assert response.status == 200


async def test_without_the_demo_or_with_providers_of_ones_own_there_is_no_node_and_hours_are_hours() -> None:
    for fleet in (FakeFleet(Config()), FakeFleet(Config(providers=REAL), demo=True)):
        async with fleet:
            assert fleet.nodes == ()
            assert not fleet.has_short_hours
            assert {provider.kind for provider in fleet.config.providers} == {"openai"}


async def listed(session: aiohttp.ClientSession, url: str) -> dict[str, dict[str, float]]:
    """A node's prices by model."""
    async with session.get(f"{url}/models") as response:
        return {model["id"]: model["sats_pricing"] for model in (await response.json())["data"]}


def test_the_demos_hours_last_four_minutes_and_its_days_a_day() -> None:
    start, end = short_bounds_ms("hour", 1_700_000_000_000)
    assert (end - start, start <= 1_700_000_000_000 < end) == (240_000, True)
    assert short_bounds_ms("hour", end) == (end, end + 240_000)
    assert short_bounds_ms("day", 1_700_000_000_000) == bounds_ms("day", 1_700_000_000_000)
