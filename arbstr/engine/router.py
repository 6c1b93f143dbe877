"""Which providers a request will be offered to, in which order, and why not to the others.

`Router.route` is called once a request and `Router.learn` once at its end. Both are plain calls that never wait.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from arbstr.config import Config, Provider, Rule
from arbstr.engine.estimate import TokenEstimator
from arbstr.engine.offers import Offer
from arbstr.engine.policy import Matcher, PolicySelector
from arbstr.engine.strategy import Strategy, strategies
from arbstr.errors import ApiError, ModelNotFound, NoHealthyProvider, NoProviderWithinPolicy
from arbstr.events import OverchargeFound
from arbstr.types import Candidate, ChatRequest, RequestRecord, Routing, Usage

_REMEMBERED = 1024  # pairs of rule and model kept at hand: clients may ask for any name
_RESTING = "its breaker is open, or it is out of rotation"
_RETRY_AFTER_S = 1.0  # when nothing says how long the breakers stay open


class Router:
    """Policy, limits, expected prices and strategy, put together; and what is learned from finished requests.

    `clock` is monotonic seconds, `random` gives numbers from 0 to 1. `is_available` tells whether a provider may be
    asked now (breaker, rotation), `reopens_in_s` in how many seconds one that may not perhaps will, None if nobody
    knows. `publish` takes the events.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        is_available: Callable[[str], bool] = lambda provider: True,
        reopens_in_s: Callable[[str], float | None] = lambda provider: None,
        publish: Callable[[OverchargeFound], None] = lambda event: None,
        matchers: Sequence[Matcher] | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._is_available = is_available
        self._reopens_in_s = reopens_in_s
        self._publish = publish
        self._policies = PolicySelector(config.policies.rules, matchers)
        self._strategies = strategies(random)
        self._estimator = TokenEstimator()
        self._offers: dict[tuple[str, str], Offer] = {}
        self._markets: dict[tuple[str | None, str], _Market] = {}
        self._offers_by_name = {provider.name: Offer(provider) for provider in config.providers}

    def route(self, request: ChatRequest) -> Routing:
        """Decide for a request. Raises `UnknownPolicy`, `ModelNotAllowed`, `ModelNotFound`, `NoProviderWithinPolicy` or
        `NoHealthyProvider`, in this order of precedence.
        """
        return self._decide(request, take_turn=True)

    def preview(self, request: ChatRequest) -> Routing:
        """What `route` would decide now, without taking anybody's turn. Raises the same."""
        return self._decide(request, take_turn=False)

    def learn(self, record: RequestRecord, request: ChatRequest) -> None:
        """Take in how a request that was routed ended."""

    def baselines(self, routing: Routing, usage: Usage) -> tuple[int | None, int | None]:
        """What the dearest and the median candidate ask for these tokens, in msats; None while tokens are unknown."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return None, None
        offers = (self._offers_by_name[candidate.provider] for candidate in routing.candidates)
        prices = [offer.price(usage.input_tokens, usage.output_tokens) for offer in offers]
        return int(max(prices) + 0.5), int(statistics.median(prices) + 0.5)

    def _decide(self, request: ChatRequest, *, take_turn: bool) -> Routing:
        """Route by the asked model, else by the first of the rule's fallback models that has a candidate."""
        rule = self._policies.select(request)
        try:
            return self._rank(request, rule, request.model, take_turn=take_turn)
        except (ModelNotFound, NoProviderWithinPolicy, NoHealthyProvider):
            for model in rule.fallback_models if rule is not None else ():
                try:
                    return self._rank(request, rule, model, take_turn=take_turn)
                except (ModelNotFound, NoProviderWithinPolicy, NoHealthyProvider):
                    continue
            raise

    def _rank(self, request: ChatRequest, rule: Rule | None, model: str, *, take_turn: bool) -> Routing:
        market = self._market(rule, model)
        strategy = market.strategy
        expected_in, expected_out = self._estimator.expect(request, market.policy, model)
        ranked: list[tuple[float, int, Candidate]] = []
        excluded = list(market.excluded)
        resting: list[str] = []
        for place, offer in enumerate(market.offers):
            cost = offer.base_fee + expected_in * offer.input + expected_out * offer.output
            weight = cost * offer.factor
            beyond = market.beyond_limits(offer, max(cost, weight), expected_out) if market.limited else None
            if beyond is not None:
                excluded.append((offer.provider, beyond))
            elif not self._is_available(offer.provider):
                resting.append(offer.provider)
            else:
                candidate = Candidate(offer.provider, cost, weight, offer.note)
                ranked.append((strategy.key(offer, weight, expected_out), place, candidate))
        if not ranked:
            raise self._refusal(market, excluded, resting)
        ranked.sort()  # places differ, so that equal keys keep the configuration's order
        if take_turn:
            strategy.chosen(market.offers[ranked[0][1]])
        excluded += [(provider, _RESTING) for provider in resting]
        return Routing(
            strategy=strategy.name,
            policy=market.policy,
            model=model,
            expected_input_tokens=int(expected_in + 0.5),
            expected_output_tokens=int(expected_out + 0.5),
            candidates=tuple(candidate for _, _, candidate in ranked),
            excluded=tuple(excluded),
        )

    def _refusal(self, market: _Market, excluded: list[tuple[str, str]], resting: list[str]) -> ApiError:
        """Why there is no candidate."""
        model = repr(market.model[:100])
        if resting:
            waits = [wait for provider in resting if (wait := self._reopens_in_s(provider)) is not None]
            message = f"every provider of the model {model} is resting after failures or out of rotation: "
            message += ", ".join(resting)
            return NoHealthyProvider(message, retry_after_s=max(_RETRY_AFTER_S, min(waits, default=0)))
        if excluded:
            reasons = "; ".join(f"{provider}: {reason}" for provider, reason in excluded)
            within = "the limits" if market.policy is None else f"the limits of policy {market.policy!r}"
            return NoProviderWithinPolicy(
                f"no provider of the model {model} is within {within}: {reasons}", param="model"
            )
        served = ", ".join(self._models()) or "none"
        return ModelNotFound(f"no provider serves the model {model}; served: {served}", param="model")

    def _models(self) -> list[str]:
        """The models that providers list, each once, in the order of the configuration."""
        return list(dict.fromkeys(model for provider in self._config.providers for model in provider.models))

    def _market(self, rule: Rule | None, model: str) -> _Market:
        key = (None if rule is None else rule.name, model)
        market = self._markets.get(key)
        if market is None:
            market = self._markets[key] = self._open_market(rule, model)
            if len(self._markets) > _REMEMBERED:
                del self._markets[next(iter(self._markets))]
        return market

    def _open_market(self, rule: Rule | None, model: str) -> _Market:
        sellers = [provider for provider in self._config.providers if provider.serves(model)]
        strategy = (rule.strategy if rule is not None else None) or self._config.policies.default_strategy
        return _Market(
            rule, model, self._strategies[strategy], [(seller, self._offer(seller, model)) for seller in sellers]
        )

    def _offer(self, provider: Provider, model: str) -> Offer:
        return self._offers.setdefault((provider.name, model), Offer(provider))


class _Market:
    """The sellers of one model under one rule: those that are within its fixed limits, and why the others are not."""

    def __init__(
        self, rule: Rule | None, model: str, strategy: Strategy, sellers: Sequence[tuple[Provider, Offer]]
    ) -> None:
        self.policy = None if rule is None else rule.name
        self.model = model
        self.strategy = strategy
        self._max_cost_msats = (
            None if rule is None or rule.max_sats_per_request is None else rule.max_sats_per_request * 1000
        )
        self._max_latency_ms = None if rule is None else rule.max_latency_ms
        self.limited = self._max_cost_msats is not None or self._max_latency_ms is not None
        verdicts = [(offer, _beyond_fixed_limits(rule, seller)) for seller, offer in sellers]
        self.offers = tuple(offer for offer, reason in verdicts if reason is None)
        self.excluded = tuple((offer.provider, reason) for offer, reason in verdicts if reason is not None)

    def beyond_limits(self, offer: Offer, cost_msats: float, output_tokens: float) -> str | None:
        """Which of the rule's limits this request would break at that seller, None if it keeps them all."""
        if self._max_cost_msats is not None and cost_msats > self._max_cost_msats:
            limit = self._max_cost_msats / 1000
            return f"the expected cost of {cost_msats / 1000:.3f} sats is above max_sats_per_request = {limit:g}"
        if self._max_latency_ms is not None:
            latency = offer.latency_ms(output_tokens)
            if latency is not None and latency > self._max_latency_ms:
                return f"the expected latency of {latency:.0f} ms is above max_latency_ms = {self._max_latency_ms:g}"
        return None


def _beyond_fixed_limits(rule: Rule | None, provider: Provider) -> str | None:
    """Which limit of the rule keeps a provider out whatever the request, None if there is none."""
    if rule is None:
        return None
    if rule.providers and provider.name not in rule.providers:
        return "it is not among the policy's providers"
    if provider.name in rule.exclude_providers:
        return "it is among the policy's exclude_providers"
    limit = rule.max_sats_per_1k_output
    if limit is not None and provider.output_rate > limit:
        return f"its output rate of {provider.output_rate:g} is above max_sats_per_1k_output = {limit:g}"
    return None
