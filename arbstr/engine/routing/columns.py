"""Offers in columns: twenty are looked at for every request, and what they are compared by seldom changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import compress

from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.price_tag import Expected, PriceTag
from arbstr.types import value_object


@value_object
class Columns:
    """Offers, and by the same places what they are compared by. No column ever changes.

    See `Offer` for `listed`, `prices` and `hidden` (empty where all providers count visible tokens alone). None charges
    more than `dearest` times its rates.
    """

    offers: Sequence[Offer]
    tags: Sequence[PriceTag]
    listed: Sequence[tuple[float, float, float]]
    prices: Sequence[tuple[float, float, float]]
    hidden: Sequence[float]
    dearest: float

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

    def only(self, kept: Sequence[bool]) -> Columns:
        """Return some of the offers."""
        return columns_of(list(compress(self.offers, kept)))


def columns_of(offers: Sequence[Offer]) -> Columns:
    """Return offers in columns, as they are now."""
    tags, listed = [offer.tag for offer in offers], [offer.listed for offer in offers]
    prices = [offer.prices for offer in offers]
    hidden = [offer.hidden for offer in offers]
    dearest = max([math.inf if tag.extra else tag.ratio for tag in tags], default=1.0)
    return Columns(offers, tags, listed, prices, [] if hidden.count(1.0) == len(hidden) else hidden, dearest)
