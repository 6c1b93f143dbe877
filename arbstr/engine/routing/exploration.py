"""Exploration: try a provider that looks too expensive now and then, for a small share of what is spent.

A fallen price goes unnoticed where nothing is bought. A provider that was passed over for a while, and would be the
cheapest if it charged its rates, or half of them at best, is tried again. The expected extra cost over the cheapest
offer is paid from `SHARE` of what requests have cost, and stays within that whatever the outcome. A provider that has
become cheaper is tried again at once, until the new charges outweigh the old ones. Prices that are read from a
provider's list are known without buying: providers that keep to such a list are not tried for that.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.price_tag import PriceTag
from arbstr.engine.routing.ranked import Ranked

SHARE = 0.05
NOTE = "tried to check whether its price has fallen"

_PASSED_OVER = 10  # requests after which a provider may be tried again
_MOST_PASSED_OVER = 200.0  # where nothing hints at a lower price, and earlier tries found none
_LESS_OFTEN = 1.5
_SAVED_UP = 40.0  # the largest balance, in requests at their average cost
_MEMORY = 50.0  # requests that the average covers
_LOOKS_EVERY = 4  # requests, because it takes time
_HALF = 0.5  # of the rates: the most that a claim can make an offer look cheaper
_DEAR = 1.05  # times the rates; beyond, a price is known to have risen
_CHEAPER = 0.8  # of the expected charge


class _Tries:
    """When an offer was last tried, by the count of requests, and how many may pass it over before the next time."""

    __slots__ = ("at", "offer", "patience")

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.at = 0
        self.patience = float(_PASSED_OVER)


class Exploration:
    """Explores the offers of one candidate set, each known by its provider. Money is in msats, as floats."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        self._tries = {offer.provider: _Tries(offer) for offer in offers}
        self._requests = 0
        self._found = False  # one has become cheaper: try it again at once
        self._average = 0.0
        self.purse = 0.0

    def spent(self, msats: float) -> None:
        """Add the cost of a request, a share of which may be spent on exploring."""
        self._average += (msats - self._average) / _MEMORY
        self.purse = min(self.purse + SHARE * msats, max(_SAVED_UP * self._average, self.purse))

    def is_due(self) -> bool:
        """Return whether to look for an offer to try now."""
        return self._found or self._requests % _LOOKS_EVERY == 0

    def pick(self, candidates: Ranked, last: Collection[str] = ()) -> int | None:
        """Return the place of the candidate to try before the first, None if none is worth it now.

        Those of the providers in `last` are not tried.
        """
        tags, weights, first = candidates.tags, candidates.weights, candidates.first
        if tags[first].provider in last:
            return None
        least_weight, states_charges = weights[first], self._tries[tags[first].provider].offer.charges.seen > 0
        best, most = None, least_weight + self.purse
        limit = min(most, least_weight * candidates.columns.dearest / _HALF)
        for place in [place for place, weight in enumerate(weights) if weight <= limit and place != first]:
            tag, weight = tags[place], weights[place]
            if weight > most or (weight * _HALF >= least_weight * tag.ratio and not tag.extra):
                continue
            if tag.provider not in last and self._is_worth_it(tag, weight, least_weight, states_charges):
                best, most = place, weight
        return best

    def _is_worth_it(self, tag: PriceTag, weight: float, least_weight: float, states_charges: bool) -> bool:
        tries = self._tries[tag.provider]
        passed_over = self._requests - tries.at
        if passed_over < _PASSED_OVER:
            return False
        listed = 0.0 if tag.extra else weight / tag.ratio
        if (tag.ratio > _DEAR or tag.extra) and listed < least_weight:
            return True
        if passed_over < tries.patience or not states_charges or tag.price.source != "configured":
            return False
        return listed * _HALF < least_weight

    def routed(self, provider: str) -> None:
        """Record that a request goes to a provider first."""
        self._requests += 1
        self._tries[provider].at = self._requests

    def pays(self, extra_msats: float) -> None:
        """Pay for trying an offer that is expected to cost `extra_msats` more than the first."""
        self.purse -= max(extra_msats, 0.0)
        self._found = False

    def found(self, provider: str, extra_msats: float, charged_msats: int | None, listed_msats: int | None) -> None:
        """Learn the outcome: the offer's charge and its list cost; None if it stated none or failed."""
        tries = self._tries[provider]
        tag = tries.offer.tag
        believed = (listed_msats or 0) * tag.ratio + tag.extra
        if not charged_msats or charged_msats >= _CHEAPER * believed:
            tries.patience = min(tries.patience * _LESS_OFTEN, _MOST_PASSED_OVER)
            return
        tries.offer.doubt_charges()
        self.purse += max(extra_msats, 0.0)
        tries.at = -int(_MOST_PASSED_OVER)
        tries.patience = float(_PASSED_OVER)
        self._found = True
