"""Offers in columns: twenty are looked at for every request, and what they are compared by seldom changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field
from itertools import compress

from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.price_tag import Expected, PriceTag
from arbstr.types import value_object


@value_object
class Columns:
    """Offers, and by the same places what they are compared by. No column ever changes.

    See `Offer` for `listed`, `prices` and `hidden` (empty where all providers count visible tokens alone). None charges
    more than `dearest` times its rates, if that many.
    """

    offers: Sequence[Offer]
    tags: Sequence[PriceTag]
    listed: Sequence[tuple[float, float, float]]
    prices: Sequence[tuple[float, float, float]]
    hidden: Sequence[float]
    dearest: float = field(compare=False)

    def weights(self, expected: Expected) -> list[float]:
        """Return what a request is expected to cost at each, learning included, in msats."""
        tokens, answer, most = expected
        if not self.hidden:
            return [fee + tokens * per_input + answer * per_output for fee, per_input, per_output in self.prices]
        return [
            fee + tokens * per_input + (answer if hidden == 1.0 else min(answer * hidden, most)) * per_output
            for (fee, per_input, per_output), hidden in zip(self.prices, self.hidden, strict=True)
        ]

    def costs(self, expected: Expected) -> list[float]:
        """Return what a request costs at each by its rates, in msats."""
        tokens, answer, _ = expected
        if self.hidden:
            return [tag.cost(expected) for tag in self.tags]
        return [fee + tokens * per_input + answer * per_output for fee, per_input, per_output in self.listed]

    def renewed(self, changed: Sequence[Offer]) -> Columns:
        """Return them as they are now that some offers, maybe of others too, have changed."""
        offers, hidden, dearest = self.offers, self.hidden, self.dearest
        tags, listed, prices = list(self.tags), list(self.listed), list(self.prices)
        for offer in changed:
            if offer in offers:
                place = offers.index(offer)
                tags[place], listed[place], prices[place] = offer.tag, offer.listed, offer.prices
                dearest = max(dearest, _times(offer.tag))
                if offer.hidden != (hidden[place] if hidden else 1.0):
                    return columns_of(offers)
        return Columns(offers, tags, listed, prices, hidden, dearest)

    def only(self, kept: Sequence[bool]) -> Columns:
        """Return some of the offers."""
        return columns_of(list(compress(self.offers, kept)))


def columns_of(offers: Sequence[Offer]) -> Columns:
    """Return offers in columns, as they are now."""
    tags, listed = [offer.tag for offer in offers], [offer.listed for offer in offers]
    prices = [offer.prices for offer in offers]
    hidden = [offer.hidden for offer in offers]
    dearest = max(map(_times, tags), default=1.0)
    return Columns(offers, tags, listed, prices, [] if hidden.count(1.0) == len(hidden) else hidden, dearest)


def _times(tag: PriceTag) -> float:
    return math.inf if tag.extra else tag.ratio
