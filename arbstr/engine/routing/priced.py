"""Offers with what one request costs at each, column by column: twenty are priced for every request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress, repeat
from typing import NamedTuple

from arbstr.engine.routing.offer import Offer
from arbstr.types import Candidate

_new = tuple.__new__  # a NamedTuple's own constructor takes three times as long


class Priced(NamedTuple):
    """Offers with the expected cost of a request at each, in msats: by its rates, and as it is compared.

    The smallest of `keys` goes first. `cached` are the tokens of the prompt that the offer's cache should have.
    """

    offers: Sequence[Offer]
    costs: Sequence[float]
    weights: Sequence[float]
    keys: Sequence[float]
    cached: Iterable[int] = repeat(0)

    def only(self, kept: Sequence[bool]) -> Priced:
        """Return some of the offers."""
        offers = list(compress(self.offers, kept))
        costs, weights, keys = (list(compress(column, kept)) for column in (self.costs, self.weights, self.keys))
        return Priced(offers, costs, weights, keys)

    def in_order(self, now_s: float) -> list[Candidate]:
        """Return the offers as candidates, best first; equal keys stay in their order."""
        rows = [
            (
                offer.provider,
                cost,
                weight,
                offer.note,
                False,
                offer.price,
                None if offer.reading is None else int(now_s - offer.reading.at_s),
                cached,
            )
            for offer, cost, weight, cached in zip(self.offers, self.costs, self.weights, self.cached, strict=False)
        ]
        places = sorted(range(len(rows)), key=self.keys.__getitem__)
        return [_new(Candidate, rows[place]) for place in places]
