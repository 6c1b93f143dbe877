"""The configuration file's schema."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from arbstr.config import validators
from arbstr.config.address import Address, parse_address
from arbstr.config.alerts import Alerts
from arbstr.config.clients import ClientSettings
from arbstr.config.dashboard import Dashboard
from arbstr.config.otel import Otel
from arbstr.config.proxies import ProxyUrl
from arbstr.config.rates import RATES, exact_rates, rates_json
from arbstr.config.section import Section
from arbstr.config.values import Count, Name, PerSecond, PositiveCount, PositiveSeconds, Rate, Sats, Seconds, Text
from arbstr.places import PostgresPlace
from arbstr.redaction import Secret
from arbstr.sanitize import sanitize
from arbstr.types import Rates

if TYPE_CHECKING:
    from arbstr import shapes

Strategy = Literal["cheapest", "lowest_cost", "lowest_latency", "round_robin", "weighted"]
Affinity = Literal["cache", "session", "none"]  # what may hold a conversation at its provider
DialectName = Literal["chat", "responses", "messages", "embeddings", "completions"]
KeySource = Literal["literal", "environment reference", "convention", "none"]

PassedPath = Annotated[str, AfterValidator(validators.passed_path)]
LONGEST_MODEL = 300  # characters of a model's name


class Server(Section):
    """`[server]`: where arbstr listens and what it accepts."""

    listen: Annotated[str, AfterValidator(validators.listen_address)] = "127.0.0.1:8080"
    auth_token: Secret | None = None
    metrics_token: Secret | None = None
    max_in_flight: PositiveCount = 1000
    rate_limit_rps: PerSecond = 0
    max_request_mb: float = Field(64, gt=0, le=4096, allow_inf_nan=False)
    allowed_hosts: tuple[Text, ...] = ()
    allowed_origins: tuple[Text, ...] = ()
    keepalive: Seconds = 15
    shutdown_grace: Seconds = 30
    name: Name | None = None  # among the instances that share a ledger; machine and port if absent
    passthrough: tuple[PassedPath, ...] = ("images/*", "audio/*", "moderations", "rerank")

    @property
    def address(self) -> Address:
        """`listen`, parsed."""
        return parse_address(self.listen)


class Database(Section):
    """`[database]`: the ledger."""

    path: Annotated[str, AfterValidator(validators.file_path)] = "./arbstr.db"
    url: Annotated[Secret, AfterValidator(validators.database_url)] | None = None
    keep_days: int | None = Field(None, ge=1, le=36_500)


class Timeouts(Section):
    """A provider's timeouts in seconds; `first_byte` spans a whole non-streaming answer."""

    connect: PositiveSeconds = 5
    first_byte: PositiveSeconds = 600
    idle: PositiveSeconds = 300


class Model(Section):
    """An entry of a provider's `models`; what it leaves open is the provider's. `upstream_id` is its name there."""

    id: Text
    upstream_id: Text | None = None
    input_rate: Rate | None = None
    output_rate: Rate | None = None
    cached_input_rate: Rate | None = None
    cache_write_rate: Rate | None = None
    base_fee: Rate | None = None


def _entry(value: Any) -> Any:
    """Read a bare name as an entry with only an id."""
    if value == "":
        raise ValueError("is empty; fill it in or leave it out")
    return {"id": value} if isinstance(value, str) else value


def _each_once(models: tuple[Model, ...]) -> tuple[Model, ...]:
    known: dict[str, Model] = {}
    for model in models:
        first = known.setdefault(model.id.casefold(), model)
        if first != model.model_copy(update={"id": first.id}):
            raise ValueError(f'has "{sanitize(model.id, 60)}" twice with different settings; keep one')
    return models


def is_pattern(alias: str) -> bool:
    """Check whether an alias is a pattern, in which each `*` stands for any text."""
    return "*" in alias


def _aliases(aliases: dict[str, str]) -> dict[str, str]:
    folded: dict[str, str] = {}
    for name, model in aliases.items():
        for text in (name, model):
            if not text.strip() or not text.isprintable() or len(text) > LONGEST_MODEL:
                raise ValueError(f"has a name that is empty, not printable or longer than {LONGEST_MODEL} characters")
        if is_pattern(model):
            raise ValueError(f'has "{sanitize(model, 60)}" as a model; a pattern can only stand on the left')
        if (other := folded.setdefault(name.casefold(), name)) != name:
            raise ValueError(f'has "{sanitize(other, 60)}" twice, in different case; keep one')
    return aliases


class Provider(Section):
    """`[[providers]]`: one provider. Rates in sats per 1000 tokens, the fee in sats per request."""

    name: Name
    kind: Literal["openai", "routstr"] = "openai"
    url: Annotated[str, AfterValidator(validators.provider_url)]
    api_key: Secret | None = None
    key_source: KeySource = Field("none", exclude=True)  # set by the loader, refused in the file
    key_variable: str | None = Field(None, exclude=True)  # likewise: the variable that has the key, or would have it
    dialects: tuple[DialectName, ...] = ()  # empty: found out
    models: Annotated[tuple[Annotated[Model, BeforeValidator(_entry)], ...], AfterValidator(_each_once)] = ()
    input_rate: Rate = 0
    output_rate: Rate = 0
    cached_input_rate: Rate | None = None
    cache_write_rate: Rate | None = None
    base_fee: Rate = 0
    timeouts: Timeouts = Timeouts()
    on_client_gone: Literal["drain", "cancel"] | None = None  # `engine.departure` decides then
    proxy: ProxyUrl | None = None
    refresh: float = Field(120, ge=0.1, le=86_400, allow_inf_nan=False)  # seconds
    max_in_flight: Count = 0
    weight: float = Field(1, gt=0, le=1e9, allow_inf_nan=False)
    forward_headers: tuple[Annotated[str, AfterValidator(validators.forwarded_header)], ...] = ()

    @field_validator("url")
    @classmethod
    def _with_v1(cls, url: str, info: ValidationInfo) -> str:
        """Add the path below which every Routstr node answers, where the URL is a node's and has none."""
        is_bare = info.data.get("kind") == "routstr" and not urlsplit(url).path
        return f"{url}/v1" if is_bare else url

    @property
    def has_account(self) -> bool:
        """Check whether its key holds a balance that can be asked for: it is a Routstr node's."""
        return self.kind == "routstr" and self.api_key is not None

    @cached_property
    def rates(self) -> Rates:
        """Return the rates of models that have none of their own."""
        return exact_rates({name: getattr(self, name) for name in RATES})

    @cached_property
    def model_ids(self) -> tuple[str, ...]:
        """Return the models that it lists, by the names that clients use."""
        return tuple(model.id for model in self._models.values())

    @cached_property
    def _models(self) -> dict[str, Model]:
        """By name without regard to case, as below."""
        models: dict[str, Model] = {}
        for model in self.models:
            models.setdefault(model.id.casefold(), model)
        return models

    @cached_property
    def _rates_of_models(self) -> dict[str, Rates]:
        own = {name: model.model_dump(include=set(RATES), exclude_none=True) for name, model in self._models.items()}
        shared = {name: getattr(self, name) for name in RATES}
        return {model: exact_rates({**shared, **rates}) for model, rates in own.items() if rates}

    def rates_for(self, model: str) -> Rates:
        """Return its rates for a model."""
        return self._rates_of_models.get(model.casefold(), self.rates) if self._rates_of_models else self.rates

    @property
    def is_inert(self) -> bool:
        """Check whether it is a node without a key, which can't be bought from: it is not used until it is funded."""
        return self.kind == "routstr" and self.api_key is None

    @property
    def has_rates(self) -> bool:
        """Check whether the file says what it asks for any model."""
        return bool(self.model_fields_set & {"input_rate", "output_rate"})

    def rates_over(self, listed: Rates, model: str) -> Rates:
        """Return the rates that it lists itself for a model, under those that the file has."""
        entry = self._models.get(model.casefold())
        own = {name: getattr(self, name) for name in RATES if name in self.model_fields_set}
        own |= {} if entry is None else entry.model_dump(include=set(RATES), exclude_none=True)
        if not own:
            return listed
        filed = exact_rates({name: own.get(name) for name in RATES})
        return Rates(
            input=filed.input if "input_rate" in own else listed.input,
            output=filed.output if "output_rate" in own else listed.output,
            base_fee=filed.base_fee if "base_fee" in own else listed.base_fee,
            cached_input=filed.cached_input if "cached_input_rate" in own else listed.cached_input,
            cache_write=filed.cache_write if "cache_write_rate" in own else listed.cache_write,
        )

    def upstream_id(self, model: str) -> str:
        """Return the model's name at this provider."""
        entry = self._models.get(model.casefold())
        return model if entry is None else entry.upstream_id or entry.id

    def serves(self, model: str) -> bool:
        """Check whether it lists the model; a provider that lists none takes every model."""
        return not self.models or model.casefold() in self._models

    def stated(self, rate: str) -> float | None:
        """Return a rate in sats for all models; None if it is up to the node, whose list has one for each."""
        if self.kind == "routstr" and rate not in self.model_fields_set:
            return None
        value: float = getattr(self, rate)
        return value

    def public(self) -> shapes.ProviderSettings:
        """Return its public description as a JSON object, the key masked."""
        settings: shapes.ProviderSettings = {
            "name": self.name,
            "url": self.url,
            "models": list(self.model_ids),
            "input_rate_sats_per_1k": self.stated("input_rate"),
            "output_rate_sats_per_1k": self.stated("output_rate"),
            "base_fee_sats": self.stated("base_fee"),
            "api_key": None if self.api_key is None else str(self.api_key),
            "key_source": self.key_source,
        }
        if self._rates_of_models:
            own_rates = self._rates_of_models.items()
            settings["model_rates"] = {self._models[name].id: rates_json(rates) for name, rates in own_rates}
        return settings


class Rule(Section):
    """`[[policies.rules]]`: limits for the requests it matches, by header or by keyword."""

    name: Name
    allowed_models: tuple[Text, ...] = ()
    strategy: Strategy | None = None
    max_sats_per_1k_output: Sats | None = None
    keywords: tuple[Text, ...] = ()
    providers: tuple[Text, ...] = ()
    exclude_providers: tuple[Text, ...] = ()
    max_sats_per_request: Sats | None = None
    max_latency_ms: float | None = Field(None, gt=0, le=1e9, allow_inf_nan=False)
    fallback_models: tuple[Text, ...] = ()
    default_max_tokens: int | None = Field(None, ge=1, le=1_000_000_000)
    max_sats_per_hour: Sats | None = None
    max_sats_per_day: Sats | None = None
    max_sats_per_month: Sats | None = None
    affinity: Affinity | None = None

    def allows(self, model: str) -> bool:
        """Check whether the rule allows the model; a rule that lists none allows all."""
        return not self.allowed_models or model.casefold() in self._allowed

    @cached_property
    def _allowed(self) -> frozenset[str]:
        return frozenset(model.casefold() for model in self.allowed_models)


class Policies(Section):
    """`[policies]`: how providers are chosen where no rule says otherwise, and the rules."""

    default_strategy: Strategy = "cheapest"
    default_affinity: Affinity = "cache"
    rules: tuple[Rule, ...] = ()
    on_overcharge: Literal["warn", "demote", "exclude"] = "warn"
    overcharge_tolerance: float = Field(0.10, ge=0, le=1e6, allow_inf_nan=False)
    overcharge_min_sats: Sats = 1


class Budget(Section):
    """`[budget]`: caps on everything spent, in sats; absent is no cap."""

    max_sats_per_hour: Sats | None = None
    max_sats_per_day: Sats | None = None
    max_sats_per_month: Sats | None = None


class Retry(Section):
    """`[retry]`: retries on the same provider; `backoff` seconds before the first, doubling."""

    max_retries: int = Field(2, ge=0, le=20)
    backoff: float = Field(1.0, ge=0, le=3600, allow_inf_nan=False)


class Breaker(Section):
    """`[breaker]`: when a failing provider is skipped, and for how many seconds."""

    failure_threshold: PositiveCount = 3
    open_for: PositiveSeconds = 30
    max_open_for: PositiveSeconds = 600


class Logging(Section):
    """`[logging]`: arbstr's own log, on stderr or in a file."""

    level: Annotated[str, AfterValidator(validators.log_levels)] = "info"
    log_requests: bool = True
    format: Literal["text", "json"] = "text"
    file: Annotated[str, AfterValidator(validators.file_path)] | None = None


class Discovery(Section):
    """`[discovery]`: the Nostr relays that `arbstr discover` asks, and whose reviews and model ids it believes.

    `proxy` is for relays and nodes alike, but those on this machine.
    """

    relays: tuple[Annotated[str, AfterValidator(validators.relay_url)], ...] = Field(
        ("wss://relay.routstr.com", "wss://relay.damus.io", "wss://nos.lol", "wss://relay.primal.net"), max_length=20
    )
    trusted: tuple[Annotated[str, AfterValidator(validators.public_key)], ...] = (
        "4ad6fa2d16e2a9b576c863b4cf7404a70d4dc320c0c447d10ad6ff58993eacc8",  # the Routstr project's
    )
    proxy: ProxyUrl | None = None


MockDialect = Literal[
    "chat", "completions", "responses", "messages", "embeddings",
    "images/generations", "audio/speech", "audio/transcriptions", "moderations", "rerank",
]  # fmt: skip


class MockProvider(Section):
    """`[[mock.providers]]`: a fake provider with rates, speed and failures of its own.

    Delays in milliseconds, speed in tokens per second (0: at once), `failure_rate` from 0 to 1. `dialects` are those it
    speaks, all by default; arbstr has to learn which.
    """

    name: Name
    models: tuple[Text, ...] = ()
    input_rate: Rate = 10
    output_rate: Rate = 30
    cached_input_rate: Rate | None = None
    cache_write_rate: Rate | None = None
    base_fee: Rate = 0
    delay_ms: float = Field(100, ge=0, le=3_600_000, allow_inf_nan=False)
    tokens_per_second: float = Field(80, ge=0, le=1e9, allow_inf_nan=False)
    failure_rate: float = Field(0, ge=0, le=1)
    charge_factor: float = Field(1, ge=0, le=1e6, allow_inf_nan=False)
    dialects: tuple[MockDialect, ...] | None = None


class Mock(Section):
    """`[mock]`: the fakes that `--mock` uses. Empty `providers`: one fake for each real one."""

    providers: tuple[MockProvider, ...] = ()
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)


class Config(Section):
    """The whole file."""

    server: Server = Server()
    database: Database = Database()
    providers: tuple[Provider, ...] = ()
    clients: tuple[ClientSettings, ...] = ()
    aliases: Annotated[dict[str, str], AfterValidator(_aliases)] = Field(default_factory=dict)
    policies: Policies = Policies()
    budget: Budget = Budget()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    logging: Logging = Logging()
    discovery: Discovery = Discovery()
    alerts: Alerts = Alerts()
    otel: Otel = Otel()
    dashboard: Dashboard = Dashboard()
    mock: Mock = Mock()

    def secrets(self) -> tuple[Secret, ...]:
        """Return all secrets: providers' keys, clients' tokens, the webhook's, proxies' and databases' passwords."""
        keys = [provider.api_key for provider in self.providers]
        tokens = (self.server.auth_token, self.server.metrics_token)
        reached = (self.discovery.proxy, *(provider.proxy for provider in self.providers))
        proxies = [secret for proxy in reached if proxy for secret in proxy.secrets]
        database = () if self.database.url is None else PostgresPlace(self.database.url, Path()).secrets
        used = (*keys, *tokens, *proxies, *self.alerts.secrets, *database)
        return tuple(secret for secret in used if secret is not None)
