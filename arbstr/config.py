"""The configuration file's shape, and how it is read."""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from arbstr.secret import Secret
from arbstr.types import Rates

Strategy = Literal["cheapest", "lowest_cost", "lowest_latency", "round_robin", "weighted"]
KeySource = Literal["literal", "environment reference", "convention", "none"]
Sats = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A table of the file: fixed once read, and no key that isn't known."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Server(Section):
    """`[server]`: where arbstr listens and what it lets in."""

    listen: str = "127.0.0.1:8080"
    auth_token: Secret | None = None
    max_in_flight: int = Field(1000, ge=1)
    rate_limit_rps: float = Field(0, ge=0, allow_inf_nan=False)
    max_request_mb: float = Field(64, gt=0, allow_inf_nan=False)
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    keepalive: Seconds = 15
    shutdown_grace: Seconds = 30


class Database(Section):
    """`[database]`: the ledger."""

    path: str = "./arbstr.db"
    keep_days: int | None = Field(None, ge=1)


class Timeouts(Section):
    """A provider's patience, in seconds; `first_byte` spans a whole non-streaming answer."""

    connect: PositiveSeconds = 5
    first_byte: PositiveSeconds = 600
    idle: PositiveSeconds = 300


class Provider(Section):
    """`[[providers]]`: one seller. Rates in sats per 1000 tokens, the fee in sats per request."""

    name: str = Field(min_length=1, max_length=100)
    url: str
    api_key: Secret | None = None
    key_source: KeySource = Field("none", exclude=True)  # set by the loader, refused in the file
    models: tuple[str, ...] = ()
    input_rate: Sats = 0
    output_rate: Sats = 0
    cached_input_rate: Sats | None = None
    base_fee: Sats = 0
    timeouts: Timeouts = Timeouts()
    on_client_gone: Literal["drain", "cancel"] = "drain"
    max_in_flight: int = Field(0, ge=0)
    weight: float = Field(1, gt=0, allow_inf_nan=False)

    @cached_property
    def rates(self) -> Rates:
        """The rates as exact decimals in msats: sats per 1000 tokens are msats per token."""
        return Rates(
            input=_exact(self.input_rate),
            output=_exact(self.output_rate),
            base_fee=_exact(self.base_fee) * 1000,
            cached_input=None if self.cached_input_rate is None else _exact(self.cached_input_rate),
        )

    def serves(self, model: str) -> bool:
        """Whether it lists the model; a provider that lists none takes every model."""
        return not self.models or model in self.models


class Rule(Section):
    """`[[policies.rules]]`: limits for the requests it matches, by header or by keyword."""

    name: str = Field(min_length=1, max_length=100)
    allowed_models: tuple[str, ...] = ()
    strategy: Strategy | None = None
    max_sats_per_1k_output: Sats | None = None
    keywords: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    exclude_providers: tuple[str, ...] = ()
    max_sats_per_request: Sats | None = None
    max_latency_ms: float | None = Field(None, gt=0, allow_inf_nan=False)
    fallback_models: tuple[str, ...] = ()
    max_sats_per_hour: Sats | None = None
    max_sats_per_day: Sats | None = None
    max_sats_per_month: Sats | None = None

    def allows(self, model: str) -> bool:
        """Whether the rule lets the model be used; one that lists none allows all."""
        return not self.allowed_models or model in self.allowed_models


class Policies(Section):
    """`[policies]`: how sellers are chosen where no rule says otherwise, and the rules."""

    default_strategy: Strategy = "cheapest"
    rules: tuple[Rule, ...] = ()
    on_overcharge: Literal["warn", "demote", "exclude"] = "warn"
    overcharge_tolerance: float = Field(0.10, ge=0, allow_inf_nan=False)
    overcharge_min_sats: Sats = 1


class Budget(Section):
    """`[budget]`: caps on everything spent, in sats; absent is no cap."""

    max_sats_per_hour: Sats | None = None
    max_sats_per_day: Sats | None = None
    max_sats_per_month: Sats | None = None


class Retry(Section):
    """`[retry]`: more tries on the same provider; `backoff` seconds before the first, doubling."""

    max_retries: int = Field(2, ge=0, le=20)
    backoff: Seconds = 1.0


class Breaker(Section):
    """`[breaker]`: when a failing provider is left alone, and for how long (seconds)."""

    failure_threshold: int = Field(3, ge=1)
    open_for: PositiveSeconds = 30
    max_open_for: PositiveSeconds = 600


class Logging(Section):
    """`[logging]`: arbstr's own log, on stderr or in a file."""

    level: str = "info"
    log_requests: bool = True
    format: Literal["text", "json"] = "text"
    file: str | None = None


class MockProvider(Section):
    """`[[mock.providers]]`: a fake seller with prices, manners and failures of its own.

    Delays in milliseconds, speed in tokens per second (0: at once), `failure_rate` from 0 to 1.
    """

    name: str = Field(min_length=1, max_length=100)
    models: tuple[str, ...] = ()
    input_rate: Sats = 10
    output_rate: Sats = 30
    base_fee: Sats = 0
    delay_ms: float = Field(100, ge=0, allow_inf_nan=False)
    tokens_per_second: float = Field(80, ge=0, allow_inf_nan=False)
    failure_rate: float = Field(0, ge=0, le=1)
    charge_factor: float = Field(1, ge=0, allow_inf_nan=False)


class Mock(Section):
    """`[mock]`: what `--mock` puts in the providers' place. Empty `providers`: one fake for each real one."""

    providers: tuple[MockProvider, ...] = ()
    seed: int | None = None


class Config(Section):
    """The whole file."""

    server: Server = Server()
    database: Database = Database()
    providers: tuple[Provider, ...] = ()
    policies: Policies = Policies()
    budget: Budget = Budget()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    logging: Logging = Logging()
    mock: Mock = Mock()


def _exact(number: float) -> Decimal:
    """The decimal that the file's text said: a float's shortest form, not its binary expansion."""
    return Decimal(repr(number))
