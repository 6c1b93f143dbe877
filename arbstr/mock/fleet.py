"""The fleet of fake providers, and the configuration that names them in place of the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from itertools import count
from random import Random
from typing import Any, Self

from arbstr.config.alerts import Alerts
from arbstr.config.schema import (
    Breaker,
    Budget,
    Config,
    MockDialect,
    MockProvider,
    Policies,
    Provider,
    Retry,
    Rule,
    Timeouts,
)
from arbstr.mock.behaviors import chooses_behavior
from arbstr.mock.node_account import NodeAccount
from arbstr.mock.server import FakeProviderServer
from arbstr.redaction import Secret

_PREFIX = "mock-"
_LONGEST_NAME = 100
_KEY = Secret("sk-mock-this-key-buys-nothing")
_SHARED = (set(MockProvider.model_fields) & set(Provider.model_fields)) - {"dialects"}  # name, models, rates

_BIG = ("gpt-4o", "gpt-4o-mini", "claude-3.5-sonnet")
_OPEN = ("deepseek-v3.1", "llama-3.3-70b")

_CHAT_ONLY: tuple[MockDialect, ...] = ("chat", "completions")
_EMBEDDINGS = "text-embedding-3-small"

# Half of them speak chat alone, as many servers do: other dialects reach those by translation, or not at all.
# Prices are close to real ones (gpt-4o: 2.5 in, 10 out), and cross: which is cheapest depends on how long question
# and answer are, and on what of a conversation is cached. The sly one looks cheap for open models, until its charges
# have been learned.
_PROVIDERS = (
    MockProvider(
        name="mock-thrifty", models=(*_BIG, "deepseek-v3.1", _EMBEDDINGS), input_rate=0.9, output_rate=7,
        cached_input_rate=0.09, delay_ms=280, tokens_per_second=160,
    ),
    MockProvider(
        name="mock-wordy", models=_BIG, input_rate=1.6, output_rate=4, delay_ms=190, tokens_per_second=220,
        dialects=_CHAT_ONLY,
    ),
    MockProvider(
        name="mock-swift", models=(*_BIG, *_OPEN, _EMBEDDINGS), input_rate=2.5, output_rate=11,
        cached_input_rate=0.25, base_fee=0.05, delay_ms=45, tokens_per_second=600,
    ),
    MockProvider(
        name="mock-sly", models=(*_BIG, *_OPEN), input_rate=1.2, output_rate=5.9, cached_input_rate=0.6,
        base_fee=0.1, delay_ms=140, tokens_per_second=260, charge_factor=1.35, dialects=_CHAT_ONLY,
    ),
)  # fmt: skip
_RULES = (
    Rule(
        name="code", keywords=("code", "function", "implement", "refactor", "bug"),
        allowed_models=("claude-3.5-sonnet", "gpt-4o"), strategy="lowest_cost", max_sats_per_1k_output=15,
    ),
    Rule(name="fast", strategy="lowest_latency"),
    Rule(
        name="frugal", strategy="cheapest", max_sats_per_1k_output=7, fallback_models=("gpt-4o-mini",),
        max_sats_per_day=200_000,
    ),
)  # fmt: skip
# Without a configuration failures are short, so that a breaker can be seen to open and close.
_MADE_UP: dict[str, Any] = {
    "policies": Policies(rules=_RULES),
    "budget": Budget(max_sats_per_day=1_000_000),
    "retry": Retry(backoff=0.25),
    "breaker": Breaker(open_for=5, max_open_for=10),
}
# In the demo budgets are used up: one of an hour is spent, and its hours are short.
_SMALL_BUDGETS: dict[str, Any] = {
    "policies": Policies(rules=(*_RULES[:2], _RULES[2].model_copy(update={"max_sats_per_hour": 30.0}))),
    "budget": Budget(max_sats_per_hour=1_300, max_sats_per_day=500_000),
    "alerts": Alerts(balance_hours=0.1),  # its node's balance lasts minutes
}

_PATIENCE = {"timeouts": Timeouts(first_byte=30, idle=10)}  # so that one that hangs is soon noticed
_NODE = "mock-thrifty"  # which is a Routstr node in the demo: its prices, models and balance are read from it
_AS_NODE: dict[str, Any] = {"kind": "routstr", "refresh": 5, **_PATIENCE}
NODE_MSATS = 225_000  # so little that it runs low in the second minute


class FakeProvider(Provider):
    """A fake provider as arbstr sees it: it also serves the models that choose a behavior, without listing them."""

    def serves(self, model: str) -> bool:
        """Check whether it lists the model, or the name chooses a behavior."""
        return super().serves(model) or chooses_behavior(model)


class FakeFleet:
    """The fake providers of a run. Inside `async with` they listen, and `config` names them instead of the real ones.

    A configuration without providers gets four made-up ones, with rules to match; for a `demo` one of them is a Routstr
    node, with a balance and prices that can change, and budgets are small enough to be used up.
    """

    def __init__(self, config: Config, *, demo: bool = False) -> None:
        self._given = config
        self._is_demo = demo and not (config.providers or config.mock.providers)
        self._seed = config.mock.seed if config.mock.seed is not None else Random().getrandbits(63)
        self._servers: dict[str, FakeProviderServer] = {}
        self._stack = AsyncExitStack()
        self._providers: tuple[FakeProvider, ...] = ()
        self.config = config

    @property
    def names(self) -> tuple[str, ...]:
        """The providers' names."""
        return tuple(self._servers)

    @property
    def asked(self) -> tuple[int, ...]:
        """How many chat requests each has received, in the order of `names`."""
        return tuple(server.asked for server in self._servers.values())

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._stop)
            providers = [await self._open(*provider) for provider in _mock_providers(self._given, Random(self._seed))]
            self._stack = stack.pop_all()
        self._providers = tuple(providers)
        self.config = self.stand_in(self._given)
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._stack.aclose()

    def stand_in(self, config: Config) -> Config:
        """Return another configuration with these fakes: they stand in for the providers there were at the start."""
        same = {"providers": self._given.providers, "mock": self._given.mock}
        return _with_providers(config.model_copy(update=same), self._providers, demo=self._is_demo)

    def fail(self, name: str, status: int = 503) -> None:
        """Make a provider answer everything with that status from now on."""
        self._servers[name].failing = status

    def recover(self, name: str) -> None:
        """Make it answer as usual again."""
        self._servers[name].failing = None

    @property
    def has_short_hours(self) -> bool:
        """Whether budgets by the hour start again every few minutes."""
        return self._is_demo

    @property
    def nodes(self) -> tuple[FakeProviderServer, ...]:
        """The Routstr nodes among them."""
        return tuple(server for server in self._servers.values() if server.account is not None)

    async def _open(self, settings: MockProvider, terms: Mapping[str, Any]) -> FakeProvider:
        """Start a provider and return it as arbstr sees it; `terms` are the fields that `MockProvider` lacks."""
        seen = FakeProvider(
            url="http://127.0.0.1",
            api_key=_KEY,
            key_source="literal",
            **{**settings.model_dump(include=_SHARED), **terms},
        )
        # One set of rates for both sides: they compute from the same decimals.
        account = NodeAccount(NODE_MSATS) if self._is_demo and settings.name == _NODE else None
        server = FakeProviderServer(settings, seen.rates_for, Random(f"{self._seed} {settings.name}"), account)
        self._servers[settings.name] = server
        url = await server.start()
        if account is not None:
            return FakeProvider(name=settings.name, url=url, api_key=_KEY, key_source="literal", **_AS_NODE)
        return seen.model_copy(update={"url": url})

    async def _stop(self) -> None:
        await asyncio.gather(*(server.stop() for server in self._servers.values()))


def _mock_providers(config: Config, random: Random) -> list[tuple[MockProvider, Mapping[str, Any]]]:
    """Return the fakes to open, each with the other fields of the provider that arbstr will see."""
    if config.mock.providers:
        return [(provider, {}) for provider in _renamed(config.mock.providers)]
    if config.providers:
        stand_ins = _renamed([_stand_in(provider, random) for provider in config.providers])
        return [(provider, _terms(real)) for provider, real in zip(stand_ins, config.providers, strict=True)]
    return [(provider, _PATIENCE) for provider in _PROVIDERS]


def _stand_in(provider: Provider, random: Random) -> MockProvider:
    """Return a fake with the real one's name, rates and models, and a speed of its own."""
    return MockProvider(
        delay_ms=random.uniform(60, 300),
        tokens_per_second=random.uniform(100, 300),
        models=provider.model_ids,
        **provider.model_dump(include=_SHARED - {"models"}),
    )


def _terms(provider: Provider) -> Mapping[str, Any]:
    """Return what else the fake takes from the real one: timeouts, limits, rates of models. Never its key."""
    models = [model.model_copy(update={"upstream_id": None}) for model in provider.models]
    return {**provider.model_dump(exclude={*_SHARED, "url", "api_key", "key_source", "kind"}), "models": models}


def _renamed(providers: Iterable[MockProvider]) -> list[MockProvider]:
    """Return the providers under names that begin with `mock-`, still unique."""
    taken: set[str] = set()
    renamed = []
    for provider in providers:
        name = next(name for name in _spellings(_fake_name(provider.name)) if name.casefold() not in taken)
        taken.add(name.casefold())
        renamed.append(provider.model_copy(update={"name": name}))
    return renamed


def _fake_name(name: str) -> str:
    return name if name.startswith(_PREFIX) else _PREFIX + name


def _spellings(name: str) -> Iterator[str]:
    """Yield the name and variants of it, none longer than a name may be."""
    yield name[:_LONGEST_NAME].rstrip()
    for number in count(2):
        tail = f"-{number}"
        yield name[: _LONGEST_NAME - len(tail)] + tail


def _with_providers(config: Config, providers: tuple[FakeProvider, ...], *, demo: bool) -> Config:
    """Return the configuration with these providers, its rules naming them; what the file leaves open is the demo's."""
    if not (config.providers or config.mock.providers):
        sections = {**_MADE_UP, **(_SMALL_BUDGETS if demo else {})}
        left_open = {section: value for section, value in sections.items() if section not in config.model_fields_set}
        return config.model_copy(update={"providers": providers, **left_open})
    rules = tuple(_of_fakes(rule, _fakes(config, providers)) for rule in config.policies.rules)
    policies = config.policies.model_copy(update={"rules": rules})
    return config.model_copy(update={"providers": providers, "policies": policies})


def _fakes(config: Config, providers: tuple[FakeProvider, ...]) -> dict[str, str]:
    """Return the fakes by the names that rules may use for them."""
    if not config.mock.providers:
        return {real.name: fake.name for real, fake in zip(config.providers, providers, strict=True)}
    return {name: fake.name for fake in providers for name in (fake.name, fake.name.removeprefix(_PREFIX))}


def _of_fakes(rule: Rule, fakes: Mapping[str, str]) -> Rule:
    """Return the rule with the fakes in place of the providers it names; names without one are left out."""
    chosen = {
        key: tuple(fakes[name] for name in getattr(rule, key) if name in fakes)
        for key in ("providers", "exclude_providers")
    }
    return rule.model_copy(update=chosen)
