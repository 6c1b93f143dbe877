"""Which providers a request will be offered to, in which order, and why not to the others.

`Router.route` is called once a request, `Router.learn` once at its end. Both are plain calls that never wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from arbstr.config.schema import Config, Provider, Rule
from arbstr.engine.learning.learner import Learner
from arbstr.engine.pricing import cost_msats
from arbstr.engine.routing.candidates import CandidateSet
from arbstr.engine.routing.exploration import NOTE, Exploration
from arbstr.engine.routing.policy import Matcher, PolicySelector
from arbstr.engine.routing.strategy import strategies
from arbstr.errors import ApiError, ModelNotFound, NoHealthyProvider, NoProviderWithinPolicy
from arbstr.events import OverchargeFound
from arbstr.types import Candidate, ChatRequest, RequestRecord, Routing, Usage

_REMEMBERED = 4096  # pairs of rule and model; where a provider takes every model, clients may ask for any name
_UNAVAILABLE = "breaker open, out of rotation, or at max_in_flight"
_EARLY = "its breaker is open, but no other provider is left"
_COOLED = "it rests for this model, but no other provider is left"

_NO_CANDIDATE = (ModelNotFound, NoProviderWithinPolicy, NoHealthyProvider)


class _Ranking(NamedTuple):
    """What became of a market's offers: those to be asked in order, and who else is left out, and why."""

    input_tokens: float
    output_tokens: float
    ranked: list[tuple[float, int, Candidate]]
    excluded: list[tuple[str, str]]
    resting: list[str]
    cooled: list[tuple[str, str]]


class Router:
    """Policy, limits, expected prices and strategy, put together; and what is learned from finished requests.

    `clock` is monotonic seconds, `random` gives numbers from 0 to 1. `is_available` tells whether a provider may be
    asked now (breaker, rotation), `cooling` which are better not asked for a model, and why, `retry_after_s` in how
    many seconds the first of those that may not perhaps will, `due_next` which of them may be probed before.
    `publish` takes the events.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        is_available: Callable[[str], bool] = lambda provider: True,
        cooling: Callable[[str], Mapping[str, str]] = lambda model: {},
        retry_after_s: Callable[[Iterable[str]], float] = lambda providers: 1.0,
        due_next: Callable[[Iterable[str]], str | None] = lambda providers: None,
        publish: Callable[[OverchargeFound], None] = lambda event: None,
        matchers: Sequence[Matcher] | None = None,
    ) -> None:
        self.learner = Learner(config, clock=clock, publish=publish)
        self._providers = config.providers
        self._by_name = {provider.name: provider for provider in config.providers}
        self._default_strategy = config.policies.default_strategy
        self._clock = clock
        self._is_available = is_available
        self._cooling = cooling
        self._due_next = due_next
        self._retry_after_s = retry_after_s
        self._policies = PolicySelector(config.policies.rules, matchers)
        self._strategies = strategies(random)
        self._candidate_sets: dict[tuple[str | None, str], CandidateSet] = {}
        self._looks: dict[str, tuple[Exploration, int, float]] = {}  # by request: where, at which place, for how much

    def route(self, request: ChatRequest) -> Routing:
        """Decide for a request.

        Raises `UnknownPolicy`, `ModelNotAllowed`, `ModelNotFound`, `NoProviderWithinPolicy` or `NoHealthyProvider`,
        whichever of them comes first.
        """
        return self._decide(request, take_turn=True)

    def preview(self, request: ChatRequest) -> Routing:
        """What `route` would decide now, without taking anybody's turn. Raises the same."""
        return self._decide(request, take_turn=False)

    def _decide(self, request: ChatRequest, *, take_turn: bool) -> Routing:
        """Route by the asked model, else by the first of the rule's fallback models that has a candidate.

        Where none has one for want of a provider with a closed breaker, one is asked all the same (`due_next`).
        """
        rule, why = self._policies.select(request)
        try:
            return self._rank(request, self._candidate_set(rule, request.model), why, take_turn)
        except _NO_CANDIDATE as error:
            refusal = error
        models = rule.fallback_models if rule is not None else ()
        last_resort = (request.model, *models) if isinstance(refusal, NoHealthyProvider) else ()
        for model, is_last_resort in [*((model, False) for model in models), *((model, True) for model in last_resort)]:
            try:
                return self._rank(request, self._candidate_set(rule, model), why, take_turn, last_resort=is_last_resort)
            except _NO_CANDIDATE:
                continue
        raise refusal

    def _rank(
        self,
        request: ChatRequest,
        market: CandidateSet,
        why: str | None,
        take_turn: bool,
        *,
        last_resort: bool = False,
        anyway: Collection[str] = (),
    ) -> Routing:
        """Sort the offers that nothing forbids; `why` the market's rule holds.

        Providers that only rest are asked where nobody else is left; with `last_resort` also the one whose breaker is
        due next. They come back here as those that are to be taken `anyway`.
        """
        ranking = self._judge(request, market, anyway)
        if not ranking.ranked:
            left = self._left(ranking, last_resort=last_resort)
            if left:
                return self._rank(request, market, why, take_turn, anyway=left)
            raise self._refusal(market, ranking.excluded, ranking.resting)
        if market.curiosity is not None and not anyway:
            self._look_around(request, market.curiosity, ranking.ranked, take_turn=take_turn)
        if take_turn:
            market.strategy.chosen(market.offers[ranking.ranked[0][1]])
        candidates = tuple([candidate for _, _, candidate in ranking.ranked])
        excluded = ranking.excluded
        if ranking.resting or ranking.cooled:
            excluded += [(provider, _UNAVAILABLE) for provider in ranking.resting]
            excluded += [(provider, f"it rests for this model: {reason}") for provider, reason in ranking.cooled]
        return Routing(
            strategy=market.strategy.name,
            policy=market.policy,
            model=market.model,
            expected_input_tokens=int(ranking.input_tokens + 0.5),
            expected_output_tokens=int(ranking.output_tokens + 0.5),
            candidates=self._asked_anyway(candidates) if anyway else candidates,
            excluded=tuple(excluded),
            policy_reason=why,
        )

    def _judge(self, request: ChatRequest, market: CandidateSet, anyway: Collection[str]) -> _Ranking:
        """Price every offer, leave out what a limit, an overcharge, a breaker or a cooldown forbids, sort the rest."""
        tokens, answer = self.learner.tokens.predict(
            market.policy,
            market.model,
            request.prompt_chars,
            request.max_tokens,
            images=request.prompt_images,
            choices=request.choices,
        )
        now_s, key_of, is_available = self._clock(), market.strategy.key, self._is_available
        max_msats, hasty = market.max_msats, market.max_latency_ms is not None
        awaited = 0.0 if request.stream else answer
        cooling = self._cooling(market.model)
        most = math.inf if request.max_tokens is None else float(request.max_tokens * request.choices)
        ranked: list[tuple[float, int, Candidate]] = []
        demoted: list[tuple[float, int, Candidate]] = []
        excluded: list[tuple[str, str]] = list(market.excluded)
        resting: list[str] = []
        cooled: list[tuple[str, str]] = []
        for place, offer in enumerate(market.offers):
            if now_s >= offer.ages_at_s:
                offer.age(now_s)
            counted = answer if offer.hidden == 1.0 else min(answer * offer.hidden, most)
            cost = offer.base_fee + tokens * offer.input + counted * offer.output
            paid = cost * offer.ratio + offer.extra
            if offer.excluded:
                excluded.append((offer.provider, offer.note))
            elif cost > max_msats or paid > max_msats:
                excluded.append((offer.provider, market.cost_violation(max(cost, paid))))
            elif hasty and (reason := market.latency_violation(offer, awaited)):
                excluded.append((offer.provider, reason))
            elif not is_available(offer.provider) and offer.provider not in anyway:
                resting.append(offer.provider)
            elif cooling and offer.provider in cooling and offer.provider not in anyway:
                cooled.append((offer.provider, cooling[offer.provider]))
            else:
                weight = paid / offer.success
                candidate = Candidate(offer.provider, cost, weight, offer.note)
                # Places differ, so that equal keys keep the configuration's order and candidates are never compared.
                (demoted if offer.demoted else ranked).append((key_of(offer, weight, answer), place, candidate))
        ranked.sort()
        if demoted:
            ranked += sorted(demoted)
        return _Ranking(tokens, answer, ranked, excluded, resting, cooled)

    def _look_around(
        self,
        request: ChatRequest,
        curiosity: Exploration,
        ranked: list[tuple[float, int, Candidate]],
        *,
        take_turn: bool,
    ) -> None:
        """Put an offer first that may have become cheaper, if it is one's turn."""
        index = curiosity.pick(ranked)
        if index is not None:
            key, place, candidate = ranked.pop(index)
            extra = candidate.weight_msats - ranked[0][2].weight_msats
            note = f"{candidate.note}; {NOTE}" if candidate.note else NOTE
            ranked.insert(0, (key, place, candidate._replace(note=note)))
            if take_turn:
                curiosity.pays(extra)
                if len(self._looks) >= _REMEMBERED:
                    self._looks.clear()  # their ends were never told
                self._looks[request.request_id] = (curiosity, place, extra)
        if take_turn:
            curiosity.routed(ranked[0][1])

    def _left(self, ranking: _Ranking, *, last_resort: bool) -> list[str]:
        """Return whom to ask where every provider rests."""
        cooled = [provider for provider, _ in ranking.cooled]
        if not ranking.resting:
            return cooled
        if not last_resort:
            return []
        due = self._due_next(ranking.resting)
        return cooled if due is None else [due, *cooled]

    def _asked_anyway(self, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
        """Say of candidates that they are asked although they rest."""
        early = {candidate.provider for candidate in candidates if not self._is_available(candidate.provider)}
        return tuple(
            candidate._replace(
                note="; ".join(filter(None, (candidate.note, _EARLY if candidate.provider in early else _COOLED))),
                early=candidate.provider in early,
            )
            for candidate in candidates
        )

    def may_cost_msats(self, candidate: Candidate, routing: Routing, request: ChatRequest) -> float:
        """What a request may cost at a candidate: all tokens that its cap allows, or answers of late had at most."""
        offer = self.learner.offer(candidate.provider, routing.model)
        tokens, longest = self.learner.tokens.at_most(
            routing.policy,
            routing.model,
            request.prompt_chars,
            request.max_tokens,
            images=request.prompt_images,
            choices=request.choices,
            unseen=offer.counts.unseen,
        )
        cost = offer.base_fee + tokens * offer.input + longest * offer.output
        return cost * max(offer.ratio, 1.0) + offer.extra

    def baselines(self, routing: Routing, usage: Usage) -> tuple[int | None, int | None]:
        """What the dearest and the median candidate ask for these tokens, in msats; None while tokens are unknown."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return None, None
        by_name, model = self._by_name, routing.model
        rates = [by_name[candidate.provider].rates_for(model) for candidate in routing.candidates]
        costs = sorted([cost_msats(asked, usage) or 0 for asked in rates])
        return costs[-1], (costs[(len(costs) - 1) // 2] + costs[len(costs) // 2] + 1) // 2

    def learn(self, record: RequestRecord, request: ChatRequest, answer_bytes: int | None = None) -> None:
        """Take in how a request ended, and its answer's size; to be called once for each, whatever its end."""
        self._learn_prices(record)
        self.learner.learn(record, request, answer_bytes)

    def _learn_prices(self, record: RequestRecord) -> None:
        """What a request has cost is what looking around may cost a share of; and what came of looking around."""
        routing = record.routing
        if routing is None:
            return
        market = self._candidate_sets.get((routing.policy, routing.model))
        if market is not None and market.curiosity is not None and record.cost_msats:
            market.curiosity.spent(record.cost_msats)
        curiosity, place, extra = self._looks.pop(record.request_id, (None, 0, 0.0))
        if curiosity is not None:
            answered = record.success and record.provider == routing.candidates[0].provider
            listed = record.cost_msats if record.list_cost_msats is None else record.list_cost_msats
            curiosity.found(place, extra, record.provider_cost_msats if answered else None, listed)

    def _candidate_set(self, rule: Rule | None, model: str) -> CandidateSet:
        """The sellers of a model under a rule, worked out once."""
        key = (None if rule is None else rule.name, model)
        return self._candidate_sets.get(key) or self._new_candidate_set(rule, model)

    def _new_candidate_set(self, rule: Rule | None, model: str) -> CandidateSet:
        if len(self._candidate_sets) >= _REMEMBERED:
            self._candidate_sets.clear()
            self.learner.prune()
        strategy = (rule and rule.strategy) or self._default_strategy
        sellers = [(seller, self.learner.offer(seller.name, model)) for seller in self._offers(model)]
        market = CandidateSet(rule, model, self._strategies[strategy], sellers)
        if sellers:
            self._candidate_sets[market.policy, model] = market
        return market

    def _offers(self, model: str) -> list[Provider]:
        return [provider for provider in self._providers if provider.serves(model)]

    def _refusal(self, market: CandidateSet, excluded: list[tuple[str, str]], resting: list[str]) -> ApiError:
        """Why there is no candidate."""
        model = repr(market.model[:100])
        if resting:
            told = f"No provider is available for the model {model}: {', '.join(resting)} ({_UNAVAILABLE})."
            return NoHealthyProvider(told, retry_after_s=self._retry_after_s(resting), policy=market.policy)
        if excluded:
            limits = "the tolerated overcharge" if market.policy is None else f"the limits of policy {market.policy!r}"
            reasons = "; ".join(f"{provider}: {reason}" for provider, reason in excluded)
            return NoProviderWithinPolicy(
                f"No provider of the model {model} is within {limits}: {reasons}.", param="model", policy=market.policy
            )
        listed = dict.fromkeys(listed for provider in self._providers for listed in provider.model_ids)
        return ModelNotFound(
            f"No provider serves the model {model}; served: {', '.join(listed) or 'none'}.", param="model"
        )
