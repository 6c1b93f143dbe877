"""Who may serve a request now, at which expected cost, in which order; and who may not, and why.

Twenty offers are ranked for every request: what can be computed for all of them at once is, column by column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import compress
from typing import NamedTuple

from arbstr.config.schema import Policies
from arbstr.engine.learning.conversations import Outlook
from arbstr.engine.learning.learner import Learner
from arbstr.engine.routing.cache_costs import CacheCosts
from arbstr.engine.routing.candidates import CandidateSet
from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.priced import Priced
from arbstr.types import Candidate, InferenceRequest


class Ranking(NamedTuple):
    """The offers of a candidate set: those to try, in order, and those left out, with the reasons."""

    input_tokens: float
    output_tokens: float
    candidates: list[Candidate]
    excluded: list[tuple[str, str]]
    unavailable: list[str]
    cooled: list[tuple[str, str]]
    unfunded: list[Offer]
    outlook: Outlook | None  # where prompt caches may matter


class Ranker:
    """Prices every offer for a request, leaves out what a limit, overcharge or pause forbids, sorts the rest.

    For the arguments see `Router`.
    """

    def __init__(
        self,
        policies: Policies,
        learner: Learner,
        caches: CacheCosts,
        *,
        clock: Callable[[], float],
        unavailable: Callable[[], Collection[str]],
        cooling: Callable[[str], Mapping[str, str]],
        unable: Callable[[str, str], Mapping[str, str]],
    ) -> None:
        self._may_exclude = policies.on_overcharge == "exclude"
        self._may_demote = policies.on_overcharge == "demote"
        self._learner = learner
        self._caches = caches
        self._clock = clock
        self._unavailable = unavailable
        self._cooling = cooling
        self._unable = unable

    def rank(self, request: InferenceRequest, candidate_set: CandidateSet, anyway: Collection[str] = ()) -> Ranking:
        """Return the ranking for a request; breakers and cool-downs of the providers in `anyway` do not count."""
        tokens, answer = self._learner.tokens.predict(
            candidate_set.policy,
            candidate_set.model,
            request.prompt_chars,
            request.max_tokens,
            images=request.prompt_images,
            choices=request.choices,
        )
        now_s = self._clock()
        candidate_set.age(now_s)
        outlook = None if request.prefix is None else self._caches.look(request, candidate_set, tokens, answer, now_s)
        answer = answer if outlook is None else outlook.output_tokens
        ranking = Ranking(tokens, answer, [], list(candidate_set.excluded), [], [], [], outlook)
        offers = candidate_set.offers
        costs = _costs(offers, tokens, answer, request)
        weights = [
            (cost * offer.ratio + offer.extra) / offer.success for cost, offer in zip(costs, offers, strict=True)
        ]
        if self._may_forbid(request, candidate_set, costs, weights):
            kept = self._kept(ranking, request, candidate_set, costs, anyway)
            offers, costs, weights = (
                list(compress(offers, kept)),
                list(compress(costs, kept)),
                list(compress(weights, kept)),
            )
        priced = Priced(offers, costs, weights, candidate_set.strategy.keys(offers, weights, answer))
        for part in self._parts(priced):
            counted = part if outlook is None else self._caches.priced(outlook, candidate_set, part)
            ranking.candidates.extend(counted.in_order(now_s))
        return ranking

    def _parts(self, priced: Priced) -> Iterable[Priced]:
        """Return the offers, those demoted apart."""
        if not (self._may_demote and any(offer.demoted for offer in priced.offers)):
            return (priced,)
        demoted = [offer.demoted for offer in priced.offers]
        return priced.only([not each for each in demoted]), priced.only(demoted)

    def _may_forbid(
        self, request: InferenceRequest, candidate_set: CandidateSet, costs: list[float], weights: list[float]
    ) -> bool:
        """Return whether anything may forbid an offer; as a rule nothing does. A weight is at least what is paid."""
        most = candidate_set.max_msats
        return bool(
            candidate_set.has_funds
            or candidate_set.max_latency_ms is not None
            or self._may_exclude
            or (most < math.inf and (max(costs, default=0.0) > most or max(weights, default=0.0) > most))
            or self._unavailable()
            or self._cooling(candidate_set.model)
            or self._unable(request.dialect, candidate_set.model)
        )

    def _kept(
        self,
        ranking: Ranking,
        request: InferenceRequest,
        candidate_set: CandidateSet,
        costs: list[float],
        anyway: Collection[str],
    ) -> list[bool]:
        """Return which offers may serve the request; note in `ranking` why the others may not."""
        unavailable, max_msats = self._unavailable(), candidate_set.max_msats
        cooling, unable = self._cooling(candidate_set.model), self._unable(request.dialect, candidate_set.model)
        wait_tokens = 0.0 if request.stream else ranking.output_tokens
        kept = [False] * len(costs)
        for place, (offer, cost) in enumerate(zip(candidate_set.offers, costs, strict=True)):
            name, paid = offer.provider, cost * offer.ratio + offer.extra
            if offer.excluded:
                ranking.excluded.append((name, offer.note))
            elif name in unable:
                ranking.excluded.append((name, unable[name]))
            elif cost > max_msats or paid > max_msats:
                ranking.excluded.append((name, candidate_set.cost_violation(max(cost, paid))))
            elif reason := candidate_set.latency_violation(offer, wait_tokens):
                ranking.excluded.append((name, reason))
            elif offer.funds is not None and not offer.affords(request):
                ranking.unfunded.append(offer)
            elif name in unavailable and name not in anyway:
                ranking.unavailable.append(name)
            elif name in cooling and name not in anyway:
                ranking.cooled.append((name, cooling[name]))
            else:
                kept[place] = True
        return kept


def _costs(offers: list[Offer], tokens: float, answer: float, request: InferenceRequest) -> list[float]:
    """Return what the expected tokens cost by each offer's rates; it may count more tokens than are visible."""
    most = math.inf if request.max_tokens is None else float(request.max_tokens * request.choices)
    return [
        offer.base_fee
        + tokens * offer.input
        + (answer if offer.hidden == 1.0 else min(answer * offer.hidden, most)) * offer.output
        for offer in offers
    ]
