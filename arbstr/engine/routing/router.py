"""Decides which providers may serve a request, in which order, and why the others may not.

`Router.route` is called once per request, `Router.learn` once at its end. Both are synchronous.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from arbstr.config.schema import Config, Provider, Rule
from arbstr.engine.clients import KnownClient
from arbstr.engine.dialects.body import for_model
from arbstr.engine.learning.learner import Learner
from arbstr.engine.node_funds import Hold, NodeFunds
from arbstr.engine.pricing import costs_msats
from arbstr.engine.routing.cache_costs import CacheCosts, reuse_of
from arbstr.engine.routing.candidates import CandidateSet, LeftOut
from arbstr.engine.routing.exploration import NOTE, Exploration
from arbstr.engine.routing.names import ModelNames, Standing
from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.policy import Matcher, PolicySelector, capped
from arbstr.engine.routing.ranked import Ranked
from arbstr.engine.routing.ranking import Ranker
from arbstr.engine.routing.refusals import UNAVAILABLE, insufficient_balance, refusal, shortage
from arbstr.engine.routing.session_pins import SessionPins
from arbstr.engine.routing.strategy import strategies
from arbstr.errors import ApiError, InsufficientBalance, ModelNotFound, NoHealthyProvider, NoProviderWithinPolicy
from arbstr.events import OverchargeFound
from arbstr.types import Candidate, InferenceRequest, Price, RequestRecord, Routing, Usage

_REMEMBERED = 4096  # pairs of rule and model; a provider may accept any model name
_EARLY = "its breaker is open, but no other provider is left"
_COOLED = "it is paused for this model, but no other provider is left"

_LAST: dict[Standing, str] = {
    "unlisted": "its list does not have this model",
    "doubted": "its list has not been read for a while",
}

_SetKey = tuple[str | None, str, bool]  # policy, model, and whether it is offered to all

_NO_CANDIDATE = (ModelNotFound, NoProviderWithinPolicy, NoHealthyProvider, InsufficientBalance)


class Router:
    """Routes requests by policy, limits, expected prices and strategy, and learns from finished requests.

    `clock` is monotonic seconds, `random` returns numbers from 0 to 1. `unavailable` returns the providers that may not
    be asked now (breaker, rotation), `cooling` the cool-downs for a model with their reasons, `unable` the providers
    that can't serve a dialect, `funds` what can be spent at nodes, `retry_after_s` the seconds until the first of some
    unavailable providers may serve again, `due_next` which of them may be probed early. `publish` receives the events.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        unavailable: Callable[[], Collection[str]] = frozenset,
        cooling: Callable[[str], Mapping[str, str]] = lambda model: {},
        unable: Callable[[str, str], Mapping[str, str]] = lambda dialect, model: {},
        funds: Mapping[str, NodeFunds] = MappingProxyType({}),
        retry_after_s: Callable[[Iterable[str]], float] = lambda providers: 1.0,
        due_next: Callable[[Iterable[str]], str | None] = lambda providers: None,
        publish: Callable[[OverchargeFound], None] = lambda event: None,
        matchers: Sequence[Matcher] | None = None,
    ) -> None:
        self.names = ModelNames(config, clock)
        self.learner = Learner(config, clock=clock, publish=publish)
        self.caches = CacheCosts(config, self.names)
        self._ranker = Ranker(
            config.policies,
            self.learner,
            self.caches,
            clock=clock,
            unavailable=unavailable,
            cooling=cooling,
            unable=unable,
        )
        self._pins = SessionPins()
        self._providers = config.providers
        self._by_name = {provider.name: provider for provider in config.providers}
        self._defaults = config.policies
        self._clock = clock
        self._unavailable = unavailable
        self._unable = unable
        self._funds = funds
        self._due_next = due_next
        self._retry_after_s = retry_after_s
        self._policies = PolicySelector(config.policies.rules, matchers, self.names.resolve)
        self._strategies = strategies(random)
        self._candidate_sets: dict[_SetKey, CandidateSet] = {}
        self._outdated: dict[_SetKey, CandidateSet] = {}  # those before the last change of a list
        self._lists_version = 0  # of the names that the sets were computed with
        self._explorations: dict[str, tuple[Exploration, str, float]] = {}  # by request id: who, extra msats

    def take_over(self, before: Router, staying: Collection[str]) -> None:
        """Go on with what was learned under an earlier configuration, as far as it is of the providers that stay.

        Lists of models are the catalogue's to take over, before.
        """
        self.learner.take_over(before.learner, staying)
        self.caches.take_over(before.caches)
        self._pins, self._strategies, self._explorations = before._pins, before._strategies, before._explorations
        self._outdated, self._lists_version = before._candidate_sets, self.names.version

    def route(self, request: InferenceRequest, client: KnownClient | None = None) -> Routing:
        """Return the routing decision for a request, and for the client whose key it has.

        Raises `UnknownPolicy`, `ModelNotAllowed`, `ModelNotFound`, `NoProviderWithinPolicy`, `NoHealthyProvider` or
        `InsufficientBalance`, whichever of them comes first.
        """
        return self._decide(request, client, commit=True)

    def rule(self, policy: str) -> Rule:
        """Return the rule of that name. Raises `UnknownPolicy`."""
        return self._policies.rule(policy)

    def prepared(self, request: InferenceRequest, routing: Routing) -> InferenceRequest:
        """Return a routed request as it is sent: with its policy's cap, and for the model that serves."""
        if routing.policy is not None:
            request = capped(request, self.rule(routing.policy))
        return request if routing.model == request.model else for_model(request, routing.model)

    def allows(self, policy: str, model: str) -> bool:
        """Return whether the rule of that name allows a model. Raises `UnknownPolicy`."""
        return self._policies.allows(self.rule(policy), self.names.resolve(model))

    def offers_of(self, model: str) -> list[tuple[Provider, Price, Offer | None]]:
        """Return who sells a model, what each asks for it, and what was learned of that, None if nothing was."""
        names, model = self.names, self.names.resolve(model)
        sellers = [one for one in self._providers if names.standing(one, model) in ("listed", "doubted")]
        return [(one, names.price(one, model), self.learner.known_offer(one.name, model)) for one in sellers]

    def check_client(self, client: KnownClient | None, model: str) -> None:
        """Raise `ModelNotAllowed` unless a client may ask for a model."""
        if client is not None:
            client.check_model(model, self.names.resolve(model))

    def preview(self, request: InferenceRequest, client: KnownClient | None = None) -> Routing:
        """Return what `route` would decide now, without side effects on strategies. Raises the same errors."""
        return self._decide(request, client, commit=False)

    def _decide(self, request: InferenceRequest, client: KnownClient | None, *, commit: bool) -> Routing:
        """Route by the model asked for, else by the first of the rule's fallback models that has a candidate.

        A client that may not use a fallback model is not served by it.

        If none has one because every breaker is open, a provider is probed early (`due_next`).
        """
        resolve = self.names.resolve
        requested = resolve(request.model)
        if client is not None:
            client.check_model(request.model, requested)
        rule, policy_reason = self._policies.select(request, requested)
        request = capped(request, rule)
        try:
            return self._rank(request, self._candidate_set(rule, requested, request.anywhere), policy_reason, commit)
        except _NO_CANDIDATE as error:
            refusal = error
        fallbacks = () if rule is None else rule.fallback_models
        models = [resolve(model) for model in fallbacks if client is None or client.allows(model, resolve(model))]
        last_resort = (requested, *models) if isinstance(refusal, NoHealthyProvider) else ()
        for model, is_last_resort in [*((model, False) for model in models), *((model, True) for model in last_resort)]:
            try:
                candidates = self._candidate_set(rule, model, request.anywhere)
                return self._rank(request, candidates, policy_reason, commit, last_resort=is_last_resort)
            except _NO_CANDIDATE:
                continue
        raise refusal

    def _rank(
        self,
        request: InferenceRequest,
        candidate_set: CandidateSet,
        policy_reason: str | None,
        commit: bool,
        *,
        last_resort: bool = False,
        anyway: Collection[str] = (),
    ) -> Routing:
        """Rank the eligible offers of a candidate set.

        If none is left, providers that are cooling down are used, with `last_resort` also the one whose breaker is due
        next: this method then calls itself with those as `anyway`.
        """
        expected, candidates, left_out, outlook = self._ranker.rank(request, candidate_set, anyway)
        if not candidates.offers:
            fallbacks = self._last_resort(left_out, last_resort=last_resort)
            if fallbacks:
                return self._rank(request, candidate_set, policy_reason, commit, anyway=fallbacks)
            raise self._refusal(request, candidate_set, left_out)
        if candidate_set.last:
            candidates.put_last(candidate_set.last)
        pinned = candidate_set.pins_sessions and self._pins.put_first(request.session, candidate_set, candidates)
        exploration = None if anyway or pinned else candidate_set.exploration
        if exploration is not None and exploration.is_due():
            self._explore(request, candidate_set, exploration, candidates, commit=commit)
        if commit:
            chosen = candidates.offers[candidates.first]
            candidate_set.strategy.chosen(chosen)
            if exploration is not None:
                exploration.routed(chosen.provider)
            if outlook is not None:
                self.caches.expect(request.request_id, outlook)
        if anyway:
            candidates.are_tried_anyway(self._unavailable(), _EARLY, _COOLED)
        return Routing(  # with names for the arguments, it would take twice as long
            candidate_set.strategy.name,
            candidate_set.policy,
            candidate_set.model,
            int(expected.input + 0.5),
            int(expected.output + 0.5),
            candidates,
            candidate_set.excluded if left_out is candidate_set.left_out else _excluded(left_out, request),
            policy_reason,
            None if outlook is None else reuse_of(outlook),
        )

    def _explore(
        self,
        request: InferenceRequest,
        candidate_set: CandidateSet,
        exploration: Exploration,
        candidates: Ranked,
        *,
        commit: bool,
    ) -> None:
        """Move an offer that may have become cheaper to the front, if one is worth it."""
        place = exploration.pick(candidates, candidate_set.last)
        if place is not None:
            extra = candidates.weights[place] - candidates.weights[candidates.first]
            candidates.put_first(place, NOTE)
            if commit:
                exploration.pays(extra)
                if len(self._explorations) >= _REMEMBERED:
                    self._explorations.clear()  # their requests never ended
                self._explorations[request.request_id] = (exploration, candidates.offers[place].provider, extra)

    def _last_resort(self, left_out: LeftOut, *, last_resort: bool) -> list[str]:
        """Return the providers to try when all are unavailable or cooling down."""
        cooled = [provider for provider, _ in left_out.cooled]
        if not left_out.unavailable:
            return cooled
        if not last_resort:
            return []
        due = self._due_next(left_out.unavailable)
        return cooled if due is None else [due, *cooled]

    def input_tokens(self, request: InferenceRequest) -> int:
        """Return the expected input tokens of a request, at least 1."""
        model, learned = self.names.resolve(request.model), self.learner.tokens
        tokens, _ = learned.predict(None, model, request.prompt_chars, request.max_tokens, images=request.prompt_images)
        return max(1, int(tokens + 0.5))

    def may_cost_msats(self, candidate: Candidate, routing: Routing, request: InferenceRequest) -> float:
        """Return what a request may cost at a candidate, in msats, for the most output tokens to be expected."""
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
        tag = offer.tag
        cost = tag.base_fee + tokens * tag.input + longest * tag.output
        return cost * max(tag.ratio, 1.0) + tag.extra

    def hold(self, provider: str, routing: Routing, request: InferenceRequest) -> Hold | None:
        """Hold what a provider will reserve for a request, None if nothing there limits it.

        Raises `InsufficientBalance` if the money there does not do, since requests that began meanwhile hold it.
        """
        funds = self._funds.get(provider)
        if funds is None:
            return None
        offer = self.learner.offer(provider, routing.model)
        if not funds.affords(offer.terms, request):
            raise insufficient_balance(request, routing.model, [offer], routing.policy)
        return funds.hold(offer.terms, request)

    def baselines(self, routing: Routing, usage: Usage) -> tuple[int | None, int | None]:
        """Return the list costs at the most expensive and the median candidate in msats; None if unknown."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return None, None
        candidates, rates_of, model = routing.candidates, self.names.rates, routing.model
        if isinstance(candidates, Ranked):
            rates = [offer.rates for offer in candidates.offers]
        else:
            rates = [rates_of(self._by_name[candidate.provider], model) for candidate in candidates]
        costs = sorted(costs_msats(rates, usage))
        return costs[-1], (costs[(len(costs) - 1) // 2] + costs[len(costs) // 2] + 1) // 2

    def learn(self, record: RequestRecord, request: InferenceRequest, answer_bytes: int | None = None) -> None:
        """Learn from a request that has ended, and its response's size; to be called once per request."""
        self.learner.learn(record, request, answer_bytes)
        routing = record.routing
        if routing is None:
            return
        candidate_set = self._candidate_sets.get((routing.policy, routing.model, False))
        self._learn_prices(record, routing, candidate_set)
        if candidate_set is not None and candidate_set.pins_sessions:
            self._pins.learn(record)
        if routing.reuse is not None:
            offer = None if record.provider is None else self.learner.offer(record.provider, routing.model)
            self.caches.learn_from(record, offer, self._clock())

    def _learn_prices(self, record: RequestRecord, routing: Routing, candidate_set: CandidateSet | None) -> None:
        """Tell exploration what a request cost, and the outcome if this request explored."""
        if candidate_set is not None and candidate_set.exploration is not None and record.cost_msats:
            candidate_set.exploration.spent(record.cost_msats)
        if record.request_id in self._explorations:
            exploration, provider, extra = self._explorations.pop(record.request_id)
            answered = record.success and record.provider == routing.candidates[0].provider
            listed = record.cost_msats if record.list_cost_msats is None else record.list_cost_msats
            exploration.found(provider, extra, record.provider_cost_msats if answered else None, listed)

    def _candidate_set(self, rule: Rule | None, model: str, anywhere: bool = False) -> CandidateSet:
        """Return the candidate set of a model under a rule, computed once; see `InferenceRequest` for `anywhere`."""
        if self._lists_version != self.names.version:
            self._lists_version = self.names.version
            self._outdated, self._candidate_sets = self._candidate_sets, {}
        key = (None if rule is None else rule.name, model, anywhere)
        return self._candidate_sets.get(key) or self._new_candidate_set(rule, model, anywhere)

    def _new_candidate_set(self, rule: Rule | None, model: str, anywhere: bool) -> CandidateSet:
        if len(self._candidate_sets) >= _REMEMBERED:
            self._candidate_sets.clear()
            self.learner.prune(set(self.names.all()))
        strategy = (rule and rule.strategy) or self._defaults.default_strategy
        affinity = (rule and rule.affinity) or self._defaults.default_affinity
        standings = [(one, self.names.standing(one, model)) for one in self._providers]
        if anywhere and not any(self._lists(one, model) for one in self._providers):
            standings = [(one, "listed") for one in self._providers if one.kind == "openai"]
        offers = [self._offer(one, model) for one, standing in standings if standing not in ("absent", "unread")]
        last = {one.name: _LAST[standing] for one, standing in standings if standing in _LAST}
        unread = tuple(one.name for one, standing in standings if standing == "unread")
        candidate_set = CandidateSet(rule, model, self._strategies[strategy], offers, last, unread, affinity)
        if offers:
            key = (candidate_set.policy, model, anywhere)
            candidate_set.take_over(self._outdated.pop(key, None))
            self._candidate_sets[key] = candidate_set
        return candidate_set

    def _offer(self, provider: Provider, model: str) -> Offer:
        offer = self.learner.offer(provider.name, model)
        names = self.names
        offer.set_rates(
            names.rates(provider, model), names.price_source(provider, model), names.reading(provider, model)
        )
        offer.set_funds(self._funds.get(provider.name), names.terms(provider, model))
        return offer

    def _lists(self, provider: Provider, model: str) -> bool:
        """Return whether a provider's list, which must be known, has a model."""
        known = provider.models or self.names.learned(provider.name)
        return bool(known) and self.names.standing(provider, model) in ("listed", "doubted")

    def _refusal(self, request: InferenceRequest, candidate_set: CandidateSet, left_out: LeftOut) -> ApiError:
        """Return the error for a request without candidates."""
        return refusal(
            request,
            candidate_set,
            left_out,
            unable=self._unable(request.dialect, candidate_set.model) if left_out.excluded else {},
            retry_after_s=self._retry_after_s,
            served=self.names.all(),
            any_key=not self._providers or not all(provider.is_inert for provider in self._providers),
        )


def _excluded(left_out: LeftOut, request: InferenceRequest) -> tuple[tuple[str, str], ...]:
    """Return the providers that are not tried, each with the reason."""
    excluded, unavailable, cooled, unfunded = left_out
    if not (unavailable or cooled or unfunded):
        return tuple(excluded)
    return (
        *excluded,
        *((provider, UNAVAILABLE) for provider in unavailable),
        *((provider, f"it is paused for this model: {reason}") for provider, reason in cooled),
        *((offer.provider, shortage(offer, request)) for offer in unfunded),
    )
