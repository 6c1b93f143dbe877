"""The values that travel through arbstr: requests, routing decisions, attempts, records.

Money is in millisats (1 sat = 1000 msats) and whole wherever it is summed. A rate in sats per 1000 tokens is the
same number in millisats per token. Instants are milliseconds since the Unix epoch, UTC; durations are milliseconds.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import lcm
from typing import Any, Literal, NamedTuple, TypeVar, dataclass_transform

BreakerState = Literal["closed", "open", "half_open"]
BalanceState = Literal[
    "known",
    "unknown",  # not read yet, or not for a while
    "expired",  # the key is past its date
    "bad_key",  # the node does not know the key
]
FailureKind = Literal[
    "status",  # an HTTP status that means "not now" or "not here"
    "connect",  # no connection, or it broke before an answer
    "timeout",  # no answer in time
    "bad_response",  # a 200 that can't be used
    "stale_catalogue",  # the provider does not know the model after all
    "no_endpoint",  # the provider does not speak the request's dialect
    "content",  # the provider refuses what this request says (moderation); another may not
]


_Class = TypeVar("_Class")

new_tuple = tuple.__new__  # makes a NamedTuple of a tuple, all its fields, in a third of the time its constructor takes


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_object(cls: type[_Class]) -> type[_Class]:
    """Make a dataclass with slots that is frozen for the type checker only.

    Freezing at run time would make construction three times as slow, and every request constructs a dozen.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


@value_object
class Rates:
    """What a provider asks, in msats: per input token, per output token, per request; exact decimals.

    `cached_input` is the price of an input token served from the provider's cache, `cache_write` that of one written to
    it; None prices it as any other. `whole` are the five as whole numbers of a unit of which `unit` make a millisat:
    every request is priced several times, and integers are exact at a third of what decimals cost.
    """

    input: Decimal
    output: Decimal
    base_fee: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    unit: int = field(init=False, repr=False, compare=False)
    whole: tuple[int, int, int, int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute the whole numbers."""
        cached_input = self.input if self.cached_input is None else self.cached_input
        cache_write = self.input if self.cache_write is None else self.cache_write
        rates = (self.input, self.output, self.base_fee, cached_input, cache_write)
        ratios = [rate.as_integer_ratio() for rate in rates]
        unit = lcm(*(denominator for _, denominator in ratios))
        object.__setattr__(self, "unit", unit)
        object.__setattr__(self, "whole", tuple(numerator * unit // denominator for numerator, denominator in ratios))


@value_object
class Usage:
    """Tokens as the provider counted them; None where it did not say.

    `cached_tokens` (read from its cache) and `cache_write_tokens` (written to it) are part of the input.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int = 0
    cache_write_tokens: int = 0


_LEAST_BITS, _MOST_BITS = 9, 40
MOST_KEPT = 4 + _MOST_BITS - _LEAST_BITS  # places of a prefix


@value_object
class Prefix:
    """A prompt's beginnings, in the order in which providers cache: a hash of all up to each of some places.

    `ends` says how far each place is, of `size` in all, in any unit; no place is beyond the prompt's end. Hashes are of
    this process alone. `kept` are the places to remember a prompt by, the last one first: two at each end, since many
    prompts have tools and instructions in common, and the last place below each power of two.
    """

    hashes: tuple[int, ...]
    ends: tuple[int, ...]
    size: int
    kept: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Choose the places to keep."""
        count, ends = len(self.ends), self.ends
        last = ends[-1].bit_length() if count else 0
        kept = {bisect_right(ends, 1 << bits) - 1 for bits in range(_LEAST_BITS, min(last, _MOST_BITS))}
        kept.update(range(min(2, count)), range(max(count - 2, 0), count))
        kept.discard(-1)
        object.__setattr__(self, "kept", tuple(sorted(kept, reverse=True)))


@value_object
class InferenceRequest:
    """A valid request for inference, of any dialect.

    `body` is what is sent: the client's own bytes, except that a stream's `include_usage` is set; in that case
    `plain_body` is the one without it, for providers that refuse it. `prompt_chars` and `prompt_images` count all that
    the model will read, `last_user_text` is the last user message's text. `policy` is the rule that the client named,
    if any; `max_tokens` its own cap on each of its `choices` (`n`), in tokens, `loosest_cap` the highest where it has
    several, `added_cap` the bytes in the body of one that its policy has added. `document` is the body's JSON, in the
    client's dialect, where it may have to be translated. `query` are the URL's parameters that the provider gets.
    `anywhere`: a model that no provider lists may be any provider's. `prefix` is None where no cache can matter;
    `session` is the conversation, as stored; `client` is the name of the client, None if it has none.
    """

    request_id: str
    model: str
    stream: bool
    wants_usage: bool
    max_tokens: int | None
    prompt_chars: int
    last_user_text: str
    policy: str | None
    body: bytes = field(repr=False)
    prompt_images: int = 0
    choices: int = 1
    plain_body: bytes | None = field(default=None, repr=False)
    dialect: str = "chat"
    document: JsonObject | None = field(default=None, repr=False, compare=False)
    query: str = ""
    anywhere: bool = False
    loosest_cap: int | None = None
    added_cap: bytes = b""
    prefix: Prefix | None = field(default=None, repr=False, compare=False)
    session: str | None = None
    client: str | None = None


PriceSource = Literal[
    "configured",  # in the configuration file
    "list",  # on the provider's own list
    "doubted",  # the list's price has just jumped tenfold: the higher one, until it is seen again
    "stale",  # the list has not been read for long
    "learned",  # free by its rates, but it charges: the median charge
]


class Price(NamedTuple):
    """What a provider asks for a model, as routing compared it, and where that comes from.

    Rates are sats per 1000 tokens, `base_fee` is sats per request; a learned one is all fee.
    """

    input_rate: float
    output_rate: float
    base_fee: float
    source: PriceSource


class Candidate(NamedTuple):
    """A provider that may serve a request, and why it ranks where it does.

    A tuple, because twenty are made for every request: three times as fast as a frozen dataclass.

    `expected_cost_msats` is the expected list cost, `cached_tokens` of the prompt read from the provider's cache;
    `weight_msats` is what it was ranked by (the same, adjusted for learned charges and reliability, and for what its
    cache will be worth to the conversation's next requests). `note` explains the adjustment in words, empty if there is
    none. `early`: its breaker is open, and the request may probe it before its time. `price` was read from the provider
    `price_age_s` before; None where it has not been.
    """

    provider: str
    expected_cost_msats: float
    weight_msats: float
    note: str = ""
    early: bool = False
    price: Price | None = None
    price_age_s: int | None = None
    cached_tokens: int = 0


class Candidates(Sequence[Candidate]):
    """Candidates in the order in which they are tried, each made when it is looked at."""

    @abstractmethod
    def rows(self) -> Sequence[Sequence[object]]:
        """Return all of them at once as sequences without names, prices too: what is written of every request."""


@value_object
class Reuse:
    """What a prompt's conversation is expected to become, where prompt caches were counted.

    `likelihood`: that a next request comes within five minutes. `previous` is the provider that had the conversation's
    last request, None at its beginning; `previous_saves_msats` what its cache was expected to save.
    """

    likelihood: float
    previous: str | None = None
    previous_saves_msats: int = 0


@value_object
class Routing:
    """The decision for one request: the rule and strategy applied, the expected tokens, the candidates in order.

    `policy_reason` says in words why the rule applied. `excluded` are the providers that serve the model and were left
    out, each with the reason.
    """

    strategy: str
    policy: str | None
    model: str
    expected_input_tokens: int
    expected_output_tokens: int
    candidates: Sequence[Candidate]
    excluded: tuple[tuple[str, str], ...] = ()
    policy_reason: str | None = None
    reuse: Reuse | None = None


@value_object
class Attempt:
    """One try at one provider; `failure` is None for the one that answered. No key, no control bytes in `message`."""

    provider: str
    started_ms: int  # after the request came in
    duration_ms: int
    failure: FailureKind | None = None
    status: int | None = None
    message: str = ""


@value_object
class Doubt:
    """What a provider may have taken for a request without a word, of which its balance will tell; in msats.

    `expected_msats` is what an attempt was expected to cost, `counted_msats` what the request's cost has for it until
    more is known. `answered`: the provider has answered.
    """

    provider: str
    expected_msats: int
    counted_msats: int = 0
    answered: bool = False


@value_object
class RequestRecord:
    """One row of the ledger: a request's whole life, written once, at its end.

    `latency_ms` is the time to the whole answer, or to the first byte of a stream; `stream_duration_ms` the whole
    stream, None until it has ended. `cost_msats` is what the request cost: `provider_cost_msats`, what the provider
    said it charged, else `list_cost_msats`, by the rates; None is unknown. `implausible` says which of the provider's
    claims can't be true: "charge", "tokens", or both with a comma between; then the costs are capped. `dearest_msats`
    and `median_msats` are what the dearest and the median eligible provider would have cost for the same tokens.
    `doubtful_msats` may have been spent besides, by attempts of unknown cost; `doubts` are those, and charges that were
    not stated, of which a provider's balance will tell.
    `cached_tokens` and `cache_write_tokens` are part of `input_tokens`. `model` is as asked for, `served_model` the
    name that served. `predicted_cached_tokens` were expected to be read from the provider's cache, None where caches
    could not matter; `cache_saved_msats` is what the cache saved by the rates, `switching_msats` how much more the
    provider that had the conversation before was expected to save. `traceparent` is the client's, for its traces, and
    not in the ledger.
    """

    request_id: str
    received_at_ms: int
    model: str
    streaming: bool
    success: bool
    latency_ms: int
    provider: str | None = None
    policy: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_msats: int | None = None
    provider_cost_msats: int | None = None
    stream_duration_ms: int | None = None
    error_status: int | None = None
    error_message: str | None = None
    dearest_msats: int | None = None
    median_msats: int | None = None
    attempts: tuple[Attempt, ...] = ()
    routing: Routing | None = None
    list_cost_msats: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    served_model: str | None = None
    dialect: str = "chat"
    session: str | None = None
    client: str | None = None
    implausible: str | None = None
    doubtful_msats: int = 0
    doubts: tuple[Doubt, ...] = ()
    predicted_cached_tokens: int | None = None
    cache_saved_msats: int | None = None
    switching_msats: int | None = None
    traceparent: str | None = None


JsonObject = dict[str, Any]
HeaderList = list[tuple[str, str]]


class ClientHeaders(HeaderList):
    """A client's headers as received, never changed.

    Clients repeat their headers: `memo` is for what is found out from these alone, and is there for the next request.
    """

    def __init__(self, headers: Iterable[tuple[str, str]]) -> None:
        super().__init__(headers)
        self.memo: dict[object, Any] = {}


CLIENT_CLOSED = 499  # nginx's status for a client that closed its connection before the response
CLIENT_SCOPE = "client:"  # before its name, the scope of a client's budgets; rules have theirs by their bare names
NO_GROUP = "(none)"  # the group name of a null policy, provider, client or session


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """A budget's state. `scope` is `global`, a rule's name, or `client:` and a client's; `period` hour, day or month.

    `refused`: within the period it did not allow what a request might have cost. `passed_percent` is the largest share
    of those to be announced that is spent, 0 for none. `starts_ms`: when the period began, None if its name says it.
    Of a budget that instances share, all have spent `spent_msats`, `held_msats` is what this one holds of the rest, and
    `held_elsewhere_msats` what the others do.
    """

    scope: str
    period: str
    spent_msats: int
    reserved_msats: int
    limit_msats: int
    resets_at_ms: int
    refused: bool = False
    passed_percent: int = 0
    starts_ms: int | None = None
    held_msats: int | None = None
    held_elsewhere_msats: int = 0


@dataclass(frozen=True, slots=True)
class Balance:
    """What a Routstr node last said of the key that arbstr has there, in msats.

    `free_msats` can be spent; `reserved_msats` is set aside by the node for requests under way and not part of it;
    `spent_msats` is all that the key has ever spent, in `requests` requests. They are None until they have been read,
    at `read_at_ms`. `node_version` is what the node says it runs, None while it does not say. `hourly_msats` is what
    is spent in an hour, at the rate of the last one.
    """

    state: BalanceState = "unknown"
    free_msats: int | None = None
    reserved_msats: int | None = None
    spent_msats: int | None = None
    requests: int | None = None
    read_at_ms: int | None = None
    node_version: str | None = None
    hourly_msats: int = 0

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left, nor will come back from requests under way."""
        return self.state == "known" and not self.free_msats and not self.reserved_msats

    @property
    def runway_hours(self) -> float | None:
        """How long what is free lasts at the rate of the last hour; None if that is unknown, or nothing is spent."""
        if self.free_msats is None or not self.hourly_msats:
            return None
        return self.free_msats / self.hourly_msats


@dataclass(frozen=True, slots=True)
class LearnedRatio:
    """The learned output tokens per input token of a policy; `samples` is the number of requests."""

    policy: str | None
    ratio: float
    samples: int
