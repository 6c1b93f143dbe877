"""What a stream of requests would have cost, bought by arbstr and by simpler rules, over what foresight had paid.

The router and the learner are the real ones. Every model begins with nothing learned, and sees the requests in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from arbstr.config.schema import Config, Policies, Provider, Rule
from arbstr.engine.routing.router import Router
from arbstr.types import ChatRequest

RULES = ("arbstr", "oracle", "output_price", "blend", "mean", "dearest")

_MODEL = "model"
_CHARS_PER_TOKEN = 4  # a trace has no text: with so many characters the router expects the true count of tokens


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """One request as it was. `model` is None where the same requests are to be tried on every model."""

    at: datetime
    policy: str | None
    input_tokens: int
    output_tokens: int
    model: str | None = None


@dataclass(frozen=True, slots=True)
class PricedProvider:
    """What one seller asks, in sats: per 1000 input tokens, per 1000 output tokens, per request."""

    input_rate: float
    output_rate: float
    base_fee: float = 0.0


PriceList = Mapping[str, Sequence[PricedProvider]]  # by model
CostRatios = dict[str, float | None]  # by rule: its cost over the oracle's; None where the oracle pays nothing


def simulate(
    market: PriceList, rows: Iterable[TracedRequest], done: Callable[[], None] = lambda: None
) -> dict[str, CostRatios]:
    """The ratios of every model that has requests. `done` is called after each model of the market."""
    ordered = sorted(rows, key=lambda row: row.at)
    requests = [(row, _request(row)) for row in ordered]
    ratios = {}
    for model, sellers in market.items():
        own = [(row, request) for row, request in requests if row.model in (None, model)]
        if own:
            costs = _costs(sellers, [row for row, _ in own]) | {"arbstr": _bought_by_arbstr(sellers, own)}
            ratios[model] = {rule: _ratio(costs[rule], costs["oracle"]) for rule in RULES}
        done()
    return ratios


def overall(models: Mapping[str, CostRatios]) -> CostRatios:
    """The mean over models, each counting the same."""
    known = {rule: [value for m in models.values() if (value := m[rule]) is not None] for rule in RULES}
    return {rule: math.fsum(values) / len(values) if values else None for rule, values in known.items()}


def _ratio(cost: float, oracle: float) -> float | None:
    if oracle:
        return cost / oracle
    return None if cost else 1.0


def _costs(sellers: Sequence[PricedProvider], rows: Sequence[TracedRequest]) -> dict[str, float]:
    """What the requests cost, in msats, by the rules that learn nothing.

    The oracle knows every answer's length beforehand. `output_price` always buys where the output is cheapest, `blend`
    where one input and three output tokens are; `mean` is the average seller, `dearest` the dearest for each request.
    """
    rates = [_rates(seller) for seller in sellers]
    totals = [0.0] * len(rates)
    oracle = dearest = 0.0
    for row in rows:
        tokens, answer = row.input_tokens, row.output_tokens
        prices = [fee + tokens * per_input + answer * per_output for fee, per_input, per_output in rates]
        totals = [total + price for total, price in zip(totals, prices, strict=True)]
        oracle += min(prices)
        dearest += max(prices)
    places = range(len(sellers))
    return {
        "oracle": oracle,
        "output_price": totals[min(places, key=lambda place: sellers[place].output_rate)],
        "blend": totals[min(places, key=lambda place: sellers[place].input_rate + 3 * sellers[place].output_rate)],
        "mean": math.fsum(totals) / len(totals),
        "dearest": dearest,
    }


def _bought_by_arbstr(
    sellers: Sequence[PricedProvider], requests: Sequence[tuple[TracedRequest, ChatRequest]]
) -> float:
    """Route each request, pay the first candidate, learn from the answer; the sum in msats."""
    router = _router(sellers, {request.policy for _, request in requests if request.policy})
    rates = {f"{place}": _rates(seller) for place, seller in enumerate(sellers)}
    learn = router.learner.tokens.update
    paid = 0.0
    for row, request in requests:
        provider = router.route(request).candidates[0].provider
        fee, per_input, per_output = rates[provider]
        paid += fee + row.input_tokens * per_input + row.output_tokens * per_output
        chars, used = request.prompt_chars, (row.input_tokens, row.output_tokens)
        learn(request.policy, _MODEL, chars, None, *used, provider=provider)
    return paid


def _rates(seller: PricedProvider) -> tuple[float, float, float]:
    """In msats: per request, per input token, per output token."""
    return seller.base_fee * 1000, seller.input_rate, seller.output_rate


def _router(sellers: Sequence[PricedProvider], policies: Iterable[str]) -> Router:
    """A router to which only these sellers are known, with a rule without limits for every policy."""
    providers = tuple(
        Provider(
            name=f"{place}",
            url="http://localhost",
            input_rate=seller.input_rate,
            output_rate=seller.output_rate,
            base_fee=seller.base_fee,
        )
        for place, seller in enumerate(sellers)
    )
    rules = tuple(Rule(name=policy) for policy in policies)
    config = Config(providers=providers, policies=Policies(rules=rules))
    return Router(config, clock=lambda: 0.0, random=lambda: 0.0, matchers=())


def _request(row: TracedRequest) -> ChatRequest:
    return ChatRequest(
        request_id="",
        model=_MODEL,
        stream=False,
        wants_usage=False,
        max_tokens=None,
        prompt_chars=row.input_tokens * _CHARS_PER_TOKEN,
        last_user_text="",
        policy=row.policy,
        body=b"",
    )
