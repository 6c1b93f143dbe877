"""Who may serve a request now, at which expected cost, in which order; and who may not, and why.

Twenty offers are ranked for every request: what can be computed for all of them at once is, column by column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from itertools import compress

from arbstr.config.schema import Policies
from arbstr.engine.learning.conversations import Outlook
from arbstr.engine.learning.learner import Learner
from arbstr.engine.learning.provider_stats import LEAST_RATIO
from arbstr.engine.routing.cache_costs import CacheCosts
from arbstr.engine.routing.candidates import CandidateSet, LeftOut
from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.price_tag import Expected
from arbstr.engine.routing.ranked import Ranked
from arbstr.types import InferenceRequest, new_tuple

# The offers of a candidate set: those to try, in order, and those left out; an outlook where prompt caches may matter.
Ranking = tuple[Expected, Ranked, LeftOut, Outlook | None]


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
            request.prompt_images,
            request.choices,
        )
        now_s = self._clock()
        if now_s >= candidate_set.ages_at_s:
            candidate_set.age(now_s)
        outlook = None if request.prefix is None else self._caches.look(request, candidate_set, tokens, answer, now_s)
        if outlook is not None:
            answer = outlook.output_tokens
        most = math.inf if request.max_tokens is None else float(request.max_tokens * request.choices)
        expected, columns = new_tuple(Expected, (tokens, answer, most)), candidate_set.columns()
        weights = columns.weights(expected)
        kept, left_out = None, candidate_set.left_out
        if self._may_forbid(request, candidate_set, weights):
            kept, left_out = self._kept(request, candidate_set, expected, anyway)
            columns, weights = columns.only(kept), list(compress(weights, kept))
        offers = columns.offers
        ranked = Ranked(columns, weights, candidate_set.strategy.keys(offers, weights, answer), expected)
        if candidate_set.reads_lists:
            ranked.ages = [_age_s(offer, now_s) for offer in offers]
        if self._may_demote:
            ranked.demote([offer.demoted for offer in offers])
        if outlook is not None and offers:
            self._caches.count(outlook, candidate_set, ranked, kept)
        return expected, ranked, left_out, outlook

    def _may_forbid(self, request: InferenceRequest, candidate_set: CandidateSet, weights: list[float]) -> bool:
        """Return whether anything may forbid an offer; as a rule nothing does.

        A weight is at least what is paid, and that is at least half of the cost by the rates, as far as is learned.
        """
        most = candidate_set.max_msats
        return bool(
            candidate_set.has_funds
            or candidate_set.max_latency_ms is not None
            or self._may_exclude
            or (most < math.inf and weights and max(weights) > most * LEAST_RATIO)
            or self._unavailable()
            or self._cooling(candidate_set.model)
            or self._unable(request.dialect, candidate_set.model)
        )

    def _kept(
        self, request: InferenceRequest, candidate_set: CandidateSet, expected: Expected, anyway: Collection[str]
    ) -> tuple[list[bool], LeftOut]:
        """Return which offers may serve the request, and why the others may not."""
        unavailable, max_msats = self._unavailable(), candidate_set.max_msats
        cooling, unable = self._cooling(candidate_set.model), self._unable(request.dialect, candidate_set.model)
        wait_tokens = 0.0 if request.stream else expected.output
        excluded, resting, cooled, unfunded = list(candidate_set.left_out.excluded), [], [], []
        kept = [False] * len(candidate_set.offers)
        for place, offer in enumerate(candidate_set.offers):
            name, tag = offer.provider, offer.tag
            cost = tag.cost(expected)
            paid = cost * tag.ratio + tag.extra
            if offer.excluded:
                excluded.append((name, tag.note))
            elif name in unable:
                excluded.append((name, unable[name]))
            elif cost > max_msats or paid > max_msats:
                excluded.append((name, candidate_set.cost_violation(max(cost, paid))))
            elif reason := candidate_set.latency_violation(offer, wait_tokens):
                excluded.append((name, reason))
            elif offer.funds is not None and not offer.affords(request):
                unfunded.append(offer)
            elif name in unavailable and name not in anyway:
                resting.append(name)
            elif name in cooling and name not in anyway:
                cooled.append((name, cooling[name]))
            else:
                kept[place] = True
        return kept, LeftOut(excluded, resting, cooled, unfunded)


def _age_s(offer: Offer, now_s: float) -> int | None:
    """Return how long an offer's price has been known, None where no list says it."""
    return None if offer.reading is None else int(now_s - offer.reading.at_s)
