"""Costs of a stream of requests, bought by arbstr and by simpler rules, relative to perfect foresight.

The router and the learner are the real ones. Every model begins with nothing learned, and sees the requests in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random

from arbstr.config.schema import Config, Policies, Provider, Rule
from arbstr.engine.routing.router import Router
from arbstr.simulate.prompt_caches import BLOCK_TOKENS, PromptCache
from arbstr.types import InferenceRequest, Prefix

RULES = ("arbstr", "oracle", "list_price", "output_price", "blend", "mean", "dearest")

_MODEL = "model"
_CHARS_PER_TOKEN = 4  # a trace has no text: with this many characters the router expects the true number of tokens


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """One request as it was. `model` is None where the same requests are to be tried on every model.

    `prefix` are the prompt's blocks of 512 tokens, each standing for itself and all before it; empty where unknown.
    """

    at: datetime
    policy: str | None
    input_tokens: int
    output_tokens: int
    model: str | None = None
    prefix: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PricedProvider:
    """A provider's prices in sats: per 1000 input tokens, per 1000 output tokens, per request.

    `cached_rate` is per 1000 input tokens read from its prompt cache, None if it asks the same for them; `hit` is how
    likely that cache finds what it holds, from 0 to 1.
    """

    input_rate: float
    output_rate: float
    base_fee: float = 0.0
    cached_rate: float | None = None
    hit: float = 1.0

    @property
    def discount(self) -> float:
        """What a cached token costs less, in msats."""
        return 0.0 if self.cached_rate is None else self.input_rate - self.cached_rate


PriceList = Mapping[str, Sequence[PricedProvider]]  # by model
CostRatios = dict[str, float | None]  # by rule: its cost over the oracle's; None where the oracle pays nothing
_Traced = tuple[TracedRequest, InferenceRequest]


def simulate(
    prices: PriceList, rows: Iterable[TracedRequest], done: Callable[[], None] = lambda: None
) -> dict[str, CostRatios]:
    """Return the ratios of every model that has requests. `done` is called after each model of `prices`."""
    ordered = sorted(rows, key=lambda row: row.at)
    requests = [(row, _request(row)) for row in ordered]
    ratios = {}
    for model, providers in prices.items():
        own = [(row, request) for row, request in requests if row.model in (None, model)]
        if own:
            costs = _costs(providers, [row for row, _ in own]) | _bought_by_routers(model, providers, own)
            ratios[model] = {rule: _ratio(costs[rule], costs["oracle"]) for rule in RULES}
        done()
    return ratios


def overall(models: Mapping[str, CostRatios]) -> CostRatios:
    """Return the mean over models, each counting the same."""
    known = {rule: [value for m in models.values() if (value := m[rule]) is not None] for rule in RULES}
    return {rule: math.fsum(values) / len(values) if values else None for rule, values in known.items()}


def _ratio(cost: float, oracle: float) -> float | None:
    if oracle:
        return cost / oracle
    return None if cost else 1.0


def _costs(providers: Sequence[PricedProvider], rows: Sequence[TracedRequest]) -> dict[str, float]:
    """Return what the requests cost, in msats, by the rules that learn nothing.

    The oracle knows every answer's length beforehand, and finds all of a prompt warm that anyone has sent lately, as
    far as the provider's cache finds it. `output_price` always buys where the output is cheapest, `blend` where one
    input and three output tokens are; `mean` is the average provider, `dearest` the most expensive for each request,
    which finds nothing in its cache.
    """
    rates = [(*_rates(provider), provider.hit * provider.discount) for provider in providers]
    totals = [0.0] * len(rates)
    oracle = dearest = 0.0
    anyone = PromptCache()
    for row in rows:
        tokens, answer = row.input_tokens, row.output_tokens
        warm = anyone.use(row.prefix, tokens, row.at.timestamp()) if row.prefix else 0
        full = [fee + tokens * per_input + answer * per_output for fee, per_input, per_output, _ in rates]
        prices = [price - warm * saved for price, (_, _, _, saved) in zip(full, rates, strict=True)] if warm else full
        totals = [total + price for total, price in zip(totals, prices, strict=True)]
        oracle += min(prices)
        dearest += max(full)
    places = range(len(providers))
    return {
        "oracle": oracle,
        "output_price": totals[min(places, key=lambda place: providers[place].output_rate)],
        "blend": totals[min(places, key=lambda place: providers[place].input_rate + 3 * providers[place].output_rate)],
        "mean": math.fsum(totals) / len(totals),
        "dearest": dearest,
    }


def _bought_by_routers(
    model: str, providers: Sequence[PricedProvider], requests: Sequence[_Traced]
) -> dict[str, float]:
    """Return what the requests cost, in msats, as bought by arbstr, and by an arbstr that knows nothing of caches."""
    paid = _bought_by_arbstr(model, providers, requests)
    if not any(row.prefix for row, _ in requests):
        return {"arbstr": paid, "list_price": paid}
    unaware = [(row, replace(request, prefix=None)) for row, request in requests]
    return {"arbstr": paid, "list_price": _bought_by_arbstr(model, providers, unaware)}


def _bought_by_arbstr(model: str, providers: Sequence[PricedProvider], requests: Sequence[_Traced]) -> float:
    """Route each request, pay the first candidate, learn from the answer; return the sum in msats."""
    now_s = 0.0
    router = _router(providers, {request.policy for _, request in requests if request.policy}, lambda: now_s)
    rates = {f"{place}": (*_rates(provider), provider.discount) for place, provider in enumerate(providers)}
    caches = {f"{place}": (PromptCache(), provider.hit) for place, provider in enumerate(providers)}
    chance = Random(model)  # noqa: S311 - the same for every rule, on every run
    learn, learn_cached = router.learner.tokens.update, router.caches.learn
    paid = 0.0
    for row, request in requests:
        now_s = row.at.timestamp()
        chosen = router.route(request).candidates[0].provider
        fee, per_input, per_output, discount = rates[chosen]
        paid += fee + row.input_tokens * per_input + row.output_tokens * per_output
        chars, used = request.prompt_chars, (row.input_tokens, row.output_tokens)
        if row.prefix:
            cache, hit = caches[chosen]
            held = cache.use(row.prefix, row.input_tokens, now_s)
            cached = held if chance.random() < hit else 0
            paid -= cached * discount
            learn_cached("", router.learner.offer(chosen, _MODEL), used, cached, 0, now_s)
        learn(request.policy, _MODEL, chars, None, *used, provider=chosen)
    return paid


def _rates(provider: PricedProvider) -> tuple[float, float, float]:
    """Return the prices in msats: per request, per input token, per output token."""
    return provider.base_fee * 1000, provider.input_rate, provider.output_rate


def _router(providers: Sequence[PricedProvider], policies: Iterable[str], clock: Callable[[], float]) -> Router:
    """Return a router that knows only these providers, with a rule without limits for every policy."""
    configured = tuple(
        Provider(
            name=f"{place}",
            url="http://localhost",
            input_rate=provider.input_rate,
            output_rate=provider.output_rate,
            cached_input_rate=provider.cached_rate,
            base_fee=provider.base_fee,
        )
        for place, provider in enumerate(providers)
    )
    rules = tuple(Rule(name=policy) for policy in policies)
    config = Config(providers=configured, policies=Policies(rules=rules))
    return Router(config, clock=clock, random=lambda: 0.0, matchers=())


def _request(row: TracedRequest) -> InferenceRequest:
    return InferenceRequest(
        request_id="",
        model=_MODEL,
        stream=False,
        wants_usage=False,
        max_tokens=None,
        prompt_chars=row.input_tokens * _CHARS_PER_TOKEN,
        last_user_text="",
        policy=row.policy,
        body=b"",
        prefix=_prefix(row),
    )


def _prefix(row: TracedRequest) -> Prefix | None:
    """Return the prompt's whole blocks: the last one may be cut, and then no longer prompt has it."""
    blocks = row.prefix[: row.input_tokens // BLOCK_TOKENS]
    if not blocks:
        return None
    return Prefix(blocks, tuple(BLOCK_TOKENS * count for count in range(1, len(blocks) + 1)), row.input_tokens)
