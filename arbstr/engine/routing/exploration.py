"""Whether a provider that looks too dear has become cheaper: asked now and then, for a small share of what is spent.

Nobody hears of a price that falls where nobody buys. A provider that was passed over for a while, and would be the
cheapest if it charged as its rates say, or half of that at best, is asked once more. What that is expected to cost
beyond the cheapest offer is paid out of `SHARE` of what requests have cost, and stays within that whatever comes of it.
One that turns out to have become cheaper is asked again at once, until what was learned of it before is outweighed.
"""

from __future__ import annotations

from collections.abc import Sequence

from arbstr.engine.routing.offer import Offer
from arbstr.types import Candidate

SHARE = 0.05
NOTE = "asked to see whether it has become cheaper"

_PASSED_OVER = 10  # requests after which a provider is looked at again
_MOST_PASSED_OVER = 200.0  # where nothing hints at a lower price, and looks before found none
_LESS_OFTEN = 1.5
_SAVED_UP = 40.0  # requests that may be saved up for, at what they cost on average
_MEMORY = 50.0  # requests that the average looks back on
_LOOKS_EVERY = 4  # requests, for it takes time
_HALF = 0.5  # of what the rates say: the most that a claim can make an offer look cheaper
_DEAR = 1.05  # times what the rates say; from there on a price is known to have risen
_CHEAPER = 0.8  # of what was believed

Ranked = Sequence[tuple[float, int, Candidate]]


class Exploration:
    """One market's. Places are those of its offers; money is in msats, as floats."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        self._offers = offers
        self._asked_at = [0] * len(offers)  # the count of requests when each was last asked, or looked at
        self._patience = [float(_PASSED_OVER)] * len(offers)
        self._requests = 0
        self._found = False  # one has become cheaper: look again at once
        self._average = 0.0
        self.purse = 0.0

    def spent(self, msats: float) -> None:
        """A request has cost so much."""
        self._average += (msats - self._average) / _MEMORY
        self.purse = min(self.purse + SHARE * msats, max(_SAVED_UP * self._average, self.purse))

    def pick(self, ranked: Ranked) -> int | None:
        """Which of the offers in this order (its index) to ask before the first, None if none is worth it now."""
        if len(ranked) < 2 or not (self._found or self._requests % _LOOKS_EVERY == 0):
            return None
        _, first_place, first = ranked[0]
        states_charges = self._offers[first_place].charges.seen > 0
        best, least = None, self.purse
        for index in range(1, len(ranked)):
            _, place, candidate = ranked[index]
            extra = candidate.weight_msats - first.weight_msats
            if extra <= least and self._is_worth_it(place, candidate, first, states_charges=states_charges):
                best, least = index, extra
        return best

    def _is_worth_it(self, place: int, candidate: Candidate, first: Candidate, *, states_charges: bool) -> bool:
        offer, passed_over = self._offers[place], self._requests - self._asked_at[place]
        listed = 0.0 if offer.extra else candidate.weight_msats / offer.ratio
        if (offer.ratio > _DEAR or offer.extra) and listed < first.weight_msats:
            return passed_over >= _PASSED_OVER
        return states_charges and listed * _HALF < first.weight_msats and passed_over >= self._patience[place]

    def routed(self, place: int) -> None:
        """A request goes to that offer first."""
        self._requests += 1
        self._asked_at[place] = self._requests

    def pays(self, extra_msats: float) -> None:
        """An offer is asked that is expected to cost so much more than the first."""
        self.purse -= max(extra_msats, 0.0)
        self._found = False

    def found(self, place: int, extra_msats: float, charged_msats: int | None, listed_msats: int | None) -> None:
        """What came of it: the offer's charge, and what its rates say; None if it did not say or did not answer."""
        offer = self._offers[place]
        believed = (listed_msats or 0) * offer.ratio + offer.extra
        if not charged_msats or charged_msats >= _CHEAPER * believed:
            self._patience[place] = min(self._patience[place] * _LESS_OFTEN, _MOST_PASSED_OVER)
            return
        offer.doubt_charges()
        self.purse += max(extra_msats, 0.0)
        self._asked_at[place] = -int(_MOST_PASSED_OVER)
        self._patience[place] = float(_PASSED_OVER)
        self._found = True
